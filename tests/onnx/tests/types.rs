//! What bb-cpu refuses because of an element type it refuses when a graph that declares its types is prepared.
//!
//! A case of each op is given in every type: a graph that declares it must be refused exactly where one that does not
//! fails for its type when it runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::archive::{self, Case};
use bb_runtime::onnx::type_proto::{self, Value as TypeValue};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto,
    ValueInfoProto,
};
use bb_runtime::{Backend, BackendError, BackendGraph, Component, DataType, Tensor, TensorError};
use prost::Message;

fn backend() -> CpuBackend {
    CpuBackend::new(&CpuConfig::default()).unwrap()
}

/// A case of one node, all of whose inputs are tensors: its graph and what it is given.
fn single(case: &Case) -> Option<(GraphProto, Vec<OperatorSetIdProto>, Vec<Tensor>)> {
    let model = ModelProto::decode(case.model.as_slice()).ok()?;
    let mut graph = model.graph?;
    let set = case.sets.values().next()?;
    let [node] = graph.node.as_slice() else { return None };
    if node.attribute.iter().any(|attribute| attribute.g.is_some()) || !graph.initializer.is_empty() {
        return None;
    }
    let mut given = Vec::new();
    for (at, input) in graph.input.iter().enumerate() {
        if !matches!(input.r#type.as_ref()?.value.as_ref()?, TypeValue::TensorType(_)) {
            return None;
        }
        let proto = TensorProto::decode(set.inputs.get(&at)?.as_slice()).ok()?;
        given.push(Tensor::from_onnx(&proto).ok()?);
    }
    for output in &mut graph.output {
        output.r#type = None;
    }
    Some((graph, model.opset_import, given))
}

fn cast(tensor: &Tensor, to: DataType) -> Option<Tensor> {
    let value = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
    let node = NodeProto {
        op_type: Some("Cast".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        attribute: vec![AttributeProto {
            name: Some("to".to_owned()),
            i: Some(i64::from(to.to_onnx())),
            ..Default::default()
        }],
        ..Default::default()
    };
    let graph = GraphProto {
        node: vec![node],
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(22) };
    let mut ready = backend().prepare(&BackendGraph::new(graph, &[opset])).ok()?;
    Some(ready.run(std::slice::from_ref(tensor)).ok()?[0].clone())
}

fn declared(graph: &GraphProto, given: Option<&[Tensor]>) -> GraphProto {
    let mut graph = graph.clone();
    for (at, input) in graph.input.iter_mut().enumerate() {
        input.r#type = given.map(|given| {
            let elem_type = Some(given[at].dtype().to_onnx());
            let tensor = type_proto::Tensor { elem_type, shape: None };
            TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() }
        });
    }
    graph
}

fn is_of_type(error: &BackendError) -> bool {
    matches!(error, BackendError::Type { .. } | BackendError::Tensor(TensorError::WrongType { .. }))
}

#[test]
fn a_graph_that_declares_a_type_without_a_kernel_is_refused_exactly_where_a_run_would_fail_for_it() {
    let backend = backend();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in archive::cases().unwrap() {
        let Some((graph, opsets, given)) = single(&case) else { continue };
        let op = graph.node[0].op_type().to_owned();
        let count = seen.entry(op.clone()).or_default();
        if *count == 2 {
            continue;
        }
        *count += 1;
        let Some(first) = given.first().map(Tensor::dtype) else { continue };
        for dtype in DataType::ALL {
            let changed: Option<Vec<Tensor>> = given
                .iter()
                .map(
                    |tensor| if tensor.dtype() == first { cast(tensor, dtype) } else { Some(tensor.clone()) },
                )
                .collect();
            let Some(changed) = changed else { continue };
            let untyped = BackendGraph::new(declared(&graph, None), &opsets);
            let Ok(mut ready) = backend.prepare(&untyped) else { continue };
            let late = ready.run(&changed).err();
            let typed = BackendGraph::new(declared(&graph, Some(&changed)), &opsets);
            let early = backend.prepare(&typed).err();
            if late.as_ref().is_some_and(is_of_type) != early.as_ref().is_some_and(is_of_type) {
                wrong.push(format!("{} ({op}) in {dtype}: prepared: {early:?}; run: {late:?}", case.name));
            }
        }
    }
    assert!(seen.len() > 140, "only {} ops were tried", seen.len());
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_type_that_follows_from_what_is_declared_is_refused_with_op_node_and_type() {
    let value = |name: &str, code: Option<i32>| {
        let tensor = |elem_type| type_proto::Tensor { elem_type: Some(elem_type), shape: None };
        let ty = |code| TypeProto { value: Some(TypeValue::TensorType(tensor(code))), ..Default::default() };
        ValueInfoProto { name: Some(name.to_owned()), r#type: code.map(ty), ..Default::default() }
    };
    let node = |op: &str, input: &[&str], output: &str| NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("make {output}")),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let graph = GraphProto {
        node: vec![
            node("Transpose", &["x"], "turned"),
            node("Greater", &["turned", "turned"], "flags"),
            node("Expand", &["flags", "shape"], "wide"),
            node("Exp", &["wide"], "y"),
        ],
        input: vec![value("x", Some(DataType::F32.to_onnx())), value("shape", Some(DataType::I64.to_onnx()))],
        output: vec![value("y", None)],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(22) };
    let error = backend().prepare(&BackendGraph::new(graph, &[opset])).err().unwrap();
    assert!(
        matches!(&error, BackendError::Type { dtype: DataType::Bool, node, op }
            if node == "make y" && op.name() == "Exp"),
        "{error}"
    );
}
