//! `onnx-suite`: the ONNX node cases on every backend and on onnxruntime alone; with `--all`, the kinds of cases that only the PyPI package has.

use std::path::Path;
use std::process::Command;

use crate::python::{self, Packages};
use crate::step::{self, Step, StepError};

/// The release whose cases are frozen in tests/onnx/data.
const PACKAGE: Packages =
    Packages { folder: "onnx", requirements: &["onnx==1.23.2"], dependencies: false, marker: DATA };

/// Where the package has its cases.
const DATA: &str = "onnx/backend/test/data";

/// The kinds of cases of the package, beside the node cases.
const KINDS: [&str; 4] = ["simple", "pytorch-operator", "pytorch-converted", "light"];

/// The packages that ship the two real models, without what they would install to run them.
const REAL_MODELS: Packages = Packages {
    folder: "models",
    requirements: &["magika==1.0.3", "silero-vad==6.2.3"],
    dependencies: false,
    marker: "silero_vad/data",
};

/// Runs two real models on both backends and prints how far they are from onnxruntime.
pub(crate) fn real_models(root: &Path) -> Result<(), StepError> {
    let models = python::fetch(root, &REAL_MODELS)?;
    let cases = root.join("target/python/model-cases");
    let mut write = Command::new("python3");
    write.current_dir(root).arg("tests/onnx/real_models.py").arg(&models).arg(&cases);
    write.env("PYTHONPATH", python::fetch(root, &python::ONNXRUNTIME)?);
    step::run(write)?;
    let mut command = step::cargo(root, &["run", "--quiet", "--locked", "--package", "bb-onnx-tests", "--"]);
    command.arg("--differences").arg(&cases).env(python::LIBRARY_VARIABLE, python::library(root)?);
    step::run(command)
}

/// The book's page of supported ops, from the table of bb-cpu.
pub(crate) fn op_table(root: &Path, check: bool) -> Step {
    let arguments = ["run", "--quiet", "--locked", "--package", "bb-onnx-tests", "--", "--op-table"];
    let mut command = step::cargo(root, &arguments);
    command.arg("docs/src/ops.md");
    if check {
        command.arg("--check");
    }
    Step {
        name: "op-table",
        mend: "cargo xtask op-table",
        action: Box::new(move || step::run(command).map(|()| None)),
    }
}

pub(crate) fn run(root: &Path, all: bool, failures: bool) -> Result<(), StepError> {
    let mut command =
        step::cargo(root, &["run", "--quiet", "--release", "--locked", "--package", "bb-onnx-tests", "--"]);
    // Looked for and, where it is neither named nor fetched yet, fetched.
    command.env(python::LIBRARY_VARIABLE, python::library(root)?);
    if failures {
        command.arg("--failures");
    }
    if all {
        let data = python::fetch(root, &PACKAGE)?.join(DATA);
        for kind in KINDS {
            command.arg("--folder").arg(data.join(kind));
        }
    }
    step::run(command)?;
    let mut plain = Command::new("python3");
    plain.current_dir(root).arg("tests/onnx/plain_onnxruntime.py");
    plain.env("PYTHONPATH", python::fetch(root, &python::ONNXRUNTIME)?);
    step::run(plain)
}

/// The gradients of the node cases against finite differences.
pub(crate) fn gradients(root: &Path, failures: bool) -> Result<(), StepError> {
    let example = ["--package", "bb-onnx-tests", "--example", "gradient_table"];
    let mut command = step::cargo(root, &["run", "--quiet", "--locked"]);
    command.args(example);
    if failures {
        command.args(["--", "--failures"]);
    }
    step::run(command)
}
