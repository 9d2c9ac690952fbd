//! The book against a list of peers and addresses that is searched from end to end.

use bb_framework::address_book::{AddressBookError, Config};
use bb_framework::{AddressBook, Tier};
use bb_ir::{Address, PeerId};
use proptest::prelude::*;

use crate::any_peer;

const OWN: u64 = 7;
const CONFIG: Config =
    Config { peers: 5, signed_peers: 3, hint_peers: 2, addresses_per_peer: 3, address_bytes: 60 };

#[derive(Clone, Debug)]
enum Call {
    Add(PeerId, Vec<Address>),
    Register(PeerId, Address, Tier),
    Sign(PeerId, u64, Vec<Address>),
    Forget(PeerId, Address),
    Drop(PeerId),
    AddLocal(Address),
    ForgetLocal(Address),
}

fn plain(port: u16) -> Address {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

fn any_address() -> impl Strategy<Value = Address> {
    prop_oneof![
        12 => (1_u16..7).prop_map(plain),
        1 => Just(Address::empty()),
        1 => (0_u64..8).prop_map(|id| {
            format!("/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::from_u64(id)).parse().unwrap()
        }),
        1 => Just(format!("/dns4/{}/tcp/1", "a".repeat(80)).parse().unwrap()),
    ]
}

fn any_addresses() -> impl Strategy<Value = Vec<Address>> {
    prop::collection::vec(any_address(), 0..4)
}

fn any_call() -> impl Strategy<Value = Call> {
    let any_tier = prop_oneof![1 => Just(Tier::Operator), 1 => Just(Tier::Signed), 4 => Just(Tier::Hint)];
    prop_oneof![
        3 => (any_peer(), any_addresses()).prop_map(|(peer, addresses)| Call::Add(peer, addresses)),
        12 => (any_peer(), any_address(), any_tier).prop_map(|(peer, a, tier)| Call::Register(peer, a, tier)),
        4 => (any_peer(), 0_u64..4, any_addresses()).prop_map(|(peer, n, a)| Call::Sign(peer, n, a)),
        3 => (any_peer(), any_address()).prop_map(|(peer, address)| Call::Forget(peer, address)),
        3 => any_peer().prop_map(Call::Drop),
        1 => any_address().prop_map(Call::AddLocal),
        1 => any_address().prop_map(Call::ForgetLocal),
    ]
}

/// Peers, the one heard of longest ago first.
#[derive(Clone, Debug, Default)]
struct Model(Vec<Known>);

#[derive(Clone, Debug, PartialEq)]
struct Known {
    peer: PeerId,
    references: u32,
    record: Option<u64>,
    addresses: Vec<(Tier, Address)>,
}

impl Known {
    fn tier(&self) -> Option<Tier> {
        match self.references > 0 || self.peer == PeerId::from_u64(OWN) {
            true => Some(Tier::Operator),
            false => self.addresses.iter().map(|held| held.0).min(),
        }
    }

    fn insert(&mut self, address: &Address, tier: Tier) -> bool {
        if self.addresses.iter().any(|held| held.1 == *address && held.0 <= tier) {
            return false;
        }
        self.addresses.retain(|held| held.1 != *address);
        if self.addresses.len() == CONFIG.addresses_per_peer {
            let least = self.addresses.iter().map(|held| held.0).max().unwrap();
            let at = self.addresses.iter().position(|held| held.0 == least).unwrap();
            self.addresses.remove(at);
        }
        self.addresses.push((tier, address.clone()));
        self.addresses.sort_by_key(|held| held.0);
        true
    }
}

impl Model {
    fn get(&self, peer: PeerId) -> Option<&Known> {
        self.0.iter().find(|known| known.peer == peer)
    }

    fn count(&self, tier: Tier) -> usize {
        self.0.iter().filter(|known| known.tier() == Some(tier)).count()
    }

    fn evict(&mut self, tier: Tier) -> bool {
        let oldest = self.0.iter().position(|known| known.tier() == Some(tier));
        oldest.map(|at| self.0.remove(at)).is_some()
    }

    /// Room for a new peer.
    fn make_room(&mut self, tier: Tier) -> bool {
        self.0.len() < CONFIG.peers
            || self.evict(Tier::Hint)
            || (tier != Tier::Hint && self.evict(Tier::Signed))
    }

    fn change(&mut self, peer: PeerId, tier: Tier, change: impl FnOnce(&mut Known)) -> bool {
        let mut known = match self.0.iter().position(|known| known.peer == peer) {
            Some(at) => self.0.remove(at),
            None if !self.make_room(tier) => return false,
            None => Known { peer, references: 0, record: None, addresses: Vec::new() },
        };
        change(&mut known);
        if known.tier().is_some() {
            self.0.push(known);
        }
        while self.count(Tier::Signed) > CONFIG.signed_peers {
            self.evict(Tier::Signed);
        }
        while self.count(Tier::Hint) > CONFIG.hint_peers {
            self.evict(Tier::Hint);
        }
        true
    }

    fn above(&self, peer: PeerId, tier: Tier) -> Vec<Address> {
        let held = self.get(peer).into_iter().flat_map(|known| &known.addresses);
        held.filter(|held| held.0 < tier).map(|held| held.1.clone()).collect()
    }

    /// Whether the call is taken, and what it changes.
    fn apply(&mut self, call: &Call) -> Result<bool, ()> {
        let before = self.clone();
        let cap = CONFIG.addresses_per_peer;
        let own = PeerId::from_u64(OWN);
        let taken = match call {
            Call::Add(peer, addresses) => {
                let addresses = valid(*peer, addresses, false)?;
                let held = self.above(*peer, Tier::Signed);
                if addresses.len() + held.iter().filter(|held| !addresses.contains(held)).count() > cap {
                    return Err(());
                }
                self.change(*peer, Tier::Operator, |known| {
                    known.references += 1;
                    for address in &addresses {
                        known.insert(address, Tier::Operator);
                    }
                })
            }
            Call::Register(peer, address, tier) => {
                let addresses = valid(*peer, std::slice::from_ref(address), false)?;
                let Some(address) = addresses.first() else { return Ok(false) };
                self.register(*peer, address, *tier)?
            }
            Call::Sign(peer, record, addresses) => {
                let mut addresses = valid(*peer, addresses, false)?;
                match self.get(*peer).and_then(|known| known.record) {
                    Some(held) if held > *record => return Err(()),
                    Some(held) if held == *record => return Ok(false),
                    _ => {}
                }
                addresses.truncate(cap);
                addresses.truncate(cap - self.above(*peer, Tier::Signed).len());
                self.change(*peer, Tier::Signed, |known| {
                    known.record = Some(*record);
                    known.addresses.retain(|held| held.0 != Tier::Signed);
                    for address in &addresses {
                        known.insert(address, Tier::Signed);
                    }
                })
            }
            Call::Forget(peer, address) => {
                let known = self
                    .get(*peer)
                    .is_some_and(|known| known.addresses.iter().any(|held| held.1 == *address));
                return Ok(known
                    && self.change(*peer, Tier::Hint, |known| {
                        known.addresses.retain(|held| held.1 != *address)
                    }));
            }
            Call::Drop(peer) => {
                let Some(at) = self.0.iter().position(|known| known.peer == *peer) else { return Ok(false) };
                if *peer == own {
                    return Ok(false);
                }
                match self.0[at].references {
                    0 | 1 => drop(self.0.remove(at)),
                    _ => self.0[at].references -= 1,
                }
                return Ok(true);
            }
            Call::AddLocal(address) => {
                let addresses = valid(own, std::slice::from_ref(address), true)?;
                let Some(address) = addresses.first() else { return Ok(false) };
                self.register(own, address, Tier::Operator)?
            }
            Call::ForgetLocal(address) => {
                if self.get(own).is_none() {
                    return Err(());
                }
                return self.apply(&Call::Forget(own, address.clone()));
            }
        };
        if !taken {
            *self = before;
            return Err(());
        }
        Ok(match call {
            Call::Sign(..) => true,
            Call::Add(peer, _) | Call::Register(peer, ..) => self.is_news(&before, *peer),
            _ => self.is_news(&before, own),
        })
    }

    fn register(&mut self, peer: PeerId, address: &Address, tier: Tier) -> Result<bool, ()> {
        let known = self
            .get(peer)
            .is_some_and(|known| known.addresses.iter().any(|held| held.0 <= tier && held.1 == *address));
        let fixed = match tier {
            Tier::Operator => self.above(peer, Tier::Signed).len(),
            tier => self.above(peer, tier).len(),
        };
        if !known && fixed == CONFIG.addresses_per_peer {
            return Err(());
        }
        Ok(self.change(peer, tier, |known| {
            known.insert(address, tier);
        }))
    }

    fn is_news(&self, before: &Self, peer: PeerId) -> bool {
        match (before.get(peer), self.get(peer)) {
            (Some(before), Some(after)) => before.addresses != after.addresses,
            (before, after) => before.is_some() != after.is_some(),
        }
    }
}

fn valid(peer: PeerId, addresses: &[Address], is_local: bool) -> Result<Vec<Address>, ()> {
    let mut kept: Vec<Address> = Vec::new();
    for address in addresses {
        if address.as_bytes().len() > CONFIG.address_bytes
            || address.peer().is_some_and(|named| named != peer)
        {
            return Err(());
        }
        if !address.is_empty() && !kept.contains(address) {
            kept.push(address.clone());
        }
    }
    if peer == PeerId::from_u64(OWN) && !is_local { Err(()) } else { Ok(kept) }
}

proptest! {
    #[test]
    fn the_book_holds_what_the_tiers_say(calls in prop::collection::vec(any_call(), 0..150)) {
        let own = PeerId::from_u64(OWN);
        let mut book = AddressBook::new(own, CONFIG);
        let mut model = Model::default();
        let mut refused = 0;
        for call in calls {
            let before = model.clone();
            let expected = model.apply(&call);
            let answer = match call.clone() {
                Call::Add(peer, addresses) => book.add_peer(peer, addresses),
                Call::Register(peer, address, tier) => book.register_address(peer, address, tier),
                Call::Sign(peer, record, addresses) => book.register_signed(peer, record, addresses),
                Call::Forget(peer, address) => Ok(book.forget_address(peer, &address)),
                Call::Drop(peer) => Ok(book.drop_peer(peer)),
                Call::AddLocal(address) => book.add_local_address(address),
                Call::ForgetLocal(address) => book.forget_local_address(&address),
            };
            prop_assert_eq!(answer.as_ref().ok(), expected.as_ref().ok(), "{:?}: {:?}", call, answer);
            if let Err(error) = answer {
                refused += u64::from(error != AddressBookError::NoLocalEntry);
                prop_assert_eq!(&model.0, &before.0);
            }
            prop_assert_eq!(book.counters().refused, refused);
            prop_assert_eq!((book.len(), book.is_empty()), (model.0.len(), model.0.is_empty()));
            prop_assert!(book.len() <= CONFIG.peers);
            prop_assert!(model.count(Tier::Signed) <= CONFIG.signed_peers);
            prop_assert!(model.count(Tier::Hint) <= CONFIG.hint_peers);
            for id in 0..8 {
                let peer = PeerId::from_u64(id);
                let known = model.get(peer);
                prop_assert_eq!(book.contains(peer), known.is_some());
                prop_assert_eq!(book.references(peer), known.map_or(0, |known| known.references));
                let held: Vec<_> = book.addresses(peer).map(|(tier, a)| (tier, a.clone())).collect();
                prop_assert!(held.len() <= CONFIG.addresses_per_peer);
                prop_assert_eq!(&held, &known.map_or(Vec::new(), |known| known.addresses.clone()));
                prop_assert_eq!(book.lookup(peer), held.into_iter().map(|held| held.1).collect::<Vec<_>>());
            }
            let mut peers: Vec<_> = model.0.iter().map(|known| known.peer).filter(|&peer| peer != own).collect();
            peers.sort_unstable();
            prop_assert_eq!(book.peers().collect::<Vec<_>>(), peers);
        }
    }
}

fn book() -> AddressBook {
    AddressBook::new(PeerId::from_u64(OWN), CONFIG)
}

#[test]
fn local_addresses_keep_their_order_and_each_is_held_once() {
    let mut book = book();
    assert_eq!(book.forget_local_address(&plain(1)), Err(AddressBookError::NoLocalEntry));
    assert!(book.peer_address().is_empty());
    assert_eq!(book.add_local_address(Address::empty()), Ok(false));
    assert_eq!(book.forget_local_address(&plain(1)), Err(AddressBookError::NoLocalEntry));
    for (port, is_new) in [(2, true), (1, true), (2, false)] {
        assert_eq!(book.add_local_address(plain(port)), Ok(is_new));
    }
    assert!(book.local_addresses().eq(&[plain(2), plain(1)]));
    assert_eq!(book.peer_address(), plain(2));
    assert_eq!(book.forget_local_address(&plain(2)), Ok(true));
    assert_eq!(book.forget_local_address(&plain(2)), Ok(false));
    assert_eq!(book.peer_address(), plain(1));
    assert_eq!(book.forget_local_address(&plain(1)), Ok(true));
    assert_eq!(book.forget_local_address(&plain(1)), Ok(false));
    assert_eq!(book.peers().count(), 0);
}

#[test]
fn a_flood_of_hints_neither_evicts_the_operators_peers_nor_its_own() {
    let config = Config { peers: 100, signed_peers: 50, hint_peers: 25, ..Config::default() };
    let mut book = AddressBook::new(PeerId::from_u64(OWN), config);
    book.add_local_address(plain(9)).unwrap();
    book.add_peer(PeerId::from_u64(1), [plain(1)]).unwrap();
    book.register_signed(PeerId::from_u64(2), 1, [plain(2)]).unwrap();
    for id in 10..10_000 {
        book.register_address(PeerId::from_u64(id), plain(3), Tier::Hint).unwrap();
    }
    for port in 1..1_000 {
        let taken = book.register_address(PeerId::from_u64(1), plain(port), Tier::Hint);
        assert_eq!(taken, Ok(port != 1));
    }
    assert_eq!(book.len(), 3 + 25);
    assert_eq!(book.lookup(PeerId::from_u64(1)).len(), 8);
    assert_eq!(book.lookup(PeerId::from_u64(1))[0], plain(1));
    assert_eq!(book.lookup(PeerId::from_u64(2)), [plain(2)]);
    assert_eq!(book.lookup(PeerId::from_u64(9_999)), [plain(3)]);
    assert_eq!(book.peer_address(), plain(9));
}

#[test]
fn a_refusal_says_why() {
    let mut book = book();
    let peer = PeerId::from_u64(1);
    let of_other: Address = format!("/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::from_u64(2)).parse().unwrap();
    let long: Address = format!("/dns4/{}/tcp/1", "a".repeat(80)).parse().unwrap();
    assert_eq!(
        book.register_address(peer, of_other, Tier::Hint),
        Err(AddressBookError::OtherPeer { named: PeerId::from_u64(2), peer })
    );
    assert_eq!(
        book.add_peer(peer, [plain(1), long.clone()]),
        Err(AddressBookError::AddressTooLong { byte_count: long.as_bytes().len(), cap: 60 })
    );
    assert_eq!(book.add_peer(PeerId::from_u64(OWN), [plain(1)]), Err(AddressBookError::OwnPeer));
    assert_eq!(book.add_peer(peer, (1..5).map(plain)), Err(AddressBookError::AddressesFull { cap: 3, peer }));
    assert!(book.is_empty());
    book.register_signed(peer, 5, [plain(1)]).unwrap();
    assert_eq!(
        book.register_signed(peer, 4, [plain(2)]),
        Err(AddressBookError::StaleRecord { got: 4, held: 5, peer })
    );
    for id in 10..15 {
        book.add_peer(PeerId::from_u64(id), []).unwrap();
    }
    assert_eq!(
        book.register_address(peer, plain(1), Tier::Hint),
        Err(AddressBookError::PeersFull { cap: 5 })
    );
}

#[test]
fn what_is_said_of_hints_is_what_becomes_of_them() {
    let address = |text: String| -> Address { text.parse().unwrap() };
    let some = |n: u64| address(format!("/memory/{n}"));
    let candidates = [
        Address::empty(),
        some(1),
        some(9),
        address(format!("/dns4/{}/tcp/1", "a".repeat(80))),
        address(format!("/memory/1/p2p/{}", PeerId::from_u64(2))),
    ];
    for hint_peers in [0, 2] {
        let config =
            Config { peers: 4, signed_peers: 2, hint_peers, addresses_per_peer: 2, address_bytes: 64 };
        let mut book = AddressBook::new(PeerId::from_u64(0), config);
        for known in 1..6 {
            for (peer, candidate) in (0..7).flat_map(|peer| candidates.iter().map(move |held| (peer, held))) {
                let peer = PeerId::from_u64(peer);
                let (mut asked, mut done) = (book.clone(), book.clone());
                let said = asked.check_hints(peer, std::slice::from_ref(candidate));
                let became = done.register_address(peer, candidate.clone(), Tier::Hint).map(|_| ());
                assert_eq!(said, became, "{candidate} of {peer} in {book:?}");
                assert_eq!(asked.counters().refused, done.counters().refused);
            }
            let named = book.add_peer(PeerId::from_u64(known), [some(1), some(2)]);
            assert_eq!(named.is_ok(), known <= 4);
        }
    }
}
