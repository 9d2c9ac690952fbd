//! What the engine knows of peers: where they are, and whether to deal with them.

use std::sync::Arc;

use bb_framework::{AddressBook, Decision, PeerGovernor, Tier, address_book, backoff, governor};

use crate::{Address, NodeConfig, PeerId, Time};

/// The address book and the governor of a node.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) book: AddressBook,
    pub(crate) governor: PeerGovernor,
    no_addresses: Arc<[Address]>,
}

impl Peers {
    pub(crate) fn new(own: PeerId, limits: &NodeConfig, seed: u64) -> Self {
        let book = address_book::Config {
            peers: limits.address_book_peers,
            addresses_per_peer: limits.addresses_per_peer,
            address_bytes: limits.address_bytes,
            signed_peers: limits.address_book_peers.div_ceil(2),
            hint_peers: limits.address_book_peers.div_ceil(4),
        };
        let governor = governor::Config {
            health_entries: limits.health_entries,
            listed_peers: limits.address_book_peers,
            backoff: backoff::Config { entries: limits.health_entries, ..backoff::Config::default() },
            ..governor::Config::default()
        };
        Self {
            book: AddressBook::new(own, book),
            governor: PeerGovernor::new(governor, seed),
            no_addresses: Arc::default(),
        }
    }

    /// Peers in the address book that policy allows, in order, the node left out.
    pub(crate) fn known(&self, own: PeerId) -> Vec<PeerId> {
        let allowed = |peer: &PeerId| *peer != own && self.governor.is_allowed(*peer);
        self.book.peers().filter(allowed).collect()
    }

    /// The addresses of a peer, best first.
    pub(crate) fn addresses(&self, peer: PeerId) -> Arc<[Address]> {
        let mut addresses = self.book.addresses(peer).peekable();
        match addresses.peek() {
            None => Arc::clone(&self.no_addresses),
            Some(_) => addresses.map(|(_, address)| address.clone()).collect(),
        }
    }

    /// Takes up where a peer says it can be reached; claims that do not hold are counted by the book.
    pub(crate) fn take_claims(&mut self, peer: PeerId, claims: impl Iterator<Item = Address>) {
        for address in claims {
            if self.book.register_address(peer, address, Tier::Hint).is_err() {
                continue;
            }
        }
    }

    /// Whether messages may be sent to a peer now.
    pub(crate) fn may_send(&mut self, peer: PeerId, now: Time) -> Decision {
        self.governor.check_outbound(peer, now)
    }
}
