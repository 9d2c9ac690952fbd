//! What a machine remembers of each of many peers; the one heard of longest ago makes room.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bb_ir::PeerId;

/// Entries by peer, at most `capacity` of them.
#[derive(Clone, Debug)]
pub(crate) struct PeerTable<E> {
    capacity: usize,
    entries: BTreeMap<PeerId, (E, u64)>,
    /// The peer that was heard of longest ago in front.
    by_recency: BTreeMap<u64, PeerId>,
    news_so_far: u64,
    evicted: u64,
}

impl<E> PeerTable<E> {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), by_recency: BTreeMap::new(), news_so_far: 0, evicted: 0 }
    }

    /// The most bytes that a table of `capacity` entries holds, besides what the entries own: two trees whose nodes
    /// are at least 5/11 full.
    pub(crate) const fn worst_case_bytes(capacity: usize) -> usize {
        crate::tree_bytes(capacity, size_of::<PeerId>() + size_of::<(E, u64)>())
            + crate::tree_bytes(capacity, size_of::<u64>() + size_of::<PeerId>())
    }

    /// The entry of `peer`, made if there is none, as the one heard of last; none if the table has no room at all.
    pub(crate) fn hear(&mut self, peer: PeerId, make: impl FnOnce() -> E) -> Option<&mut E> {
        let recency = self.news_so_far;
        self.news_so_far += 1;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&peer) {
            if self.capacity == 0 {
                self.evicted += 1;
                return None;
            }
            while self.entries.len() >= self.capacity
                && let Some((_, oldest)) = self.by_recency.pop_first()
            {
                self.entries.remove(&oldest);
                self.evicted += 1;
            }
        }
        let (entry, held) = match self.entries.entry(peer) {
            Entry::Vacant(place) => place.insert((make(), recency)),
            Entry::Occupied(place) => {
                let held = place.into_mut();
                self.by_recency.remove(&held.1);
                held
            }
        };
        self.by_recency.insert(recency, peer);
        *held = recency;
        Some(entry)
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<E> {
        let (entry, recency) = self.entries.remove(&peer)?;
        self.by_recency.remove(&recency);
        Some(entry)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.by_recency.clear();
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&E> {
        self.entries.get(&peer).map(|(entry, _)| entry)
    }

    /// The entry of `peer`, which is not heard of by that.
    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut E> {
        self.entries.get_mut(&peer).map(|(entry, _)| entry)
    }

    /// The entries, the one heard of longest ago first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &E)> {
        self.by_recency.values().filter_map(|peer| self.get(*peer).map(|entry| (*peer, entry)))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn set_evicted(&mut self, evicted: u64) {
        self.evicted = evicted;
    }
}
