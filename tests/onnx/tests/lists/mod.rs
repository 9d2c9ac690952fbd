//! Compares what a backend passes with its committed list under `expected/`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bb_onnx_tests::suite::{Outcome, Report, Suite};

/// Rewrites the lists instead of comparing: `BB_BLESS=1 cargo test -p bb-onnx-tests`.
pub(crate) const BLESS: &str = "BB_BLESS";

/// Fails where the cases that pass are not those of the list, or where others than `wrong` are wrong or crash.
pub(crate) fn check(backend: &str, wrong: &[&str]) -> Report {
    let program = env!("CARGO_BIN_EXE_bb-onnx-tests").into();
    let report = Suite { program, backend: backend.to_owned(), folder: None }.run().unwrap();
    let list = format!("{}/expected/{backend}.txt", env!("CARGO_MANIFEST_DIR"));
    let passed = report.passed().join("\n") + "\n";
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&list, &passed).unwrap();
    }
    let expected = std::fs::read_to_string(&list).unwrap();
    let gone: Vec<&str> = expected.lines().filter(|case| !report.passed().contains(case)).collect();
    let new: Vec<&str> = passed.lines().filter(|case| !expected.lines().any(|held| held == *case)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{report}\nno longer pass: {gone:?}\npass now: {new:?}; {BLESS}=1 rewrites the list"
    );
    let bad: Vec<_> = report
        .outcomes()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Wrong(_) | Outcome::Crashed(_)))
        .filter(|(name, outcome)| matches!(outcome, Outcome::Crashed(_)) || !wrong.contains(name))
        .collect();
    assert!(bad.is_empty(), "{report}\n{bad:#?}");
    report
}
