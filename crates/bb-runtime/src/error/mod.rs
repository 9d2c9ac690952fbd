//! What can go wrong, one enum an operation.

mod delivery;
mod install;
mod op;

pub use delivery::{DeliveryError, ReceiveError, ValueFault};
pub use install::{InstallError, UnresolvedOp, UnsupportedOp};
pub use op::{OpError, PeerFailure, QuorumFailure};
