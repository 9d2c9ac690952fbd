//! A small node that everybody presses at once holds no more than its limits state.
//!
//! One test alone in its file, because it measures the memory of the whole process.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "node/common/mod.rs"]
mod common;

use std::alloc::System;
use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::Digest;
use bb_ir::program::RegionKind;
use bb_runtime::envelope::{Correlation, Envelope, Fill, Notice};
use bb_runtime::{
    Address, CompiledModel, Config, DeliveryError, Node, NodeConfig, PeerId, SendResult, Time, Value,
    ValueType,
};
use common::{ProgramBuilder, RegionBuilder};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

const PEERS: u64 = 4_000;

/// A target that hands out what peers send to port 10.
fn program() -> CompiledModel {
    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.recv(10, ValueType::Any);
    take.output("x", x);
    ProgramBuilder::new().target("Take", [take]).build()
}

fn addresses(peer: u64, count: u64) -> Vec<Address> {
    let name = |n: u64| format!("/dns4/{:0>240}/tcp/1", peer * 10 + n);
    (0..count).map(|n| name(n).parse().unwrap()).collect()
}

/// One of the messages of a peer, each unlike the others.
fn message(program: Digest, peer: u64, counter: u64) -> Envelope {
    let base = Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program,
        addresses: addresses(peer, 4).into(),
        ..Envelope::default()
    };
    let fill = |port: u32, value: Value| vec![Fill { port, value }];
    let request = RequestId([peer as u8; 16]);
    match counter % 6 {
        0 => Envelope { fills: fill(99, Value::from("nobody")), ..base },
        1 => Envelope { fills: fill(10, Value::Tuple(vec![Value::Trigger; 3_000].into())), ..base },
        2 => Envelope { fills: fill(10, Value::Bytes(vec![7; 60_000].into())), ..base },
        3 => Envelope { correlation: Some(Correlation::Response(request)), ..base },
        4 => Envelope { correlation: Some(Correlation::Request(request)), ..base },
        _ => Envelope { notice: Some(Notice::Backpressure { retry_after: Duration::from_secs(9) }), ..base },
    }
}

/// Everything that peers and the host can press a node with, without letting it work.
fn press(node: &mut Node, program: Digest, round: u64) {
    let handle = node.ingress_handle();
    for id in 0..PEERS {
        let peer = PeerId::from_u64(id);
        for result in [SendResult::Failed, SendResult::Failed] {
            // A full queue refuses it, which is what is wanted here.
            drop(handle.send_result(peer, result));
        }
        let bytes = message(program, id, round * PEERS + id).encode();
        drop(handle.deliver_inbound(peer, &bytes));
        match node.deliver_inbound(peer, &bytes) {
            Ok(())
            | Err(
                DeliveryError::BudgetExceeded { .. }
                | DeliveryError::QueueFull { .. }
                | DeliveryError::PeerDenied { .. }
                | DeliveryError::InvalidEnvelope(_),
            ) => {}
            Err(error) => panic!("{error}"),
        }
        if round == 0 {
            drop(node.add_peer(peer, addresses(id, 4)));
            let listed = node.block_peer(PeerId::from_u64(PEERS + id));
            assert_eq!(listed.is_ok(), id < 256);
        }
    }
}

#[test]
fn a_small_node_under_pressure_stays_within_its_bound() {
    let limits = NodeConfig::edge();
    let bound = limits.memory_bound();
    let model = program();
    let digest = model.digest();
    let mut node =
        bb_runtime::install(PeerId::from_u64(u64::MAX), [], model, &["Take"], Config::new().node(limits))
            .unwrap();
    let idle = ALLOCATOR.get_peak_memory();
    ALLOCATOR.reset_peak_memory();
    for round in 0..6 {
        press(&mut node, digest, round);
        let pressed = ALLOCATOR.get_peak_memory();
        assert!(pressed <= bound, "round {round}: {pressed} of {bound} bytes");
        for second in 0..4 {
            drop(node.step(Time::ZERO + Duration::from_secs(round * 10 + second)));
        }
        while node.engine_stats().executions > 0 || node.engine_stats().ingress > 0 {
            drop(node.step(Time::ZERO + Duration::from_secs(round * 10 + 5)));
        }
        let stats = node.engine_stats();
        assert_eq!(stats.bytes_in_flight, 0, "{stats:?}");
        let stepped = ALLOCATOR.get_peak_memory();
        assert!(stepped <= bound, "round {round}, stepped: {stepped} of {bound} bytes");
    }
    let peak = ALLOCATOR.get_peak_memory();
    assert!(peak * 4 >= bound, "{peak} bytes: the {bound} that are stated say little (idle: {idle})");
}
