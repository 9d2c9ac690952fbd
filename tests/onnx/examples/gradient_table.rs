//! Prints how the gradients of the ONNX node cases compare with finite differences, by op; with `--failures`, each case
//! that is not checked too, and why.

use std::io::Write;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::archive::{self, ArchiveError};
use bb_onnx_tests::gradients::{self, Outcome};
use bb_runtime::Component;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Backend(#[from] bb_runtime::ComponentError),
    #[error("the table cannot be written")]
    Output(#[from] std::io::Error),
}

fn main() -> Result<(), TableError> {
    let failures = std::env::args().any(|argument| argument == "--failures");
    let report = gradients::run(&archive::cases()?, &CpuBackend::new(&CpuConfig::default())?);
    let mut out = std::io::stdout().lock();
    write!(out, "{report}")?;
    if failures {
        let unchecked = report.outcomes().filter(|(_, outcome)| !matches!(outcome, Outcome::Checked { .. }));
        for (name, outcome) in unchecked {
            writeln!(out, "{name}: {outcome:?}")?;
        }
    }
    Ok(())
}
