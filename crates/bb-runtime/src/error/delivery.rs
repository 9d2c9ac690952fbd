//! Why something given to a node was not taken.

use bb_framework::DenyReason;
use bb_ir::Digest;
use bb_ir::wire_codec::ValueError;
use thiserror::Error;

use crate::envelope::{EnvelopeError, FillFault};
use crate::{PeerId, ValueType};

/// Why an input was refused; the node is as it was before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Memory could not be had.
    #[error("no memory for {byte_count} bytes: {reason}")]
    AllocationFailed {
        /// Bytes asked for.
        byte_count: usize,
        /// What the allocator said.
        reason: String,
    },
    /// The bytes that the node holds from outside would exceed its budget; try again when some are processed.
    #[error("{byte_count} bytes do not fit the ingress budget, {budget_remaining} bytes are left")]
    BudgetExceeded {
        /// Bytes to be held.
        byte_count: usize,
        /// Bytes left.
        budget_remaining: usize,
    },
    /// The node was cleared, or restored from a snapshot, before it was taken in.
    #[error("the node was cleared or restored before it was taken in; hand it in again")]
    Cleared,
    /// The node is closed for ever.
    #[error("the node is closed")]
    Closed,
    /// An input given twice.
    #[error("input `{input}` of `{module}` is given twice")]
    DuplicateInput {
        /// The target.
        module: String,
        /// The input.
        input: String,
    },
    /// The bytes are not an envelope.
    #[error(transparent)]
    InvalidEnvelope(#[from] EnvelopeError),
    /// The bytes of an input are not a value that it takes.
    #[error("input `{input}` of `{module}`: {fault}")]
    InvalidValue {
        /// The target.
        module: String,
        /// The input.
        input: String,
        /// What is wrong.
        fault: ValueFault,
    },
    /// An input is missing.
    #[error("input `{input}` of `{module}` is missing")]
    MissingInput {
        /// The target.
        module: String,
        /// The input.
        input: String,
    },
    /// The target only answers messages of peers; there is nothing a host could start.
    #[error("`{module}` has nothing to invoke: it only answers messages of peers")]
    NoEntry {
        /// The target.
        module: String,
    },
    /// Larger than one item may be.
    #[error("{byte_count} bytes exceed the cap of {cap} bytes for one item")]
    OversizePayload {
        /// Bytes given.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// Policy does not allow the peer.
    #[error("{peer}: {reason}")]
    PeerDenied {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DenyReason,
    },
    /// As much as may wait is waiting; try again.
    #[error("{capacity} are waiting already, the most there may be; try again")]
    QueueFull {
        /// How many may wait.
        capacity: usize,
    },
    /// An error of before a restore, of which the text was kept.
    #[error("{message}")]
    Restored {
        /// The text.
        message: String,
    },
    /// More inputs than one invoke may have.
    #[error("{count} inputs exceed the cap of {cap}")]
    TooManyInputs {
        /// Inputs given.
        count: usize,
        /// The cap.
        cap: usize,
    },
    /// No such input.
    #[error("`{module}` has no input `{input}`; it has {available:?}")]
    UnknownInput {
        /// The target.
        module: String,
        /// The name given.
        input: String,
        /// The inputs it has.
        available: Vec<String>,
    },
    /// No such target.
    #[error("no module `{module}` is installed; installed: {available:?}")]
    UnknownModule {
        /// The name given.
        module: String,
        /// What is installed.
        available: Vec<String>,
    },
    /// The message is for a program that this node does not run.
    #[error("this node does not run program {digest}")]
    UnknownProgram {
        /// The program's digest.
        digest: Digest,
    },
}

/// What is wrong with a value from outside.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueFault {
    /// The bytes are not a value.
    #[error(transparent)]
    Malformed(#[from] ValueError),
    /// The value is of another type.
    #[error("expected {expected}, got {got}")]
    WrongType {
        /// What is taken.
        expected: ValueType,
        /// What was given.
        got: String,
    },
}

/// Why one fill of an envelope was not taken; the peer that sent it is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Two fills for one port.
    #[error("port {port} is filled twice")]
    FilledTwice {
        /// The port.
        port: u32,
    },
    /// The value does not fit the port.
    #[error("port {port}: {fault}")]
    InvalidValue {
        /// The port.
        port: u32,
        /// What is wrong.
        fault: ValueFault,
    },
    /// The fill is malformed.
    #[error(transparent)]
    Malformed(#[from] FillFault),
    /// The port belongs to another region than the fills before it.
    #[error("port {port} belongs to another region than the fills before it")]
    OtherRegion {
        /// The port.
        port: u32,
    },
    /// An error of before a restore, of which the text was kept.
    #[error("{message}")]
    Restored {
        /// The text.
        message: String,
    },
    /// No such port, or not one that this message may fill.
    #[error("port {port} does not receive this kind of message")]
    UnknownPort {
        /// The port.
        port: u32,
    },
}
