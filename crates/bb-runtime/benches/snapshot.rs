//! Saving a node and going on from it, beside one copy and one BLAKE3 hash of as many bytes.
//!
//! 64 MiB of a component's state, and address books of 16,383 and 100,000 peers. The ratios and rates are printed at
//! the end.

#![allow(clippy::expect_used, reason = "a benchmark that fails has nothing to report")]
#![allow(clippy::print_stdout, reason = "the ratios are what it prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bb_ir::program::{Binding, Graph, NamedValue, Node as Op, Program, Region, RegionKind, Target, domains};
use bb_runtime::{
    Address, Answer, CompiledModel, Component, ComponentError, ComponentFactory, Config, Node, NodeConfig,
    NodeSnapshot, OpContext, OpId, PeerId, PeerSelector, Role, StateReader, StateWriter, Tensor, TensorMap,
    ValueType, install,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const STATE: usize = 64 << 20;
const BOOKS: [usize; 2] = [16_383, 100_000];

/// A component with a large state.
struct Heavy {
    state: TensorMap,
}

impl Component for Heavy {
    const TYPE_NAME: &'static str = "bench::Heavy";
    /// What it begins with, as a model's weights are: a component that is made anew shares it until it has loaded its own.
    type Config = TensorMap;

    fn new(begin: &TensorMap) -> Result<Self, ComponentError> {
        Ok(Self { state: begin.clone() })
    }

    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.tensors(&self.state);
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        self.state = state.tensors()?;
        Ok(())
    }
}

impl PeerSelector for Heavy {
    fn view(&mut self, _: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(Vec::new()))
    }

    fn sample(&mut self, _: &mut OpContext<'_>, _: usize) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(Vec::new()))
    }
}

bb_runtime::component!(Heavy: PeerSelector);

/// A node with so many bytes of state and so many peers.
fn node(state: usize, peers: usize) -> Node {
    let mut graph = Graph::default();
    let view = graph.add_value("view", ValueType::Peers);
    graph.add_node(Op {
        op: OpId::new(domains::PEER_SELECTOR, "View"),
        outputs: vec![Some(view)],
        slot: Some("peers".to_owned()),
        ..Op::default()
    });
    graph.outputs.push(NamedValue { name: "view".to_owned(), value: view });
    let region = Region { kind: RegionKind::Entry, graph };
    let target = Target { name: "View".to_owned(), class: String::new(), regions: vec![region] };
    let binding = Binding {
        type_name: Heavy::TYPE_NAME.to_owned(),
        role: Some(Role::PeerSelector),
        dependencies: BTreeMap::new(),
    };
    let program = Program {
        name: "View".to_owned(),
        targets: vec![target],
        bindings: [("peers".to_owned(), binding)].into(),
        opset: 21,
        ..Program::default()
    };
    let factories = [(Heavy::TYPE_NAME, ComponentFactory::of::<Heavy>())].into();
    let limits = NodeConfig::default().with_address_book_peers(peers.max(1) + 1);
    let numbers: Vec<f32> = (0..state / 4).map(|index| index as f32).collect();
    let tensor = Tensor::from_slice([numbers.len()], &numbers).expect("there is memory");
    let begin: TensorMap = [("state", tensor)].into_iter().collect();
    let config = Config::new().with("peers", begin).node(limits);
    let compiled = CompiledModel::new(program, factories);
    let mut node = install(PeerId::from_u64(0), [], compiled, &["View"], config).expect("it installs");
    for peer in 1..=peers as u64 {
        let address: Address =
            format!("/ip4/192.0.2.1/udp/{}/quic-v1", peer % 65_535).parse().expect("it is one");
        node.add_peer(PeerId::from_u64(peer), [address]).expect("there is room");
    }
    node
}

fn save(node: &Node) -> bytes::Bytes {
    node.snapshot().expect("it can be saved").encode()
}

fn load(node: &mut Node, bytes: &bytes::Bytes) {
    node.restore(NodeSnapshot::decode(bytes.clone()).expect("it is sound")).expect("it fits");
}

/// What any snapshot of these bytes must do at least.
fn copy_and_hash(bytes: &[u8]) -> blake3::Hash {
    blake3::hash(&black_box(bytes.to_vec()))
}

fn state(c: &mut Criterion) {
    let mut group = c.benchmark_group("64 MiB of state");
    group.sample_size(10).throughput(Throughput::Bytes(STATE as u64));
    let mut node = node(STATE, 0);
    let bytes = save(&node);
    group.bench_function("snapshot and encode", |b| b.iter(|| save(&node)));
    group.bench_function("decode and restore", |b| b.iter(|| load(&mut node, &bytes)));
    group.bench_function("memcpy and BLAKE3", |b| b.iter(|| copy_and_hash(&bytes)));
    group.finish();
}

fn peers(c: &mut Criterion) {
    for count in BOOKS {
        let mut group = c.benchmark_group(format!("{count} peers"));
        group.sample_size(10).throughput(Throughput::Elements(count as u64));
        let mut node = node(4, count);
        let bytes = save(&node);
        group.bench_function("snapshot and encode", |b| b.iter(|| save(&node)));
        group.bench_function("decode and restore", |b| b.iter(|| load(&mut node, &bytes)));
        group.finish();
    }
}

fn ratios(_: &mut Criterion) {
    let mut heavy = node(STATE, 0);
    let bytes = save(&heavy);
    let saving = best(|| drop(black_box(save(&heavy))));
    let loading = best(|| load(&mut heavy, &bytes));
    let plain = best(|| {
        black_box(copy_and_hash(&bytes));
    });
    let rate = |time: Duration| bytes.len() as f64 / time.as_secs_f64() / 1e9;
    for (what, time) in [("snapshot and encode", saving), ("decode and restore", loading)] {
        let ratio = time.as_secs_f64() / plain.as_secs_f64();
        println!(
            "64 MiB: {what} {:.2} GB/s, {ratio:.2} x memcpy and BLAKE3 ({:.2} GB/s)",
            rate(time),
            rate(plain)
        );
    }
    for count in BOOKS {
        let mut node = node(4, count);
        let bytes = save(&node);
        let saving = best(|| drop(black_box(save(&node))));
        let loading = best(|| load(&mut node, &bytes));
        println!(
            "{count} peers, {} bytes: snapshot and encode {saving:.1?}, decode and restore {loading:.1?}",
            bytes.len()
        );
    }
}

/// The best of ten runs.
fn best(mut run: impl FnMut()) -> Duration {
    let once = |run: &mut dyn FnMut()| {
        let begin = now();
        run();
        begin.elapsed()
    };
    (0..10).map(|_| once(&mut run)).min().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, state, peers, ratios);
criterion_main!(benches);
