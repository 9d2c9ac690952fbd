//! The toy backend runs what it says it supports, and refuses the rest by name.

use bb_runtime::onnx::{GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use bb_runtime::{Backend, BackendError, BackendGraph, DataType, OpId, Tensor};
use toy_backend::ToyBackend;

fn node(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("make_{output}")),
        op_type: Some(op.to_owned()),
        input: inputs.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

fn graph(nodes: Vec<NodeProto>, output: &str) -> BackendGraph {
    let value = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
    let opset = OperatorSetIdProto { domain: None, version: Some(22) };
    let graph = GraphProto {
        node: nodes,
        input: vec![value("x"), value("y")],
        output: vec![value(output)],
        ..Default::default()
    };
    BackendGraph::new(graph, &[opset])
}

#[test]
fn a_prepared_graph_runs_many_times() -> Result<(), BackendError> {
    let graph = graph(vec![node("Add", ["x", "y"], "sum"), node("Mul", ["sum", "y"], "z")], "z");
    let mut plan = ToyBackend.prepare(&graph)?;
    for scale in [1.0_f32, 2.0] {
        let inputs = [Tensor::from_rows([[scale, 2.0]]), Tensor::from_rows([[10.0_f32, 20.0]])];
        let outputs = plan.run(&inputs)?;
        assert_eq!(outputs[0], Tensor::from_rows([[(scale + 10.0) * 10.0, 440.0]]));
    }
    Ok(())
}

#[test]
fn what_it_does_not_run_is_refused_when_it_is_prepared() {
    assert!(ToyBackend.supports(&OpId::new("", "Add")));
    assert!(!ToyBackend.supports(&OpId::new("", "Relu")));
    let error = ToyBackend.prepare(&graph(vec![node("Relu", ["x", "y"], "z")], "z")).err();
    assert!(matches!(&error, Some(BackendError::Unsupported { op, opset: 22, .. }) if op.name() == "Relu"));
    let error = ToyBackend.prepare(&graph(vec![node("Add", ["x", "nobody"], "z")], "z")).err();
    assert!(matches!(error, Some(BackendError::Graph { .. })));
}

#[test]
fn inputs_that_do_not_fit_are_named() -> Result<(), BackendError> {
    let mut plan = ToyBackend.prepare(&graph(vec![node("Add", ["x", "y"], "z")], "z"))?;
    let (row, pair) = (Tensor::from_rows([[1.0_f32]]), Tensor::from_rows([[1.0_f32, 2.0]]));
    assert!(matches!(
        plan.run(std::slice::from_ref(&row)),
        Err(BackendError::InputCount { expected: 2, got: 1 })
    ));
    assert!(matches!(plan.run(&[row.clone(), pair]), Err(BackendError::Shape { .. })));
    let wide = Tensor::from_rows([[1.0_f64]]);
    assert!(matches!(plan.run(&[row, wide]), Err(BackendError::Type { dtype: DataType::F64, .. })));
    Ok(())
}
