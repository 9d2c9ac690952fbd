//! `onnx-suite`: the ONNX node cases on every backend; with `--all`, the kinds of cases that only the PyPI package has.

use std::path::Path;

use crate::python::{self, Packages};
use crate::step::{self, StepError};

/// The release whose cases are frozen in tests/onnx/data.
const PACKAGE: Packages =
    Packages { folder: "onnx", requirements: &["onnx==1.23.2"], dependencies: false, marker: DATA };

/// Where the package has its cases.
const DATA: &str = "onnx/backend/test/data";

/// The kinds of cases of the package, beside the node cases.
const KINDS: [&str; 4] = ["simple", "pytorch-operator", "pytorch-converted", "light"];

pub(crate) fn run(root: &Path, all: bool, failures: bool) -> Result<(), StepError> {
    let mut command =
        step::cargo(root, &["run", "--quiet", "--release", "--locked", "--package", "bb-onnx-tests", "--"]);
    if failures {
        command.arg("--failures");
    }
    if all {
        let data = python::fetch(root, &PACKAGE)?.join(DATA);
        for kind in KINDS {
            command.arg("--folder").arg(data.join(kind));
        }
    }
    step::run(command)
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
