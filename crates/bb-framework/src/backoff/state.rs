//! A saved [`BackoffTable`].

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::{PeerId, Time};

use super::{BackoffTable, Config, Entry};
use crate::state::{Remaining, StateError, ascending, within};

/// All that decides what a [`BackoffTable`] will say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Decides the jitter.
    pub seed: u64,
    /// Peers that failed or asked to be left alone; the one to forget first in front.
    pub entries: Vec<EntryState>,
    /// Entries evicted to make room.
    pub evicted: u64,
}

/// A peer of a saved [`BackoffTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// The peer.
    pub peer: PeerId,
    /// How often in a row it failed.
    pub failures: u32,
    /// When it may be tried again.
    pub retry: Remaining,
    /// When it is forgotten.
    pub expires: Remaining,
}

impl BackoffTable {
    /// What [`BackoffTable::from_state`] takes.
    pub fn state(&self, now: Time) -> State {
        let entry = |&(expires_at, peer): &(Time, PeerId)| {
            let entry = self.entries.get(&peer)?;
            let (retry, expires) = (Remaining::of(entry.retry_at, now), Remaining::of(expires_at, now));
            Some(EntryState { peer, failures: entry.failures, retry, expires })
        };
        State {
            seed: self.seed,
            entries: self.by_expiry.iter().filter_map(entry).collect(),
            evicted: self.evicted,
        }
    }

    /// The table that was saved, at `now`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_state(state: &State, config: Config, now: Time) -> Result<Self, StateError> {
        const LIST: &str = "backoff";
        within(LIST, state.entries.len(), config.entries)?;
        let order: Vec<(Remaining, PeerId)> =
            state.entries.iter().map(|entry| (entry.expires, entry.peer)).collect();
        ascending(LIST, &order)?;
        let mut entries = BTreeMap::new();
        let mut by_expiry = BTreeSet::new();
        for (index, saved) in state.entries.iter().enumerate() {
            if saved.expires < saved.retry {
                let reason = "it is forgotten before it may be tried again";
                return Err(StateError::Invalid { list: LIST, index, reason });
            }
            let (retry_at, expires_at) = (saved.retry.at(now), saved.expires.at(now));
            let entry = Entry { failures: saved.failures, retry_at, expires_at };
            if entries.insert(saved.peer, entry).is_some() {
                return Err(StateError::Duplicate { list: LIST, index });
            }
            by_expiry.insert((expires_at, saved.peer));
        }
        Ok(Self { config, seed: state.seed, entries, by_expiry, evicted: state.evicted })
    }
}
