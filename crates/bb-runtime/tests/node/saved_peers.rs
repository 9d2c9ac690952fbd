//! What a node knows of peers, what presses it and what it has yet to say go on in the node that is made of its snapshot.

use std::time::Duration;

use bb_framework::{DenyReason, MessageId};
use bb_ir::program::{Attribute, RegionKind, domains};
use bb_runtime::envelope::{Envelope, Fill, Notice};
use bb_runtime::{
    Address, AddressBookError, CompiledModel, Config, Decision, EngineStep, Node, NodeConfig, NodeSnapshot,
    Outcome, PeerId, Time, Value, ValueType, install,
};

use crate::common::{ProgramBuilder, RegionBuilder};

/// `Tell` sends `x` to `peers` one way; `Take` hands out what it gets.
fn program() -> CompiledModel {
    let mut tell = RegionBuilder::entry();
    let peers = tell.input("peers", ValueType::Peers);
    let x = tell.input("x", ValueType::Any);
    let send = tell.node(domains::WIRE, "Send").attribute("kind", Attribute::Str("cast".to_owned()));
    send.attribute("ports", Attribute::Ints(vec![10])).inputs([peers, x]).none();
    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.recv(10, ValueType::I64);
    take.output("x", x);
    ProgramBuilder::new().target("Tell", [tell]).target("Take", [take]).build()
}

fn make(model: &CompiledModel) -> Node {
    let config = Config::new().node(NodeConfig::edge().with_ingress_queue(8)).seed(3);
    install(PeerId::from_u64(1), [], model, &["Tell", "Take"], config).unwrap()
}

/// Another node, made of the bytes of a snapshot.
fn twin(node: &Node, model: &CompiledModel) -> Node {
    let bytes = node.snapshot().unwrap().encode();
    let mut twin = make(model);
    twin.restore(NodeSnapshot::decode(bytes).unwrap()).unwrap();
    assert_eq!(twin.state_digest().unwrap(), node.state_digest().unwrap());
    twin
}

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn message(model: &CompiledModel, counter: u64, value: Value) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program: model.digest(),
        fills: vec![Fill { port: 10, value }],
        ..Envelope::default()
    }
}

/// A step as one reads it, without what differs from life to life.
fn said(step: &EngineStep) -> String {
    match step {
        EngineStep::SendEnvelope { peer, addresses, bytes, .. } => {
            format!("to {peer} at {addresses:?}: {} bytes", bytes.len())
        }
        EngineStep::WireReceiveFailed { peer, fill, error } => format!("{peer}, fill {fill}: {error}"),
        EngineStep::IngressFailed { peer, error } => format!("{peer:?}: {error}"),
        EngineStep::ExecutionFinished { exec_id, outcome: Outcome::Cancelled(reason) } => {
            format!("{} ends: {reason}", exec_id.counter)
        }
        other => format!("{other:?}").replace("incarnation: 2", "incarnation: 1"),
    }
}

fn step(node: &mut Node, now: Time) -> Vec<String> {
    node.step(now).iter().map(said).collect()
}

#[test]
fn who_presses_a_node_is_told_and_muted_by_its_twin_as_by_itself() {
    let model = program();
    let mut node = make(&model);
    let mut counter = 0;
    for second in 0..8 {
        let handle = node.ingress_handle();
        for _ in 0..7 {
            counter += 1;
            // Once the peer is muted it is turned away, which is what is wanted here.
            drop(handle.deliver_inbound(peer(2), &message(&model, counter, Value::I64(1)).encode()));
        }
        if node.engine_stats().ingress > 0 {
            let mut twin = twin(&node, &model);
            assert_eq!(step(&mut twin, at(second)), step(&mut node, at(second)), "second {second}");
            let (ours, theirs) = (node.engine_stats(), twin.engine_stats());
            assert_eq!((ours.notices_sent, ours.mutes), (theirs.notices_sent, theirs.mutes));
            assert_eq!(ours.muted_inbound, theirs.muted_inbound);
            assert_eq!(node.peer_health(peer(2)), twin.peer_health(peer(2)));
        }
    }
    assert!(node.engine_stats().mutes > 0, "{:?}", node.engine_stats());
    assert!(twin(&node, &model).peer_health(peer(2)).muted_until.is_some());
}

#[test]
fn a_message_that_waits_to_be_sent_goes_out_once_more_and_says_so() {
    let model = program();
    let mut node = make(&model);
    drop(node.step(at(0)));
    let handle = node.ingress_handle();
    for counter in 1..8 {
        handle.deliver_inbound(peer(2), &message(&model, counter, Value::I64(1)).encode()).unwrap();
    }
    // Who fills the queue is answered with a notice, which waits for the step.
    node.deliver_inbound(peer(2), &message(&model, 8, Value::I64(1)).encode()).unwrap();
    assert_eq!(node.engine_stats().outbound, 1);
    let mut twin = twin(&node, &model);
    for (node, again) in [(&mut node, false), (&mut twin, true)] {
        let steps = node.step(at(1));
        let marked = steps.iter().find_map(|step| match step {
            EngineStep::SendEnvelope { peer: to, redelivered, .. } if *to == peer(2) => Some(*redelivered),
            _ => None,
        });
        assert_eq!(marked, Some(again), "{steps:?}");
    }
}

#[test]
fn addresses_that_have_not_proved_themselves_are_held_back_by_a_twin_too() {
    let model = program();
    let mut node = make(&model);
    drop(node.step(at(0)));
    let claimed: Vec<Address> =
        (1..3).map(|n| format!("/ip4/192.0.2.{n}/udp/4001/quic-v1").parse().unwrap()).collect();
    let hello = Envelope { addresses: claimed.into(), ..message(&model, 1, Value::I64(1)) };
    node.deliver_inbound(peer(4), &hello.encode()).unwrap();
    let (peers, x) = (Value::Peers([peer(4)].into()).encode(), Value::I64(7).encode());
    let mut withheld = 0;
    for second in 1..12 {
        let mut twin = twin(&node, &model);
        for node in [&mut node, &mut twin] {
            node.invoke("Tell", &[("peers", &peers), ("x", &x)]).unwrap();
        }
        assert_eq!(step(&mut twin, at(second)), step(&mut node, at(second)), "second {second}");
        withheld = node.engine_stats().addresses_withheld;
        assert_eq!(twin.engine_stats().addresses_withheld, withheld);
    }
    assert!(withheld > 0);
}

#[test]
fn what_was_heard_between_steps_and_who_is_allowed_are_taken_up() {
    let model = program();
    let mut node = make(&model);
    drop(node.step(at(0)));
    let notice = Some(Notice::Backpressure { retry_after: Duration::from_secs(30) });
    let notice = Envelope { fills: Vec::new(), notice, ..message(&model, 1, Value::Trigger) };
    node.deliver_inbound(peer(5), &notice.encode()).unwrap();
    node.set_allowlist(Some(&[peer(5), peer(6)])).unwrap();
    let mut twin = twin(&node, &model);
    for node in [&mut node, &mut twin] {
        drop(node.step(at(1)));
        let resting = Decision::Deny(DenyReason::Cooldown { retry_at: at(31) });
        assert_eq!(node.peer_health(peer(5)).outbound, resting);
        assert_eq!(node.peer_health(peer(6)).outbound, Decision::Allow);
        assert_eq!(node.peer_health(peer(7)).inbound, Decision::Deny(DenyReason::NotAllowlisted));
    }
}

#[test]
fn what_a_node_has_yet_to_say_is_said_by_its_twin() {
    let model = program();
    let mut node = make(&model);
    drop(node.step(at(0)));
    let (peers, x) = (Value::Peers([peer(4)].into()).encode(), Value::I64(7).encode());
    let run = node.invoke("Tell", &[("peers", &peers), ("x", &x)]).unwrap();
    assert!(node.cancel(run));
    node.deliver_inbound(peer(2), &message(&model, 1, Value::from("no number")).encode()).unwrap();
    node.ingress_handle().deliver_inbound(peer(3), &[9; 9]).unwrap();
    let mut first = twin(&node, &model);
    let told = step(&mut node, at(1));
    assert_eq!(step(&mut first, at(1)), told);
    assert!(told.iter().any(|line| line.contains("the host cancelled it")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("port 10")), "{told:?}");

    node.deliver_event("Tell", "x", &x).unwrap();
    node.ingress_handle().deliver_event("Tell", "x", &x).unwrap();
    node.clear();
    let mut second = twin(&node, &model);
    let told = step(&mut node, at(2));
    assert_eq!(step(&mut second, at(2)), told);
    assert_eq!(told.iter().filter(|line| line.contains("cleared")).count(), 2, "{told:?}");
}

#[test]
fn what_a_peer_signed_stands_between_the_operators_word_and_a_claim_and_policy_comes_before_it() {
    let model = program();
    let mut node = make(&model);
    let address = |number: u64| -> Address { format!("/memory/{number}").parse().unwrap() };
    node.block_peer(peer(8)).unwrap();
    assert_eq!(node.register_signed(peer(8), 1, [address(8)]), Ok(false), "it is blocked");
    assert_eq!(node.register_signed(peer(1), 1, [address(8)]), Ok(false), "it is the node itself");
    assert!(node.local_addresses().next().is_none() && node.resolve_peer_addresses(peer(8)).is_empty());

    assert_eq!(node.register_signed(peer(2), 4, [address(20), address(21)]), Ok(true));
    let claim = Envelope { addresses: vec![address(22)].into(), ..message(&model, 1, Value::I64(1)) };
    node.deliver_inbound(peer(2), &claim.encode()).unwrap();
    node.add_peer(peer(2), [address(19)]).unwrap();
    assert_eq!(node.resolve_peer_addresses(peer(2)), [19, 20, 21, 22].map(address));
    assert_eq!(node.register_signed(peer(2), 4, [address(99)]), Ok(false), "the record is known");
    let stale = node.register_signed(peer(2), 3, [address(99)]);
    assert_eq!(stale, Err(AddressBookError::StaleRecord { got: 3, held: 4, peer: peer(2) }));
    let mut twin = twin(&node, &model);
    for node in [&mut node, &mut twin] {
        assert_eq!(node.register_signed(peer(2), 5, [address(30)]), Ok(true));
        assert_eq!(node.resolve_peer_addresses(peer(2)), [19, 30, 22].map(address));
    }
}
