//! `fix`: the checks that can mend what they find, writing.

use std::path::Path;

use crate::step::{self, Step, StepError};

/// Formats, applies what clippy can, generates code.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    let clippy = ["clippy", "--fix", "--workspace", "--all-targets", "--allow-dirty", "--allow-staged"];
    step::run_all(vec![
        step::codegen(root, false),
        Step::cargo("clippy", "mend what clippy could not", root, &clippy),
        Step::cargo("format", "mend what does not parse", root, &["fmt", "--all"]),
    ])
}
