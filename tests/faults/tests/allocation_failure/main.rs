//! The n-th large allocation fails, for every n, once and from then on: whatever the host asked for is done or is not, and
//! the node goes on.
//!
//! [`world`] is the node and what it is given; [`scenarios`] what the host asks of it while memory is short.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod scenarios;
mod world;

use bb_fault_tests::{Counts, Failing, Plan, with_failures};
use bb_runtime::{EngineStep, Node, Outcome, Value};

use scenarios::{SCENARIOS, STEPS};
use world::{PEER, asked, payloads, settle};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// What counts as large: more than any table of the node takes in these scenarios, less than any part of a payload.
const LARGE: usize = 16 * 1024;

/// Every plan until one lets all large allocations be.
fn each_failure(mut run: impl FnMut(Plan) -> Counts) -> u64 {
    let mut failed = 0;
    for for_good in [false, true] {
        for nth in 0.. {
            let counts = run(Plan { least_bytes: LARGE, nth, for_good });
            failed += counts.failed;
            if counts.failed == 0 {
                break;
            }
        }
    }
    failed
}

#[test]
fn a_call_without_memory_changes_nothing_and_works_when_there_is_some() {
    let mut failed = [0; SCENARIOS.len()];
    for (kind, payload) in payloads() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            let told = |plan: Plan| format!("{} with {kind}, {plan:?}", scenario.name);
            let (before, after) = {
                let mut node = asked(&payload);
                let call = (scenario.prepare)(&mut node, &payload);
                let before = node.state_digest().unwrap();
                call(&mut node).unwrap_or_else(|error| panic!("{} with {kind}: {error}", scenario.name));
                (before, node.state_digest().unwrap())
            };
            failed[at] += each_failure(|plan| {
                let mut node = asked(&payload);
                let call = (scenario.prepare)(&mut node, &payload);
                assert_eq!(node.state_digest().unwrap(), before, "{}", told(plan));
                let held = node.engine_stats().bytes_in_flight;
                let (done, counts) = with_failures(plan, || call(&mut node));
                match done {
                    Ok(()) => {
                        assert_eq!(counts.failed, 0, "{}: a failure that nobody saw", told(plan));
                        assert_eq!(node.state_digest().unwrap(), after, "{}", told(plan));
                    }
                    Err(error) => {
                        assert!(counts.failed > 0, "{}: {error}", told(plan));
                        let says_so = error.contains("no memory") || error.contains("do not fit");
                        assert!(says_so, "{}: {error}", told(plan));
                        assert_eq!(node.state_digest().unwrap(), before, "{}: {error}", told(plan));
                        assert_eq!(node.engine_stats().bytes_in_flight, held, "{}", told(plan));
                        call(&mut node).unwrap_or_else(|error| panic!("{}: {error}", told(plan)));
                        assert_eq!(node.state_digest().unwrap(), after, "{}", told(plan));
                    }
                }
                counts
            });
        }
    }
    for (scenario, failed) in SCENARIOS.iter().zip(failed) {
        println!("{}: {failed} failures", scenario.name);
        assert_eq!(failed > 0, scenario.is_large, "{}: {failed} failures", scenario.name);
    }
}

#[test]
fn a_step_without_memory_ends_every_execution_once_and_the_node_goes_on() {
    for scenario in STEPS {
        let mut failed = 0;
        for (kind, payload) in payloads() {
            failed += each_failure(|plan| {
                let told = format!("{} with {kind}, {plan:?}", scenario.name);
                let mut node = asked(&payload);
                let accepted = (scenario.prepare)(&mut node, &payload);
                let (mut steps, counts) = with_failures(plan, || node.step(world::at(1)));
                steps.extend(settle(&mut node, world::at(2)));
                steps.extend(settle(&mut node, world::at(100)));
                assert_eq!(outcomes(&steps), accepted, "{told}: {steps:?}");
                let reported = steps.iter().any(reports_no_memory);
                assert_eq!(reported, counts.failed > 0, "{told}: {steps:?}");
                assert_served(&mut node, &told);
                counts
            });
        }
        println!("{}: {failed} failures", scenario.name);
        assert!(failed > 0, "{}", scenario.name);
    }
}

/// Executions that ended, and inputs that were reported as not delivered.
fn outcomes(steps: &[EngineStep]) -> usize {
    let ends = |step: &&EngineStep| {
        matches!(step, EngineStep::ExecutionFinished { .. } | EngineStep::IngressFailed { .. })
    };
    steps.iter().filter(ends).count()
}

fn reports_no_memory(step: &EngineStep) -> bool {
    match step {
        EngineStep::OpFailed { error, .. } => error.to_string().contains("no memory"),
        EngineStep::IngressFailed { error, .. } => error.to_string().contains("no memory"),
        _ => false,
    }
}

/// Nothing is left of what failed, and the node does what it always did.
fn assert_served(node: &mut Node, told: &str) {
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.frames, stats.bytes_in_flight), (0, 0, 0), "{told}");
    let small = Value::I64(1).encode();
    let nobody = Value::Peers([*PEER].into()).encode();
    let run = node.invoke("P.asker", &[("x", &small), ("peers", &nobody)]).unwrap();
    let steps = settle(node, world::at(200));
    let ended = |step: &EngineStep| matches!(step, EngineStep::ExecutionFinished { exec_id, outcome: Outcome::Failed(_) } if *exec_id == run);
    assert!(!steps.iter().any(ended), "{told}: {steps:?}");
    assert!(steps.iter().any(|step| matches!(step, EngineStep::SendEnvelope { .. })), "{told}: {steps:?}");
}
