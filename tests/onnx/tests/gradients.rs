//! The gradients of the node cases are as finite differences are, for all the cases of the committed list: all that bb-cpu runs
//! and of which a float output depends on a float input.

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::archive;
use bb_onnx_tests::gradients::{self, NO_TENSOR, Outcome};
use bb_runtime::Component;

/// Rewrites the list instead of comparing: `BB_BLESS=1 cargo test -p bb-onnx-tests`.
const BLESS: &str = "BB_BLESS";

/// How the names of cases begin of ops that have no gradient: optimizers, which end a training step, attention with graphs
/// inside, and what reads optional values.
const WITHOUT_A_GRADIENT: &[&str] = &[
    "test_adagrad",
    "test_adam",
    "test_flexattention",
    "test_momentum",
    "test_nesterov_momentum",
    "test_optional_get_element_tensor",
];

#[test]
fn gradients_match_differences_in_the_committed_list_of_cases_and_in_no_case_differ() {
    let backend = CpuBackend::new(&CpuConfig::default()).unwrap();
    let report = gradients::run(&archive::cases().unwrap(), &backend);
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/expected/gradients.txt");
    let checked = report.checked().join("\n") + "\n";
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(list, &checked).unwrap();
    }
    let expected = std::fs::read_to_string(list).unwrap();
    let wrong: Vec<_> =
        report.outcomes().filter(|(_, outcome)| matches!(outcome, Outcome::Wrong(_))).collect();
    assert!(wrong.is_empty(), "{report}\n{wrong:#?}");
    let gone: Vec<_> = report
        .outcomes()
        .filter(|(name, outcome)| {
            !matches!(outcome, Outcome::Checked { .. }) && expected.lines().any(|held| held == *name)
        })
        .collect();
    assert!(gone.is_empty(), "{report}\nno longer checked: {gone:#?}; {BLESS}=1 rewrites the list");
    let unchecked = unchecked(&report);
    assert!(unchecked.is_empty(), "{report}\nnot compared:\n{unchecked}");
}

/// The cases of floats that bb-cpu runs and whose gradients are not compared, a line each, with the reason.
fn unchecked(report: &gradients::Report) -> String {
    let passed = include_str!("../expected/bb-cpu.txt");
    let mut lines = String::new();
    for (name, outcome) in report.outcomes() {
        let (Outcome::NotDifferentiable(reason) | Outcome::NotRun(reason)) = outcome else { continue };
        let nothing = ["no elements", "no float input", "no float output", NO_TENSOR]
            .contains(&reason.as_str())
            || WITHOUT_A_GRADIENT.iter().any(|op| name.starts_with(op));
        if !nothing && passed.lines().any(|held| held == name) {
            lines.push_str(&format!("{name}: {reason}\n"));
        }
    }
    lines
}
