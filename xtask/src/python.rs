//! Packages of Python's index, fetched into `target/python` with pip, each set once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, StepError};

/// Packages that go into one folder.
pub(crate) struct Packages {
    /// The folder's name.
    pub(crate) folder: &'static str,
    /// What pip installs.
    pub(crate) requirements: &'static [&'static str],
    /// Whether what they depend on is installed too.
    pub(crate) dependencies: bool,
    /// A file or folder that is there once they are installed.
    pub(crate) marker: &'static str,
}

/// onnxruntime, the reference of the ONNX suite and the library of bb-ort.
pub(crate) const ONNXRUNTIME: Packages = Packages {
    folder: "onnxruntime",
    requirements: &["onnxruntime==1.32.0", "onnx==1.23.2"],
    dependencies: true,
    marker: "onnxruntime/capi",
};

/// The environment variable that names the library of bb-ort.
pub(crate) const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The environment variable that names the folder of the ONNX package's cases to the tests that run them.
pub(crate) const CASES_VARIABLE: &str = "BB_ONNX_CASES";

/// The folder of the packages, installed where they are not.
pub(crate) fn fetch(root: &Path, packages: &Packages) -> Result<PathBuf, StepError> {
    let folder = root.join("target/python").join(packages.folder);
    if folder.join(packages.marker).exists() {
        return Ok(folder);
    }
    eprintln!("fetching {} …", packages.requirements.join(" "));
    fs::create_dir_all(&folder)
        .map_err(|source| StepError::Start { command: format!("mkdir {}", folder.display()), source })?;
    let mut command = Command::new("python3");
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action",
        "ignore",
    ]);
    if !packages.dependencies {
        command.arg("--no-deps");
    }
    command.arg("--target").arg(&folder).args(packages.requirements);
    step::run(command)?;
    Ok(folder)
}

/// The folder with onnxruntime's library: what the environment names, else that of the fetched package.
pub(crate) fn library(root: &Path) -> Result<PathBuf, StepError> {
    match std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()) {
        Some(named) => Ok(named.into()),
        None => Ok(fetch(root, &ONNXRUNTIME)?.join(ONNXRUNTIME.marker)),
    }
}
