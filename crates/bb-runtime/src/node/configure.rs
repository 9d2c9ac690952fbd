//! Other limits for a node that has not begun.

use bb_framework::Tier;

use super::Node;
use crate::engine::Engine;
use crate::engine::bus::Bus;
use crate::engine::holds::Records;
use crate::engine::peers::Peers;
use crate::engine::timers::Timers;
use crate::engine::wait::Waits;
use crate::engine::wire::Wire;
use crate::error::{ConfigureError, Unconfigured};
use crate::{Address, NodeConfig, PeerId};

impl Node {
    /// The same node with other limits; before its first step and before anything was fed to it.
    ///
    /// What the host told it of peers stays.
    ///
    /// # Errors
    /// [`Unconfigured`] has the node as it was, and says why: it has begun, the limits make no sense, are for another
    /// peer, or are too small for what the node was told of peers.
    ///
    /// ```
    /// # use bb_runtime::{Node, NodeConfig, error::Unconfigured};
    /// # fn configure(node: Node) -> Result<Node, Unconfigured> {
    /// node.with_config(NodeConfig::edge().with_executions(16))
    /// # }
    /// ```
    pub fn with_config(mut self, limits: NodeConfig) -> Result<Self, Unconfigured> {
        match self.configure(limits) {
            Ok(()) => Ok(self),
            Err(error) => Err(Unconfigured { node: Box::new(self), error }),
        }
    }

    fn configure(&mut self, limits: NodeConfig) -> Result<(), ConfigureError> {
        limits.validate()?;
        let (own, seed) = (self.engine.peer_id, self.engine.jitter_seed);
        if let Some(got) = limits.peer_id
            && got != own
        {
            return Err(ConfigureError::OtherPeer { expected: own, got });
        }
        if self.has_begun() {
            return Err(ConfigureError::HasBegun);
        }
        let peers = copy(&self.engine.peers, own, &limits, seed)?;
        let wire = &self.engine.wire;
        let wire = Wire::new(wire.program, &limits, wire.addresses.clone());
        let engine = &mut self.engine;
        engine.peers = peers;
        engine.wire = wire;
        engine.waits = Waits::new(limits.pending_async, limits.timers);
        engine.bus = Bus::new(&engine.targets, limits.bus);
        engine.timers = Timers::new(&engine.targets, limits.timers);
        engine.records = Records::new(limits.records);
        self.ingress.set_limits(&limits);
        self.engine.limits = limits;
        Ok(())
    }

    /// Whether the node was stepped or fed.
    fn has_begun(&self) -> bool {
        let Engine { executions, wire, budget, .. } = &self.engine;
        self.has_stepped
            || executions.begun() > 0
            || self.lines.len() > 0
            || self.ingress.has_work()
            || budget.in_flight() > 0
            || !wire.seen.is_empty()
            || !wire.outbound.is_empty()
    }
}

/// The same knowledge of peers within other limits.
fn copy(held: &Peers, own: PeerId, limits: &NodeConfig, seed: u64) -> Result<Peers, ConfigureError> {
    let mut peers = Peers::new(own, limits, seed);
    for address in held.book.local_addresses() {
        peers.book.add_local_address(address.clone())?;
    }
    for peer in held.book.peers() {
        let operator: Vec<Address> = of_tier(held, peer, Tier::Operator).collect();
        for _ in 0..held.book.references(peer) {
            peers.book.add_peer(peer, operator.iter().cloned())?;
        }
        for tier in [Tier::Operator, Tier::Signed, Tier::Hint] {
            for address in of_tier(held, peer, tier) {
                peers.book.register_address(peer, address, tier)?;
            }
        }
    }
    for peer in held.governor.blocklist() {
        peers.governor.block(peer)?;
    }
    let allowlist: Option<Vec<PeerId>> = held.governor.allowlist().map(Iterator::collect);
    peers.governor.set_allowlist(allowlist.as_deref())?;
    Ok(peers)
}

fn of_tier(held: &Peers, peer: PeerId, tier: Tier) -> impl Iterator<Item = Address> {
    held.book.addresses(peer).filter(move |(of, _)| *of == tier).map(|(_, address)| address.clone())
}
