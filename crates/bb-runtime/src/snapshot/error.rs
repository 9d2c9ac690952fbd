//! What can keep a node from being saved, and a snapshot from being taken up.

use bb_framework::StateError;
use bb_ir::wire_codec::ValueError;
use bb_ir::wire_codec::write::NoMemory;
use thiserror::Error;

use crate::{ComponentError, PeerId};

/// Why a node could not be saved; it is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Memory for the snapshot could not be had.
    #[error(transparent)]
    AllocationFailed(#[from] NoMemory),
    /// The node is not quiet, and a quiet one was asked for.
    #[error("the {queue} has {queued} entries; step until it is empty, or take a snapshot at any time")]
    BusNotDrained {
        /// The queue that is not empty.
        queue: &'static str,
        /// Its entries.
        queued: usize,
        /// Messages that found no room in it so far.
        dropped: u64,
    },
    /// A component panicked; the panic was contained.
    #[error("slot `{slot}` ({type_name}) panicked as it was saved: {message}")]
    ComponentPanicked {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// What it said.
        message: String,
    },
    /// A component cannot be saved.
    #[error("slot `{slot}` ({type_name}) cannot be saved: {source}")]
    ComponentSaveFailed {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// Why.
        source: ComponentError,
    },
    /// More bytes than the format has room for.
    #[error("the state of {byte_count} bytes is larger than a snapshot can be ({cap})")]
    TooLarge {
        /// Its bytes.
        byte_count: usize,
        /// The most there may be.
        cap: usize,
    },
    /// Something that has no saved form.
    #[error("{what} cannot be saved; step first, so that the host takes it")]
    Unsaveable {
        /// What it is.
        what: String,
    },
}

/// Why a snapshot is not taken up; the node is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot needs a key of the host, or was made with another one.
    #[error("the snapshot is not signed with the host's key")]
    BadSignature,
    /// A component could not be made again, or did not take its state.
    #[error("slot `{slot}` ({type_name}) could not be restored: {source}")]
    ComponentRestoreFailed {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// Bytes that are not a snapshot, or one that no node would write.
    #[error("the snapshot is damaged at `{section}`: {fault}")]
    Corrupt {
        /// The section, and in it the path of the bad entry.
        section: String,
        /// What is wrong there.
        #[source]
        fault: Fault,
    },
    /// More than this node may hold.
    #[error("`{limit}`: the snapshot has {got}, this node may have {cap}; raise the limit")]
    LimitExceeded {
        /// Of what.
        limit: String,
        /// What the snapshot has.
        got: u64,
        /// What the node may have.
        cap: u64,
    },
    /// The snapshot of another program, peer, or set of components.
    #[error("the snapshot has another {what}: {got} instead of {expected}")]
    SnapshotMismatch {
        /// What differs.
        what: String,
        /// What the snapshot has.
        got: String,
        /// What the node has.
        expected: String,
    },
    /// The snapshot has a format that this version does not read.
    #[error("the snapshot has format {got}, this version reads {expected}")]
    SpecVersionMismatch {
        /// Its format.
        got: u32,
        /// The format that is read.
        expected: u32,
    },
}

/// What is wrong with an entry of a snapshot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not those that were written.
    #[error("its hash does not fit")]
    Hash,
    /// It does not go with the other entries.
    #[error("{reason}")]
    Inconsistent {
        /// Why not.
        reason: &'static str,
    },
    /// Something is left out.
    #[error("`{field}` is missing")]
    Missing {
        /// What.
        field: &'static str,
    },
    /// A machine would not have been saved so.
    #[error(transparent)]
    State(StateError),
    /// The bytes end too early, or go on too long.
    #[error("it has another length than it says")]
    Truncated,
    /// A section, a field or a kind that this version does not have.
    #[error("{number} is unknown here")]
    Unknown {
        /// Its number.
        number: u64,
    },
    /// Bytes that are not what the schema says.
    #[error(transparent)]
    Value(ValueError),
}

impl RestoreError {
    /// The snapshot of another peer.
    pub(super) fn other_peer(got: PeerId, expected: PeerId) -> Self {
        Self::SnapshotMismatch {
            what: "peer id".to_owned(),
            got: got.to_string(),
            expected: expected.to_string(),
        }
    }
}

impl From<super::codec::Bad> for RestoreError {
    fn from(bad: super::codec::Bad) -> Self {
        match bad.fault {
            Fault::State(StateError::TooMany { list, count, cap }) => {
                Self::LimitExceeded { limit: list.to_owned(), got: count as u64, cap: cap as u64 }
            }
            fault => Self::Corrupt { section: bad.path, fault },
        }
    }
}
