//! Prints how each backend does on the ONNX node cases; with `--failures`, each case that does not pass, and why.

use std::io::Write;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::archive::{self, ArchiveError};
use bb_onnx_tests::suite::{self, Outcome};
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
    let failures = std::env::args().any(|argument| argument == "--failures");
    let backend = CpuBackend::new(&CpuConfig::default())?;
    let report = suite::run("bb-cpu", archive::cases()?, move || backend.clone());
    let mut out = std::io::stdout().lock();
    write!(out, "{report}")?;
    if failures {
        for (name, outcome) in report.outcomes().filter(|(_, outcome)| **outcome != Outcome::Passed) {
            writeln!(out, "{name}: {outcome:?}")?;
        }
    }
    Ok(())
}
