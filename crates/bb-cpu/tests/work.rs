//! Hostile graphs that would compute for long: a typed error before they begin, never a node that hangs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use bb_runtime::{Backend, BackendError, BackendGraph, Component, DataType, Outputs, Shape, Tensor};
use common::{graph, node, single, with_constants, with_int, with_ints, with_string};

/// Operations that graphs here may take: a fraction of a second, whatever they are.
const LIMIT: u64 = 1 << 20;

fn run_within(limit: u64, graph: &BackendGraph, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
    let config = CpuConfig { work_limit: limit, memory_limit: 64 << 20, ..CpuConfig::default() };
    CpuBackend::new(&config).unwrap().prepare(graph)?.run(inputs)
}

/// Checks that a node is refused for its work, by name.
fn assert_refused(node: NodeProto, inputs: &[Tensor]) {
    let op = node.op_type().to_owned();
    let (names, made) = (node.input.clone(), node.output.clone());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    let error = run_within(LIMIT, &graph(vec![node], &names, &made, 23), inputs).unwrap_err();
    assert!(
        matches!(&error, BackendError::Work { op: refused, limit: LIMIT, .. } if refused.name() == op),
        "{op}: {error}"
    );
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_slice([values.len()], values).unwrap()
}

#[test]
fn windows_over_padding_alone_are_counted_tap_by_tap() {
    let far = i64::from(i32::MAX);
    let window = |op: &str| {
        let node = with_ints(node(op, &["x"], &["y"]), "kernel_shape", &[far, far]);
        with_ints(node, "pads", &[far, far, far, far])
    };
    let image = single(&[1, 1, 2, 2], 1);
    for op in ["AveragePool", "LpPool", "MaxPool"] {
        let window = with_ints(window(op), "strides", &[far, far]);
        assert_refused(window.clone(), std::slice::from_ref(&image));
        let wide = Tensor::from_slice([1, 1, 2, 2], &[1.0_f64; 4]).unwrap();
        assert_refused(window, &[wide]);
    }
}

#[test]
fn products_are_counted_before_they_are_computed() {
    let (a, b) = (single(&[1024, 1024], 1), single(&[1024, 1024], 2));
    for op in ["Gemm", "MatMul"] {
        assert_refused(node(op, &["a", "b"], &["y"]), &[a.clone(), b.clone()]);
    }
    let einsum = with_string(node("Einsum", &["a", "b"], &["y"]), "equation", "ik,kj->ij");
    assert_refused(einsum, &[single(&[256, 256], 1), single(&[256, 256], 2)]);
    let image = single(&[1, 16, 64, 64], 3);
    for (op, weights) in [("Conv", [64, 16, 3, 3]), ("ConvTranspose", [16, 64, 3, 3])] {
        assert_refused(node(op, &["x", "w"], &["y"]), &[image.clone(), single(&weights, 4)]);
    }
    let operands = [1, 2, 3].map(|seed| single(&[1, 1, 512, 16], seed));
    assert_refused(node("Attention", &["q", "k", "v"], &["y"]), &operands);
    let lstm = with_int(node("LSTM", &["x", "w", "r"], &["y"]), "hidden_size", 64);
    let weights = [single(&[1, 256, 8], 5), single(&[1, 256, 64], 6)];
    assert_refused(lstm, &[single(&[256, 4, 8], 4), weights[0].clone(), weights[1].clone()]);
}

#[test]
fn what_compares_pairs_or_sums_over_pairs_is_counted() {
    let signal = single(&[1, 8191, 1], 1);
    assert_refused(with_int(node("DFT", &["x"], &["y"]), "axis", 1), &[signal]);
    let boxes: Vec<f32> = (0..4000).flat_map(|at| [at as f32, 0.0, at as f32 + 0.5, 1.0]).collect();
    let boxes = Tensor::from_slice([1, 4000, 4], &boxes).unwrap();
    let most = ints(&[4000]);
    let suppression = node("NonMaxSuppression", &["b", "s", "m"], &["y"]);
    assert_refused(suppression, &[boxes, single(&[1, 1, 4000], 2), most]);
    assert_refused(node("TopK", &["x", "k"], &["y", "i"]), &[single(&[1 << 17], 3), ints(&[1])]);
    assert_refused(node("Det", &["x"], &["y"]), &[single(&[128, 128], 4)]);
}

#[test]
fn axes_without_elements_are_counted_as_if_they_had_one() {
    let hollow = |extents: &[usize]| Tensor::zeros(DataType::F32, Shape::from(extents)).unwrap();
    let long = 1 << 40;
    assert_refused(
        with_int(node("Concat", &["a", "b"], &["y"]), "axis", 1),
        &[hollow(&[long, 0]), hollow(&[long, 0])],
    );
    assert_refused(node("MatMul", &["a", "b"], &["y"]), &[hollow(&[long, 0, 2]), hollow(&[long, 2, 0])]);
    assert_refused(
        node("GRU", &["x", "w", "r"], &["y"]),
        &[hollow(&[long, 0, 1]), single(&[1, 3, 1], 1), single(&[1, 3, 1], 2)],
    );
}

#[test]
fn memory_that_kernels_take_beside_tensors_is_within_the_limit() {
    let few = CpuConfig { memory_limit: 1 << 20, ..CpuConfig::default() };
    let backend = CpuBackend::new(&few).unwrap();
    let refused = |node: NodeProto, inputs: &[Tensor]| {
        let names: Vec<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = backend.prepare(&graph(vec![node], &names, &["y"], 19)).unwrap().run(inputs).unwrap_err();
        assert!(matches!(error, BackendError::Memory { .. }), "{error}");
    };
    // A result without elements, but with an axis on which each place has a source, taps, or an index.
    let hollow = Tensor::zeros(DataType::F32, [0, 5]).unwrap();
    let scales = Tensor::from_slice([2], &[1.0_f32, 1e6]).unwrap();
    refused(node("Resize", &["x", "", "s"], &["y"]), &[hollow.clone(), scales]);
    let indices = Tensor::zeros(DataType::I64, [1 << 30, 0]).unwrap();
    refused(node("GatherND", &["x", "i"], &["y"]), &[hollow.clone(), indices]);
    let rows = Tensor::zeros(DataType::F32, [1, 1 << 30, 0]).unwrap();
    let weights = [Tensor::zeros(DataType::F32, [1, 4, 0]).unwrap(), single(&[1, 4, 1], 1)];
    refused(node("LSTM", &["x", "w", "r"], &["y"]), &[rows, weights[0].clone(), weights[1].clone()]);
    // None of these is held for a result without elements.
    let pads = ints(&[0, 0, 0, 1 << 34]);
    let padded = backend
        .prepare(&graph(vec![node("Pad", &["x", "p"], &["y"])], &["x", "p"], &["y"], 19))
        .unwrap()
        .run(&[hollow, pads])
        .unwrap();
    assert_eq!(**padded[0].shape(), [0, 5 + (1 << 34)]);
}

/// A loop of so many iterations that computes nothing.
fn idle_loop(iterations: i64) -> BackendGraph {
    let value = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
    let body = GraphProto {
        input: vec![value("at"), value("on"), value("v")],
        output: vec![value("on"), value("v")],
        ..Default::default()
    };
    let mut node = node("Loop", &["count", "", "x"], &["y"]);
    node.attribute.push(AttributeProto {
        name: Some("body".to_owned()),
        g: Some(body),
        ..Default::default()
    });
    with_constants(graph(vec![node], &["count", "x"], &["y"], 21), &[("count", Tensor::scalar(iterations))])
}

#[test]
fn iterations_count_even_if_they_compute_nothing() {
    let x = single(&[4], 1);
    let done = run_within(LIMIT, &idle_loop(100), std::slice::from_ref(&x)).unwrap();
    assert_eq!(done[0], x);
    let error = run_within(LIMIT, &idle_loop(i64::MAX), std::slice::from_ref(&x)).unwrap_err();
    assert!(matches!(&error, BackendError::Work { op, .. } if op.name() == "Loop"), "{error}");
    assert!(error.to_string().contains("work limit"), "{error}");
}

#[test]
fn operands_written_over_in_place_count_once_each() {
    // One large operand and many small ones: nothing new is held, each goes through all of the large one.
    let names: Vec<String> = (0..64).map(|at| format!("s{at}")).collect();
    let inputs: Vec<&str> = std::iter::once("wide").chain(names.iter().map(String::as_str)).collect();
    let nodes = vec![node("Neg", &["x"], &["wide"]), node("Max", &inputs, &["y"])];
    let mut all: Vec<&str> = vec!["x"];
    all.extend(names.iter().map(String::as_str));
    let mut tensors = vec![single(&[1 << 16], 1)];
    tensors.extend((0..64).map(|at| Tensor::scalar(at as f32)));
    let error = run_within(LIMIT, &graph(nodes, &all, &["y"], 21), &tensors).unwrap_err();
    assert!(matches!(&error, BackendError::Work { op, .. } if op.name() == "Max"), "{error}");
}

#[test]
fn each_run_has_the_whole_limit_and_results_do_not_depend_on_it() {
    let product = graph(vec![node("MatMul", &["a", "b"], &["y"])], &["a", "b"], &["y"], 21);
    let inputs = [single(&[64, 64], 1), single(&[64, 64], 2)];
    let free = run_within(u64::MAX, &product, &inputs).unwrap();
    // A call, what is read and written, the product.
    let enough = 64 + 3 * 64 * 64 + 16 + 64 * 64 * 64 / 16;
    let config = CpuConfig { work_limit: enough, ..CpuConfig::default() };
    let mut ready = CpuBackend::new(&config).unwrap().prepare(&product).unwrap();
    for _ in 0..3 {
        assert_eq!(ready.run(&inputs).unwrap(), free);
    }
    let error = run_within(enough - 1, &product, &inputs).unwrap_err();
    assert!(matches!(error, BackendError::Work { .. }), "{error}");
}

#[test]
fn slices_without_order_have_one_all_the_same() {
    let mut numbers: Vec<f32> = (0..64).map(|at| (at * 37 % 64) as f32).collect();
    numbers.iter_mut().step_by(3).for_each(|number| *number = f32::NAN);
    let sorted = common::run(node("Unique", &["x"], &["y"]), &[Tensor::from_slice([64], &numbers).unwrap()]);
    let sorted = sorted.unwrap();
    let finite: Vec<f32> =
        sorted[0].as_slice::<f32>().unwrap().iter().copied().filter(|x| !x.is_nan()).collect();
    assert!(finite.is_sorted() && finite.len() == 42, "{finite:?}");
}

#[test]
fn ranks_that_double_from_node_to_node_have_an_end() {
    let names: Vec<String> = (0..50).map(|at| format!("v{at}")).collect();
    let nodes = names.windows(2).map(|pair| node("Gather", &[&pair[0], &pair[0]], &[&pair[1]])).collect();
    let graph = graph(nodes, &["v0"], &["v49"], 21);
    let error = run_within(u64::MAX, &graph, &[Tensor::zeros(DataType::I64, [1, 1]).unwrap()]).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { reason, .. } if reason.contains("at most 64")), "{error}");
}

#[test]
fn a_constant_without_elements_may_be_long() {
    let proto = TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(DataType::F32.to_onnx()),
        dims: vec![1 << 40, 0],
        ..Default::default()
    };
    let mut held = graph(vec![node("Neg", &["w"], &["y"])], &[], &["y"], 21).graph().clone();
    held.initializer.push(proto);
    let held = BackendGraph::new(held, &[]);
    assert!(matches!(run_within(LIMIT, &held, &[]), Err(BackendError::Work { .. })));
}
