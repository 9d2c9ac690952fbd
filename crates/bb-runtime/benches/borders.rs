//! What it costs to come in: events and messages the whole way from bytes to the step that tells of them, many executions
//! in flight, and a poll for which there is nothing to do.
//!
//! Each figure of many bytes stands beside one copy of the same bytes into new memory, in the same process.

#![allow(clippy::expect_used, reason = "a benchmark that fails has nothing to report")]
#![allow(clippy::print_stdout, reason = "the ratios are what it prints")]

use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bb_framework::MessageId;
use bb_ir::program::{
    Attribute, Graph, NamedValue, Node as Op, Program, Region, RegionKind, Target, domains,
};
use bb_runtime::envelope::{Envelope, Fill};
use bb_runtime::{
    CompiledModel, Config, EngineStep, Node, NodeConfig, OpId, PeerId, Time, Value, ValueType, install,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of an event; the last leave room for what says that they are bytes, within 1 MiB.
const EVENTS: [usize; 3] = [64, 4 << 10, (1 << 20) - 16];
const MESSAGES: [usize; 2] = [16, 1 << 20];
/// Messages that the node knows by their ids; of as many more that come in turn it has forgotten each when it comes again.
const WINDOW: usize = 64;
const IN_FLIGHT: usize = 1_000;
/// Events that a host under load hands in before it lets the node work.
const AT_ONCE: usize = 64;

/// `x` to the output, and what comes to port 10 to the output.
fn program() -> CompiledModel {
    let mut entry = Graph::default();
    let x = entry.add_value("x", ValueType::Any);
    entry.inputs.push(x);
    entry.outputs.push(NamedValue { name: "y".to_owned(), value: x });
    let mut receive = Graph { name: "take".to_owned(), ..Graph::default() };
    let x = receive.add_value("x", ValueType::Any);
    receive.add_node(Op {
        op: OpId::new(domains::WIRE, "Recv"),
        outputs: vec![Some(x)],
        attributes: [("port".to_owned(), Attribute::Int(10))].into(),
        ..Op::default()
    });
    receive.outputs.push(NamedValue { name: "x".to_owned(), value: x });
    let regions = vec![
        Region { kind: RegionKind::Entry, graph: entry },
        Region { kind: RegionKind::Receive, graph: receive },
    ];
    let target = Target { name: "Take".to_owned(), class: String::new(), regions };
    let program = Program { name: "Take".to_owned(), targets: vec![target], opset: 21, ..Program::default() };
    CompiledModel::new(program, Default::default())
}

fn node() -> Node {
    let limits = NodeConfig::default().with_dedup_window(WINDOW);
    install(PeerId::from_u64(1), [], program(), &["Take"], Config::new().node(limits)).expect("it installs")
}

/// Messages of so many bytes each, enough to send them in turn.
fn messages(node: &Node, byte_count: usize) -> Vec<Vec<u8>> {
    let message = |counter: usize| Envelope {
        message_id: MessageId { incarnation: 1, counter: counter as u64 },
        program: node.program_digest(),
        fills: vec![Fill { port: 10, value: Value::Bytes(vec![7; byte_count].into()) }],
        ..Envelope::default()
    };
    (0..2 * WINDOW).map(|counter| message(counter).encode()).collect()
}

fn event(node: &mut Node, bytes: &[u8]) {
    node.deliver_event("Take", "x", bytes).expect("it is taken");
    run(node);
}

/// Many events, and then one step that tells of all.
fn events_at_once(node: &mut Node, bytes: &[u8]) {
    for _ in 0..AT_ONCE {
        node.deliver_event("Take", "x", bytes).expect("it is taken");
    }
    let steps = black_box(node.step(Time::ZERO));
    let told = steps.iter().filter(|step| matches!(step, EngineStep::AppEvent { .. })).count();
    assert_eq!(told, AT_ONCE);
}

fn message(node: &mut Node, bytes: &[u8]) {
    node.deliver_inbound(PeerId::from_u64(2), bytes).expect("it is taken");
    run(node);
}

/// A step, which tells of one value.
fn run(node: &mut Node) {
    let steps = black_box(node.step(Time::ZERO));
    assert!(matches!(steps[0], EngineStep::AppEvent { .. }));
}

/// So many executions begin, and then they run.
fn in_flight(node: &mut Node, bytes: &[u8]) {
    for _ in 0..IN_FLIGHT {
        black_box(node.invoke("Take", &[("x", bytes)]).expect("it is taken"));
    }
    while !black_box(node.step(Time::ZERO)).is_empty() {}
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("events");
    for byte_count in EVENTS {
        let bytes = Value::Bytes(vec![7; byte_count].into()).encode();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(byte_count), |b| {
            let mut node = node();
            b.iter(|| event(&mut node, &bytes));
        });
    }
    group.finish();
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelopes");
    for byte_count in MESSAGES {
        let mut node = node();
        let messages = messages(&node, byte_count);
        let mut turn = messages.iter().cycle();
        group.throughput(Throughput::Bytes(messages[0].len() as u64));
        group.bench_function(BenchmarkId::from_parameter(byte_count), |b| {
            b.iter(|| message(&mut node, turn.next().expect("there is always one more")));
        });
    }
    group.finish();
}

fn ratios(_: &mut Criterion) {
    let mut node = node();
    for byte_count in EVENTS {
        let bytes = Value::Bytes(vec![7; byte_count].into()).encode();
        let [took, copy] =
            compare(byte_count, || event(&mut node, &bytes), || drop(black_box(bytes.to_vec())));
        report("event", bytes.len(), took, copy);
    }
    let bytes = Value::Bytes(vec![7; EVENTS[0]].into()).encode();
    let [took, copy] = compare(
        1 << 16,
        || events_at_once(&mut node, &bytes),
        || {
            for _ in 0..AT_ONCE {
                drop(black_box(bytes.to_vec()));
            }
        },
    );
    println!("{AT_ONCE} of them in a step:");
    report("event", bytes.len(), took / AT_ONCE as u32, copy / AT_ONCE as u32);
    for byte_count in MESSAGES {
        let messages = messages(&node, byte_count);
        let (mut turn, mut again) = (messages.iter().cycle(), messages.iter().cycle());
        let mut next = || turn.next().expect("there is always one more");
        let copy = || drop(black_box(again.next().expect("there is always one more").to_vec()));
        let [took, copy] = compare(byte_count, || message(&mut node, next()), copy);
        report("message", messages[0].len(), took, copy);
    }
    let bytes = Value::I64(7).encode();
    let [many, one] = compare(
        1 << 20,
        || in_flight(&mut node, &bytes),
        || {
            for _ in 0..IN_FLIGHT {
                drop(black_box(bytes.to_vec()));
            }
        },
    );
    let each = many.as_secs_f64() * 1e9 / IN_FLIGHT as f64;
    println!("{IN_FLIGHT} in flight: {each:.0} ns each, {:.1} x a copy of their bytes", ratio(many, one));
    let mut cx = Context::from_waker(Waker::noop());
    let [idle, copy] = compare(
        1 << 20,
        || {
            for _ in 0..IN_FLIGHT {
                assert!(matches!(black_box(node.poll(&mut cx)), Poll::Pending));
            }
        },
        || {
            for _ in 0..IN_FLIGHT {
                black_box(now());
            }
        },
    );
    let each = idle.as_secs_f64() * 1e9 / IN_FLIGHT as f64;
    println!("an idle poll: {each:.0} ns, {:.2} x reading the clock, which it does", ratio(idle, copy));
}

fn report(what: &str, byte_count: usize, took: Duration, copy: Duration) {
    println!(
        "{what} of {byte_count:>7} bytes: {:8.0} ns, {:5.2} M/s, {:6.2} GB/s; {:5.2} of the speed of a copy",
        took.as_secs_f64() * 1e9,
        1e-6 / took.as_secs_f64(),
        byte_count as f64 / took.as_secs_f64() / 1e9,
        ratio(copy, took),
    );
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// The means of one run of each, in the best of ten batches that take turns; the larger `size`, the fewer runs.
fn compare(size: usize, mut run: impl FnMut(), mut plain: impl FnMut()) -> [Duration; 2] {
    let rounds = (1 << 28 >> 10).min((1 << 28) / (size + 1_024)) as u32;
    let batch = |run: &mut dyn FnMut()| {
        let begin = now();
        (0..rounds).for_each(|_| run());
        begin.elapsed() / rounds
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..10 {
        best[0] = best[0].min(batch(&mut run));
        best[1] = best[1].min(batch(&mut plain));
    }
    best
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, events, envelopes, ratios);
criterion_main!(benches);
