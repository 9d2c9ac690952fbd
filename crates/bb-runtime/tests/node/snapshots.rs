//! Nodes that are saved in the middle of anything, and go on elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use bb_ir::program::domains;
use bb_runtime::envelope::{EnvelopeLimits, scan};
use bb_runtime::{
    Address, Config, EngineStep, IngressHandle, Node, NodeConfig, NodeSnapshot, OpError, Outcome, PeerId,
    RestoreError, Role, SendResult, SnapshotError, SnapshotMode, Time, Value,
};

use crate::common::components::{Script, Scripted, weight, weight_of};
use crate::common::federation::{Federation, SERVER, output, program};
use crate::common::{ProgramBuilder, RegionBuilder, chain, events, node, node_with, outcome, settle};

/// Saves a node, and lets another one of the same make go on from the bytes.
fn moved(node: &Node, make: impl FnOnce() -> Node) -> Node {
    let bytes = node.snapshot().expect("it can be saved").encode();
    let mut other = make();
    other.restore(NodeSnapshot::decode(bytes.clone()).expect("it is sound")).expect("it fits");
    assert_eq!(other.state_digest().unwrap(), node.state_digest().unwrap());
    assert_eq!(other.incarnation(), node.incarnation() + 1);
    // What components keep is not charged any more.
    let (mut own, others) = (node.engine_stats(), other.engine_stats());
    assert!(others.bytes_in_flight <= own.bytes_in_flight);
    own.bytes_in_flight = others.bytes_in_flight;
    assert_eq!(others, own);
    other
}

/// The steps as text, with envelopes decoded; incarnations are left out, for a restore is another one.
fn told(steps: &[(PeerId, EngineStep)]) -> String {
    let mut text = String::new();
    for (at, step) in steps {
        text += &match step {
            EngineStep::SendEnvelope { peer, addresses, bytes, .. } => {
                let envelope = scan(bytes, &EnvelopeLimits::default()).unwrap().decode().unwrap();
                format!("{at}: to {peer} at {addresses:?}: {envelope:?}\n")
            }
            step => format!("{at}: {step:?}\n"),
        };
    }
    for incarnation in 2..9 {
        text = text.replace(&format!("incarnation: {incarnation}"), "incarnation: 1");
    }
    text
}

fn small_steps() -> Config {
    Config::new().node(NodeConfig::default().with_cycle_op_budget(1).with_trace_ops(true))
}

fn make(id: PeerId, clients: u64) -> Node {
    let model = program(-1, 5_000_000_000);
    let peers: Vec<PeerId> = (0..clients).map(PeerId::from_u64).collect();
    if id == PeerId::from_u64(SERVER) {
        node_with(SERVER, &model, "Fed.server", small_steps().with("clients", peers))
    } else {
        let number = peers.iter().position(|peer| *peer == id).unwrap() as u64;
        node_with(number, &model, "Fed.client", small_steps())
    }
}

/// A round in which all nodes are moved at one moment: before a step, or before a message arrives.
fn round_cut_at(cut: Option<usize>) -> (String, usize) {
    const CLIENTS: u64 = 3;
    let mut federation = Federation::new(CLIENTS, -1, small_steps());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    let mut moment = 0;
    loop {
        let mut worked = false;
        for index in 0..=federation.nodes.len() + federation.in_flight.len() {
            if cut == Some(moment) {
                let nodes = std::mem::take(&mut federation.nodes);
                let moved = nodes.iter().map(|(&peer, node)| (peer, moved(node, || make(peer, CLIENTS))));
                federation.nodes = moved.collect();
            }
            moment += 1;
            if index == 0 {
                worked |= federation.step();
            } else if let Some((from, to, bytes)) = federation.in_flight.pop_front() {
                worked = true;
                federation.nodes.get_mut(&to).unwrap().deliver_inbound(from, &bytes).unwrap();
            }
        }
        if !worked {
            break;
        }
        federation.now = federation.now + Duration::from_millis(1);
    }
    let steps = federation.server_steps();
    assert!(outcome(&steps, run).is_completed());
    assert!(output(&steps, run, "global").is_some());
    (told(&federation.steps), moment)
}

#[test]
fn a_federated_round_moved_at_any_moment_goes_on_with_equal_steps() {
    let (expected, moments) = round_cut_at(None);
    assert!(moments > 40, "{moments} moments");
    for cut in 0..moments {
        let (got, _) = round_cut_at(Some(cut));
        assert!(got == expected, "moved at moment {cut}:\n{got}\ninstead of\n{expected}");
    }
}

#[test]
fn equal_nodes_have_equal_bytes_and_a_restored_one_has_them_again() {
    let run = || {
        let mut federation = Federation::new(3, -1, small_steps());
        federation.server().invoke("Fed.server", &[]).unwrap();
        for _ in 0..7 {
            federation.step();
        }
        federation
    };
    let (mut first, mut second) = (run(), run());
    let bytes = first.server().snapshot().unwrap().encode();
    assert_eq!(second.server().snapshot().unwrap().encode(), bytes);
    let again = moved(first.server(), || make(PeerId::from_u64(SERVER), 3));
    let twice = moved(&again, || make(PeerId::from_u64(SERVER), 3));
    assert_eq!(twice.incarnation(), 3);
    assert_eq!(twice.state_digest().unwrap(), first.server().state_digest().unwrap());
}

fn adder_line() -> bb_runtime::CompiledModel {
    let mut region = RegionBuilder::entry();
    let left = region.input("left", bb_runtime::ValueType::Any);
    let right = region.input("right", bb_runtime::ValueType::Any);
    let both = region.node(domains::SYSCALL, "Bundle").inputs([left, right]).one();
    region.output("both", both);
    ProgramBuilder::new().target("Join", [region]).build()
}

#[test]
fn events_and_inputs_that_wait_are_taken_up_with_their_charges() {
    let model = adder_line();
    let mut original = node(1, &model, "Join");
    let big = Value::from("left ".repeat(100).as_str()).encode();
    original.deliver_event("Join", "left", &big).unwrap();
    let handle: IngressHandle = original.ingress_handle();
    handle.deliver_event("Join", "right", &Value::I64(2).encode()).unwrap();
    handle.deliver_inbound(PeerId::from_u64(9), &[1, 2, 3]).unwrap();
    handle.send_result(PeerId::from_u64(8), SendResult::Failed).unwrap();
    let charged = original.engine_stats().bytes_in_flight;
    assert!(charged > 500);
    let mut restored = moved(&original, || node(1, &model, "Join"));
    assert_eq!(restored.engine_stats().bytes_in_flight, charged);
    assert_eq!(original.ingress_handle().depth(), 3);
    assert_eq!(restored.ingress_handle().depth(), 3);
    let (own, other) = (settle(&mut original, Time::ZERO), settle(&mut restored, Time::ZERO));
    assert_eq!(format!("{own:?}"), format!("{other:?}").replace("incarnation: 2", "incarnation: 1"));
    drop((own, other));
    assert_eq!(restored.engine_stats().bytes_in_flight, 0);
    assert_eq!(restored.state_digest().unwrap(), original.state_digest().unwrap());
}

type Held = Arc<Mutex<Vec<bb_runtime::Completion<bb_runtime::TensorMap>>>>;

fn later(script: fn(Held) -> Script) -> (Node, Held) {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::MODEL, "Parameters").slot("model").one();
    region.output("y", y);
    let model =
        ProgramBuilder::new().target("Later", [region]).bind::<Scripted>("model", Role::Model).build();
    let held = Held::default();
    let limits = NodeConfig::default().with_pending_deadline(Duration::from_secs(10));
    let config = Config::new().with("model", script(Arc::clone(&held))).node(limits);
    (node_with(1, &model, "Later", config), held)
}

#[test]
fn a_component_takes_up_the_answers_it_still_owes() {
    let (mut original, owed) = later(Script::Later);
    let run = original.invoke("Later", &[]).unwrap();
    settle(&mut original, Time::ZERO);
    let mut after = None;
    let restored_held = Mutex::new(None);
    let mut restored = moved(&original, || {
        let (node, held) = later(Script::Later);
        *restored_held.lock().unwrap() = Some(held);
        node
    });
    let held = restored_held.lock().unwrap().take().unwrap();
    assert_eq!((owed.lock().unwrap().len(), held.lock().unwrap().len()), (1, 1));
    held.lock().unwrap().pop().unwrap().complete(weight(3.0));
    // Saved again, the answer is in the queue of completions.
    let mut again = moved(&restored, || later(Script::Later).0);
    for node in [&mut restored, &mut again] {
        let steps = settle(node, Time::ZERO);
        let Value::Tensors(tensors) = &events(&steps, run)[0].1 else { panic!("{steps:?}") };
        assert_eq!(weight_of(tensors), 3.0);
        assert!(outcome(&steps, run).is_completed());
        after = Some(node.engine_stats());
    }
    assert_eq!(after.unwrap().pending_async, 0);
}

#[test]
fn an_answer_that_nobody_takes_up_ends_at_its_deadline() {
    let (mut original, _owed) = later(Script::Forget);
    let run = original.invoke("Later", &[]).unwrap();
    settle(&mut original, Time::ZERO);
    settle(&mut original, Time::ZERO + Duration::from_secs(4));
    let mut restored = moved(&original, || later(Script::Forget).0);
    let due = Time::ZERO + Duration::from_secs(10);
    assert_eq!(restored.next_deadline(), Some(due));
    let Outcome::Failed(error) = outcome(&settle(&mut restored, due), run) else { panic!("it ended well") };
    assert!(matches!(*error, OpError::DeadlineExceeded { .. }), "{error}");
}

#[test]
fn answers_of_components_before_a_restore_are_nobodys() {
    let (mut node, owed) = later(Script::Forget);
    let run = node.invoke("Later", &[]).unwrap();
    settle(&mut node, Time::ZERO);
    let snapshot = node.snapshot().unwrap();
    let digest = node.state_digest().unwrap();
    node.restore(&snapshot).unwrap();
    owed.lock().unwrap().pop().unwrap().complete(weight(3.0));
    assert_eq!(node.state_digest().unwrap(), digest);
    assert!(settle(&mut node, Time::ZERO).is_empty());
    assert_eq!(node.execution_state(run).unwrap().awaited, 1);
}

#[test]
fn moments_are_distances_and_time_does_not_go_back() {
    let (mut original, _owed) = later(Script::Forget);
    original.invoke("Later", &[]).unwrap();
    settle(&mut original, Time::ZERO + Duration::from_secs(100));
    let snapshot = original.snapshot().unwrap();
    let mut ahead = later(Script::Forget).0;
    settle(&mut ahead, Time::ZERO + Duration::from_secs(1_000));
    ahead.restore(&snapshot).unwrap();
    assert_eq!(ahead.now(), Time::ZERO + Duration::from_secs(1_000));
    assert_eq!(ahead.next_deadline(), Some(Time::ZERO + Duration::from_secs(1_010)));
    assert_eq!(ahead.state_digest().unwrap(), original.state_digest().unwrap());
    // A clock that began anew goes on from the time of the snapshot.
    let mut behind = later(Script::Forget).0;
    behind.restore(&snapshot).unwrap();
    let waker = std::task::Waker::noop();
    assert!(behind.poll(&mut Context::from_waker(waker)).is_pending());
    assert!(behind.now() >= Time::ZERO + Duration::from_secs(100));
    assert!(behind.now() < Time::ZERO + Duration::from_secs(105));
}

#[test]
fn peers_and_policy_are_taken_up() {
    let model = chain(1);
    let make = || node(1, &model, "Chain");
    let mut original = make();
    let address = |number: u64| -> Address { format!("/memory/{number}").parse().unwrap() };
    for peer in 2..50 {
        original.add_peer(PeerId::from_u64(peer), [address(peer)]).unwrap();
    }
    original.block_peer(PeerId::from_u64(7)).unwrap();
    let handle = original.ingress_handle();
    for failing in [3, 4, 3, 3, 5, 3, 3, 3] {
        handle.send_result(PeerId::from_u64(failing), SendResult::Failed).unwrap();
    }
    let down = settle(&mut original, Time::ZERO + Duration::from_secs(5));
    assert!(matches!(down[..], [EngineStep::PeerDown { .. }]), "{down:?}");
    let mut restored = moved(&original, make);
    assert_eq!(restored.resolve_peer_addresses(PeerId::from_u64(9)), [address(9)]);
    assert!(restored.deliver_inbound(PeerId::from_u64(7), &[]).is_err());
    assert_eq!(restored.engine_stats().denied_inbound, 1);
    restored.ingress_handle().send_result(PeerId::from_u64(3), SendResult::Delivered).unwrap();
    let up = settle(&mut restored, Time::ZERO + Duration::from_secs(5));
    assert!(matches!(up[..], [EngineStep::PeerUp { .. }]), "{up:?}");
}

#[test]
fn a_restore_ends_the_executions_that_the_snapshot_does_not_know() {
    let (mut node, _owed) = later(Script::Forget);
    let before = node.snapshot().unwrap();
    let run = node.invoke("Later", &[]).unwrap();
    settle(&mut node, Time::ZERO);
    node.restore(before).unwrap();
    assert!(matches!(outcome(&settle(&mut node, Time::ZERO), run), Outcome::Cancelled(_)));
    let next = node.invoke("Later", &[]).unwrap();
    assert_ne!(run, next);
    assert_eq!(next.incarnation, 2);
}

#[test]
fn clear_ends_all_and_keeps_peers_and_components() {
    let mut federation = Federation::new(3, -1, Config::new());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.settle();
    let second = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    let server = federation.server();
    server.add_peer(PeerId::from_u64(1), []).unwrap();
    server.ingress_handle().deliver_inbound(PeerId::from_u64(1), &[7; 99]).unwrap();
    server.clear();
    let stats = server.engine_stats();
    assert_eq!((stats.bytes_in_flight, stats.executions, stats.frames, stats.pending_async), (0, 0, 0, 0));
    assert_eq!((stats.requests_in_flight, stats.ops_fired, stats.messages_received), (0, 0, 0));
    assert_eq!((stats.ingress, stats.frontier, stats.outbound, stats.peers_known), (0, 0, 0, 1));
    assert_eq!(server.next_deadline(), Some(Time::ZERO), "its last words are to be said");
    let steps = settle(server, Time::ZERO);
    assert!(matches!(outcome(&steps, second), Outcome::Cancelled(_)));
    assert!(matches!(steps[1], EngineStep::IngressFailed { peer: Some(_), .. }), "{steps:?}");
    assert!(server.execution_state(run).is_none());
    assert_eq!(server.next_deadline(), None);
    // It still serves.
    let third = crate::common::federation::round(&mut federation);
    assert!(outcome(&federation.server_steps(), third).is_completed());
    assert_ne!(third, second);
}

#[test]
fn a_quiet_snapshot_names_the_queue_that_is_not_empty() {
    let mut node = node(1, &chain(5), "Chain");
    node.snapshot_with(SnapshotMode::Quiescent).unwrap();
    node.invoke("Chain", &[("x", &Value::I64(1).encode())]).unwrap();
    let error = node.snapshot_with(SnapshotMode::Quiescent).unwrap_err();
    assert!(matches!(error, SnapshotError::BusNotDrained { queue: "frontier", queued: 1, .. }), "{error}");
    settle(&mut node, Time::ZERO);
    node.ingress_handle().deliver_inbound(PeerId::from_u64(2), &[]).unwrap();
    let error = node.snapshot_with(SnapshotMode::Quiescent).unwrap_err();
    assert!(
        matches!(error, SnapshotError::BusNotDrained { queue: "ingress queue", queued: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_component_that_cannot_be_saved_is_named() {
    let (node, _) = later(|_| Script::Unsaveable);
    let error = node.snapshot().unwrap_err();
    assert!(
        matches!(&error, SnapshotError::ComponentSaveFailed { slot, type_name, .. }
            if slot == "model" && type_name == "test::Scripted"),
        "{error}"
    );
    let saved = later(|_| Script::Now).0.snapshot().unwrap();
    let (mut node, _) = later(|_| Script::Unloadable);
    let digest = node.state_digest().unwrap();
    let error = node.restore(saved).unwrap_err();
    assert!(matches!(error, RestoreError::ComponentRestoreFailed { .. }), "{error}");
    assert_eq!(node.state_digest().unwrap(), digest);
}

#[test]
fn a_snapshot_of_another_node_is_refused_with_what_differs() {
    let model = chain(3);
    let saved = node(1, &model, "Chain").snapshot().unwrap();
    let what = |mut node: Node| match node.restore(&saved) {
        Err(RestoreError::SnapshotMismatch { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(node(2, &model, "Chain")), "peer id");
    assert_eq!(what(node(1, &chain(4), "Chain")), "program");
    let mut bytes = saved.encode().to_vec();
    bytes[8] = 77;
    let error = NodeSnapshot::decode(bytes).unwrap_err();
    assert!(matches!(error, RestoreError::SpecVersionMismatch { got: 77, expected: 1 }), "{error}");
}

#[test]
fn what_this_node_may_not_hold_is_refused_with_the_limit() {
    let model = chain(3);
    let mut original = node(1, &model, "Chain");
    for peer in 10..30 {
        original.add_peer(PeerId::from_u64(peer), []).unwrap();
    }
    let saved = original.snapshot().unwrap();
    let limits = NodeConfig::default().with_address_book_peers(8);
    let mut small = node_with(1, &model, "Chain", Config::new().node(limits));
    let digest = small.state_digest().unwrap();
    let error = small.restore(saved).unwrap_err();
    assert!(matches!(error, RestoreError::LimitExceeded { got: 20, cap: 8, .. }), "{error}");
    assert_eq!(small.state_digest().unwrap(), digest);
}

#[test]
fn a_key_keeps_out_snapshots_that_its_owner_did_not_write() {
    let node = node(1, &chain(3), "Chain");
    let snapshot = node.snapshot().unwrap();
    let (key, other) = ([1; 32], [2; 32]);
    let signed = snapshot.encode_with_key(&key).unwrap();
    let decoded = NodeSnapshot::decode_with_key(signed.clone(), &key).unwrap();
    assert!(decoded.is_signed());
    assert_eq!(decoded.peer_id(), node.peer_id());
    for (bytes, key) in [(signed, other), (snapshot.encode().to_vec(), key)] {
        let error = NodeSnapshot::decode_with_key(bytes, &key).unwrap_err();
        assert!(matches!(error, RestoreError::BadSignature), "{error}");
    }
}

#[test]
fn sections_are_the_messages_of_the_schema() {
    use bb_ir::snapshot::{Components, Executions, Frames, Limits, Waits};
    use prost::Message;

    let mut federation = Federation::new(3, -1, Config::new());
    federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    let file = federation.server().snapshot().unwrap().encode();
    let sections: BTreeMap<u32, Vec<u8>> = crate::common::snapshot_file::sections(&file);
    let node = bb_ir::snapshot::Node::decode(&sections[&1][..]).unwrap();
    assert_eq!((node.executions_begun, node.targets), (1, vec!["Fed.server".to_owned()]));
    assert!(Limits::decode(&sections[&2][..]).unwrap().limits.len() > 20);
    let components = Components::decode(&sections[&6][..]).unwrap().components;
    let slots: Vec<&str> = components.iter().map(|component| component.slot.as_str()).collect();
    assert_eq!(slots, ["clients", "model", "sum"]);
    assert_eq!(Executions::decode(&sections[&8][..]).unwrap().executions[0].leases.len(), 1);
    assert_eq!(Frames::decode(&sections[&9][..]).unwrap().frames.len(), 1);
    let waits = Waits::decode(&sections[&11][..]).unwrap().waits;
    assert_eq!(waits[0].call.as_ref().unwrap().peers.len(), 3);
    assert_eq!(waits[0].after_ns, 5_000_000_000);
}
