//! Why an op failed.

use std::time::Duration;

use bb_framework::AddressBookError;
use bb_ir::wire_codec::write::NoMemory;
use thiserror::Error;

use crate::contracts::{BackendError, ComponentError};
use crate::{PeerId, ValueType};

/// Why an op failed; its execution ends with it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpError {
    /// Memory for something as large as an input says could not be had.
    #[error("no memory for {byte_count} bytes")]
    AllocationFailed {
        /// Bytes asked for.
        byte_count: usize,
    },
    /// The answer was ready only after the deadline of whoever asked.
    #[error("the answer was ready after the deadline of whoever asked for it")]
    AnswerTooLate,
    /// The backend could not run a prepared graph.
    #[error("slot `{slot}`: {error}")]
    Backend {
        /// The slot.
        slot: String,
        /// The backend's error.
        #[source]
        error: BackendError,
    },
    /// A component's error.
    #[error("slot `{slot}` ({type_name}): {error}")]
    Component {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// Its error.
        #[source]
        error: ComponentError,
    },
    /// A component panicked; the panic was contained.
    #[error("slot `{slot}` ({type_name}) panicked: {message}")]
    ComponentPanicked {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// What it said.
        message: String,
    },
    /// The answer did not come in time.
    #[error("no answer within {after:?}")]
    DeadlineExceeded {
        /// How long was waited.
        after: Duration,
    },
    /// As many values are held as may.
    #[error("hold `{name}`: {cap} values are held already, the most there may be; flush, or raise the limit")]
    HoldFull {
        /// The hold.
        name: String,
        /// The cap, over all holds.
        cap: usize,
    },
    /// An input is of another type than the op takes.
    #[error("input {index}: expected {expected}, got {got}")]
    InputType {
        /// Which input, from 0.
        index: usize,
        /// What the op takes.
        expected: ValueType,
        /// What came.
        got: String,
    },
    /// A value for a peer is larger than one may be.
    #[error("a value of {byte_count} bytes exceeds the cap of {cap} bytes for one value of a message")]
    MessageTooLarge {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// A slot's component lacks a role that its type declares.
    #[error("slot `{slot}`: the component declares the role {role} but does not give it")]
    MissingRole {
        /// The slot.
        slot: String,
        /// The role.
        role: crate::Role,
    },
    /// The address book does not take an address.
    #[error(transparent)]
    AddressBook(#[from] AddressBookError),
    /// The execution gives back what it does not have.
    #[error("`{name}` is given back, but this execution does not have it; acquire it first")]
    NotAcquired {
        /// The limit or queue.
        name: String,
    },
    /// A message came that asks for no answer, but the region answers.
    #[error("the message that started this execution asks for no answer")]
    NotARequest,
    /// An answer could not be sent.
    #[error("the answer to {peer} was not sent: {reason}")]
    NotSent {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// Not as many results as the program has outputs for.
    #[error("expected {expected} results, got {got}")]
    OutputCount {
        /// Outputs of the op.
        expected: usize,
        /// Results.
        got: usize,
    },
    /// What is to be kept does not fit the node's byte budget.
    #[error("{byte_count} bytes do not fit the budget, {budget_remaining} bytes are left")]
    OverBudget {
        /// Bytes to be kept.
        byte_count: usize,
        /// Bytes left.
        budget_remaining: usize,
    },
    /// The quorum of a request cannot be reached, or was not reached in time.
    #[error(transparent)]
    QuorumNotReached(#[from] Box<QuorumFailure>),
    /// An error of before a restore, of which the text was kept.
    #[error("{message}")]
    Restored {
        /// The text.
        message: String,
    },
    /// The result of a deferred answer is larger than it may be.
    #[error("a result of {byte_count} bytes exceeds the cap of {cap} bytes")]
    ResultTooLarge {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// As many ops wait for answers as may.
    #[error("{cap} ops are waiting for answers already, the most there may be")]
    TooManyPending {
        /// The cap.
        cap: usize,
    },
    /// A component returned an answer that it deferred in another call.
    #[error("slot `{slot}` returned an answer that it deferred in another call")]
    WrongAnswer {
        /// The slot.
        slot: String,
    },
}

/// Who answered a request, who failed and why, and who is missing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{} of {needed} answers needed came{}; failed: {}; missing: {}",
    answered.len(),
    timed_out.map_or(", and not enough others can".to_owned(), |after| format!(" within {after:?}")),
    list(failed.iter().map(|failure| format!("{} ({})", failure.peer, failure.reason))),
    list(missing.iter().map(PeerId::to_string)),
)]
pub struct QuorumFailure {
    /// How many answers are needed.
    pub needed: usize,
    /// How long was waited, if time ran out; else the quorum cannot be reached any more.
    pub timed_out: Option<Duration>,
    /// Whose answer was processed, in order of arrival.
    pub answered: Vec<PeerId>,
    /// Who could not answer, or whose answer could not be processed.
    pub failed: Vec<PeerFailure>,
    /// Who has not answered.
    pub missing: Vec<PeerId>,
}

/// A peer that could not answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFailure {
    /// The peer.
    pub peer: PeerId,
    /// Why.
    pub reason: String,
}

impl From<NoMemory> for OpError {
    fn from(NoMemory { byte_count }: NoMemory) -> Self {
        Self::AllocationFailed { byte_count }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let text = items.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}
