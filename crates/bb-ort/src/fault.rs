//! What the library refuses, as the errors of a backend: its codes where they tell enough, else the words of its
//! message, which is all that it gives.

use std::sync::Arc;

use bb_runtime::onnx::NodeProto;
use bb_runtime::{BackendError, BackendGraph, DataType, OpId};
use ort::ErrorCode;
use thiserror::Error;

use crate::model::each_node;

/// How the library names itself in errors.
const ENGINE: &str = "onnxruntime";

/// Words with which the library says that it has no definition of an op.
const UNKNOWN: [&str; 2] = ["No Op registered for ", " is not a registered function/op"];

/// Words with which it says that an operator set has given an op up.
const DEPRECATED: &str = " is deprecated in domain_version of ";

/// What the exchange of tensors can find wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ExchangeError {
    #[error("input `{input}` is a tensor of booleans with a byte that is neither 0 nor 1")]
    NotBoolean { input: String },
    #[error("output `{output}` has an extent below zero")]
    Shape { output: String },
    #[error("output `{output}` is {type_name}, which no tensor here can be")]
    Type { output: String, type_name: String },
}

/// An error of the library or of the exchange with it.
pub(crate) fn engine(source: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError::Engine { engine: ENGINE, source: Arc::new(source) }
}

/// Whether a message says that there is no definition of the op.
pub(crate) fn is_unknown(message: &str) -> bool {
    UNKNOWN.iter().any(|words| message.contains(words))
}

/// Why the library does not take `graph`.
pub(crate) fn refusal(graph: &BackendGraph, error: ort::Error) -> BackendError {
    let message = error.message();
    if let Some(refusal) = wrong_type(graph, message) {
        return refusal;
    }
    let is_lack =
        error.code() == ErrorCode::NotImplemented || is_unknown(message) || message.contains(DEPRECATED);
    if is_lack && let Some(node) = named(graph, message) {
        return unsupported(graph, node);
    }
    engine(error)
}

/// The error for a node that the library has no op for.
pub(crate) fn unsupported(graph: &BackendGraph, node: &NodeProto) -> BackendError {
    let op = op(node);
    let opset = graph.opset(op.domain().as_str()).unwrap_or(1);
    BackendError::Unsupported { node: node.name().to_owned(), op, opset }
}

pub(crate) fn op(node: &NodeProto) -> OpId {
    let domain = node.domain();
    OpId::new(if domain == "ai.onnx" { String::new() } else { domain.to_owned() }, node.op_type().to_owned())
}

/// `Type 'tensor(bool)' of input parameter (x) of operator (Relu) in node (name) is invalid`.
fn wrong_type(graph: &BackendGraph, message: &str) -> Option<BackendError> {
    let dtype = dtype(between(message, "Type 'tensor(", ")'")?)?;
    let name = between(message, "of operator (", ")")?;
    let node = find(graph, |node| node.op_type() == name)?;
    let named = between(message, "in node (", ")").unwrap_or_else(|| node.name());
    Some(BackendError::Type { dtype, node: named.to_owned(), op: op(node) })
}

/// The node that a message is about, by the ways in which messages spell an op.
fn named<'a>(graph: &'a BackendGraph, message: &str) -> Option<&'a NodeProto> {
    find(graph, |node| {
        let op = node.op_type();
        message.contains(&format!(" {op}("))
            || message.contains(&format!(":{op}("))
            || message.contains(&format!("registered for {op} "))
    })
}

fn find(graph: &BackendGraph, mut wanted: impl FnMut(&NodeProto) -> bool) -> Option<&NodeProto> {
    each_node(graph.graph(), &mut |node| if wanted(node) { Err(node) } else { Ok(()) }).err()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(held, _)| held)
}

/// The element type that the library calls `name`, if a tensor here can have it.
fn dtype(name: &str) -> Option<DataType> {
    Some(match name {
        "bfloat16" => DataType::Bf16,
        "bool" => DataType::Bool,
        "double" => DataType::F64,
        "float" => DataType::F32,
        "float16" => DataType::F16,
        "int16" => DataType::I16,
        "int32" => DataType::I32,
        "int64" => DataType::I64,
        "int8" => DataType::I8,
        "uint16" => DataType::U16,
        "uint32" => DataType::U32,
        "uint64" => DataType::U64,
        "uint8" => DataType::U8,
        _ => return None,
    })
}
