//! Why an ONNX model is not a program.

use thiserror::Error;

use super::super::VerifyError;
use crate::OnnxTensorError;
use crate::metadata::MetadataError;
use crate::wire_codec::ValueError;

/// Why an ONNX model is not a program; whoever wrote the model is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramError {
    /// An attribute of a kind that programs do not have, or without what its type says.
    #[error("attribute `{attribute}` of node {node} in `{function}` has a kind that programs do not have")]
    Attribute {
        /// The function.
        function: String,
        /// The node's index.
        node: usize,
        /// The attribute.
        attribute: String,
    },
    /// A function of a kind that programs do not have, or one that stands where it does not belong.
    #[error("`{function}` is neither a module nor a region of a target, or is out of its place")]
    Function {
        /// The function.
        function: String,
    },
    /// A program that breaks the rules of [`Program::verify`](super::super::Program::verify).
    #[error("the program is not well-formed: {}", list(errors))]
    Invalid {
        /// What is wrong.
        errors: Vec<VerifyError>,
    },
    /// Metadata that cannot be read.
    #[error("in `{function}`: {source}")]
    Metadata {
        /// The function; empty for the model itself.
        function: String,
        /// What is wrong.
        source: MetadataError,
    },
    /// A name that two values of one graph have, or two attributes of one node.
    #[error("`{function}` has `{name}` twice")]
    NameTwice {
        /// The function.
        function: String,
        /// The name.
        name: String,
    },
    /// An ONNX model, but not a program of ours.
    #[error(
        "this ONNX model is not a program of bytesandbrains: it has no `bb.format`; load it as a model instead"
    )]
    NotProgram,
    /// Bytes that are not an ONNX model.
    #[error("the bytes are not an ONNX model: {reason}")]
    NotProtobuf {
        /// What the decoder says.
        reason: String,
    },
    /// A tensor that cannot be read.
    #[error("in `{function}`: {source}")]
    Tensor {
        /// The function.
        function: String,
        /// What is wrong.
        source: OnnxTensorError,
    },
    /// Graphs nested too deep.
    #[error("graphs of `{function}` are nested deeper than {limit}")]
    TooDeep {
        /// The function.
        function: String,
        /// The limit.
        limit: usize,
    },
    /// A type that values do not have.
    #[error("value `{value}` in `{function}` has a type that values do not have")]
    Type {
        /// The function.
        function: String,
        /// The value.
        value: String,
    },
    /// A form of programs that is not known here.
    #[error("the program is written in form {format}, this version reads form 1")]
    UnknownFormat {
        /// The form.
        format: u32,
    },
    /// A role that is not known here.
    #[error("slot `{slot}` has the unknown role `{role}`")]
    UnknownRole {
        /// The slot.
        slot: String,
        /// The role.
        role: String,
    },
    /// A value that nothing makes.
    #[error("`{function}` reads `{value}`, which nothing makes")]
    UnknownValue {
        /// The function.
        function: String,
        /// The value.
        value: String,
    },
    /// A part of ONNX that programs do not use.
    #[error("`{function}` has {what}, which programs do not have")]
    Unused {
        /// The function; empty for the model itself.
        function: String,
        /// The part.
        what: &'static str,
    },
    /// An attribute that is a value and cannot be read.
    #[error("attribute `{attribute}` in `{function}`: {source}")]
    Value {
        /// The function.
        function: String,
        /// The attribute.
        attribute: String,
        /// What is wrong.
        source: ValueError,
    },
}

fn list(errors: &[VerifyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
