//! Why a node's limits were not changed.

use bb_framework::AddressBookError;
use bb_framework::governor::ListFull;
use thiserror::Error;

use crate::limits::NodeConfigError;
use crate::{Node, PeerId};

/// Other limits were refused; the node is as it was.
#[derive(Debug, Error)]
#[error("the limits stay as they are: {error}")]
pub struct Unconfigured {
    /// The node.
    pub node: Box<Node>,
    /// Why.
    #[source]
    pub error: ConfigureError,
}

/// Why a node's limits were not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The address book has more than it may have then.
    #[error(transparent)]
    AddressBook(#[from] AddressBookError),
    /// The node was stepped or fed; install another one.
    #[error("the node has begun; limits are set before the first step and before anything is fed")]
    HasBegun,
    /// The limits make no sense.
    #[error(transparent)]
    Limits(#[from] NodeConfigError),
    /// More peers are blocked or allowed than may be then.
    #[error(transparent)]
    ListFull(#[from] ListFull),
    /// The limits are for another peer.
    #[error("the limits are for {got}, the node is {expected}")]
    OtherPeer {
        /// Who the node is.
        expected: PeerId,
        /// Whom the limits are for.
        got: PeerId,
    },
}
