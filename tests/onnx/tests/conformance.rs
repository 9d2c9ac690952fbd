//! The node cases that bb-cpu passes are exactly those of the committed list.

mod lists;

#[test]
fn bb_cpu_passes_the_committed_list_and_gets_nothing_wrong() {
    lists::check("bb-cpu", &[]);
}
