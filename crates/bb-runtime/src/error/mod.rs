//! What can go wrong, one enum an operation.

mod bootstrap;
mod configure;
mod delivery;
mod install;
mod op;

pub use bootstrap::BootstrapError;
pub use configure::{ConfigureError, Unconfigured};
pub use delivery::{DeliveryError, ReceiveError, ValueFault};
pub use install::{InstallError, UnresolvedOp, UnsupportedOp};
pub use op::{OpError, PeerFailure, QuorumFailure};
