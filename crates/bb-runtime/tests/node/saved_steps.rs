//! What comes about between two steps and is not said yet is said by the node that is made of a snapshot, and by one that is
//! restored meanwhile.

use std::collections::BTreeSet;

use bb_framework::DenyReason;
use bb_runtime::{
    BootstrapRequest, BootstrapTarget, DeliveryError, EngineStep, ExecId, Node, NodeSnapshot, Outcome,
    RestoreError, SnapshotError, SnapshotMode, Value,
};

use crate::common::rich::{answer, ask, at, failure, fresh, invoke, limits, peer, requests, take};
use crate::common::{chain, node, outcome, settle, snapshot_file};

/// The execution of a target that was said to wait.
fn waiting(steps: &[EngineStep], target: &str) -> ExecId {
    let waits = |step: &EngineStep| match step {
        EngineStep::AsyncSuspended { op, exec_id, .. } if op.module == *target => Some(*exec_id),
        _ => None,
    };
    steps.iter().find_map(waits).unwrap_or_else(|| panic!("nothing of {target} waits: {steps:?}"))
}

/// What kind of step it is, and what one reads of it, whatever the life of the node.
fn said(step: &EngineStep) -> (&'static str, String) {
    match step {
        EngineStep::AsyncSuspended { op, exec_id, deadline } => {
            ("waits", format!("{op} of {} for {deadline:?}", exec_id.counter))
        }
        EngineStep::BootstrapComplete { target } => ("bootstrap", target.to_string()),
        EngineStep::ExecutionFinished { exec_id, outcome } => {
            let outcome = match outcome {
                Outcome::Failed(error) => error.to_string(),
                other => format!("{other:?}"),
            };
            ("end", format!("{}: {outcome}", exec_id.counter))
        }
        EngineStep::IngressFailed { peer, error } => ("input", format!("{peer:?}: {error}")),
        EngineStep::OpCompleted { op, exec_id, source } => {
            ("op", format!("{op} of {}, {source:?}", exec_id.counter))
        }
        EngineStep::OpFailed { op, exec_id, error } => {
            ("failure", format!("{op} of {}: {error}", exec_id.counter))
        }
        EngineStep::PeerBlocked { peer, reason } => ("blocked", format!("{peer}: {reason}")),
        EngineStep::WireReceiveFailed { peer, fill, error } => {
            ("fill", format!("{peer}, fill {fill}: {error}"))
        }
        _ => ("other", String::new()),
    }
}

/// A node with one of each kind to be said, the kinds, and executions that were cancelled.
fn with_news() -> (Node, BTreeSet<&'static str>, Vec<ExecId>) {
    let (mut node, _) = fresh(limits());
    for asker in [22, 23] {
        node.deliver_inbound(peer(asker), &ask(1).encode()).unwrap();
    }
    let steps = settle(&mut node, at(1));
    let asked: Vec<ExecId> = steps
        .iter()
        .filter_map(|step| match step {
            EngineStep::AsyncSuspended { exec_id, .. } => Some(*exec_id),
            _ => None,
        })
        .collect();
    let peers = Value::Peers([peer(30)].into());
    invoke(&mut node, "First", &[("peers", peers.clone()), ("x", Value::I64(1))]);
    invoke(&mut node, "First", &[("peers", peers), ("x", Value::I64(2))]);
    let pending = requests(&settle(&mut node, at(1)));

    node.block_peer(peer(22)).unwrap();
    node.set_allowlist(Some(&[peer(30), peer(25)])).unwrap();
    assert!(asked.iter().all(|asked| node.cancel(*asked)));
    node.deliver_inbound(peer(30), &answer(1, pending[0].1).encode()).unwrap();
    node.deliver_inbound(peer(30), &failure(2, pending[1].1).encode()).unwrap();
    node.deliver_inbound(peer(25), &take(1, "no number").encode()).unwrap();
    invoke(&mut node, "Join", &[("a", Value::I64(1)), ("b", Value::I64(2))]);
    (node, ["waits", "end", "op", "failure", "blocked", "fill"].into(), asked)
}

#[test]
fn what_came_about_between_two_steps_is_said_by_the_twin() {
    let (mut node, kinds, asked) = with_news();
    let bytes = node.snapshot().unwrap().encode();
    let (mut twin, _) = fresh(limits());
    twin.restore(NodeSnapshot::decode(bytes).unwrap()).unwrap();
    assert_eq!(twin.state_digest().unwrap(), node.state_digest().unwrap());
    for run in &asked {
        assert!(node.execution_state(*run).is_some());
        assert_eq!(twin.execution_state(*run), node.execution_state(*run), "its end is yet to be reported");
    }
    let [ours, theirs] = [&mut node, &mut twin].map(|node| node.step(at(2)));
    for run in &asked {
        assert_eq!((node.execution_state(*run), twin.execution_state(*run)), (None, None));
    }
    let [told, again] = [&ours, &theirs].map(|steps| steps.iter().map(said).collect::<Vec<_>>());
    assert_eq!(again, told);
    let got: BTreeSet<&str> = told.iter().map(|(kind, _)| *kind).collect();
    assert!(got.is_superset(&kinds), "{got:?} instead of {kinds:?}");
    for reason in [DenyReason::Blocklisted, DenyReason::NotAllowlisted] {
        let is_blocked =
            |step: &EngineStep| matches!(step, EngineStep::PeerBlocked { reason: why, .. } if *why == reason);
        assert!(theirs.iter().any(is_blocked), "{reason}: {theirs:?}");
    }
}

#[test]
fn a_bootstrap_that_is_done_as_soon_as_another_is_cancelled_is_said_by_the_twin() {
    let limits = limits().with_executions(1);
    let (mut node, _) = fresh(limits.clone());
    let x = Value::from("an input").encode();
    let inputs: &[(&str, &[u8])] = &[("x", &x)];
    let boot = BootstrapTarget::ModuleRequests(&[BootstrapRequest { target: "Boot", inputs }]);
    let boot = waiting(&node.run_bootstrap(boot).unwrap(), "Boot");
    // It has nothing to do, but there is no room for another execution.
    assert!(node.run_bootstrap(BootstrapTarget::ModuleNames(&["Keep"])).unwrap().is_empty());
    let error = node.snapshot_with(SnapshotMode::Quiescent).unwrap_err();
    assert!(
        matches!(error, SnapshotError::BusNotDrained { queue: "queue of bootstraps", queued: 1, .. }),
        "{error}"
    );
    assert!(node.cancel(boot));
    let bytes = node.snapshot().unwrap().encode();
    let (mut twin, _) = fresh(limits);
    twin.restore(NodeSnapshot::decode(bytes).unwrap()).unwrap();
    let [told, again] =
        [&mut node, &mut twin].map(|node| node.step(at(2)).iter().map(said).collect::<Vec<_>>());
    assert_eq!(again, told);
    assert!(told.contains(&("bootstrap", "Keep".to_owned())), "{told:?}");
}

#[test]
fn a_restore_keeps_what_the_node_has_yet_to_say_of_what_the_snapshot_does_not_know() {
    let mut node = node(1, &chain(2), "Chain");
    let x = Value::I64(1).encode();
    let known = node.invoke("Chain", &[("x", &x)]).unwrap();
    let before = node.snapshot().unwrap();
    let ended = node.invoke("Chain", &[("x", &x)]).unwrap();
    assert!(node.cancel(ended) && node.cancel(known));
    let running = node.invoke("Chain", &[("x", &x)]).unwrap();
    node.restore(before).unwrap();
    for run in [ended, known, running] {
        assert!(node.execution_state(run).is_some(), "{run}");
    }
    let steps = settle(&mut node, at(0));
    for run in [ended, running] {
        assert!(matches!(outcome(&steps, run), Outcome::Cancelled(_)), "{steps:?}");
    }
    assert!(outcome(&steps, known).is_completed(), "it is under way again: {steps:?}");
    for run in [ended, known, running] {
        assert_eq!(node.execution_state(run), None, "{run}");
    }
}

#[test]
fn an_end_that_both_the_node_and_the_snapshot_have_yet_to_report_is_reported_once() {
    let mut node = node(1, &chain(2), "Chain");
    let run = node.invoke("Chain", &[("x", &Value::I64(1).encode())]).unwrap();
    assert!(node.cancel(run));
    let snapshot = node.snapshot().unwrap();
    node.restore(snapshot).unwrap();
    let steps = settle(&mut node, at(0));
    let ends = steps.iter().filter(|step| matches!(step, EngineStep::ExecutionFinished { .. }));
    assert_eq!(ends.count(), 1, "{steps:?}");
}

#[test]
fn what_is_refused_on_another_thread_is_said_on_the_bus_by_the_node_and_by_its_twin() {
    let (mut node, _) = fresh(limits().with_bus(2));
    let handle = node.ingress_handle();
    let woken = std::sync::Arc::new(Wakes::default());
    let waker = std::task::Waker::from(std::sync::Arc::clone(&woken));
    let mut cx = std::task::Context::from_waker(&waker);
    while node.poll(&mut cx).is_ready() {}
    for input in ["a", "b", "c"] {
        assert!(handle.deliver_event("Keep", input, &Value::I64(1).encode()).is_err());
    }
    assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst) > 0, "there is something to say");
    assert_eq!((node.engine_stats().bus, node.engine_stats().bus_dropped), (2, 0));
    let error = node.snapshot_with(SnapshotMode::Quiescent).unwrap_err();
    assert!(matches!(error, SnapshotError::BusNotDrained { queue: "bus", queued: 2, .. }), "{error}");
    let snapshot = node.snapshot().unwrap();
    let (mut twin, _) = fresh(limits().with_bus(2));
    twin.restore(snapshot).unwrap();
    assert_eq!(twin.state_digest().unwrap(), node.state_digest().unwrap());
    for node in [&mut node, &mut twin] {
        let steps = settle(node, at(2));
        let said = |step: &EngineStep| match step {
            EngineStep::AppEvent { output, value: Value::Str(text), .. } if *output == "EventSource" => {
                Some(text.to_string())
            }
            _ => None,
        };
        let said: Vec<String> = steps.iter().filter_map(said).collect();
        let [first, second] = &said[..] else { panic!("{said:?} of {steps:?}") };
        assert!(first.contains("`a`") && second.contains("`b`"), "{said:?}");
        assert_eq!((node.engine_stats().bus, node.engine_stats().bus_dropped), (0, 1));
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn values_of_streams_that_wait_when_a_node_is_restored_are_reported_as_dropped() {
    let (mut node, _) = fresh(limits());
    let before = node.snapshot().unwrap();
    node.deliver_event("Keep", "x", &Value::I64(1).encode()).unwrap();
    node.restore(before).unwrap();
    let stats = node.engine_stats();
    assert_eq!((stats.events_waiting, stats.bytes_in_flight), (0, 0));
    let steps = settle(&mut node, at(0));
    let [EngineStep::IngressFailed { peer: None, error: DeliveryError::Cleared }] = &steps[..] else {
        panic!("{steps:?}")
    };
}

#[test]
fn a_snapshot_in_which_an_execution_ends_twice_or_while_it_is_under_way_is_refused() {
    let mut node = node(1, &chain(2), "Chain");
    let run = node.invoke("Chain", &[("x", &Value::I64(1).encode())]).unwrap();
    let under_way = node.snapshot().unwrap().encode();
    assert!(node.cancel(run));
    let over = node.snapshot().unwrap().encode();
    let end = snapshot_file::sections(&over)[&18].clone();
    let digest = node.state_digest().unwrap();
    for before in [over, under_way] {
        let mut sections = snapshot_file::sections(&before);
        sections.entry(18).or_default().extend(&end);
        let wrong = NodeSnapshot::decode(snapshot_file::file(&before, &sections)).unwrap();
        let error = node.restore(wrong).unwrap_err();
        assert!(matches!(&error, RestoreError::Corrupt { section, .. } if section == "steps"), "{error}");
        assert_eq!(node.state_digest().unwrap(), digest);
    }
}
