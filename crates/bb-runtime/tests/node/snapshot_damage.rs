//! Snapshots that are not what a node wrote.

use bb_runtime::{Config, Node, NodeConfig, NodeSnapshot, PeerId, RestoreError, Time, Value};
use proptest::prelude::*;

use crate::common::federation::{Federation, SERVER, program};
use crate::common::snapshot_file::{file, sections};
use crate::common::{chain, node, node_with, settle};

/// A snapshot of 64 KiB, and the node that it is of.
fn large() -> (Node, Vec<u8>) {
    let model = chain(40);
    let mut node =
        node_with(1, &model, "Chain", Config::new().node(NodeConfig::default().with_cycle_op_budget(3)));
    for peer in 10..200 {
        node.add_peer(PeerId::from_u64(peer), [format!("/ip4/192.0.2.1/tcp/{peer}").parse().unwrap()])
            .unwrap();
    }
    let mut size = node.snapshot().unwrap().byte_count();
    let value = Value::from("x".repeat(1_000).as_str()).encode();
    while size < 64 * 1024 {
        node.invoke("Chain", &[("x", &value)]).unwrap();
        size = node.snapshot().unwrap().byte_count();
    }
    assert_eq!(node.step(Time::ZERO).len(), 1);
    let bytes = node.snapshot().unwrap().encode().to_vec();
    (node, bytes)
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let (mut node, bytes) = large();
    let digest = node.state_digest().unwrap();
    let mut damaged = bytes.clone();
    for bit in 0..bytes.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        let refused = NodeSnapshot::decode(bytes::Bytes::copy_from_slice(&damaged));
        assert!(refused.is_err(), "bit {bit} is flipped and nobody minds");
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    let whole = bytes::Bytes::from(bytes);
    for length in 0..whole.len() {
        assert!(NodeSnapshot::decode(whole.slice(..length)).is_err(), "{length} bytes are enough");
    }
    assert_eq!(node.state_digest().unwrap(), digest);
    node.restore(NodeSnapshot::decode(whole).unwrap()).unwrap();
    assert_eq!(node.state_digest().unwrap(), digest);
}

/// A server in the middle of a round, with answers that its frames work on.
fn busy() -> (Node, Vec<u8>) {
    let limits = NodeConfig::default().with_cycle_op_budget(2);
    let mut federation = Federation::new(3, 2, Config::new().node(limits.clone()));
    federation.server().invoke("Fed.server", &[]).unwrap();
    federation.server().invoke("Fed.server", &[]).unwrap();
    for _ in 0..12 {
        federation.step();
    }
    let first = federation.in_flight.iter().position(|(_, to, _)| *to == PeerId::from_u64(SERVER));
    while federation.in_flight.len() > 1 + first.unwrap_or(0) {
        let (from, to, bytes) = federation.in_flight.pop_front().unwrap();
        federation.nodes.get_mut(&to).unwrap().deliver_inbound(from, &bytes).unwrap();
    }
    for _ in 0..3 {
        federation.step();
    }
    while let Some((from, to, bytes)) = federation.in_flight.pop_front() {
        federation.nodes.get_mut(&to).unwrap().deliver_inbound(from, &bytes).unwrap();
    }
    let handle = federation.server().ingress_handle();
    handle.deliver_inbound(PeerId::from_u64(1), &[1, 2]).unwrap();
    let bytes = federation.server().snapshot().unwrap().encode().to_vec();
    let peers: Vec<PeerId> = (0..3).map(PeerId::from_u64).collect();
    let config = Config::new().node(limits).with("clients", peers);
    (node_with(SERVER, &program(2, 5_000_000_000), "Fed.server", config), bytes)
}

/// Restores, and if that works lets the node run to its end: whatever it does, it must not panic.
fn restore_and_run(node: &mut Node, file: Vec<u8>) -> Result<(), RestoreError> {
    let digest = node.state_digest().expect("it can be saved");
    match NodeSnapshot::decode(file).and_then(|snapshot| node.restore(snapshot)) {
        Ok(()) => {
            for second in 0..400 {
                drop(node.step(Time::from_nanos(second * 1_000_000_000)));
            }
            node.snapshot().expect("it can be saved");
            Ok(())
        }
        Err(error) => {
            assert_eq!(node.state_digest().expect("it can be saved"), digest, "{error}");
            Err(error)
        }
    }
}

#[test]
fn a_bad_entry_is_named_by_its_path() {
    let (mut node, good) = busy();
    let mut parts = sections(&good);
    let listed = &mut parts.get_mut(&5).unwrap();
    // Not a peer id, in the list of those that are blocked.
    listed.splice(0..0, [0x0a, 2, 0xff, 0xff]);
    match restore_and_run(&mut node, file(&good, &parts)) {
        Err(RestoreError::Corrupt { section, .. }) => assert_eq!(section, "governor.blocked[0]"),
        other => panic!("{other:?}"),
    }
    let mut parts = sections(&good);
    parts.insert(50, vec![1]);
    let error = restore_and_run(&mut node, file(&good, &parts)).unwrap_err();
    assert!(matches!(error, RestoreError::Corrupt { .. }), "{error}");
    restore_and_run(&mut node, good).unwrap();
}

#[test]
fn a_section_that_is_left_out_never_panics() {
    let (_, good) = busy();
    for number in sections(&good).keys() {
        let mut parts = sections(&good);
        parts.remove(number);
        let (mut node, _) = busy();
        match restore_and_run(&mut node, file(&good, &parts)) {
            Ok(()) | Err(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes with hashes that fit, of which some are not what a node wrote.
    #[test]
    fn damage_under_a_sound_hash_changes_nothing_or_is_run(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let (mut node, good) = busy();
        let mut parts = sections(&good);
        let filled: Vec<u32> = parts.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(number, _)| *number).collect();
        for (section, place, byte, kind) in edits {
            let bytes = parts.get_mut(&filled[section.index(filled.len())]).expect("it is there");
            if bytes.is_empty() { continue }
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] ^= 1 << (byte % 8),
                1 => bytes[place] = byte,
                2 => bytes.insert(place, byte),
                _ => { bytes.remove(place); }
            }
        }
        match restore_and_run(&mut node, file(&good, &parts)) {
            Ok(()) | Err(_) => {}
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut node = node(1, &chain(2), "Chain");
        let before = node.state_digest().expect("it can be saved");
        match NodeSnapshot::decode(bytes).and_then(|snapshot| node.restore(snapshot)) {
            Ok(()) | Err(_) => {}
        }
        prop_assert_eq!(node.state_digest().expect("it can be saved"), before);
        drop(settle(&mut node, Time::ZERO));
    }
}
