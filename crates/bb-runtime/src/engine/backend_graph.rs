//! The graph of a `backend::Run` as the ONNX graph that a backend prepares; constant tensors are its initializers.

use bb_ir::onnx::attribute_proto::AttributeType;
use bb_ir::onnx::tensor_shape_proto::{Dimension, dimension};
use bb_ir::onnx::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use bb_ir::program::{Attribute, Graph, Node, Program, ValueId, domains};

use crate::contracts::BackendGraph;
use crate::{Dim, Tensor, Value, ValueType};

/// The ONNX graph of `graph`.
pub(crate) fn backend_graph(program: &Program, graph: &Graph) -> Result<BackendGraph, String> {
    let version = if program.opset > 0 { program.opset } else { 21 };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(version) };
    Ok(BackendGraph::new(graph_proto(graph)?, &[opset]))
}

fn graph_proto(graph: &Graph) -> Result<GraphProto, String> {
    let info = |id: ValueId| {
        let value = graph.value(id);
        ValueInfoProto { name: Some(value.name.clone()), r#type: type_proto(&value.ty), ..Default::default() }
    };
    let constants = graph.nodes.iter().filter_map(|node| Some((constant(node)?, (*node.outputs.first()?)?)));
    let others = graph.nodes.iter().filter(|node| constant(node).is_none());
    Ok(GraphProto {
        name: Some(graph.name.clone()),
        node: others.map(|node| node_proto(graph, node)).collect::<Result<_, _>>()?,
        initializer: constants.map(|(tensor, id)| tensor.to_onnx(&graph.value(id).name)).collect(),
        input: graph.inputs.iter().map(|&id| info(id)).collect(),
        output: graph.outputs.iter().map(|output| info(output.value)).collect(),
        ..Default::default()
    })
}

/// The tensor of a node that only gives one.
pub(crate) fn constant(node: &Node) -> Option<&Tensor> {
    let is_constant = [domains::SYSCALL, domains::ONNX].iter().any(|domain| node.op.is(domain, "Constant"));
    match node.attributes.get("value") {
        Some(Attribute::Tensor(tensor) | Attribute::Value(Value::Tensor(tensor))) if is_constant => {
            Some(tensor)
        }
        _ => None,
    }
}

fn node_proto(graph: &Graph, node: &Node) -> Result<NodeProto, String> {
    let name = |id: &Option<ValueId>| id.map(|id| graph.value(id).name.clone()).unwrap_or_default();
    if !node.op.domain().is_onnx() {
        return Err(format!("{} is no ONNX op", node.op));
    }
    let attributes = node.attributes.iter().map(|(name, attribute)| attribute_proto(name, attribute));
    Ok(NodeProto {
        input: node.inputs.iter().map(name).collect(),
        output: node.outputs.iter().map(name).collect(),
        op_type: Some(node.op.name().to_owned()),
        attribute: attributes.collect::<Result<_, _>>()?,
        ..Default::default()
    })
}

fn attribute_proto(name: &str, attribute: &Attribute) -> Result<AttributeProto, String> {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    let kind = match attribute {
        Attribute::Int(number) => {
            proto.i = Some(*number);
            AttributeType::Int
        }
        Attribute::Float(number) => {
            proto.f = Some(*number);
            AttributeType::Float
        }
        Attribute::Str(text) => {
            proto.s = Some(text.clone().into_bytes());
            AttributeType::String
        }
        Attribute::Ints(numbers) => {
            proto.ints = numbers.clone();
            AttributeType::Ints
        }
        Attribute::Floats(numbers) => {
            proto.floats = numbers.clone();
            AttributeType::Floats
        }
        Attribute::Strs(texts) => {
            proto.strings = texts.iter().map(|text| text.clone().into_bytes()).collect();
            AttributeType::Strings
        }
        Attribute::Tensor(tensor) | Attribute::Value(Value::Tensor(tensor)) => {
            proto.t = Some(tensor.to_onnx(name));
            AttributeType::Tensor
        }
        Attribute::Graph(graph) => {
            proto.g = Some(graph_proto(graph)?);
            AttributeType::Graph
        }
        _ => return Err(format!("attribute `{name}` is of a kind that ONNX does not have")),
    };
    proto.r#type = Some(kind as i32);
    Ok(proto)
}

/// The ONNX type of a tensor whose element type is known.
fn type_proto(ty: &ValueType) -> Option<TypeProto> {
    let ValueType::Tensor { dtype: Some(dtype), shape } = ty else { return None };
    let dimension = |dim: &Dim| Dimension {
        value: match dim {
            Dim::Known(extent) => i64::try_from(*extent).ok().map(dimension::Value::DimValue),
            Dim::Named(name) => Some(dimension::Value::DimParam(name.clone())),
            Dim::Any => None,
        },
        ..Default::default()
    };
    let shape = shape.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dimension).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape };
    Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() })
}
