//! The graph of a `backend::Run` as the ONNX graph that a backend prepares; constant tensors are its initializers.

use bb_ir::onnx::{GraphProto, NodeProto, OperatorSetIdProto};
use bb_ir::program::{Attribute, Graph, Node, Program, domains};

use crate::Tensor;
use crate::contracts::BackendGraph;

/// The ONNX graph of `graph`; an error names an op that is not ONNX's.
pub(crate) fn backend_graph(program: &Program, graph: &Graph) -> Result<BackendGraph, String> {
    only_onnx(graph)?;
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(program.opset) };
    let mut proto = graph.to_onnx();
    constants_to_initializers(&mut proto);
    Ok(BackendGraph::new(proto, &[opset]))
}

/// The tensor of a node that only gives one.
pub(crate) fn constant(node: &Node) -> Option<&Tensor> {
    match node.attributes.get("value") {
        Some(Attribute::Tensor(tensor)) if node.op.is(domains::ONNX, "Constant") => Some(tensor),
        _ => None,
    }
}

fn only_onnx(graph: &Graph) -> Result<(), String> {
    for node in &graph.nodes {
        if !node.op.domain().is_onnx() {
            return Err(format!("{} is no ONNX op, so no backend runs it", node.op));
        }
        for attribute in node.attributes.values() {
            if let Attribute::Graph(inner) = attribute {
                only_onnx(inner)?;
            }
        }
    }
    Ok(())
}

fn constants_to_initializers(graph: &mut GraphProto) {
    for mut node in std::mem::take(&mut graph.node) {
        if let Some(name) = constant_output(&node)
            && let Some(mut tensor) = node.attribute.first_mut().and_then(|value| value.t.take())
        {
            tensor.name = Some(name);
            graph.initializer.push(tensor);
            continue;
        }
        for inner in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            constants_to_initializers(inner);
        }
        graph.node.push(node);
    }
}

/// What a `Constant` with a dense tensor writes.
fn constant_output(node: &NodeProto) -> Option<String> {
    let [value] = &node.attribute[..] else { return None };
    let is_dense = node.op_type() == "Constant" && node.domain().is_empty() && value.t.is_some();
    node.output.first().filter(|_| is_dense).cloned()
}
