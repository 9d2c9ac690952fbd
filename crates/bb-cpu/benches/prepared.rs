//! Prepared graphs in one process with plain loops and ndarray: overheads an op, products, convolutions, a small
//! network and its training step, and the ONNX files that `BB_NETWORKS` names.

#![expect(clippy::expect_used, reason = "a benchmark stops where it cannot go on")]

use std::hint::black_box;

#[path = "../tests/common/mod.rs"]
mod common;

use bb_runtime::onnx::{GraphProto, ModelProto, type_proto};
use bb_runtime::{BackendGraph, Executable, Outputs, Tensor};
use common::{
    BATCH, CLASSES, HIDDEN, RATE, WIDTH, graph, node, numbers, prepare, single, training_step,
    with_constants, with_ints,
};
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array1, Array2, Axis, linalg::general_mat_mul};
use prost::Message;

fn ready(graph: &BackendGraph) -> Box<dyn Executable> {
    prepare(graph).expect("a prepared graph")
}

/// Ops one after the other, of which fusion makes one if they are element-wise.
fn chain(op: &str, length: usize) -> Box<dyn Executable> {
    let names: Vec<String> = (0..=length).map(|at| format!("v{at}")).collect();
    let binary = op == "Add";
    let nodes = (0..length).map(|at| {
        let inputs = if binary { vec![names[at].as_str(), "one"] } else { vec![names[at].as_str()] };
        node(op, &inputs, &[&names[at + 1]])
    });
    let inputs = if binary { vec!["v0", "one"] } else { vec!["v0"] };
    ready(&graph(nodes.collect(), &inputs, &[&names[length]], 21))
}

fn overhead(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overhead");
    let inputs = [Tensor::scalar(1.0_f32), Tensor::scalar(2.0_f32)];
    for (op, length, inputs) in
        [("Add", 1, &inputs[..]), ("Add", 100, &inputs[..]), ("Transpose", 100, &inputs[..1])]
    {
        let mut graph = chain(op, length);
        let mut outputs = Outputs::new();
        group.bench_function(format!("{length} {op} of one element"), |bencher| {
            bencher.iter(|| graph.run_into(black_box(inputs), &mut outputs).expect("a result"));
        });
    }
    group.finish();
}

/// Products and convolutions, with what a product of the same size costs through ndarray.
fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    group.sample_size(20);
    for size in [512, 1024] {
        let inputs = [single(&[size, size], 1), single(&[size, size], 2)];
        let mut product = ready(&graph(vec![node("MatMul", &["a", "b"], &["y"])], &["a", "b"], &["y"], 21));
        let mut outputs = Outputs::new();
        group.bench_function(format!("product {size}"), |bencher| {
            bencher.iter(|| product.run_into(black_box(&inputs), &mut outputs).expect("a product"));
        });
        let matrix =
            |seed| Array2::from_shape_vec((size, size), numbers(size * size, seed)).expect("a matrix");
        let (a, b, mut to) = (matrix(1), matrix(2), Array2::zeros((size, size)));
        group.bench_function(format!("product {size} by ndarray"), |bencher| {
            bencher.iter(|| general_mat_mul(1.0, black_box(&a), &b, 0.0, &mut to));
        });
    }
    for (channels, filters, size, kernel) in [
        (64, 64, 56, 3),
        (128, 128, 28, 3),
        (256, 256, 14, 3),
        (512, 512, 7, 3),
        (64, 256, 56, 1),
        (256, 64, 56, 1),
        (512, 2048, 7, 1),
    ] {
        let pads = [kernel as i64 / 2; 4];
        let conv =
            graph(vec![with_ints(node("Conv", &["x", "w"], &["y"]), "pads", &pads)], &["x", "w"], &["y"], 21);
        let mut conv =
            ready(&with_constants(conv, &[("w", single(&[filters, channels, kernel, kernel], 1))]));
        let inputs = [single(&[1, channels, size, size], 2)];
        let mut outputs = Outputs::new();
        group.bench_function(
            format!("convolution {channels} to {filters}, {size}² by {kernel}²"),
            |bencher| {
                bencher.iter(|| conv.run_into(black_box(&inputs), &mut outputs).expect("an image"));
            },
        );
    }
    group.finish();
}

/// Ones of the shape that a graph's input declares.
fn declared(graph: &GraphProto) -> Vec<Tensor> {
    let is_constant = |name: &str| graph.initializer.iter().any(|held| held.name() == name);
    let inputs = graph.input.iter().filter(|input| !is_constant(input.name()));
    let extents = inputs.map(|input| match input.r#type.as_ref().and_then(|held| held.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => {
            let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
            dims.map(|dim| match dim.value {
                Some(bb_runtime::onnx::tensor_shape_proto::dimension::Value::DimValue(extent)) => {
                    extent as usize
                }
                _ => 1,
            })
            .collect::<Vec<_>>()
        }
        _ => Vec::new(),
    });
    extents.enumerate().map(|(seed, extents)| single(&extents, seed)).collect()
}

/// The ONNX files that `BB_NETWORKS` names, separated by colons.
fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("networks");
    group.sample_size(10);
    for path in std::env::var("BB_NETWORKS").iter().flat_map(|paths| paths.split(':')) {
        let bytes = std::fs::read(path).expect("a file");
        let model = ModelProto::decode(bytes.as_slice()).expect("a model");
        let graph = BackendGraph::from_model(&model).expect("a graph");
        let inputs = declared(graph.graph());
        let mut network = ready(&graph);
        let mut outputs = Outputs::new();
        group.bench_function(path.rsplit('/').next().unwrap_or(path), |bencher| {
            bencher.iter(|| network.run_into(black_box(&inputs), &mut outputs).expect("a result"));
        });
    }
    group.finish();
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

fn mlp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mlp 64-128-10, batch 32");
    let y: Vec<i64> = (0..BATCH).map(|row| (row % CLASSES) as i64).collect();
    let scaled = |shape: &[usize], seed: usize| {
        let elements: Vec<f32> =
            single(shape, seed).as_slice::<f32>().expect("numbers").iter().map(|x| x * 0.1).collect();
        Tensor::from_slice(shape, &elements).expect("a tensor")
    };
    let parameters = [
        scaled(&[WIDTH, HIDDEN], 2),
        scaled(&[HIDDEN], 3),
        scaled(&[HIDDEN, CLASSES], 4),
        scaled(&[CLASSES], 5),
    ];
    let x = single(&[BATCH, WIDTH], 1);

    let nodes = vec![
        node("Gemm", &["x", "w1", "b1"], &["h"]),
        node("Relu", &["h"], &["a"]),
        node("Gemm", &["a", "w2", "b2"], &["s"]),
    ];
    let names = ["w1", "b1", "w2", "b2"];
    let constants: Vec<(&str, Tensor)> = names.into_iter().zip(parameters.clone()).collect();
    let mut inference = ready(&with_constants(graph(nodes, &["x"], &["s"], 21), &constants));
    let mut outputs = Outputs::new();
    let input = [x.clone()];
    group.bench_function("inference", |bencher| {
        bencher.iter(|| inference.run_into(black_box(&input), &mut outputs).expect("scores"));
    });

    let mut step = ready(&training_step());
    let mut inputs = vec![x.clone(), Tensor::from_slice([BATCH], &y).expect("labels")];
    inputs.extend(parameters.iter().cloned());
    let mut outputs = Outputs::new();
    group.bench_function("an SGD step", |bencher| {
        bencher.iter(|| {
            step.run_into(&inputs, &mut outputs).expect("a step");
            for (input, output) in inputs[2..].iter_mut().zip(&mut outputs) {
                std::mem::swap(input, output);
            }
        });
    });

    let matrix = |tensor: &Tensor| {
        let elements = tensor.as_slice::<f32>().expect("numbers").to_vec();
        Array2::from_shape_vec((tensor.shape()[0], elements.len() / tensor.shape()[0]), elements)
            .expect("a matrix")
    };
    let vector = |tensor: &Tensor| Array1::from_vec(tensor.as_slice::<f32>().expect("numbers").to_vec());
    let mut plain = Plain {
        w1: matrix(&parameters[0]),
        b1: vector(&parameters[1]),
        w2: matrix(&parameters[2]),
        b2: vector(&parameters[3]),
        h: Array2::zeros((BATCH, HIDDEN)),
        a: Array2::zeros((BATCH, HIDDEN)),
        s: Array2::zeros((BATCH, CLASSES)),
        da: Array2::zeros((BATCH, HIDDEN)),
        gw1: Array2::zeros((WIDTH, HIDDEN)),
        gw2: Array2::zeros((HIDDEN, CLASSES)),
    };
    let x = matrix(&x);
    group.bench_function("an SGD step in plain loops", |bencher| {
        bencher.iter(|| black_box(plain.step(&x, &y)))
    });
    group.finish();
}

criterion_group!(benches, overhead, kernels, mlp, networks);
criterion_main!(benches);
