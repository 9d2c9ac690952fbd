//! Systems under faults: every workload holds what it must, and a seed is a run.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;

use bb_sim::chaos::{Counts, Fault, Plan, Workloads, simulate};

#[test]
fn nothing_is_lost_and_the_same_seeds_give_the_same_runs() {
    let workloads = Workloads::new().unwrap();
    let (mut counts, mut kinds) = (Counts::default(), BTreeSet::new());
    for seed in 0..32 {
        let report = simulate(&workloads, seed);
        assert!(report.failure.is_none(), "seed {seed}: {:?}", report.failure);
        let again = simulate(&workloads, seed);
        assert_eq!((again.digest, &again.counts), (report.digest, &report.counts), "seed {seed}");
        counts.add(&report.counts);
        kinds.insert(format!("{:?}", workloads.of(seed)));
    }
    assert!(kinds.len() >= 6, "{kinds:?}");
    assert!(counts.messages_lost > 0 && counts.messages_repeated > 0 && counts.messages_of_strangers > 0);
    assert!(counts.completed > 1_000 && counts.failed > 0 && counts.invocations > 100, "{counts:?}");
    assert!(counts.snapshots > 100 && counts.restores > 10, "{counts:?}");
    assert!(counts.ops_traced > 10_000 && counts.steps_of_twins > 10_000, "{counts:?}");
    assert!(counts.faults.len() >= 13, "{:?}", counts.faults);
}

#[test]
fn other_seeds_give_other_runs() {
    let workloads = Workloads::new().unwrap();
    let digests: BTreeSet<_> = (0..8).map(|n| simulate(&workloads, 8 * n).digest.0).collect();
    assert_eq!(digests.len(), 8);
}

#[test]
fn a_command_names_the_actions_that_are_left() {
    let plan = Plan::draw(17);
    assert_eq!(plan.command(), "cargo xtask simulate --seed 17");
    let some = Plan::keep(17, &[0, 3]);
    assert_eq!(some.actions.len(), 2);
    assert_eq!(some.command(), "cargo xtask simulate --seed 17 --keep 0,3");
    assert_eq!(Plan::keep(17, &[]).command(), "cargo xtask simulate --seed 17 --keep none");
    assert!(plan.actions.iter().any(|(_, action)| action.fault == Fault::Invoke));
}
