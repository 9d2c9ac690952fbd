//! What a machine remembers of each of many peers; the one heard of longest ago makes room.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use bb_ir::PeerId;

/// Entries by peer, at most `capacity` of them.
#[derive(Clone, Debug)]
pub(crate) struct PeerTable<E> {
    capacity: usize,
    /// Each with the number of the last news.
    entries: BTreeMap<PeerId, (E, u64)>,
    /// What was heard of whom, the oldest news in front; what is not a peer's last news counts for nothing, and is left
    /// out now and then.
    news: VecDeque<(u64, PeerId)>,
    news_so_far: u64,
    evicted: u64,
}

impl<E> PeerTable<E> {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), news: VecDeque::new(), news_so_far: 0, evicted: 0 }
    }

    /// The most bytes that a table of `capacity` entries holds, besides what the entries own: a tree whose nodes are at
    /// least 5/11 full, and a queue whose places double as they are used up.
    pub(crate) const fn worst_case_bytes(capacity: usize) -> usize {
        crate::tree_bytes(capacity, size_of::<PeerId>() + size_of::<(E, u64)>())
            + most_news(capacity).next_power_of_two() * size_of::<(u64, PeerId)>()
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
                && let Some(oldest) = self.news.pop_front()
            {
                if is_last(&self.entries, oldest) {
                    self.entries.remove(&oldest.1);
                    self.evicted += 1;
                }
            }
        }
        if self.news.len() >= most_news(self.entries.len()) {
            let Self { entries, news, .. } = self;
            news.retain(|heard| is_last(entries, *heard));
        }
        let (entry, held) = match self.entries.entry(peer) {
            Entry::Vacant(place) => place.insert((make(), recency)),
            Entry::Occupied(place) => place.into_mut(),
        };
        self.news.push_back((recency, peer));
        *held = recency;
        Some(entry)
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<E> {
        self.entries.remove(&peer).map(|(entry, _)| entry)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.news.clear();
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
        let last = self.news.iter().filter(|heard| is_last(&self.entries, **heard));
        last.filter_map(|&(_, peer)| self.get(peer).map(|entry| (peer, entry)))
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

/// How many news a table of so many entries keeps, at most.
const fn most_news(entries: usize) -> usize {
    2 * entries + 16
}

/// Whether it is the last that was heard of its peer.
fn is_last<E>(entries: &BTreeMap<PeerId, (E, u64)>, (number, peer): (u64, PeerId)) -> bool {
    entries.get(&peer).is_some_and(|(_, last)| *last == number)
}
