//! Prepared graphs against plain loops over the same kernels, in one process: overheads an op, and a training step.

#![expect(clippy::expect_used, reason = "a benchmark stops where it cannot go on")]

use std::hint::black_box;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use bb_runtime::{Backend, BackendGraph, Component, Executable, Outputs, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array1, Array2, Axis, linalg::general_mat_mul};

const BATCH: usize = 32;
const WIDTH: usize = 64;
const CLASSES: usize = 10;
const RATE: f32 = 0.05;

fn node(op: &str, inputs: &[&str], outputs: &[&str], ints: &[(&str, i64)]) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        attribute: ints
            .iter()
            .map(|(name, value)| AttributeProto {
                name: Some((*name).to_owned()),
                i: Some(*value),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn prepare(
    nodes: Vec<NodeProto>,
    inputs: &[&str],
    outputs: &[&str],
    constants: Vec<TensorProto>,
) -> Box<dyn Executable> {
    let value = |name: &&str| ValueInfoProto { name: Some((*name).to_owned()), ..Default::default() };
    let graph = GraphProto {
        node: nodes,
        input: inputs.iter().map(value).collect(),
        output: outputs.iter().map(value).collect(),
        initializer: constants,
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(21) };
    let backend = CpuBackend::new(&CpuConfig::default()).expect("a backend");
    backend.prepare(&BackendGraph::new(graph, &[opset])).expect("a prepared graph")
}

fn chain(length: usize) -> Box<dyn Executable> {
    let names: Vec<String> = (0..=length).map(|at| format!("v{at}")).collect();
    let nodes = (0..length).map(|at| node("Add", &[&names[at], "one"], &[&names[at + 1]], &[])).collect();
    prepare(nodes, &["v0", "one"], &[&names[length]], Vec::new())
}

/// A chain that element-wise fusion leaves alone.
fn unfused_chain(length: usize) -> Box<dyn Executable> {
    let names: Vec<String> = (0..=length).map(|at| format!("v{at}")).collect();
    let nodes = (0..length).map(|at| node("Transpose", &[&names[at]], &[&names[at + 1]], &[])).collect();
    prepare(nodes, &["v0"], &[&names[length]], Vec::new())
}

fn overhead(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overhead");
    let inputs = [Tensor::scalar(1.0_f32), Tensor::scalar(2.0_f32)];
    for length in [1, 100] {
        let mut graph = chain(length);
        let mut outputs = Outputs::new();
        group.bench_function(format!("{length} adds of one element"), |bencher| {
            bencher.iter(|| graph.run_into(black_box(&inputs), &mut outputs).expect("a sum"));
        });
    }
    let mut graph = unfused_chain(100);
    let mut outputs = Outputs::new();
    group.bench_function("100 transpositions of one element", |bencher| {
        bencher.iter(|| graph.run_into(black_box(&inputs[..1]), &mut outputs).expect("the element"));
    });
    group.finish();
}

fn numbers(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 % 1000) as f32 / 500.0 - 1.0) * scale).collect()
}

/// Gemm, Relu, Gemm, loss, gradients and the SGD update of all four parameters, as one graph.
fn training_step() -> Box<dyn Executable> {
    let nodes = vec![
        node("Gemm", &["x", "w1", "b1"], &["h"], &[]),
        node("Relu", &["h"], &["a"], &[]),
        node("Gemm", &["a", "w2", "b2"], &["s"], &[]),
        node("SoftmaxCrossEntropyLoss", &["s", "y"], &["loss", "log"], &[]),
        node("Exp", &["log"], &["p"], &[]),
        node("OneHot", &["y", "classes", "off_on"], &["t"], &[]),
        node("Sub", &["p", "t"], &["d0"], &[]),
        node("Mul", &["d0", "scale"], &["ds"], &[]),
        node("Gemm", &["a", "ds"], &["gw2"], &[("transA", 1)]),
        node("ReduceSum", &["ds", "rows"], &["gb2"], &[("keepdims", 0)]),
        node("Gemm", &["ds", "w2"], &["da"], &[("transB", 1)]),
        node("Greater", &["h", "zero"], &["on"], &[]),
        node("Where", &["on", "da", "zero"], &["dh"], &[]),
        node("Gemm", &["x", "dh"], &["gw1"], &[("transA", 1)]),
        node("ReduceSum", &["dh", "rows"], &["gb1"], &[("keepdims", 0)]),
        node("Mul", &["gw1", "rate"], &["uw1"], &[]),
        node("Sub", &["w1", "uw1"], &["w1n"], &[]),
        node("Mul", &["gb1", "rate"], &["ub1"], &[]),
        node("Sub", &["b1", "ub1"], &["b1n"], &[]),
        node("Mul", &["gw2", "rate"], &["uw2"], &[]),
        node("Sub", &["w2", "uw2"], &["w2n"], &[]),
        node("Mul", &["gb2", "rate"], &["ub2"], &[]),
        node("Sub", &["b2", "ub2"], &["b2n"], &[]),
    ];
    let constants = vec![
        Tensor::scalar(CLASSES as i64).to_onnx("classes"),
        Tensor::from_slice([2], &[0.0_f32, 1.0]).expect("two").to_onnx("off_on"),
        Tensor::scalar(1.0 / BATCH as f32).to_onnx("scale"),
        Tensor::from_slice([1], &[0_i64]).expect("one").to_onnx("rows"),
        Tensor::scalar(0.0_f32).to_onnx("zero"),
        Tensor::scalar(RATE).to_onnx("rate"),
    ];
    prepare(nodes, &["x", "y", "w1", "b1", "w2", "b2"], &["w1n", "b1n", "w2n", "b2n", "loss"], constants)
}

/// The same step by hand.
struct Plain {
    w1: Array2<f32>,
    b1: Array1<f32>,
    w2: Array2<f32>,
    b2: Array1<f32>,
    h: Array2<f32>,
    a: Array2<f32>,
    s: Array2<f32>,
    da: Array2<f32>,
    gw1: Array2<f32>,
    gw2: Array2<f32>,
}

impl Plain {
    fn step(&mut self, x: &Array2<f32>, y: &[i64]) -> f32 {
        self.h.assign(&self.b1);
        general_mat_mul(1.0, x, &self.w1, 1.0, &mut self.h);
        self.a.zip_mut_with(&self.h, |a, &h| *a = h.max(0.0));
        self.s.assign(&self.b2);
        general_mat_mul(1.0, &self.a, &self.w2, 1.0, &mut self.s);
        let mut loss = 0.0;
        for (mut row, &class) in self.s.rows_mut().into_iter().zip(y) {
            let most = row.fold(f32::MIN, |most, &x| most.max(x));
            row.mapv_inplace(|x| (x - most).exp());
            let sum = row.sum();
            row.mapv_inplace(|x| x / sum);
            loss -= row[class as usize].ln();
            row[class as usize] -= 1.0;
            row.mapv_inplace(|x| x / BATCH as f32);
        }
        general_mat_mul(1.0, &self.a.t(), &self.s, 0.0, &mut self.gw2);
        let gb2 = self.s.sum_axis(Axis(0));
        general_mat_mul(1.0, &self.s, &self.w2.t(), 0.0, &mut self.da);
        self.da.zip_mut_with(&self.h, |d, &h| *d = if h > 0.0 { *d } else { 0.0 });
        general_mat_mul(1.0, &x.t(), &self.da, 0.0, &mut self.gw1);
        let gb1 = self.da.sum_axis(Axis(0));
        self.w1.scaled_add(-RATE, &self.gw1);
        self.w2.scaled_add(-RATE, &self.gw2);
        self.b1.scaled_add(-RATE, &gb1);
        self.b2.scaled_add(-RATE, &gb2);
        loss / BATCH as f32
    }
}

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mlp 64-64-10, batch 32, one SGD step");
    let x = numbers(BATCH * WIDTH, 1.0);
    let y: Vec<i64> = (0..BATCH).map(|row| (row % CLASSES) as i64).collect();
    let (w1, w2) = (numbers(WIDTH * WIDTH, 0.1), numbers(WIDTH * CLASSES, 0.1));
    let tensor = |shape: &[usize], elements: &[f32]| Tensor::from_slice(shape, elements).expect("a tensor");
    let matrix = |rows, columns, elements: Vec<f32>| {
        Array2::from_shape_vec((rows, columns), elements).expect("a matrix")
    };

    let mut graph = training_step();
    let mut inputs = vec![
        tensor(&[BATCH, WIDTH], &x),
        Tensor::from_slice([BATCH], &y).expect("labels"),
        tensor(&[WIDTH, WIDTH], &w1),
        tensor(&[WIDTH], &[0.0; WIDTH]),
        tensor(&[WIDTH, CLASSES], &w2),
        tensor(&[CLASSES], &[0.0; CLASSES]),
    ];
    let mut outputs = Outputs::new();
    let mut losses = (0.0, 0.0);
    group.bench_function("prepared graph", |bencher| {
        bencher.iter(|| {
            graph.run_into(&inputs, &mut outputs).expect("a step");
            for (input, output) in inputs[2..].iter_mut().zip(&mut outputs) {
                std::mem::swap(input, output);
            }
        });
    });
    graph.run_into(&inputs, &mut outputs).expect("a step");
    losses.0 = outputs[4].as_slice::<f32>().expect("a loss")[0];

    let mut plain = Plain {
        w1: matrix(WIDTH, WIDTH, w1),
        b1: Array1::zeros(WIDTH),
        w2: matrix(WIDTH, CLASSES, w2),
        b2: Array1::zeros(CLASSES),
        h: Array2::zeros((BATCH, WIDTH)),
        a: Array2::zeros((BATCH, WIDTH)),
        s: Array2::zeros((BATCH, CLASSES)),
        da: Array2::zeros((BATCH, WIDTH)),
        gw1: Array2::zeros((WIDTH, WIDTH)),
        gw2: Array2::zeros((WIDTH, CLASSES)),
    };
    let x = matrix(BATCH, WIDTH, x);
    group.bench_function("plain loop", |bencher| bencher.iter(|| losses.1 = plain.step(&x, &y)));
    group.finish();
}

criterion_group!(benches, overhead, training);
criterion_main!(benches);
