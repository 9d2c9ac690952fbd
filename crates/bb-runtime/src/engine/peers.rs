//! What the engine knows of peers: where they are, how they do, and whether to deal with them.
//!
//! State: the book, the governor, the proofs, the times of answers, the pressure of senders, and what was heard
//! since the last step.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use bb_framework::backpressure::{self, Backpressure, Load, Verdict};
use bb_framework::{
    AddressBook, AddressProofs, Decision, DenyReason, PeerGovernor, RttTable, Tier, address_book,
    address_proofs, backoff, governor, rtt,
};

use super::{Engine, bus};
use crate::{Address, EngineStep, NodeConfig, PeerId, SendResult, Time, Value};

/// What a node knows of peers, and decides about them.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) book: AddressBook,
    pub(crate) governor: PeerGovernor,
    pub(crate) proofs: AddressProofs,
    pub(crate) rtt: RttTable,
    pub(crate) backpressure: Backpressure,
    /// What came in between two steps and needs the time of the next one.
    pub(crate) heard: Vec<(PeerId, Heard)>,
    pub(crate) heard_dropped: u64,
    heard_capacity: usize,
    no_addresses: Arc<[Address]>,
}

/// Something of a peer whose meaning depends on when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It answered what it was asked at that time.
    Answered(Time),
    /// It asks to be left alone for so long.
    Notice(Duration),
}

/// Places for what is heard that stay when all of it was judged.
const SPARE_HEARD: usize = 16;

impl Peers {
    pub(crate) fn new(own: PeerId, limits: &NodeConfig, seed: u64) -> Self {
        let (book, governor) = Self::configs(limits);
        Self::from_parts(AddressBook::new(own, book), PeerGovernor::new(governor, seed), limits)
    }

    /// What the limits of a node mean for the book and the governor.
    pub(crate) const fn configs(limits: &NodeConfig) -> (address_book::Config, governor::Config) {
        (book_config(limits), governor_config(limits))
    }

    /// A node's knowledge of peers with this book and governor, and nothing else.
    pub(crate) fn from_parts(book: AddressBook, governor: PeerGovernor, limits: &NodeConfig) -> Self {
        Self {
            book,
            governor,
            proofs: AddressProofs::new(proofs_config(limits)),
            rtt: RttTable::new(rtt_config(limits)),
            backpressure: Backpressure::new(backpressure_config(limits)),
            heard: Vec::new(),
            heard_dropped: 0,
            heard_capacity: limits.health_entries,
            no_addresses: Arc::default(),
        }
    }

    /// Peers in the address book that policy allows, in order, the node left out.
    pub(crate) fn known(&self, own: PeerId) -> Vec<PeerId> {
        let allowed = |peer: &PeerId| *peer != own && self.governor.is_allowed(*peer);
        self.book.peers().filter(allowed).collect()
    }

    /// Where a message of `byte_count` bytes to `peer` may go, best first: where the operator says, and of the peer's
    /// own word what has proved itself or is tried.
    pub(crate) fn route(&mut self, peer: PeerId, byte_count: usize) -> Arc<[Address]> {
        let Self { book, proofs, .. } = self;
        let known = book.addresses(peer);
        if known.len() == 0 {
            return Arc::clone(&self.no_addresses);
        }
        if !ends_in_own_word(known.clone()) {
            return known.map(|(_, address)| address.clone()).collect();
        }
        let operators = known.clone().filter(|(tier, _)| *tier == Tier::Operator);
        let claimed = known.filter(|(tier, _)| *tier != Tier::Operator);
        let offered = proofs.offer(peer, claimed.map(|(_, address)| address), byte_count);
        operators.map(|(_, address)| address.clone()).chain(offered).collect()
    }

    /// Takes up where a peer says it can be reached, in a message of `byte_count` bytes; claims that do not hold are
    /// counted by the book.
    pub(crate) fn take_claims<'a>(
        &mut self,
        peer: PeerId,
        byte_count: usize,
        claims: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let (new, mut has_own_word) = {
            let known = self.book.addresses(peer);
            // What is known from a better source than the peer's word gains nothing by it.
            let is_new = |claim: &&[u8]| {
                known.clone().all(|(tier, held)| tier == Tier::Hint || held.as_bytes() != *claim)
            };
            let mut new: SmallVec<[&[u8]; 2]> = SmallVec::new();
            // Most often a peer says what it said before.
            if claims.clone().any(|claim| is_new(&claim)) {
                new.extend(claims.filter(is_new));
            }
            (new, ends_in_own_word(known.clone()))
        };
        if !new.is_empty() {
            for claim in new {
                match Address::from_bytes(claim) {
                    // The book counts what it refuses.
                    Ok(address) => drop(self.book.register_address(peer, address, Tier::Hint)),
                    Err(_) => self.book.note_refused(),
                }
            }
            has_own_word = ends_in_own_word(self.book.addresses(peer));
        }
        if has_own_word {
            self.proofs.received(peer, byte_count);
        }
    }

    /// Forgets what was counted.
    pub(crate) fn forget_counters(&mut self) {
        self.book.set_counters(address_book::Counters::default());
        self.governor.forget_counters();
        self.proofs.set_counters(0, 0);
        self.rtt.set_evicted(0);
        self.backpressure.forget_counters();
        self.heard_dropped = 0;
    }

    /// Notes what is to be judged at the time of the next step.
    pub(crate) fn hear(&mut self, peer: PeerId, heard: Heard) {
        if self.heard.last() == Some(&(peer, heard)) {
            return;
        }
        if self.heard.len() >= self.heard_capacity {
            self.heard_dropped += 1;
            return;
        }
        self.heard.push((peer, heard));
    }

    /// A peer answered what it was asked at `asked_at`.
    pub(crate) fn answered(&mut self, peer: PeerId, asked_at: Time) {
        self.governor.record_success(peer);
        self.reached(peer);
        self.hear(peer, Heard::Answered(asked_at));
    }

    /// A peer did not answer in time.
    pub(crate) fn timed_out(&mut self, peer: PeerId, now: Time) {
        self.governor.record_failure(peer, now);
        self.proofs.unanswered(peer);
    }

    /// What the host says became of a message.
    pub(crate) fn take_send_result(&mut self, peer: PeerId, result: SendResult, now: Time) {
        match result {
            SendResult::Delivered => {
                self.governor.record_success(peer);
                self.reached(peer);
            }
            SendResult::Failed => {
                self.governor.record_failure(peer, now);
                self.proofs.failed(peer);
            }
        }
    }

    /// Judges what was heard since the last step.
    pub(crate) fn take_heard(&mut self, now: Time) {
        for (peer, heard) in self.heard.drain(..) {
            match heard {
                Heard::Answered(asked_at) => self.rtt.record(peer, now.since(asked_at)),
                // Who asks for no silence only tells.
                Heard::Notice(Duration::ZERO) => {}
                Heard::Notice(retry_after) => {
                    self.governor.advise(peer, now + retry_after, now);
                }
            }
        }
        if self.heard.capacity() > SPARE_HEARD {
            self.heard = Vec::new();
        }
    }

    /// The address that was tried last has proved itself, unless the message may have gone where the operator says.
    fn reached(&mut self, peer: PeerId) {
        if self.book.addresses(peer).next().is_some_and(|(tier, _)| tier != Tier::Operator) {
            self.proofs.proved(peer);
        }
    }
}

impl Engine {
    /// Whether policy and the pressure of senders let a message of `source` in.
    pub(super) fn check_sender(&mut self, source: PeerId, load: Load) -> Result<(), DenyReason> {
        if let Decision::Deny(reason) = self.peers.governor.check_inbound(source) {
            return Err(reason);
        }
        match self.peers.backpressure.check(source, load, self.now) {
            Verdict::Drop { until } => Err(DenyReason::Muted { until }),
            Verdict::Take => Ok(()),
            Verdict::TakeAndNotify { retry_after } => {
                self.send_notice(source, retry_after);
                Ok(())
            }
        }
    }

    /// Reports what the machines have to say of peers.
    pub(crate) fn report_peers(&mut self) {
        for event in self.peers.governor.take_events() {
            match event {
                governor::Event::PeerDown(peer) => {
                    self.steps.push(EngineStep::PeerDown { peer });
                    self.publish(bus::PEER_DOWN, || Value::Peer(peer));
                }
                governor::Event::PeerUp(peer) => {
                    self.steps.push(EngineStep::PeerUp { peer });
                    self.publish(bus::PEER_UP, || Value::Peer(peer));
                }
                _ => {}
            }
        }
        for event in self.peers.backpressure.take_events() {
            if let backpressure::Event::Muted { peer, until } = event {
                let reason = DenyReason::Muted { until };
                self.steps.push(EngineStep::PeerBlocked { peer, reason });
            }
        }
    }
}

/// Whether the last of a peer's addresses, which counts least, is the peer's own word: so if any is.
fn ends_in_own_word<'a>(mut addresses: impl DoubleEndedIterator<Item = (Tier, &'a Address)>) -> bool {
    addresses.next_back().is_some_and(|(tier, _)| tier != Tier::Operator)
}

/// The address book's part of a node's limits.
pub(crate) const fn book_config(limits: &NodeConfig) -> address_book::Config {
    address_book::Config {
        peers: limits.address_book_peers,
        addresses_per_peer: limits.addresses_per_peer,
        address_bytes: limits.address_bytes,
        signed_peers: limits.address_book_peers.div_ceil(2),
        hint_peers: limits.address_book_peers.div_ceil(4),
    }
}

/// The governor's part of a node's limits.
pub(crate) const fn governor_config(limits: &NodeConfig) -> governor::Config {
    governor::Config {
        health_entries: limits.health_entries,
        listed_peers: limits.address_book_peers,
        events: limits.bus,
        backoff: backoff::Config { entries: limits.health_entries, ..backoff::Config::DEFAULT },
        ..governor::Config::DEFAULT
    }
}

/// The address proofs' part of a node's limits.
pub(crate) const fn proofs_config(limits: &NodeConfig) -> address_proofs::Config {
    address_proofs::Config {
        entries: limits.health_entries,
        addresses_per_peer: limits.addresses_per_peer,
        ..address_proofs::Config::DEFAULT
    }
}

/// What of a node's limits is the table's of answer times.
pub(crate) const fn rtt_config(limits: &NodeConfig) -> rtt::Config {
    rtt::Config { entries: limits.health_entries }
}

/// Backpressure's part of a node's limits.
pub(crate) const fn backpressure_config(limits: &NodeConfig) -> backpressure::Config {
    backpressure::Config {
        entries: limits.health_entries,
        events: limits.bus,
        ..backpressure::Config::DEFAULT
    }
}
