//! The node cases that bb-cpu passes are exactly those of the committed list, and what it refuses it refuses before it runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lists;

use bb_onnx_tests::suite::Stage;

#[test]
fn bb_cpu_passes_the_committed_list_gets_nothing_wrong_and_refuses_the_rest_before_a_run() {
    let report = lists::check("bb-cpu", &[]);
    let refused = report.refused();
    // Whether `Dropout` drops is a value that a run is given.
    let by_value = |name: &str| name.starts_with("test_training_dropout");
    let late: Vec<_> =
        refused.iter().filter(|(name, stage)| *stage == Stage::Run && !by_value(name)).collect();
    assert!(late.is_empty(), "{report}\nrefused only when they ran: {late:#?}");
    let lines: String = refused.iter().map(|(name, stage)| format!("{name}: {}\n", stage.word())).collect();
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/expected/bb-cpu-refused.txt");
    if std::env::var_os(lists::BLESS).is_some() {
        std::fs::write(list, &lines).unwrap();
    }
    let expected = std::fs::read_to_string(list).unwrap();
    assert_eq!(lines, expected, "what is refused, and when, changed; {}=1 rewrites the list", lists::BLESS);
}
