//! A hostile peer at full speed while honest work goes on: it costs a bounded amount, and the others are heard.
//!
//! One test alone in its file, because it measures the memory of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::Digest;
use bb_ir::program::{
    Attribute, Graph, NamedValue, Node as Op, OpId, Program, Region, RegionKind, Target, domains,
};
use bb_runtime::envelope::{Correlation, Envelope, Fill, Notice};
use bb_runtime::{
    Address, CompiledModel, Config, EngineStep, IngressHandle, NodeConfig, PeerId, Time, Value, ValueType,
};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

const HONEST: u64 = 1;
const HOSTILE: u64 = 666;
/// Steps of the node, and the time between them.
const STEPS: u64 = 4_000;
const BETWEEN: Duration = Duration::from_millis(10);
/// Messages of each between two steps.
const HONEST_MESSAGES: u64 = 4;
const HOSTILE_MESSAGES: u64 = 200;

/// A target that hands out what peers send to port 10.
fn program() -> CompiledModel {
    let mut graph = Graph { name: "take".to_owned(), ..Graph::default() };
    let x = graph.add_value("x", ValueType::Any);
    graph.add_node(Op {
        op: OpId::new(domains::WIRE, "Recv"),
        outputs: vec![Some(x)],
        attributes: [("port".to_owned(), Attribute::Int(10))].into(),
        ..Op::default()
    });
    graph.outputs.push(NamedValue { name: "x".to_owned(), value: x });
    let region = Region { kind: RegionKind::Receive, graph };
    let target = Target { name: "Take".to_owned(), class: "Take".to_owned(), regions: vec![region] };
    let program = Program { name: "Test".to_owned(), opset: 21, targets: vec![target], ..Program::default() };
    CompiledModel::new(program, BTreeMap::new())
}

fn message(program: Digest, counter: u64, value: Value) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program,
        fills: vec![Fill { port: 10, value }],
        ..Envelope::default()
    }
}

/// Messages of every kind, each of them one that a node must look at.
fn hostile(program: Digest, counter: u64) -> Vec<u8> {
    let base = message(program, counter, Value::Bytes(vec![6; 2_000].into()));
    let request = RequestId([counter as u8; 16]);
    let address: Address = format!("/ip4/192.0.2.{}/udp/66/quic-v1", counter % 250).parse().unwrap();
    match counter % 8 {
        0 => base.encode(),
        1 => Envelope { correlation: Some(Correlation::Request(request)), ..base }.encode(),
        2 => Envelope { correlation: Some(Correlation::Response(request)), ..base }.encode(),
        3 => {
            let failure = Correlation::Failure { request, reason: "no".into() };
            Envelope { correlation: Some(failure), fills: Vec::new(), ..base }.encode()
        }
        4 => {
            let notice = Some(Notice::Backpressure { retry_after: Duration::from_secs(9) });
            Envelope { notice, fills: Vec::new(), ..base }.encode()
        }
        5 => Envelope { addresses: [address].into(), ..base }.encode(),
        6 => Envelope { program: Digest::default(), ..base }.encode(),
        _ => vec![0xFF; 500],
    }
}

/// Hands messages in until the queue is full; how many were taken.
fn push(handle: &IngressHandle, peer: u64, messages: impl Iterator<Item = Vec<u8>>) -> u64 {
    messages.filter(|bytes| handle.deliver_inbound(PeerId::from_u64(peer), bytes).is_ok()).count() as u64
}

#[test]
fn half_of_the_honest_work_is_done_at_least_and_memory_stays_within_its_bound() {
    let limits = NodeConfig::edge().with_ingress_queue(64);
    let bound = limits.memory_bound();
    let model = program();
    let program = model.digest();
    let config = Config::new().node(limits);
    let mut node = bb_runtime::install(PeerId::from_u64(0), [], model, &["Take"], config).unwrap();
    let known: Address = "/ip4/198.51.100.1/udp/4001/quic-v1".parse().unwrap();
    node.add_peer(PeerId::from_u64(HONEST), [known.clone()]).unwrap();
    let handle = node.ingress_handle();
    ALLOCATOR.reset_peak_memory();
    let (mut asked, mut done, mut counter) = (0, 0, 0);
    for step in 0..STEPS {
        // The hostile peer is before and behind every honest message.
        for _ in 0..HONEST_MESSAGES {
            let burst = HOSTILE_MESSAGES / HONEST_MESSAGES;
            push(&handle, HOSTILE, (counter..counter + burst).map(|n| hostile(program, n)));
            counter += burst;
            asked += 1;
            push(&handle, HONEST, std::iter::once(message(program, asked, Value::I64(1)).encode()));
        }
        for step in node.step(Time::ZERO + BETWEEN * (step as u32)) {
            if let EngineStep::AppEvent { value: Value::I64(1), .. } = step {
                done += 1;
            }
        }
    }
    let peak = ALLOCATOR.get_peak_memory();
    let stats = node.engine_stats();
    assert!(done * 2 >= asked, "{done} of {asked} honest messages were worked on: {stats:?}");
    assert!(peak <= bound, "{peak} of {bound} bytes");
    assert_eq!((stats.bytes_in_flight, stats.executions), (0, 0));
    assert!(stats.mutes > 0 && stats.turned_away > 0, "{stats:?}");
    assert_eq!(node.resolve_peer_addresses(PeerId::from_u64(HONEST)), [known]);
    assert!(node.peer_health(PeerId::from_u64(HONEST)).muted_until.is_none());
    assert!(stats.peers_known <= 2, "{stats:?}");
}
