//! `onnx-suite`: the ONNX node cases on every backend and on onnxruntime alone; with `--all`, the kinds of cases that only
//! the PyPI package has, and how far its nine networks are from onnxruntime.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::{self, Packages};
use crate::step::{self, Step, StepError};

/// The kinds of cases of the PyPI package `onnx`, beside the node cases.
const KINDS: [&str; 4] = ["simple", "pytorch-operator", "pytorch-converted", "light"];

/// The packages that ship the two real models, without what they would install to run them.
const REAL_MODELS: Packages = Packages {
    folder: "models",
    requirements: &["magika==1.0.3", "silero-vad==6.2.3"],
    dependencies: false,
    marker: "silero_vad/data",
};

/// The folder of the package's cases, one folder a kind; the package comes with onnxruntime's.
pub(crate) fn cases(root: &Path) -> Result<PathBuf, StepError> {
    Ok(python::fetch(root, &python::ONNXRUNTIME)?.join("onnx/backend/test/data"))
}

/// Runs two real models on both backends and prints how far they are from onnxruntime.
pub(crate) fn real_models(root: &Path) -> Result<(), StepError> {
    let models = python::fetch(root, &REAL_MODELS)?;
    differences(root, "tests/onnx/real_models.py", &models, "model-cases", suite(root, false))
}

/// Runs the cases that a script of tests/onnx makes of `data`, and prints how far each backend is from onnxruntime.
fn differences(
    root: &Path,
    script: &str,
    data: &Path,
    folder: &str,
    mut suite: Command,
) -> Result<(), StepError> {
    let library = python::library(root)?;
    let made = root.join("target/python").join(folder);
    let mut write = Command::new("python3");
    write.current_dir(root).arg(script).arg(data).arg(&made);
    write.env("PYTHONPATH", python::fetch(root, &python::ONNXRUNTIME)?);
    step::run(write)?;
    suite.arg("--differences").arg(&made).env(python::LIBRARY_VARIABLE, library);
    step::run(suite)
}

/// The program of tests/onnx.
fn suite(root: &Path, is_optimized: bool) -> Command {
    let mut command = step::cargo(root, &["run", "--quiet", "--locked", "--package", "bb-onnx-tests"]);
    if is_optimized {
        command.arg("--release");
    }
    command.arg("--");
    command
}

/// The book's page of supported ops, from the table of bb-cpu.
pub(crate) fn op_table(root: &Path, check: bool) -> Step {
    let mut command = suite(root, false);
    command.args(["--op-table", "docs/src/ops.md"]);
    if check {
        command.arg("--check");
    }
    Step {
        name: "op-table",
        mend: "cargo xtask op-table",
        action: Box::new(move || step::run(command).map(|()| None)),
    }
}

/// Runs the cases on bb-cpu and, where onnxruntime is named or can be fetched, on bb-ort and on onnxruntime alone.
pub(crate) fn run(root: &Path, all: bool, failures: bool) -> Result<(), StepError> {
    let mut command = suite(root, true);
    let library = python::library(root);
    match &library {
        Ok(library) => {
            command.env(python::LIBRARY_VARIABLE, library);
        }
        Err(error) => eprintln!(
            "onnxruntime is not there: {error}; bb-ort and what is compared with onnxruntime are left out; name its \
             folder in {} to have them",
            python::LIBRARY_VARIABLE
        ),
    }
    if failures {
        command.arg("--failures");
    }
    let folders = if all { folders(root)? } else { Vec::new() };
    for folder in &folders {
        command.arg("--folder").arg(folder);
    }
    step::run(command)?;
    if library.is_err() {
        return Ok(());
    }
    let mut plain = Command::new("python3");
    plain.current_dir(root).arg("tests/onnx/plain_onnxruntime.py").args(&folders);
    plain.env("PYTHONPATH", python::fetch(root, &python::ONNXRUNTIME)?);
    step::run(plain)?;
    if all {
        let networks = cases(root)?.join("light");
        differences(root, "tests/onnx/light_networks.py", &networks, "network-cases", suite(root, true))?;
    }
    Ok(())
}

fn folders(root: &Path) -> Result<Vec<PathBuf>, StepError> {
    let cases = cases(root)?;
    Ok(KINDS.iter().map(|kind| cases.join(kind)).collect())
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
