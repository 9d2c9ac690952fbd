//! A saved [`AddressBook`].

use std::collections::BTreeMap;

use bb_ir::{Address, PeerId};

use super::entry::Entry;
use super::{AddressBook, Config, Counters, Tier};
use crate::state::{StateError, within};

/// All that decides what an [`AddressBook`] will say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The peers: those of the operator in order, then those known by signed word and those known by hints, in both
    /// the one heard of longest ago in front.
    pub entries: Vec<EntryState>,
    /// What was counted.
    pub counters: Counters,
}

/// A peer of a saved [`AddressBook`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// The peer.
    pub peer: PeerId,
    /// How often the operator refers to it.
    pub references: u32,
    /// The number of its signed record taken last.
    pub record: Option<u64>,
    /// Its addresses, best first.
    pub addresses: Vec<(Tier, Address)>,
}

impl AddressBook {
    /// What [`AddressBook::from_state`] takes.
    pub fn state(&self) -> State {
        let saved = |peer: PeerId, entry: &Entry| EntryState {
            peer,
            references: entry.references,
            record: entry.record,
            addresses: entry.addresses.clone(),
        };
        let mut entries = Vec::with_capacity(self.entries.len());
        let operators = self
            .entries
            .iter()
            .filter(|(peer, entry)| entry.tier(**peer == self.own) == Some(Tier::Operator));
        entries.extend(operators.map(|(&peer, entry)| saved(peer, entry)));
        for list in [&self.signed, &self.hinted] {
            entries.extend(list.values().filter_map(|peer| Some(saved(*peer, self.entries.get(peer)?))));
        }
        State { entries, counters: self.counters }
    }

    /// The book that was saved, of the node `own`.
    ///
    /// # Errors
    /// [`StateError`]; no entry is ever left out.
    pub fn from_state(own: PeerId, state: State, config: Config) -> Result<Self, StateError> {
        const LIST: &str = "peers";
        within(LIST, state.entries.len(), config.peers)?;
        let mut book = Self::new(own, config);
        book.counters = state.counters;
        let mut before: Option<(Tier, PeerId)> = None;
        let count = state.entries.len();
        let mut entries = Vec::with_capacity(count);
        for (index, saved) in state.entries.into_iter().enumerate() {
            let peer = saved.peer;
            let (tier, entry) = book.check_saved(index, saved)?;
            if let Some((before, peer_before)) = before
                && (tier < before || (tier == Tier::Operator && before == tier && peer <= peer_before))
            {
                return Err(StateError::Order { list: LIST, index });
            }
            before = Some((tier, peer));
            let recency = entry.recency;
            entries.push((peer, Box::new(entry)));
            match tier {
                Tier::Operator => None,
                Tier::Signed => book.signed.insert(recency, peer),
                Tier::Hint => book.hinted.insert(recency, peer),
            };
        }
        within("signed_peers", book.signed.len(), config.signed_peers)?;
        within("hint_peers", book.hinted.len(), config.hint_peers)?;
        book.news_so_far = count as u64 + 1;
        // From a sorted list the tree is built without searching.
        book.entries = BTreeMap::from_iter(entries);
        if book.entries.len() < count {
            return Err(StateError::Duplicate { list: LIST, index: count - 1 });
        }
        Ok(book)
    }

    /// Sets what was counted.
    pub fn set_counters(&mut self, counters: Counters) {
        self.counters = counters;
    }

    fn check_saved(&self, index: usize, saved: EntryState) -> Result<(Tier, Entry), StateError> {
        const LIST: &str = "peers";
        let invalid = |reason| StateError::Invalid { list: LIST, index, reason };
        let EntryState { peer, references, record, addresses } = saved;
        within("addresses", addresses.len(), self.config.addresses_per_peer)?;
        for (at, (tier, address)) in addresses.iter().enumerate() {
            if address.is_empty() || self.check_address(peer, address).is_err() {
                return Err(invalid("an address is empty, too long, or another peer's"));
            }
            if addresses[..at].iter().any(|(before, held)| before > tier || held == address) {
                return Err(invalid("its addresses are out of order, or one is there twice"));
            }
        }
        let entry = Entry { addresses, references, record, recency: index as u64 + 1 };
        let tier = entry.tier(peer == self.own).ok_or_else(|| invalid("nothing is known of it"))?;
        Ok((tier, entry))
    }
}
