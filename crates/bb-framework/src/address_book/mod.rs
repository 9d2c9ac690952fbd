//! Where peers can be reached, and whose word that is.

mod entry;
mod error;
mod hints;
mod state;

use std::collections::BTreeMap;
use std::fmt;

use bb_ir::{Address, PeerId};

use self::entry::Entry;
pub use self::error::AddressBookError;
pub use self::state::{EntryState, State};

/// Limits of an [`AddressBook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers, the node itself included.
    pub peers: usize,
    /// Of them, peers known only by their own signed word.
    pub signed_peers: usize,
    /// Of them, peers known only by hints.
    pub hint_peers: usize,
    /// Addresses a peer.
    pub addresses_per_peer: usize,
    /// Bytes an address.
    pub address_bytes: usize,
}

/// Whose word an address is; the first counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The operator of this node.
    Operator,
    /// The peer itself, signed.
    Signed,
    /// Anybody.
    Hint,
}

/// Ordered addresses and a reference count a peer, in three tiers.
///
/// What the operator said is never evicted by what others say; what a peer signed counts more than hints. An empty
/// address is no address and a duplicate changes nothing: both are taken silently. The caller asks the
/// [`PeerGovernor`](crate::PeerGovernor) first, and checks signatures.
///
/// - look: [`lookup`](Self::lookup) [`addresses`](Self::addresses) [`contains`](Self::contains)
///   [`references`](Self::references) [`peers`](Self::peers) [`len`](Self::len) [`is_empty`](Self::is_empty)
///   [`own_peer`](Self::own_peer) [`local_addresses`](Self::local_addresses)
///   [`peer_address`](Self::peer_address) [`counters`](Self::counters)
/// - feed: [`register_address`](Self::register_address) [`check_hints`](Self::check_hints)
///   [`register_signed`](Self::register_signed) [`note_refused`](Self::note_refused)
/// - command: [`add_peer`](Self::add_peer) [`drop_peer`](Self::drop_peer)
///   [`forget_address`](Self::forget_address) [`add_local_address`](Self::add_local_address)
///   [`forget_local_address`](Self::forget_local_address)
///
/// ```
/// use bb_framework::{AddressBook, Tier, address_book};
/// use bb_ir::{Address, PeerId};
/// let (own, peer) = (PeerId::from_u64(0), PeerId::from_u64(1));
/// let mut book = AddressBook::new(own, address_book::Config::default());
/// let known: Address = "/ip4/192.0.2.1/udp/4001/quic-v1".parse()?;
/// let said: Address = "/ip4/198.51.100.9/tcp/4001".parse()?;
/// book.register_address(peer, said.clone(), Tier::Hint)?;
/// book.add_peer(peer, [known.clone()])?;
/// assert_eq!(book.lookup(peer), [known, said]);
/// assert!(book.drop_peer(peer));
/// assert!(book.lookup(peer).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AddressBook {
    own: PeerId,
    config: Config,
    /// Boxed, for a tree allocates eleven places at once and most nodes know few peers.
    entries: BTreeMap<PeerId, Box<Entry>>,
    /// Peers that may be evicted, the one that was heard of longest ago in front.
    signed: BTreeMap<u64, PeerId>,
    hinted: BTreeMap<u64, PeerId>,
    /// Numbers what is heard, from 1: an entry that is not filed yet has 0.
    news_so_far: u64,
    counters: Counters,
}

/// What an [`AddressBook`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Addresses evicted to make room for others of the same peer.
    pub addresses_evicted: u64,
    /// Peers evicted to make room for others.
    pub peers_evicted: u64,
    /// Addresses and records that were refused.
    pub refused: u64,
}

impl Default for Config {
    /// 16,384 peers, half of them by signed word only, a quarter by hints only; 8 addresses of 256 bytes a peer.
    fn default() -> Self {
        Self {
            peers: 16_384,
            signed_peers: 8_192,
            hint_peers: 4_096,
            addresses_per_peer: 8,
            address_bytes: 256,
        }
    }
}

impl AddressBook {
    /// An empty book of the node `own`.
    ///
    /// The operator's peers may take all places and push out others; peers known by signed word or by hints only
    /// have caps of their own, and the one heard of longest ago is evicted. A peer's addresses are evicted the
    /// same way: a hint for anything, a signed one for the operator's. Evictions are counted. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it is empty.
    pub const fn new(own: PeerId, config: Config) -> Self {
        Self {
            own,
            config,
            entries: BTreeMap::new(),
            signed: BTreeMap::new(),
            hinted: BTreeMap::new(),
            news_so_far: 1,
            counters: Counters { addresses_evicted: 0, peers_evicted: 0, refused: 0 },
        }
    }

    /// The most bytes that a book holds: trees whose nodes are at least 5/11 full, a list a peer grown to a power
    /// of two, and the addresses with an allocation of 64 bytes' overhead each.
    pub const fn worst_case_bytes(config: Config) -> usize {
        let list = crate::ring_bytes(config.addresses_per_peer, size_of::<(Tier, Address)>());
        let addresses = config.addresses_per_peer * (config.address_bytes + 64);
        crate::tree_bytes(config.peers, size_of::<PeerId>() + size_of::<Box<Entry>>())
            + config.peers * (size_of::<Entry>() + list + addresses)
            + crate::tree_bytes(config.signed_peers, size_of::<PeerId>() + size_of::<u64>())
            + crate::tree_bytes(config.hint_peers, size_of::<PeerId>() + size_of::<u64>())
    }

    /// The operator names a peer, with addresses or without, and refers to it once more; whether anything but the
    /// reference is new.
    ///
    /// # Errors
    /// Any [`AddressBookError`] but those of signed records; nothing is taken then.
    pub fn add_peer(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<bool, AddressBookError> {
        let cap = self.config.addresses_per_peer;
        let checked = self.check_all(peer, addresses);
        let added = checked.and_then(|(addresses, left_out)| match left_out {
            0 => self.add_operator(peer, addresses, true),
            _ => Err(AddressBookError::AddressesFull { cap, peer }),
        });
        self.counted(added)
    }

    /// Takes one address of `peer`; whether it is new.
    ///
    /// # Errors
    /// Any [`AddressBookError`] but those of signed records.
    pub fn register_address(
        &mut self,
        peer: PeerId,
        address: Address,
        tier: Tier,
    ) -> Result<bool, AddressBookError> {
        let registered = self.check_all(peer, [address]).and_then(|(addresses, _)| match tier {
            Tier::Operator => self.add_operator(peer, addresses, false),
            Tier::Signed | Tier::Hint => self.add_said(peer, addresses, tier),
        });
        self.counted(registered)
    }

    /// Takes the addresses that `peer` signed under `record`, a number that grows with each of its records, in place
    /// of those it signed before; whether anything is new. Those beyond the cap are left out.
    ///
    /// # Errors
    /// Any [`AddressBookError`]; the records before stay then.
    pub fn register_signed(
        &mut self,
        peer: PeerId,
        record: u64,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<bool, AddressBookError> {
        let checked = self.check_all(peer, addresses);
        let registered = checked.and_then(|(addresses, _)| self.replace_signed(peer, record, addresses));
        self.counted(registered)
    }

    /// Forgets an address of `peer`; whether it was known.
    pub fn forget_address(&mut self, peer: PeerId, address: &Address) -> bool {
        let Some(entry) = self.entries.get_mut(&peer) else { return false };
        let before = entry.addresses.len();
        entry.addresses.retain(|(_, held)| held != address);
        let forgotten = entry.addresses.len() < before;
        if forgotten && peer != self.own {
            self.refile(peer, |_| ());
        }
        forgotten
    }

    /// The operator refers to `peer` once less; with the last reference the peer is forgotten. Whether it was known.
    pub fn drop_peer(&mut self, peer: PeerId) -> bool {
        if peer == self.own {
            return false;
        }
        match self.entries.get_mut(&peer) {
            Some(entry) if entry.references > 1 => entry.references -= 1,
            Some(_) => self.remove(peer),
            None => return false,
        }
        true
    }

    /// Adds an address of the node itself; whether it is new.
    ///
    /// # Errors
    /// [`AddressBookError::AddressTooLong`], [`AddressBookError::AddressesFull`], [`AddressBookError::OtherPeer`],
    /// [`AddressBookError::PeersFull`].
    pub fn add_local_address(&mut self, address: Address) -> Result<bool, AddressBookError> {
        let own = self.own;
        let checked = self.check_address(own, &address);
        let added = checked.and_then(|()| {
            if address.is_empty() {
                return Ok(false);
            }
            self.add_operator(own, vec![address], false)
        });
        self.counted(added)
    }

    /// Forgets an address of the node itself; whether it was known.
    ///
    /// # Errors
    /// [`AddressBookError::NoLocalEntry`] if the node never had one.
    pub fn forget_local_address(&mut self, address: &Address) -> Result<bool, AddressBookError> {
        if !self.entries.contains_key(&self.own) {
            return Err(AddressBookError::NoLocalEntry);
        }
        Ok(self.forget_address(self.own, address))
    }

    /// The addresses of `peer`, best first.
    pub fn lookup(&self, peer: PeerId) -> Vec<Address> {
        self.addresses(peer).map(|(_, address)| address.clone()).collect()
    }

    /// The addresses of `peer` with their tiers, best first.
    pub fn addresses(
        &self,
        peer: PeerId,
    ) -> impl ExactSizeIterator<Item = (Tier, &Address)> + DoubleEndedIterator + Clone {
        let addresses = self.entries.get(&peer).map_or(&[][..], |entry| &entry.addresses);
        addresses.iter().map(|(tier, address)| (*tier, address))
    }

    /// Whether `peer` is known.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.entries.contains_key(&peer)
    }

    /// How often the operator refers to `peer`.
    pub fn references(&self, peer: PeerId) -> u32 {
        self.entries.get(&peer).map_or(0, |entry| entry.references)
    }

    /// The peers that are known, in order, the node itself left out.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.entries.keys().copied().filter(|&peer| peer != self.own)
    }

    /// How many peers are known, the node itself included if it has an entry.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no peer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The node whose book this is.
    pub fn own_peer(&self) -> PeerId {
        self.own
    }

    /// The node's own addresses, in order.
    pub fn local_addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses(self.own).map(|(_, address)| address)
    }

    /// The first of the node's own addresses, or the empty one.
    pub fn peer_address(&self) -> Address {
        self.local_addresses().next().cloned().unwrap_or_else(Address::empty)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// What it takes to change an entry.
impl AddressBook {
    fn counted<T>(&mut self, result: Result<T, AddressBookError>) -> Result<T, AddressBookError> {
        if result.is_err() {
            self.counters.refused += 1;
        }
        result
    }

    /// The addresses that are some, each once, as many as a peer may have; and how many more there were.
    fn check_all(
        &self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<(Vec<Address>, usize), AddressBookError> {
        if peer == self.own {
            return Err(AddressBookError::OwnPeer);
        }
        let (mut checked, mut left_out) = (Vec::new(), 0);
        for address in addresses {
            self.check_address(peer, &address)?;
            if address.is_empty() || checked.contains(&address) {
                continue;
            }
            match checked.len() < self.config.addresses_per_peer {
                true => checked.push(address),
                false => left_out += 1,
            }
        }
        Ok((checked, left_out))
    }

    fn check_address(&self, peer: PeerId, address: &Address) -> Result<(), AddressBookError> {
        let byte_count = address.as_bytes().len();
        if byte_count > self.config.address_bytes {
            return Err(AddressBookError::AddressTooLong { byte_count, cap: self.config.address_bytes });
        }
        match address.peer() {
            Some(named) if named != peer => Err(AddressBookError::OtherPeer { named, peer }),
            _ => Ok(()),
        }
    }

    fn add_operator(
        &mut self,
        peer: PeerId,
        addresses: Vec<Address>,
        refers: bool,
    ) -> Result<bool, AddressBookError> {
        if addresses.is_empty() && !refers {
            return Ok(false);
        }
        let cap = self.config.addresses_per_peer;
        let held = self.addresses(peer).filter(|(tier, _)| *tier == Tier::Operator);
        let kept = held.filter(|(_, address)| !addresses.contains(address)).count();
        if kept + addresses.len() > cap {
            return Err(AddressBookError::AddressesFull { cap, peer });
        }
        let is_new_peer = !self.contains(peer);
        self.admit(peer, Tier::Operator)?;
        let mut is_new = is_new_peer;
        let mut evicted = 0;
        self.refile(peer, |entry| {
            if refers {
                entry.references = entry.references.saturating_add(1);
            }
            for address in addresses {
                is_new |= entry.insert(address, Tier::Operator, cap, &mut evicted);
            }
        });
        self.counters.addresses_evicted += evicted;
        Ok(is_new)
    }

    /// Takes addresses that are not the operator's word. The oldest of their own tier or below make room.
    fn add_said(
        &mut self,
        peer: PeerId,
        addresses: Vec<Address>,
        tier: Tier,
    ) -> Result<bool, AddressBookError> {
        if addresses.is_empty() {
            return Ok(false);
        }
        let cap = self.config.addresses_per_peer;
        let known =
            self.addresses(peer).filter(|(held, address)| *held <= tier && addresses.contains(address));
        if known.count() < addresses.len() {
            let fixed = self.addresses(peer).filter(|(held, _)| *held < tier).count();
            if fixed >= cap {
                return Err(AddressBookError::AddressesFull { cap, peer });
            }
        }
        self.admit(peer, tier)?;
        let (mut is_new, mut evicted) = (false, 0);
        self.refile(peer, |entry| {
            for address in addresses {
                is_new |= entry.insert(address, tier, cap, &mut evicted);
            }
        });
        self.counters.addresses_evicted += evicted;
        Ok(is_new)
    }

    fn replace_signed(
        &mut self,
        peer: PeerId,
        record: u64,
        mut addresses: Vec<Address>,
    ) -> Result<bool, AddressBookError> {
        match self.entries.get(&peer).and_then(|entry| entry.record) {
            Some(held) if record < held => {
                return Err(AddressBookError::StaleRecord { got: record, held, peer });
            }
            Some(held) if record == held => return Ok(false),
            _ => {}
        }
        let cap = self.config.addresses_per_peer;
        let fixed = self.addresses(peer).filter(|(tier, _)| *tier == Tier::Operator).count();
        addresses.truncate(cap.saturating_sub(fixed));
        self.admit(peer, Tier::Signed)?;
        let mut evicted = 0;
        self.refile(peer, |entry| {
            entry.record = Some(record);
            entry.addresses.retain(|(tier, _)| *tier != Tier::Signed);
            for address in addresses {
                entry.insert(address, Tier::Signed, cap, &mut evicted);
            }
        });
        self.counters.addresses_evicted += evicted;
        Ok(true)
    }

    /// Makes sure that `peer` has an entry, at the cost of others if the tier allows.
    fn admit(&mut self, peer: PeerId, tier: Tier) -> Result<(), AddressBookError> {
        if self.contains(peer) {
            return Ok(());
        }
        while self.entries.len() >= self.config.peers {
            let may_evict = self.hinted.values().next().or_else(|| match tier {
                Tier::Operator | Tier::Signed => self.signed.values().next(),
                Tier::Hint => None,
            });
            let Some(&evicted) = may_evict else {
                return Err(AddressBookError::PeersFull { cap: self.config.peers });
            };
            self.remove(evicted);
            self.counters.peers_evicted += 1;
        }
        let own_cap = match tier {
            Tier::Operator => self.config.peers,
            Tier::Signed => self.config.signed_peers,
            Tier::Hint => self.config.hint_peers,
        };
        if own_cap == 0 {
            return Err(AddressBookError::PeersFull { cap: own_cap });
        }
        self.entries.insert(peer, Box::default());
        Ok(())
    }

    /// Changes the entry of `peer` and files it anew under the tier it has then.
    fn refile(&mut self, peer: PeerId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&peer) else { return };
        self.signed.remove(&entry.recency);
        self.hinted.remove(&entry.recency);
        change(entry);
        entry.recency = self.news_so_far;
        self.news_so_far += 1;
        let (list, cap) = match entry.tier(peer == self.own) {
            Some(Tier::Operator) => return,
            Some(Tier::Signed) => (&mut self.signed, self.config.signed_peers),
            Some(Tier::Hint) => (&mut self.hinted, self.config.hint_peers),
            None => {
                self.entries.remove(&peer);
                return;
            }
        };
        list.insert(entry.recency, peer);
        while list.len() > cap
            && let Some((_, evicted)) = list.pop_first()
        {
            self.entries.remove(&evicted);
            self.counters.peers_evicted += 1;
        }
    }

    fn remove(&mut self, peer: PeerId) {
        if let Some(entry) = self.entries.remove(&peer) {
            self.signed.remove(&entry.recency);
            self.hinted.remove(&entry.recency);
        }
    }
}

impl fmt::Debug for AddressBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressBook")
            .field("own", &self.own)
            .field("peers", &self.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
