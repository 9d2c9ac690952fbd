//! Why a simulation cannot be built or go on.

use std::sync::Arc;

use bytesandbrains::framework::AddressBookError;
use bytesandbrains::runtime::error::OpError;
use bytesandbrains::{DeliveryError, ExecId, InstallError, PeerId};
use thiserror::Error;

/// Why a simulation cannot be built or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// A node could not take in the address of another.
    #[error("node {peer}: {source}")]
    AddressBook {
        /// The node.
        peer: PeerId,
        /// Why.
        source: AddressBookError,
    },
    /// An execution was cancelled.
    #[error("execution {exec_id} of node {peer} was cancelled: {reason}")]
    Cancelled {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// Why.
        reason: Arc<str>,
    },
    /// A node did not take what the host gave it.
    #[error("node {peer} did not take it: {source}")]
    Delivery {
        /// The node.
        peer: PeerId,
        /// Why.
        source: DeliveryError,
    },
    /// Two nodes with one id.
    #[error("there is a node {peer} already; give each node an id of its own")]
    DuplicatePeer {
        /// The id.
        peer: PeerId,
    },
    /// An execution failed.
    #[error("execution {exec_id} of node {peer} failed: {source}")]
    Failed {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// Why.
        source: Arc<OpError>,
    },
    /// A node could not be installed.
    #[error("node {peer}: {source}")]
    Install {
        /// The node.
        peer: PeerId,
        /// Why.
        source: Box<InstallError>,
    },
    /// A federation without clients.
    #[error("a federation needs at least one client; add them with `FederationBuilder::clients`")]
    NoClients,
    /// A federation without a server.
    #[error("a federation needs a server; name its target with `FederationBuilder::server`")]
    NoServer,
    /// Nothing is under way, and an execution is not over.
    #[error("execution {exec_id} of node {peer} is not over, and nothing is under way that could end it")]
    Stalled {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
    },
    /// There is no such node.
    #[error("there is no node {peer}")]
    UnknownPeer {
        /// The id.
        peer: PeerId,
    },
}
