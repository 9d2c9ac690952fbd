//! The ONNX file that the library reads: the graph, made strict where ONNX lets a backend be lenient.

use bb_runtime::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_proto::DataLocation, type_proto,
};
use bb_runtime::{BackendError, BackendGraph, DataType};
use prost::Message;

/// The file format's version that came with a version of ONNX's operator set, oldest first.
///
/// Source: the table "Released Versions" of ONNX's `docs/Versioning.md`.
const IR_VERSIONS: [(i64, i64); 9] =
    [(9, 4), (10, 5), (11, 6), (14, 7), (18, 8), (20, 9), (22, 10), (23, 11), (24, 12)];

/// The newest one that is written.
const NEWEST_IR_VERSION: i64 = 13;

/// An input of a run: its name, and the element type that the graph declares.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) dtype: Option<DataType>,
}

/// The inputs that a run feeds: those without an initializer.
pub(crate) fn inputs(graph: &GraphProto) -> Result<Vec<Input>, BackendError> {
    fed(graph)
        .map(|input| {
            let name = input.name().to_owned();
            let dtype = match tensor_type(input) {
                None | Some(0) => None,
                Some(number) => Some(DataType::from_onnx(number).ok_or_else(|| BackendError::Graph {
                    reason: format!(
                        "input `{name}` has element type {number}, which no tensor here can have"
                    ),
                })?),
            };
            Ok(Input { name, dtype })
        })
        .collect()
}

/// Refuses what would make the library read files, and values that are no tensors.
pub(crate) fn check(graph: &GraphProto) -> Result<(), BackendError> {
    for value in graph.input.iter().chain(&graph.output) {
        let is_tensor = match value.r#type.as_ref().and_then(|held| held.value.as_ref()) {
            None | Some(type_proto::Value::TensorType(_)) => true,
            Some(_) => false,
        };
        if !is_tensor {
            return Err(BackendError::Graph { reason: format!("`{}` is no tensor", value.name()) });
        }
    }
    check_tensors(graph)
}

fn check_tensors(graph: &GraphProto) -> Result<(), BackendError> {
    let sparse =
        graph.sparse_initializer.iter().flat_map(|tensor| tensor.values.iter().chain(&tensor.indices));
    graph.initializer.iter().chain(sparse).try_for_each(is_held)?;
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(is_held)?;
        for sparse in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
            sparse.values.iter().chain(&sparse.indices).try_for_each(is_held)?;
        }
        attribute.g.iter().chain(&attribute.graphs).try_for_each(check_tensors)?;
    }
    Ok(())
}

fn is_held(tensor: &TensorProto) -> Result<(), BackendError> {
    if tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty() {
        let reason = format!("tensor `{}` is in another file; put its data into the graph", tensor.name());
        return Err(BackendError::Graph { reason });
    }
    Ok(())
}

/// Every node, those of inner graphs too.
pub(crate) fn each_node<'a, E>(
    graph: &'a GraphProto,
    see: &mut impl FnMut(&'a NodeProto) -> Result<(), E>,
) -> Result<(), E> {
    for node in &graph.node {
        see(node)?;
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                each_node(inner, see)?;
            }
        }
    }
    Ok(())
}

/// The bytes of a model of `graph`, its inputs having these element types, each of its outputs named once.
pub(crate) fn encode(graph: &BackendGraph, dtypes: &[DataType]) -> Vec<u8> {
    let mut proto = graph.graph().clone();
    proto.input = fed(graph.graph()).cloned().collect();
    for (input, dtype) in proto.input.iter_mut().zip(dtypes) {
        let held = input.r#type.get_or_insert_with(TypeProto::default);
        match &mut held.value {
            Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type = Some(dtype.to_onnx()),
            other => {
                let tensor = type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape: None };
                *other = Some(type_proto::Value::TensorType(tensor));
            }
        }
    }
    proto.output = distinct(&proto.output);
    // What an exporter notes of values in between is a hint; where it is wrong, the library would refuse the graph.
    proto.value_info.clear();
    if proto.name.as_deref().unwrap_or_default().is_empty() {
        proto.name = Some("graph".to_owned());
    }
    let opset_import = graph
        .opsets()
        .iter()
        .map(|(domain, version)| OperatorSetIdProto { domain: Some(domain.clone()), version: Some(*version) })
        .collect();
    let model = ModelProto {
        ir_version: Some(ir_version(graph.opset("").unwrap_or(1))),
        opset_import,
        graph: Some(proto),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A model of one node, to ask the library about.
pub(crate) fn single(node: NodeProto, opsets: &[(&str, i64)]) -> Vec<u8> {
    let output =
        node.output.iter().map(|name| ValueInfoProto { name: Some(name.clone()), ..Default::default() });
    let graph = GraphProto {
        name: Some("probe".to_owned()),
        output: output.collect(),
        node: vec![node],
        ..GraphProto::default()
    };
    let opset_import = opsets
        .iter()
        .map(|(domain, version)| OperatorSetIdProto {
            domain: Some((*domain).to_owned()),
            version: Some(*version),
        })
        .collect();
    let newest = opsets.iter().find(|(domain, _)| domain.is_empty()).map_or(1, |(_, version)| *version);
    let ir_version = Some(ir_version(newest));
    ModelProto { ir_version, opset_import, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

/// For each output of the graph, its place among the distinct ones.
pub(crate) fn output_places(graph: &GraphProto) -> Vec<usize> {
    let distinct = distinct(&graph.output);
    let place = |value: &ValueInfoProto| distinct.iter().position(|held| held.name() == value.name());
    graph.output.iter().map(|value| place(value).unwrap_or_default()).collect()
}

fn distinct(outputs: &[ValueInfoProto]) -> Vec<ValueInfoProto> {
    let mut distinct: Vec<ValueInfoProto> = Vec::new();
    for output in outputs {
        if !distinct.iter().any(|held| held.name() == output.name()) {
            distinct.push(output.clone());
        }
    }
    distinct
}

fn fed(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    graph.input.iter().filter(|input| !graph.initializer.iter().any(|held| held.name() == input.name()))
}

fn tensor_type(value: &ValueInfoProto) -> Option<i32> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor.elem_type.unwrap_or_default()),
        _ => None,
    }
}

fn ir_version(opset: i64) -> i64 {
    IR_VERSIONS.iter().find(|(newest, _)| opset <= *newest).map_or(NEWEST_IR_VERSION, |(_, version)| *version)
}
