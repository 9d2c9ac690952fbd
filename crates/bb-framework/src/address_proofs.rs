//! Which addresses have proved that their peer is there, and how much is sent to those that have not.

use bb_ir::{Address, PeerId};

use crate::peer_table::PeerTable;

/// Limits of an [`AddressProofs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers remembered.
    pub entries: usize,
    /// Proved addresses a peer.
    pub addresses_per_peer: usize,
    /// How many times the bytes received may be sent to an address that has not proved itself.
    pub factor: u64,
}

/// What is known of a peer's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Bytes that came from the peer.
    pub received: u64,
    /// Bytes sent to addresses of it that had not proved themselves.
    pub sent: u64,
    /// The address that is tried, and whether a message to it was lost.
    pub tried: Option<(Address, bool)>,
    /// Addresses at which the peer was reached.
    pub proved: Vec<Address>,
}

/// Keeps a peer's word of where it is from being used against whoever is there.
///
/// A peer may claim any address; a node that sent there whatever it is asked for would be an amplifier. So of
/// addresses that are nobody's word but the peer's, one at a time is tried, and to it go at most
/// [`Config::factor`] times the bytes that came from the peer. An answer to a request, whose id only somebody who
/// read the message knows, proves the address; so does the transport's word that the message was taken. This is the
/// address validation of Iyengar, Thomson, "QUIC" (RFC 9000), section 8.
///
/// - look: [`iter`](Self::iter) [`len`](Self::len) [`is_empty`](Self::is_empty) [`withheld`](Self::withheld)
///   [`evicted`](Self::evicted)
/// - feed: [`received`](Self::received) [`proved`](Self::proved)
///   [`unanswered`](Self::unanswered) [`failed`](Self::failed)
/// - command: [`offer`](Self::offer) [`set`](Self::set) [`clear`](Self::clear) [`set_counters`](Self::set_counters)
///
/// ```
/// use bb_framework::{AddressProofs, address_proofs};
/// use bb_ir::{Address, PeerId};
/// let mut proofs = AddressProofs::new(address_proofs::Config::default());
/// let peer = PeerId::from_u64(1);
/// let claimed: Address = "/ip4/192.0.2.1/udp/4001/quic-v1".parse()?;
/// proofs.received(peer, 100);
/// assert_eq!(proofs.offer(peer, [&claimed], 300), [claimed.clone()]);
/// assert!(proofs.offer(peer, [&claimed], 1).is_empty());
/// proofs.proved(peer);
/// assert_eq!(proofs.offer(peer, [&claimed], 1_000_000), [claimed.clone()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AddressProofs {
    config: Config,
    table: PeerTable<Box<Proof>>,
    withheld: u64,
}

impl Config {
    /// 16,384 peers, 8 addresses each, 3 times the bytes received.
    pub const DEFAULT: Self = Self { entries: 16_384, addresses_per_peer: 8, factor: 3 };
}

impl Default for Config {
    /// [`Config::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl AddressProofs {
    /// A machine to which no address has proved itself.
    ///
    /// Beyond `config.entries` the peer heard of longest ago is forgotten and counted, and with it its proofs; of a peer's proved
    /// addresses the one proved first is. Holds at most [`worst_case_bytes`](Self::worst_case_bytes), and nothing
    /// while it is empty.
    pub fn new(config: Config) -> Self {
        Self { config, table: PeerTable::new(config.entries), withheld: 0 }
    }

    /// The most bytes that a machine holds whose addresses have at most `address_bytes` bytes, with an allocation of 64
    /// bytes' overhead each.
    pub const fn worst_case_bytes(config: Config, address_bytes: usize) -> usize {
        let addresses = (config.addresses_per_peer + 1) * (address_bytes + 64);
        let list = crate::ring_bytes(config.addresses_per_peer, size_of::<Address>());
        PeerTable::<Box<Proof>>::worst_case_bytes(config.entries)
            + config.entries * (size_of::<Proof>() + list + addresses)
    }

    /// `byte_count` bytes came from `peer`.
    pub fn received(&mut self, peer: PeerId, byte_count: usize) {
        if let Some(proof) = self.table.hear(peer, Box::default) {
            proof.received = proof.received.saturating_add(byte_count as u64);
        }
    }

    /// `peer` has read what was sent to it last: the address that is tried has proved itself.
    pub fn proved(&mut self, peer: PeerId) {
        let cap = self.config.addresses_per_peer;
        let Some(proof) = self.table.get_mut(peer) else { return };
        let Some((address, false)) = proof.tried.clone() else { return };
        proof.tried = None;
        if cap == 0 || proof.proved.contains(&address) {
            return;
        }
        if proof.proved.len() >= cap {
            proof.proved.remove(0);
        }
        proof.proved.push(address);
    }

    /// `peer` did not answer: if an address is tried, the next message tries another one.
    pub fn unanswered(&mut self, peer: PeerId) {
        if let Some(proof) = self.table.get_mut(peer)
            && let Some((_, is_lost)) = &mut proof.tried
        {
            *is_lost = true;
        }
    }

    /// The transport could not reach `peer`: no address of it is proved any more, and the next message tries another.
    pub fn failed(&mut self, peer: PeerId) {
        if let Some(proof) = self.table.get_mut(peer)
            && let Some(address) = proof.proved.drain(..).next()
        {
            proof.tried = Some((address, true));
        }
        self.unanswered(peer);
    }

    /// Which of the addresses that `peer` claims, best first, a message of `byte_count` bytes may go to: those that
    /// have proved themselves, else one that is tried, else none, and that is counted.
    pub fn offer<'a>(
        &mut self,
        peer: PeerId,
        claimed: impl IntoIterator<Item = &'a Address>,
        byte_count: usize,
    ) -> Vec<Address> {
        let claimed: Vec<&Address> = claimed.into_iter().collect();
        if claimed.is_empty() {
            return Vec::new();
        }
        let Some(proof) = self.table.get_mut(peer) else {
            self.withheld += 1;
            return Vec::new();
        };
        let proved: Vec<Address> =
            claimed.iter().filter(|address| proof.proved.contains(address)).map(|a| (*a).clone()).collect();
        if !proved.is_empty() {
            return proved;
        }
        let sent = proof.sent.saturating_add(byte_count as u64);
        if sent > proof.received.saturating_mul(self.config.factor) {
            self.withheld += 1;
            return Vec::new();
        }
        proof.sent = sent;
        let held = proof.tried.as_ref().and_then(|(address, is_lost)| {
            Some((claimed.iter().position(|claimed| *claimed == address)?, *is_lost))
        });
        let next = match held {
            Some((index, false)) => index,
            Some((index, true)) => (index + 1) % claimed.len(),
            None => 0,
        };
        // An address read from text has room to grow; the copy has none, so that bytes held are bytes allowed.
        let address = Address::from_bytes(claimed[next].as_bytes()).unwrap_or_else(|_| claimed[next].clone());
        proof.tried = Some((address.clone(), false));
        vec![address]
    }

    /// What is known of a peer, as it was saved; it counts as heard of last.
    pub fn set(&mut self, peer: PeerId, proof: Proof) {
        if let Some(held) = self.table.hear(peer, Box::default) {
            **held = proof;
        }
    }

    /// Forgets all peers.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// What is known of each peer, the one heard of longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &Proof)> {
        self.table.iter().map(|(peer, proof)| (peer, &**proof))
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no peer is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets how often an address was not given out and how many peers were forgotten, as it was saved.
    pub fn set_counters(&mut self, withheld: u64, evicted: u64) {
        self.withheld = withheld;
        self.table.set_evicted(evicted);
    }

    /// How many peers were forgotten to make room for others.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// How often an address was not given out because too much had been sent to it.
    pub fn withheld(&self) -> u64 {
        self.withheld
    }
}
