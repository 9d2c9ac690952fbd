//! The node cases that bb-ort passes, and those that onnxruntime itself gets wrong, are exactly those of the committed
//! lists; `cargo xtask ort` fetches onnxruntime and runs this.

mod lists;

#[test]
fn bb_ort_passes_the_committed_list_and_gets_wrong_what_onnxruntime_does() {
    let wrong = include_str!("../expected/bb-ort-wrong.txt");
    lists::check("bb-ort", &wrong.lines().collect::<Vec<_>>());
}
