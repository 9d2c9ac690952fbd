//! `onnx-suite`: the ONNX node cases on every backend; with `--all`, the kinds of cases that only the PyPI package has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, StepError};

/// The release whose cases are frozen in tests/onnx/data.
const PACKAGE: &str = "onnx==1.23.2";

/// The kinds of cases of the package, beside the node cases.
const KINDS: [&str; 4] = ["simple", "pytorch-operator", "pytorch-converted", "light"];

pub(crate) fn run(root: &Path, all: bool, failures: bool) -> Result<(), StepError> {
    let mut command =
        step::cargo(root, &["run", "--quiet", "--release", "--locked", "--package", "bb-onnx-tests", "--"]);
    if failures {
        command.arg("--failures");
    }
    if all {
        let data = fetch(root)?;
        for kind in KINDS {
            command.arg("--folder").arg(data.join(kind));
        }
    }
    step::run(command)
}

/// The package's cases, fetched once into `target`.
fn fetch(root: &Path) -> Result<PathBuf, StepError> {
    let folder = root.join("target/onnx-package");
    let data = folder.join("onnx/backend/test/data");
    if KINDS.iter().all(|kind| data.join(kind).is_dir()) {
        return Ok(data);
    }
    eprintln!("fetching {PACKAGE} …");
    fs::create_dir_all(&folder)
        .map_err(|source| StepError::Start { command: format!("mkdir {}", folder.display()), source })?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(PACKAGE);
    step::run(command)?;
    Ok(data)
}
