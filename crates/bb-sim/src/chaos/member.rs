//! A node of a run with its host: its clock, its disk, what it accepted, and whether it is there at all.

use std::time::Duration;

use bytesandbrains::framework::Rng;
use bytesandbrains::{Address, Config, Node, NodeConfig, PeerId, Time, install};

use super::Violation;
use super::clock::LocalClock;
use super::ledger::Ledger;
use super::workload::Part;

pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) part: Part,
    pub(super) node: Option<Node>,
    pub(super) clock: LocalClock,
    pub(super) ledger: Ledger,
    pub(super) paused_until: Time,
    pub(super) slow_until: Time,
    pub(super) wake: Option<Time>,
    known: Vec<PeerId>,
    stranger_is_blocked: Option<PeerId>,
    seed: u64,
}

impl Member {
    pub(super) fn new(
        place: usize,
        part: Part,
        known: Vec<PeerId>,
        blocked: Option<PeerId>,
        rng: &mut Rng,
    ) -> Result<Self, Violation> {
        let clock = LocalClock::drifting(rng.below(300));
        let mut member = Self {
            peer: peer(place),
            part,
            node: None,
            clock,
            ledger: Ledger::default(),
            paused_until: Time::ZERO,
            slow_until: Time::ZERO,
            wake: Some(Time::ZERO),
            known,
            stranger_is_blocked: blocked,
            seed: rng.u64(),
        };
        member.node = Some(member.install()?);
        Ok(member)
    }

    /// The node as a host makes it, before anything happened to it.
    fn install(&self) -> Result<Node, Violation> {
        let limits = NodeConfig::edge()
            .with_ingress_queue(16)
            .with_pending_deadline(Duration::from_secs(20))
            .with_request_deadline(Duration::from_secs(10));
        let config: Config = self.part.config.clone().seed(self.seed).node(limits);
        let address = address(self.peer);
        let node = install(self.peer, [address], self.part.model.clone(), &[self.part.target], config);
        let mut node = node.map_err(|error| self.violation(error))?;
        for &other in &self.known {
            node.add_peer(other, [self::address(other)]).map_err(|error| self.violation(error))?;
        }
        if let Some(stranger) = self.stranger_is_blocked {
            node.block_peer(stranger).map_err(|error| self.violation(error))?;
        }
        Ok(node)
    }

    pub(super) fn violation(&self, what: impl std::fmt::Display) -> Violation {
        Violation::Unusable { peer: self.peer, what: what.to_string() }
    }
}

/// The node at a place.
pub(super) fn peer(place: usize) -> PeerId {
    PeerId::from_u64(place as u64 + 1)
}

fn address(peer: PeerId) -> Address {
    crate::Simulation::address(peer)
}
