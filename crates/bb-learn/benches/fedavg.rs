//! Federated averaging of 100 updates of a million f32, beside a plain sum of them and a copy of them.
//!
//! The updates are read from memory, not from a cache: together they are 400 MB.

#![expect(clippy::expect_used, reason = "a benchmark stops where it cannot go on")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use bb_learn::aggregators::FedAvg;
use bb_runtime::contracts::Detached;
use bb_runtime::{Aggregator, Meta, PeerId, Tensor, TensorMap};

const CLIENTS: usize = 100;
const NUMBERS: usize = 1_000_000;

fn updates() -> Vec<TensorMap> {
    let update = |client: usize| {
        let numbers: Vec<f32> = (0..NUMBERS).map(|index| ((index * 31 + client) % 1_000) as f32).collect();
        let tensor = Tensor::from_slice([NUMBERS], &numbers).expect("4 MB are there");
        TensorMap::from_iter([("w", tensor)])
    };
    (0..CLIENTS).map(update).collect()
}

fn numbers(update: &TensorMap) -> &[f32] {
    update.find("w").expect("it is called so").as_slice().expect("it is of f32")
}

fn federated_mean(updates: &[TensorMap]) -> TensorMap {
    let mut node = Detached::new(0);
    let mut mean = FedAvg::default();
    let mut cx = node.context();
    mean.begin(&mut cx).expect("a round begins").into_now().expect("at once");
    for (client, update) in updates.iter().enumerate() {
        let (peer, meta) = (PeerId::from_u64(client as u64), Meta { weight: (client + 1) as f64 });
        mean.contribute(&mut cx, peer, update.clone(), meta)
            .expect("the update fits")
            .into_now()
            .expect("at once");
    }
    mean.aggregate(&mut cx).expect("there are updates").into_now().expect("at once")
}

fn plain_sum(updates: &[TensorMap]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; NUMBERS];
    for update in updates {
        for (sum, number) in sum.iter_mut().zip(numbers(update)) {
            *sum += number;
        }
    }
    sum
}

fn copies(updates: &[TensorMap], into: &mut [f32]) {
    for update in updates {
        into.copy_from_slice(numbers(update));
    }
}

fn bench(criterion: &mut Criterion) {
    let updates = updates();
    let mut copy = vec![0.0_f32; NUMBERS];
    let mut group = criterion.benchmark_group("fedavg_100_x_1M_f32");
    group.throughput(Throughput::Bytes((CLIENTS * NUMBERS * 4) as u64)).sample_size(10);
    group.bench_function(BenchmarkId::from_parameter("FedAvg"), |b| b.iter(|| federated_mean(&updates)));
    group.bench_function(BenchmarkId::from_parameter("plain sum"), |b| {
        b.iter(|| black_box(plain_sum(&updates)))
    });
    group.bench_function(BenchmarkId::from_parameter("memcpy"), |b| {
        b.iter(|| copies(black_box(&updates), black_box(&mut copy)));
    });
    group.finish();
    ratios(&updates, &mut copy);
}

/// Prints the ratios, each the best of ten rounds in which all take turns.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn ratios(updates: &[TensorMap], copy: &mut [f32]) {
    let time = |work: &mut dyn FnMut()| {
        let begin = std::time::Instant::now();
        work();
        begin.elapsed().as_secs_f64() * 1e3
    };
    let mut best = [f64::INFINITY; 3];
    for _ in 0..10 {
        let taken = [
            time(&mut || drop(black_box(federated_mean(updates)))),
            time(&mut || drop(black_box(plain_sum(updates)))),
            time(&mut || copies(black_box(updates), black_box(copy))),
        ];
        best.iter_mut().zip(taken).for_each(|(best, taken)| *best = best.min(taken));
    }
    let [mean, sum, memcpy] = best;
    eprintln!(
        "FedAvg {mean:.1} ms, plain sum {sum:.1} ms, memcpy {memcpy:.1} ms: {:.2} x the sum, {:.2} x memcpy",
        mean / sum,
        mean / memcpy
    );
}

criterion_group!(benches, bench);
criterion_main!(benches);
