//! What a node counts: every queue by entries and bytes, every reason to drop, deny or evict; and that all of it begins
//! anew when the node is cleared.

use bb_framework::MessageId;
use bb_runtime::envelope::{Envelope, Fill};
use bb_runtime::{Address, EngineStep, PeerId, SendResult, Time, Value};

use crate::common::rich::{at, fresh, limits, peer, rich, take};
use crate::common::{chain, node, settle};

#[test]
fn the_ingress_queue_is_counted_in_inputs_and_in_bytes() {
    let mut node = node(1, &chain(1), "Chain");
    let handle = node.ingress_handle();
    let x = Value::from("a value of some bytes").encode();
    handle.deliver_event("Chain", "x", &x).unwrap();
    handle.deliver_inbound(peer(2), &[7; 100]).unwrap();
    handle.send_result(peer(2), SendResult::Delivered).unwrap();
    let stats = node.engine_stats();
    assert_eq!((stats.ingress, stats.ingress_bytes), (3, x.len() + 100));
    assert_eq!(stats.bytes_in_flight, stats.ingress_bytes);
    settle(&mut node, Time::ZERO);
    let stats = node.engine_stats();
    assert_eq!((stats.ingress, stats.ingress_bytes), (0, 0));
}

#[test]
fn peers_that_are_forgotten_to_make_room_are_counted() {
    let (mut node, _) = fresh(limits().with_health_entries(2));
    drop(node.step(at(0)));
    let claim: Address = "/ip4/203.0.113.9/udp/4001/quic-v1".parse().unwrap();
    let handle = node.ingress_handle();
    for id in 30..33 {
        let hello = Envelope { addresses: [claim.clone()].into(), ..take(id, 1_i64) };
        node.deliver_inbound(peer(id), &hello.encode()).unwrap();
    }
    assert_eq!(
        node.engine_stats().proofs_evicted,
        1,
        "of three peers that say where they are, two are remembered"
    );
    for id in 40..43 {
        // Each of them fills the queue and sends one more.
        for counter in 0..6 {
            handle.deliver_inbound(peer(id), &take(counter, 1_i64).encode()).unwrap();
        }
        node.deliver_inbound(peer(id), &take(99, 1_i64).encode()).unwrap();
        settle(&mut node, at(0));
    }
    let stats = node.engine_stats();
    assert_eq!((stats.notices_sent, stats.pressing_evicted), (3, 1), "{stats:?}");
    for id in 50..53 {
        handle.send_result(peer(id), SendResult::Failed).unwrap();
    }
    settle(&mut node, at(1));
    let stats = node.engine_stats();
    assert_eq!((stats.health_evicted, stats.resting_evicted), (1, 1), "{stats:?}");
}

#[test]
fn a_cleared_node_counts_from_nothing() {
    let (mut node, _owed) = rich();
    let before = node.engine_stats();
    assert!(before.notices_sent > 0 && before.mutes > 0 && before.fills_refused > 0, "{before:?}");
    node.clear();
    let after = node.engine_stats();
    let (mut expected, _) = fresh(limits());
    drop(expected.step(at(0)));
    let mut expected = expected.engine_stats();
    // What it knows of peers stays, and no id is given twice; the ends of what ran are counted as they are said.
    expected.peers_known = before.peers_known;
    expected.messages_sent = before.messages_sent;
    expected.timers = after.timers;
    assert_eq!(after, expected);
    let steps = node.step(at(20));
    let ended = steps.iter().filter(|step| matches!(step, EngineStep::ExecutionFinished { .. })).count();
    assert!(ended >= before.executions, "{ended} of {}", before.executions);
}

#[test]
fn a_claimed_address_that_is_none_is_counted_and_its_message_taken() {
    let (mut node, _) = fresh(limits());
    let mut bytes = take(1, 5_i64).encode();
    // Field 6 of an envelope: an address, of a protocol that there is not.
    bytes.extend([0x32, 3, 0xff, 0xff, 0x7f]);
    node.deliver_inbound(PeerId::from_u64(2), &bytes).unwrap();
    assert_eq!(node.engine_stats().addresses_refused, 1);
    let steps = settle(&mut node, Time::ZERO);
    assert!(
        steps.iter().any(|step| matches!(step, EngineStep::AppEvent { value: Value::I64(5), .. })),
        "{steps:?}"
    );
}

#[test]
fn a_message_that_comes_twice_is_counted_once() {
    let (mut node, _) = fresh(limits());
    let bytes = Envelope {
        message_id: MessageId { incarnation: 3, counter: 4 },
        fills: vec![Fill { port: 10, value: Value::I64(1) }],
        ..take(1, 1_i64)
    }
    .encode();
    for _ in 0..3 {
        node.deliver_inbound(peer(2), &bytes).unwrap();
    }
    let stats = node.engine_stats();
    assert_eq!((stats.messages_received, stats.duplicates), (1, 2));
}
