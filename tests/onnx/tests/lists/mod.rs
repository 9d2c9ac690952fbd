//! Compares what a backend passes with its committed list under `expected/`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bb_onnx_tests::suite::{Report, Suite};

/// Rewrites the lists instead of comparing: `BB_BLESS=1 cargo test -p bb-onnx-tests`.
pub(crate) const BLESS: &str = "BB_BLESS";

/// Fails where the node cases that pass are not those of the list, or where others than `wrong` are wrong or crash.
pub(crate) fn check(backend: &str, wrong: &[&str]) -> Report {
    let report = run(backend, None, wrong);
    compare(backend, &report.passed(), &report);
    report
}

/// Runs node cases or those of a folder; fails where others than `wrong` are wrong or crash.
pub(crate) fn run(backend: &str, folder: Option<&Path>, wrong: &[&str]) -> Report {
    let program = env!("CARGO_BIN_EXE_bb-onnx-tests").into();
    let suite = Suite { program, backend: backend.to_owned(), folder: folder.map(Path::to_owned) };
    let report = suite.run().unwrap();
    let bad = report.bad(wrong);
    assert!(bad.is_empty(), "{report}\n{bad:#?}");
    report
}

/// Fails where what passed is not what the committed list says.
pub(crate) fn compare(list: &str, passed: &[&str], report: &impl std::fmt::Display) {
    let list = format!("{}/expected/{list}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&list, passed.join("\n") + "\n").unwrap();
    }
    let expected = std::fs::read_to_string(&list).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    let gone: Vec<_> = expected.iter().filter(|case| !passed.contains(case)).collect();
    let new: Vec<_> = passed.iter().filter(|case| !expected.contains(case)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{report}\nno longer pass: {gone:?}\npass now: {new:?}; {BLESS}=1 rewrites the list"
    );
}
