//! The node cases that bb-cpu passes are exactly those of the committed list.

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::suite::Outcome;
use bb_onnx_tests::{archive, suite};
use bb_runtime::Component;

/// Rewrites the list instead of comparing: `BB_BLESS=1 cargo test -p bb-onnx-tests`.
const BLESS: &str = "BB_BLESS";

#[test]
fn bb_cpu_passes_the_committed_list_and_gets_nothing_wrong() {
    let report =
        suite::run("bb-cpu", archive::cases().unwrap(), || CpuBackend::new(&CpuConfig::default()).unwrap());
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/expected/bb-cpu.txt");
    let passed = report.passed().join("\n") + "\n";
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(list, &passed).unwrap();
    }
    let expected = std::fs::read_to_string(list).unwrap();
    let gone: Vec<&str> = expected.lines().filter(|case| !report.passed().contains(case)).collect();
    let new: Vec<&str> = passed.lines().filter(|case| !expected.lines().any(|held| held == *case)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{report}\nno longer pass: {gone:?}\npass now: {new:?}; {BLESS}=1 rewrites the list"
    );
    let bad: Vec<_> = report
        .outcomes()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Wrong(_) | Outcome::Crashed(_)))
        .collect();
    assert!(bad.is_empty(), "{report}\n{bad:#?}");
}
