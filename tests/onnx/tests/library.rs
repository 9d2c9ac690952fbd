//! The cases that bb-ort passes, those that onnxruntime itself gets wrong, and the cases of the Python package `onnx` that
//! either backend passes are exactly those of the committed lists; `cargo xtask ort` fetches both packages and runs this.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lists;

use std::path::PathBuf;

/// The environment variable that names the folder of the package's cases.
const CASES: &str = "BB_ONNX_CASES";

#[test]
fn bb_ort_passes_the_committed_list_and_gets_wrong_what_onnxruntime_does() {
    let wrong = include_str!("../expected/bb-ort-wrong.txt");
    lists::check("bb-ort", &wrong.lines().collect::<Vec<_>>());
}

#[test]
fn the_backends_pass_the_committed_lists_of_the_packages_cases_and_get_nothing_wrong() {
    let cases = std::env::var_os(CASES).map(PathBuf::from);
    let cases = cases.unwrap_or_else(|| panic!("{CASES} names no folder; cargo xtask ort sets it"));
    for backend in ["bb-cpu", "bb-ort"] {
        let (mut passed, mut totals) = (Vec::new(), Vec::new());
        for kind in ["simple", "pytorch-operator", "pytorch-converted"] {
            let report = lists::run(backend, Some(&cases.join(kind)), &[]);
            passed.extend(report.passed().iter().map(|case| format!("{kind}/{case}")));
            totals.push(format!("{kind}: {}", report.totals()));
        }
        let passed: Vec<&str> = passed.iter().map(String::as_str).collect();
        lists::compare(&format!("{backend}-package"), &passed, &totals.join("\n"));
    }
}
