//! What the engine adds to a program: chains of ops that only hand a value on, and one invocation.
//!
//! Each figure stands beside a plain loop that moves the same value through a vector in the same process; the
//! ratios are printed at the end.

#[path = "../tests/node/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bb_runtime::{Config, EngineStep, NodeConfig, Time, Value};
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
    for length in LENGTHS {
        let mut node = chain_node(length);
        let mut places: Vec<Option<Value>> = vec![None; length + 1];
        let rounds = 2_000_000 / length;
        let engine = best_of(rounds, || run(&mut node, &bytes));
        let plain = best_of(rounds, || plain(&mut places));
        let each = |total: Duration| total.as_secs_f64() * 1e9 / length as f64;
        println!(
            "chain of {length:>6}: {:6.1} ns an op, {:5.1} x a plain loop ({:.1} ns)",
            each(engine),
            each(engine) / each(plain),
            each(plain)
        );
    }
    let mut node = chain_node(1);
    let took = best_of(200_000, || run(&mut node, &bytes));
    println!("invoke to event: {:6.1} ns", took.as_secs_f64() * 1e9);
}

fn chain_node(length: usize) -> bb_runtime::Node {
    let limits = NodeConfig::default().with_cycle_op_budget(1_000_000);
    common::node_with(1, &common::chain(length), "Chain", Config::new().node(limits))
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
