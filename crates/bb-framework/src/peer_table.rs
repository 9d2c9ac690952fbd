//! What a machine remembers of each of many peers; the one heard of longest ago makes room.

use bb_ir::PeerId;
use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::Entry;

/// Entries by peer, at most `capacity` of them.
#[derive(Clone, Debug)]
pub(crate) struct PeerTable<E> {
    capacity: usize,
    /// The peer heard of longest ago first.
    entries: LinkedHashMap<PeerId, E>,
    evicted: u64,
}

impl<E> PeerTable<E> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: LinkedHashMap::new(), evicted: 0 }
    }

    /// The most bytes that a table of `capacity` entries holds, besides what the entries own: each on its own, with its
    /// neighbours, and a table that finds them.
    pub(crate) const fn worst_case_bytes(capacity: usize) -> usize {
        let entry = size_of::<(PeerId, E)>() + 2 * size_of::<usize>();
        // The list's ends stand on a place of their own.
        (capacity + 1) * entry.next_multiple_of(8) + crate::table_bytes(capacity, size_of::<usize>())
    }

    /// The entry of `peer`, made if there is none, as the one heard of last; none if the table has no room at all.
    pub(crate) fn hear(&mut self, peer: PeerId, make: impl FnOnce() -> E) -> Option<&mut E> {
        if self.capacity == 0 {
            self.evicted += 1;
            return None;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&peer) {
            while self.entries.len() >= self.capacity && self.entries.pop_front().is_some() {
                self.evicted += 1;
            }
        }
        Some(match self.entries.entry(peer) {
            Entry::Vacant(place) => place.insert(make()),
            Entry::Occupied(mut place) => {
                place.to_back();
                place.into_mut()
            }
        })
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<E> {
        self.entries.remove(&peer)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&E> {
        self.entries.get(&peer)
    }

    /// The entry of `peer`, which is not heard of by that.
    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut E> {
        self.entries.get_mut(&peer)
    }

    /// The entries, the one heard of longest ago first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &E)> {
        self.entries.iter().map(|(peer, entry)| (*peer, entry))
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
