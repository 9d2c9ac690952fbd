//! What can be wrong with the bytes of a value.

use thiserror::Error;

use super::WireError;
use crate::{AddressError, PeerIdError};

/// Why bytes are not a value; whoever made them is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// An address that is none.
    #[error("at byte {at}: {source}")]
    Address {
        /// Where it stands.
        at: usize,
        /// What is wrong with it.
        source: AddressError,
    },
    /// Memory for the value could not be had.
    #[error("no memory for {byte_count} bytes of a value")]
    AllocationFailed {
        /// Bytes asked for.
        byte_count: usize,
    },
    /// Two tensors of one map with the same name.
    #[error("two tensors of the map at byte {at} have the same name")]
    DuplicateName {
        /// Where the map stands.
        at: usize,
    },
    /// A trigger that is not set.
    #[error("the trigger at byte {at} is false; a trigger is always true")]
    FalseTrigger {
        /// Where it stands.
        at: usize,
    },
    /// A value of none of the kinds known here.
    #[error("the value at byte {at} has no kind, or one of a later version")]
    NoKind {
        /// Where it stands.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("the text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where it stands.
        at: usize,
    },
    /// A peer id that is none.
    #[error("at byte {at}: {source}")]
    Peer {
        /// Where it stands.
        at: usize,
        /// What is wrong with it.
        source: PeerIdError,
    },
    /// A tensor that is none.
    #[error("the tensor at byte {at} {fault}")]
    Tensor {
        /// Where it stands.
        at: usize,
        /// What is wrong with it.
        fault: TensorFault,
    },
    /// Tuples nested too deep.
    #[error("the value at byte {at} is nested deeper than {limit} tuples")]
    TooDeep {
        /// Where it stands.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// Decoded it would hold too much memory for its bytes.
    #[error(
        "at byte {at} the value would hold more than {allowed} bytes decoded; send many numbers as a tensor, or padding in their message"
    )]
    TooMuchMemory {
        /// Where the part stands that is too much.
        at: usize,
        /// Bytes that it may hold.
        allowed: usize,
    },
    /// Bytes that are not a message of the schema.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What is wrong with a tensor.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorFault {
    /// A boolean that is neither 0 nor 1.
    #[error("has a boolean that is neither 0 nor 1")]
    Boolean,
    /// As many bytes as its type and dimensions do not have.
    #[error("has {got} bytes of elements, its type and dimensions need {expected}")]
    ByteCount {
        /// Bytes that type and dimensions need.
        expected: usize,
        /// Bytes of `raw_data`.
        got: usize,
    },
    /// An element type that tensors cannot hold.
    #[error("has ONNX's element type {code}, which is not supported")]
    ElementType {
        /// ONNX's number for it.
        code: u64,
    },
    /// A negative dimension.
    #[error("has a negative dimension")]
    NegativeDimension,
    /// Elements given in another field than `raw_data`.
    #[error("uses field {field}; elements travel in raw_data only")]
    NotRawData {
        /// The field of `TensorProto`.
        field: u32,
    },
    /// Dimensions that multiply to more than can be counted.
    #[error("is larger than memory")]
    TooLarge,
}
