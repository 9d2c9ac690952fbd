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
