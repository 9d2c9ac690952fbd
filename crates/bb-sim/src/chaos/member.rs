//! A node of a run with its host: its clock, its disk, what it accepted, and whether it is there at all.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesandbrains::framework::Rng;
use bytesandbrains::runtime::snapshot::SnapshotStore;
use bytesandbrains::{Address, Config, Node, NodeConfig, PeerId, Time, install};

use super::clock::LocalClock;
use super::disk::{FaultyDisk, WriteFault};
use super::ledger::Ledger;
use super::twin::Twin;
use super::workload::Part;
use super::{Counts, Violation};

/// Snapshots that a host keeps.
const KEPT: usize = 3;

pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) part: Part,
    /// None while it is gone.
    pub(super) node: Option<Node>,
    pub(super) clock: LocalClock,
    pub(super) ledger: Ledger,
    pub(super) paused_until: Time,
    pub(super) down_until: Time,
    pub(super) slow_until: Time,
    pub(super) wake: Option<Time>,
    /// A node made from the last snapshot, which goes along.
    pub(super) twin: Option<Twin>,
    known: Vec<PeerId>,
    stranger_is_blocked: Option<PeerId>,
    seed: u64,
    disk: FaultyDisk,
    /// Whether the disk lied about the last snapshot.
    has_torn: bool,
    /// What was accepted when each snapshot was taken.
    saved: BTreeMap<u64, Ledger>,
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
            down_until: Time::ZERO,
            slow_until: Time::ZERO,
            wake: Some(Time::ZERO),
            twin: None,
            known,
            stranger_is_blocked: blocked,
            seed: rng.u64(),
            disk: FaultyDisk::default(),
            has_torn: false,
            saved: BTreeMap::new(),
        };
        member.node = Some(member.install()?);
        Ok(member)
    }

    /// The node as a host makes it, before anything happened to it.
    fn install(&self) -> Result<Node, Violation> {
        let limits = NodeConfig::edge()
            .with_ingress_queue(16)
            .with_pending_deadline(Duration::from_secs(20))
            .with_request_deadline(Duration::from_secs(10))
            // Some say what they run, others take the paths of those that do not.
            .with_trace_ops(self.seed.is_multiple_of(2));
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

    /// Saves the node, and sees that another one made of it is the same.
    pub(super) fn save(&mut self, fault: Option<WriteFault>, counts: &mut Counts) -> Result<(), Violation> {
        let Some(node) = &self.node else { return Ok(()) };
        let snapshot = node.snapshot().map_err(|error| self.violation(error))?;
        let mut twin = self.install()?;
        twin.restore(&snapshot).map_err(|error| self.violation(error))?;
        let (digest, other) = (node.state_digest(), twin.state_digest());
        let (Ok(digest), Ok(other)) = (digest, other) else {
            return Err(self.violation("there is no digest"));
        };
        if digest != other {
            return Err(self.violation(format!("it restores to {other}, and was taken of {digest}")));
        }
        self.twin = Some(Twin::new(twin));
        counts.snapshots += 1;
        // Disks that lie again and again lose everything, whoever writes to them.
        let fault = fault.filter(|fault| *fault != WriteFault::Torn || !self.has_torn);
        let mut store = SnapshotStore::on(self.disk.clone(), KEPT).map_err(|error| self.violation(error))?;
        self.disk.fail_next_write(fault);
        let stored = store.save(&snapshot);
        self.disk.fail_next_write(None);
        match (stored, fault) {
            (Ok(number), None | Some(WriteFault::Torn)) => {
                self.has_torn = fault.is_some();
                self.saved.insert(number, self.ledger.clone());
                Ok(())
            }
            (Err(_), Some(WriteFault::Full | WriteFault::Short)) => Ok(()),
            (stored, fault) => Err(self.violation(format!("{fault:?} gave {stored:?}"))),
        }
    }

    /// The node is gone, and with it what it accepted since it was saved.
    pub(super) fn crash(&mut self, until: Time) {
        (self.node, self.twin) = (None, None);
        self.down_until = self.down_until.max(until);
        self.wake = Some(self.down_until);
    }

    /// The node comes back as it was saved last.
    pub(super) fn restart(&mut self, counts: &mut Counts) -> Result<(), Violation> {
        let mut node = self.install()?;
        let mut store = SnapshotStore::on(self.disk.clone(), KEPT).map_err(|error| self.violation(error))?;
        let found = store.newest().map_err(|error| self.violation(error))?;
        let Some(found) = found else { return Err(self.violation("the snapshots are gone")) };
        node.restore(&found.snapshot).map_err(|error| self.violation(error))?;
        let Some(ledger) = self.saved.get(&found.number) else {
            return Err(self.violation(format!("nobody took number {}", found.number)));
        };
        let mut ledger = ledger.clone();
        counts.undone += self.ledger.open.keys().filter(|id| !ledger.open.contains_key(id)).count() as u64;
        ledger.go_on_after(&self.ledger);
        self.ledger = ledger;
        self.node = Some(node);
        counts.restores += 1;
        // Before it works: a node that went on from the same snapshot twice would give the same ids twice.
        self.save(None, counts)
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
