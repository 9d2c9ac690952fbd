//! A saved [`PeerGovernor`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bb_ir::{PeerId, Time};

use super::{Config, Counters, Event, Failing, PeerGovernor};
use crate::state::{Remaining, StateError, ascending, within};
use crate::{BackoffTable, backoff};

/// All that decides what a [`PeerGovernor`] will say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The blocked peers, in order.
    pub blocklist: Vec<PeerId>,
    /// The allowed peers, in order; `None`: all.
    pub allowlist: Option<Vec<PeerId>>,
    /// Peers that fail; the one to forget first in front.
    pub failing: Vec<FailingState>,
    /// What happened and was not taken yet, in order.
    pub events: Vec<Event>,
    /// The waits.
    pub backoff: backoff::State,
    /// What was counted.
    pub counters: Counters,
}

/// A failing peer of a saved [`PeerGovernor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingState {
    /// The peer.
    pub peer: PeerId,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Whether it is down.
    pub is_down: bool,
    /// When it last failed.
    pub last: Remaining,
}

impl PeerGovernor {
    /// What [`PeerGovernor::from_state`] takes.
    pub fn state(&self, now: Time) -> State {
        let failing = |&peer: &PeerId| {
            let failing = self.failing.get(&peer)?;
            Some(FailingState {
                peer,
                consecutive_failures: failing.count,
                is_down: failing.is_down,
                last: Remaining::of(failing.last, now),
            })
        };
        State {
            blocklist: self.blocklist.iter().copied().collect(),
            allowlist: self.allowlist.as_ref().map(|list| list.iter().copied().collect()),
            failing: self.by_recency.values().filter_map(failing).collect(),
            events: self.events.iter().copied().collect(),
            backoff: self.backoff.state(now),
            counters: self.counters,
        }
    }

    /// The governor that was saved, at `now`, which is not before the time at which it was saved.
    ///
    /// # Errors
    /// [`StateError`]; no entry is ever left out.
    pub fn from_state(state: &State, config: Config, now: Time) -> Result<Self, StateError> {
        const LIST: &str = "failing";
        for (name, list) in [("blocklist", Some(&state.blocklist)), ("allowlist", state.allowlist.as_ref())] {
            let Some(list) = list else { continue };
            within(name, list.len(), config.listed_peers)?;
            ascending(name, list)?;
        }
        within(LIST, state.failing.len(), config.health_entries)?;
        within("events", state.events.len(), config.events)?;
        let mut failing = BTreeMap::new();
        let mut by_recency = BTreeMap::new();
        for (index, saved) in state.failing.iter().enumerate() {
            let recency = index as u64;
            if index > 0 && state.failing[index - 1].is_down && !saved.is_down {
                return Err(StateError::Order { list: LIST, index });
            }
            if saved.consecutive_failures == 0 || saved.last > Remaining(0) {
                let reason = "it never failed, or fails in the future";
                return Err(StateError::Invalid { list: LIST, index, reason });
            }
            let held = Failing {
                count: saved.consecutive_failures,
                is_down: saved.is_down,
                last: saved.last.at(now),
                recency,
            };
            if failing.insert(saved.peer, held).is_some() {
                return Err(StateError::Duplicate { list: LIST, index });
            }
            by_recency.insert((saved.is_down, recency), saved.peer);
        }
        Ok(Self {
            config,
            blocklist: state.blocklist.iter().copied().collect(),
            allowlist: state.allowlist.as_ref().map(|list| list.iter().copied().collect::<BTreeSet<_>>()),
            failing,
            by_recency,
            failures_so_far: state.failing.len() as u64,
            backoff: BackoffTable::from_state(&state.backoff, config.backoff, now)?,
            events: state.events.iter().copied().collect::<VecDeque<_>>(),
            counters: state.counters,
        })
    }
}
