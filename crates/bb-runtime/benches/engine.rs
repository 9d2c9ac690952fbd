//! What the engine adds to a program: chains of ops that only hand a value on, and one invocation.
//!
//! Each figure stands beside a plain loop that moves the same value through a vector in the same process; the
//! ratios are printed at the end, without and with the cost of the invocation that starts the chain.

#![allow(clippy::expect_used, reason = "a benchmark that fails has nothing to report")]
#![allow(clippy::print_stdout, reason = "the ratios are what it prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bb_ir::program::{Graph, NamedValue, Node, Program, Region, RegionKind, Target, domains};
use bb_runtime::{
    CompiledModel, Config, EngineStep, NodeConfig, OpId, PeerId, Time, Value, ValueType, install,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const LENGTHS: [usize; 4] = [10, 100, 1_000, 10_000];

fn chain(c: &mut Criterion) {
    let mut group = c.benchmark_group("chain");
    let bytes = Value::I64(7).encode();
    for length in LENGTHS {
        group.throughput(Throughput::Elements(length as u64));
        group.bench_with_input(BenchmarkId::new("engine", length), &length, |b, &length| {
            let mut node = chain_node(length);
            b.iter(|| run(&mut node, &bytes));
        });
        group.bench_with_input(BenchmarkId::new("plain", length), &length, |b, &length| {
            let mut places: Vec<Option<Value>> = vec![None; length + 1];
            b.iter(|| plain(&mut places));
        });
    }
    group.finish();
}

fn invoke(c: &mut Criterion) {
    let bytes = Value::I64(7).encode();
    c.bench_function("invoke to event, one op", |b| {
        let mut node = chain_node(1);
        b.iter(|| run(&mut node, &bytes));
    });
    c.bench_function("1,000 in flight, each", |b| {
        let mut node = chain_node(1);
        b.iter_custom(|rounds| {
            let begin = now();
            for _ in 0..rounds.div_ceil(1_000) {
                for _ in 0..1_000 {
                    black_box(node.invoke("Chain", &[("x", &bytes)]).expect("it is taken"));
                }
                while !black_box(node.step(Time::ZERO)).is_empty() {}
            }
            (begin.elapsed() / rounds.div_ceil(1_000) as u32 / 1_000) * rounds as u32
        });
    });
}

fn ratios(_: &mut Criterion) {
    let bytes = Value::I64(7).encode();
    let mut empty = chain_node(0);
    let invocation = best_of(200_000, || run(&mut empty, &bytes));
    for length in LENGTHS {
        let mut node = chain_node(length);
        let mut places: Vec<Option<Value>> = vec![None; length + 1];
        let rounds = 2_000_000 / length;
        let whole = best_of(rounds, || run(&mut node, &bytes));
        let plain = best_of(rounds, || plain(&mut places));
        let each = |total: Duration| total.as_secs_f64() * 1e9 / length as f64;
        let op = each(whole.saturating_sub(invocation));
        println!(
            "chain of {length:>6}: {op:6.1} ns an op, {:5.1} x a plain loop ({:.1} ns); with the invocation {:.1} ns",
            op / each(plain),
            each(plain),
            each(whole),
        );
    }
    let mut node = chain_node(1);
    let took = best_of(200_000, || run(&mut node, &bytes));
    println!("invoke to event: {:6.1} ns", took.as_secs_f64() * 1e9);
    let model = chain_of(10);
    let idle =
        |id| install(PeerId::from_u64(id), [], &model, &["Chain"], Config::new()).expect("it installs");
    let first = idle(0);
    let before = resident_bytes();
    let nodes: Vec<_> = (1..10_000).map(idle).collect();
    black_box(first);
    println!("an idle node: {:6} bytes beside the model", (resident_bytes() - before) / nodes.len());
}

/// Bytes of the process in memory; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

fn chain_node(length: usize) -> bb_runtime::Node {
    let limits = NodeConfig::default().with_cycle_op_budget(1_000_000);
    install(PeerId::from_u64(1), [], chain_of(length), &["Chain"], Config::new().node(limits))
        .expect("it installs")
}

/// A program that hands its input `x` through `length` ops to its output `y`.
fn chain_of(length: usize) -> CompiledModel {
    let mut graph = Graph::default();
    let mut value = graph.add_value("x", ValueType::Any);
    graph.inputs.push(value);
    for index in 0..length {
        let next = graph.add_value(format!("v{index}"), ValueType::Any);
        graph.add_node(Node {
            op: OpId::new(domains::SYSCALL, "PassThrough"),
            inputs: vec![Some(value)],
            outputs: vec![Some(next)],
            ..Node::default()
        });
        value = next;
    }
    graph.outputs.push(NamedValue { name: "y".to_owned(), value });
    let regions = vec![Region { kind: RegionKind::Entry, graph }];
    let target = Target { name: "Chain".to_owned(), class: String::new(), regions };
    let program =
        Program { name: "Chain".to_owned(), targets: vec![target], opset: 21, ..Program::default() };
    CompiledModel::new(program, Default::default())
}

/// One invocation, until its event is out.
fn run(node: &mut bb_runtime::Node, bytes: &[u8]) {
    node.invoke("Chain", &[("x", bytes)]).expect("it is taken");
    let steps = black_box(node.step(Time::ZERO));
    assert!(matches!(steps[0], EngineStep::AppEvent { .. }));
}

/// A plain loop that hands a value on.
fn plain(places: &mut [Option<Value>]) {
    places[0] = Some(black_box(Value::I64(7)));
    for index in 1..places.len() {
        places[index] = black_box(places[index - 1].take());
    }
    black_box(&places[places.len() - 1]);
}

/// The mean of one run, in the best of five batches.
fn best_of(rounds: usize, mut run: impl FnMut()) -> Duration {
    let batch = |run: &mut dyn FnMut()| {
        let begin = now();
        (0..rounds).for_each(|_| run());
        begin.elapsed() / rounds as u32
    };
    (0..5).map(|_| batch(&mut run)).min().unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, chain, invoke, ratios);
criterion_main!(benches);
