//! A million of each of what a node meets all day: it ends as small as it began, and still serves.
//!
//! One test alone in its file, because it measures the memory of the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "node/common/mod.rs"]
mod common;

use std::alloc::System;

use bb_framework::MessageId;
use bb_ir::program::{Attribute, RegionKind, domains};
use bb_runtime::envelope::{Envelope, Fill};
use bb_runtime::{CompiledModel, Config, EngineStep, Node, PeerId, Role, Time, Value, ValueType};
use common::components::{Script, Scripted};
use common::{ProgramBuilder, RegionBuilder};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNT: u64 = 1_000_000;
/// Enough to fill the dedup window and every table that keeps its memory.
const WARM_UP: u64 = 20_000;
const PEER: u64 = 2;
const PORT: i64 = 10;

/// `Echo` gives `x` back; `Fail` calls a component that fails; `Take` receives at a port.
fn program() -> CompiledModel {
    let mut echo = RegionBuilder::entry();
    let x = echo.input("x", ValueType::Any);
    let y = echo.pass(x);
    echo.output("y", y);
    let mut fail = RegionBuilder::entry();
    let parameters = fail.node(domains::MODEL, "Parameters").slot("model").one();
    fail.output("parameters", parameters);
    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.node(domains::WIRE, "Recv").attribute("port", Attribute::Int(PORT)).one();
    take.output("x", x);
    let program = ProgramBuilder::new().target("Echo", [echo]).target("Fail", [fail]).target("Take", [take]);
    program.bind::<Scripted>("model", Role::Model).build()
}

fn message(model: &CompiledModel, counter: u64, port: i64) -> Vec<u8> {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program: model.digest(),
        fills: vec![Fill { port: port as u32, value: Value::from("what a message carries") }],
        ..Envelope::default()
    }
    .encode()
}

/// Does a thing as often as it takes to be at ease, then a million times; what the process has allocated is the same
/// after both, within a hundredth.
fn soak(what: &str, node: &mut Node, mut once: impl FnMut(&mut Node, u64)) {
    (0..WARM_UP).for_each(|index| once(node, index));
    let before = live();
    (WARM_UP..WARM_UP + COUNT).for_each(|index| once(node, index));
    let after = live();
    let stats = node.engine_stats();
    assert_eq!(stats.bytes_in_flight, 0, "{what}: {stats:?}");
    assert_eq!((stats.executions, stats.frames, stats.values_held), (0, 0, 0), "{what}: {stats:?}");
    let difference = before.abs_diff(after);
    assert!(difference * 100 <= before, "{what}: {before} bytes before, {after} after");
}

/// Bytes that the process holds.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn count(steps: &[EngineStep], wanted: fn(&EngineStep) -> bool) -> usize {
    steps.iter().filter(|step| wanted(step)).count()
}

#[test]
fn a_million_of_anything_leaves_a_node_as_it_was() {
    let model = program();
    let config = Config::new().with("model", Script::Fail);
    let targets = ["Echo", "Fail", "Take"];
    let mut node = bb_runtime::install(PeerId::from_u64(1), [], model.clone(), &targets, config).unwrap();
    let peer = PeerId::from_u64(PEER);
    let input = Value::from("what an event carries").encode();

    soak("invokes", &mut node, |node, _| {
        node.invoke("Echo", &[("x", &input)]).unwrap();
        let steps = node.step(Time::ZERO);
        assert_eq!(count(&steps, |step| matches!(step, EngineStep::AppEvent { .. })), 1);
    });
    soak("failing invokes", &mut node, |node, _| {
        node.invoke("Fail", &[]).unwrap();
        let steps = node.step(Time::ZERO);
        assert_eq!(count(&steps, |step| matches!(step, EngineStep::OpFailed { .. })), 1);
    });
    soak("messages to a port that is none", &mut node, |node, index| {
        node.deliver_inbound(peer, &message(&model, index, PORT + 1)).unwrap();
        let steps = node.step(Time::ZERO);
        assert_eq!(count(&steps, |step| matches!(step, EngineStep::WireReceiveFailed { .. })), 1);
    });
    let repeated = message(&model, u64::MAX, PORT);
    node.deliver_inbound(peer, &repeated).unwrap();
    assert_eq!(count(&node.step(Time::ZERO), |step| matches!(step, EngineStep::AppEvent { .. })), 1);
    soak("duplicates", &mut node, |node, _| {
        node.deliver_inbound(peer, &repeated).unwrap();
        assert!(node.step(Time::ZERO).is_empty());
    });
    assert_eq!(node.engine_stats().duplicates, WARM_UP + COUNT);

    node.deliver_inbound(peer, &message(&model, 0, PORT)).unwrap();
    assert_eq!(count(&node.step(Time::ZERO), |step| matches!(step, EngineStep::AppEvent { .. })), 1);
}
