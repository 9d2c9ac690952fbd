//! What a node knows of peers.

use bb_framework::{Decision, Rtt};

use super::Node;
use crate::{Address, PeerId, Time};

/// How a peer does, as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerHealth {
    /// Whether a message would be sent to it now, and why not.
    pub outbound: Decision,
    /// Whether the lists let its messages in.
    pub inbound: Decision,
    /// Until when its messages are dropped, because it did not heed notices to send less.
    pub muted_until: Option<Time>,
    /// How often in a row it failed: did not answer in time, or was not reached.
    pub consecutive_failures: u32,
    /// Whether it failed so often that it is down.
    pub is_down: bool,
    /// How long it takes to answer, if it ever answered.
    pub rtt: Option<Rtt>,
}

impl Node {
    /// How a peer does, at the time of the last step. Of a peer that nothing is known of nothing bad is.
    ///
    /// ```
    /// # use bb_runtime::{CompiledModel, Config, Decision, Node, PeerId, install};
    /// # fn look(node: &Node) {
    /// let health = node.peer_health(PeerId::from_u64(7));
    /// if health.outbound == Decision::Allow && !health.is_down {
    ///     println!("answers within {:?}", health.rtt.map(|rtt| rtt.expected()));
    /// }
    /// # }
    /// ```
    pub fn peer_health(&self, peer: PeerId) -> PeerHealth {
        let (peers, now) = (&self.engine.peers, self.engine.now);
        let health = peers.governor.health(peer);
        PeerHealth {
            outbound: peers.governor.outbound_decision(peer, now),
            inbound: peers.governor.policy(peer),
            muted_until: peers.backpressure.is_muted(peer, now),
            consecutive_failures: health.consecutive_failures,
            is_down: health.is_down,
            rtt: peers.rtt.get(peer),
        }
    }

    /// Where a peer can be reached, as far as the address book knows, best first.
    pub fn resolve_peer_addresses(&self, peer: PeerId) -> Vec<Address> {
        self.engine.peers.book.lookup(peer)
    }

    /// Where the node can be reached, best first; every envelope says so.
    pub fn local_addresses(&self) -> impl Iterator<Item = &Address> {
        self.engine.peers.book.local_addresses()
    }

    /// The first of the node's addresses, or the empty one.
    pub fn peer_address(&self) -> Address {
        self.engine.peers.book.peer_address()
    }
}
