//! Who takes part in a round.

mod all_peers;
mod constant_peers;
mod sample;

pub use all_peers::AllPeers;
pub use constant_peers::ConstantPeers;
