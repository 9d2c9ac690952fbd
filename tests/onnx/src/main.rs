//! Prints how each backend does on the ONNX node cases, and on those in each folder that `--folder` names; with
//! `--failures`, each case that does not pass, and why.

use std::io::Write;
use std::path::Path;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::archive::{self, ArchiveError};
use bb_onnx_tests::suite::{self, Outcome};
use bb_onnx_tests::{archive::Case, folder};
use bb_runtime::Component;

/// Why the suite cannot be run.
#[derive(Debug, thiserror::Error)]
enum SuiteError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Backend(#[from] bb_runtime::ComponentError),
    #[error("the report cannot be written")]
    Output(#[from] std::io::Error),
}

fn main() -> Result<(), SuiteError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let failures = arguments.iter().any(|argument| argument == "--failures");
    report("node", archive::cases()?, failures)?;
    for named in arguments.windows(2).filter(|pair| pair[0] == "--folder") {
        let folder = Path::new(&named[1]);
        let kind = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        report(&kind, folder::cases(folder)?, failures)?;
    }
    Ok(())
}

/// Runs cases of one kind and prints the totals, the table by op, and what failed.
fn report(kind: &str, cases: Vec<Case>, failures: bool) -> Result<(), SuiteError> {
    let backend = CpuBackend::new(&CpuConfig::default())?;
    let report = suite::run("bb-cpu", cases, move || backend.clone());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{kind} cases")?;
    write!(out, "{report}")?;
    if failures {
        for (name, outcome) in report.outcomes().filter(|(_, outcome)| **outcome != Outcome::Passed) {
            writeln!(out, "{name}: {outcome:?}")?;
        }
    }
    Ok(())
}
