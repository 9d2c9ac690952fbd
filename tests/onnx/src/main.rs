//! Prints how each backend does on the ONNX node cases, and on those in each folder that `--folder` names; with
//! `--failures`, each case that does not pass, and why. Where onnxruntime is not found, a line says so instead of bb-ort's.
//! Fails where a case crashes, or is wrong that onnxruntime itself gets right.
//!
//! `--differences FOLDER` instead prints, for each case of the folder, how far each backend is at most from the
//! wanted outputs, and fails where that is above 10⁻³. `--op-table FILE` writes the book's page of supported ops, and with
//! `--check` fails where the file is another. `--time BACKEND` serves `docs/benchmarks/against_onnxruntime.py`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::difference::{self, DifferenceError};
use bb_onnx_tests::suite::{self, Outcome, Suite, SuiteError};
use bb_onnx_tests::table;
use bb_onnx_tests::timing::{self, TimingError};
use bb_ort::{OrtBackend, OrtConfig};
use bb_runtime::{Backend, Component, ComponentError};

/// The backends, as `--worker` takes them.
const BACKENDS: [&str; 2] = ["bb-cpu", "bb-ort"];

/// What the outputs of a real model may differ by.
const MOST_DIFFERENCE: f64 = 1e-3;

/// Why nothing can be printed.
#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Backend(#[from] ComponentError),
    #[error("{0} case(s) are wrong or crash")]
    Bad(usize),
    #[error(transparent)]
    Difference(#[from] DifferenceError),
    #[error("{0} case(s) differ by more than {MOST_DIFFERENCE}")]
    Differs(usize),
    #[error("{} is not what the backend's table and the committed list of passed cases give: cargo xtask op-table", .0.display())]
    OpTable(PathBuf),
    #[error("a file cannot be read or written")]
    Output(#[from] std::io::Error),
    #[error(transparent)]
    Suite(#[from] SuiteError),
    #[error(transparent)]
    Timing(#[from] TimingError),
    #[error("no backend is called `{0}`; there are bb-cpu and bb-ort")]
    UnknownBackend(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), MainError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folders: Vec<PathBuf> = named(&arguments, "--folder").map(PathBuf::from).collect();
    if let Some(backend) = named(&arguments, "--worker").next() {
        return work(backend, folders.first().map(PathBuf::as_path));
    }
    if let Some(backend) = named(&arguments, "--time").next() {
        return Ok(timing::work(&*make(backend)?)?);
    }
    if let Some(file) = named(&arguments, "--op-table").next() {
        return op_table(Path::new(file), arguments.iter().any(|argument| argument == "--check"));
    }
    let failures = arguments.iter().any(|argument| argument == "--failures");
    let mut backends = BACKENDS.to_vec();
    if let Err(error) = OrtBackend::new(&OrtConfig::default()) {
        writeln!(std::io::stdout().lock(), "bb-ort: left out, {error}")?;
        backends.retain(|backend| *backend != "bb-ort");
    }
    if let Some(folder) = named(&arguments, "--differences").next() {
        return differences(Path::new(folder), &backends);
    }
    let mut bad = 0;
    for folder in [None].into_iter().chain(folders.into_iter().map(Some)) {
        let name =
            folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        writeln!(std::io::stdout().lock(), "{} cases", name.as_deref().unwrap_or("node"))?;
        for backend in &backends {
            let program = std::env::current_exe()?;
            let suite = Suite { program, backend: (*backend).to_owned(), folder: folder.clone() };
            bad += report(&suite, failures)?;
        }
    }
    if bad == 0 { Ok(()) } else { Err(MainError::Bad(bad)) }
}

/// The values of an option that may be given several times.
fn named<'a>(arguments: &'a [String], option: &'a str) -> impl Iterator<Item = &'a str> {
    arguments.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].as_str())
}

fn work(backend: &str, folder: Option<&Path>) -> Result<(), MainError> {
    Ok(suite::work(backend, &*make(backend)?, folder)?)
}

fn make(backend: &str) -> Result<Box<dyn Backend>, MainError> {
    match backend {
        "bb-cpu" => Ok(Box::new(CpuBackend::new(&CpuConfig::default())?)),
        "bb-ort" => Ok(Box::new(OrtBackend::new(&OrtConfig::default())?)),
        other => Err(MainError::UnknownBackend(other.to_owned())),
    }
}

/// Writes the page of supported ops, or compares it with the file.
fn op_table(file: &Path, check: bool) -> Result<(), MainError> {
    let passed = include_str!("../expected/bb-cpu.txt").lines().collect();
    let cases = suite::cases(None).map_err(SuiteError::from)?;
    let gradients =
        table::Gradients { rules: bb_autodiff::differentiable_ops(), constant: bb_autodiff::constant_ops() };
    let page = table::page(&bb_cpu::supported_ops(), &gradients, &cases, &passed);
    if !check {
        return Ok(std::fs::write(file, page)?);
    }
    match std::fs::read_to_string(file)? == page {
        true => Ok(()),
        false => Err(MainError::OpTable(file.to_owned())),
    }
}

/// Prints how far each backend is from what the cases of a folder want.
fn differences(folder: &Path, backends: &[&str]) -> Result<(), MainError> {
    let mut too_far = 0;
    for case in suite::cases(Some(folder)).map_err(SuiteError::from)? {
        let mut line = Vec::new();
        for backend in backends {
            let largest = difference::largest(&*make(backend)?, &case)?;
            too_far += usize::from(largest > MOST_DIFFERENCE);
            line.push(format!("{largest:.1e} on {backend}"));
        }
        let (name, line, runs) = (&case.name, line.join(", "), case.sets.len());
        writeln!(std::io::stdout().lock(), "{name}: at most {line} from onnxruntime, runs: {runs}")?;
    }
    if too_far == 0 { Ok(()) } else { Err(MainError::Differs(too_far)) }
}

/// Runs cases of one kind, prints the totals, the table by op, and what failed; gives how many are wrong or crash that
/// should not.
fn report(suite: &Suite, failures: bool) -> Result<usize, MainError> {
    let report = suite.run()?;
    let wrong: Vec<&str> = match (suite.backend.as_str(), &suite.folder) {
        ("bb-ort", None) => include_str!("../expected/bb-ort-wrong.txt").lines().collect(),
        _ => Vec::new(),
    };
    let bad = report.bad(&wrong);
    let mut out = std::io::stdout().lock();
    write!(out, "{report}")?;
    if failures {
        for (name, outcome) in report.outcomes().filter(|(_, outcome)| **outcome != Outcome::Passed) {
            writeln!(out, "{name}: {outcome:?}")?;
        }
    }
    for (name, outcome) in &bad {
        writeln!(out, "{name} should not have ended so: {outcome:?}")?;
    }
    Ok(bad.len())
}
