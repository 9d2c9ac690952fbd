//! Graphs of a few nodes, made and run in one line.

#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
#![allow(dead_code, reason = "not every test file uses every helper")]

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use bb_runtime::{Backend, BackendError, BackendGraph, Component, Executable, Outputs, Tensor};

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    }
}

pub(crate) fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto { name: Some(name.to_owned()), i: Some(value), ..Default::default() });
    node
}

pub(crate) fn with_ints(mut node: NodeProto, name: &str, values: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        ints: values.to_vec(),
        ..Default::default()
    });
    node
}

pub(crate) fn with_float(mut node: NodeProto, name: &str, value: f32) -> NodeProto {
    node.attribute.push(AttributeProto { name: Some(name.to_owned()), f: Some(value), ..Default::default() });
    node
}

pub(crate) fn with_string(mut node: NodeProto, name: &str, value: &str) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    });
    node
}

pub(crate) fn graph(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str], opset: i64) -> BackendGraph {
    let value = |name: &&str| ValueInfoProto { name: Some((*name).to_owned()), ..Default::default() };
    let graph = GraphProto {
        node: nodes,
        input: inputs.iter().map(value).collect(),
        output: outputs.iter().map(value).collect(),
        ..Default::default()
    };
    BackendGraph::new(graph, &[OperatorSetIdProto { domain: None, version: Some(opset) }])
}

/// Rows, features, hidden units and classes of [`training_step`], and its rate of learning.
pub(crate) const BATCH: usize = 32;
pub(crate) const WIDTH: usize = 64;
pub(crate) const HIDDEN: usize = 128;
pub(crate) const CLASSES: usize = 10;
pub(crate) const RATE: f32 = 0.05;

/// Gemm, Relu, Gemm, loss, gradients and the SGD update of all four parameters, as one graph.
///
/// Inputs are `x`, `y`, `w1`, `b1`, `w2`, `b2`; outputs the new parameters, then the loss.
pub(crate) fn training_step() -> BackendGraph {
    let nodes = vec![
        node("Gemm", &["x", "w1", "b1"], &["h"]),
        node("Relu", &["h"], &["a"]),
        node("Gemm", &["a", "w2", "b2"], &["s"]),
        node("SoftmaxCrossEntropyLoss", &["s", "y"], &["loss", "log"]),
        node("Exp", &["log"], &["p"]),
        node("OneHot", &["y", "classes", "off_on"], &["t"]),
        node("Sub", &["p", "t"], &["d0"]),
        node("Mul", &["d0", "scale"], &["ds"]),
        with_int(node("Gemm", &["a", "ds"], &["gw2"]), "transA", 1),
        with_int(node("ReduceSum", &["ds", "rows"], &["gb2"]), "keepdims", 0),
        with_int(node("Gemm", &["ds", "w2"], &["da"]), "transB", 1),
        node("Greater", &["h", "zero"], &["on"]),
        node("Where", &["on", "da", "zero"], &["dh"]),
        with_int(node("Gemm", &["x", "dh"], &["gw1"]), "transA", 1),
        with_int(node("ReduceSum", &["dh", "rows"], &["gb1"]), "keepdims", 0),
        node("Mul", &["gw1", "rate"], &["uw1"]),
        node("Sub", &["w1", "uw1"], &["w1n"]),
        node("Mul", &["gb1", "rate"], &["ub1"]),
        node("Sub", &["b1", "ub1"], &["b1n"]),
        node("Mul", &["gw2", "rate"], &["uw2"]),
        node("Sub", &["w2", "uw2"], &["w2n"]),
        node("Mul", &["gb2", "rate"], &["ub2"]),
        node("Sub", &["b2", "ub2"], &["b2n"]),
    ];
    let constants = [
        ("classes", Tensor::scalar(CLASSES as i64)),
        ("off_on", Tensor::from_slice([2], &[0.0_f32, 1.0]).unwrap()),
        ("scale", Tensor::scalar(1.0 / BATCH as f32)),
        ("rows", Tensor::from_slice([1], &[0_i64]).unwrap()),
        ("zero", Tensor::scalar(0.0_f32)),
        ("rate", Tensor::scalar(RATE)),
    ];
    let inputs = ["x", "y", "w1", "b1", "w2", "b2"];
    with_constants(graph(nodes, &inputs, &["w1n", "b1n", "w2n", "b2n", "loss"], 21), &constants)
}

/// A graph with these values as initializers.
pub(crate) fn with_constants(of: BackendGraph, constants: &[(&str, Tensor)]) -> BackendGraph {
    let mut proto = of.graph().clone();
    proto.input.retain(|input| constants.iter().all(|(name, _)| input.name() != *name));
    proto.initializer.extend(constants.iter().map(|(name, tensor)| tensor.to_onnx(name)));
    let opsets: Vec<OperatorSetIdProto> = of
        .opsets()
        .iter()
        .map(|(domain, version)| OperatorSetIdProto { domain: Some(domain.clone()), version: Some(*version) })
        .collect();
    BackendGraph::new(proto, &opsets)
}

/// Numbers between -1 and 1 that look like chance.
pub(crate) fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
}

/// A tensor of [`numbers`].
pub(crate) fn single(shape: &[usize], seed: usize) -> Tensor {
    Tensor::from_slice(shape, &numbers(shape.iter().product(), seed)).unwrap()
}

pub(crate) fn prepare(graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
    CpuBackend::new(&CpuConfig::default()).unwrap().prepare(graph)
}

/// Runs one node twice on the same inputs; both runs must agree.
pub(crate) fn run(node: NodeProto, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
    let names: Vec<String> = node.input.clone();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs: Vec<String> = node.output.clone();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut ready = prepare(&graph(vec![node], &names, &outputs, 22))?;
    let first = ready.run(inputs)?;
    let mut second =
        first.iter().map(|tensor| Tensor::zeros(tensor.dtype(), tensor.shape().clone()).unwrap()).collect();
    ready.run_into(inputs, &mut second)?;
    assert_eq!(first, second);
    Ok(first)
}
