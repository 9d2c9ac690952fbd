//! Waits and leases as a snapshot sees them.

use std::collections::VecDeque;

use bb_framework::Scheduler;
use bb_framework::scheduler::State;
use bb_framework::state::{Remaining, StateError};

use super::{Lease, Leases, Wait, Waits, WaitsFor};
use crate::Time;

/// A wait as it was saved: when it is due, and its id.
pub(crate) type SavedWait = (Remaining, u64, Wait);

impl Waits {
    /// The waits with their times and ids: those with deadlines, the next one due first, then those that sleep.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Time, u64, &Wait)> {
        let all = self.deadlines.iter().chain(self.timers.iter());
        all.filter_map(|(due, &id)| Some((due, id, self.waits.get(&id)?)))
    }

    /// Deadlines and sleeps that found no room.
    pub(crate) fn refused(&self) -> (u64, u64) {
        (self.deadlines.refused(), self.timers.refused())
    }

    /// Forgets what was counted.
    pub(crate) fn forget_counters(&mut self) {
        self.deadlines.forget_counters();
        self.timers.forget_counters();
    }

    /// These waits, in the order of [`Waits::in_order`].
    pub(crate) fn from_saved(
        saved: Vec<SavedWait>,
        next: u64,
        (capacity, timers): (usize, usize),
        refused: (u64, u64),
        now: Time,
    ) -> Result<Self, StateError> {
        let count = saved.len();
        if count > capacity {
            return Err(StateError::TooMany { list: "pending_async", count, cap: capacity });
        }
        let due = |sleeps: bool| {
            let kept = saved.iter().filter(|(_, _, wait)| matches!(wait.on, WaitsFor::Timer(_)) == sleeps);
            kept.map(|(due, id, _)| (*due, *id)).collect()
        };
        let (deadlines, sleeps) = (due(false), due(true));
        Ok(Self {
            deadlines: Scheduler::from_state(State { timers: deadlines, refused: refused.0 }, timers, now)?,
            timers: Scheduler::from_state(State { timers: sleeps, refused: refused.1 }, timers, now)?,
            waits: saved.into_iter().map(|(_, id, wait)| (id, wait)).collect(),
            next,
            capacity,
        })
    }
}

impl Leases {
    /// The waits for an aggregator that is lent, in order.
    pub(crate) fn waiting(&self, slot: u32) -> impl Iterator<Item = u64> {
        self.0.get(&slot).into_iter().flat_map(|lease| lease.waiting.iter().copied())
    }

    /// How many are lent.
    #[cfg(debug_assertions)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The execution that has an aggregator.
    #[cfg(debug_assertions)]
    pub(crate) fn holder(&self, slot: u32) -> Option<u32> {
        self.0.get(&slot).map(|lease| lease.holder)
    }

    /// Lends an aggregator that was lent when it was saved; `false`: it is lent already.
    pub(crate) fn lend_again(&mut self, slot: u32, holder: u32, waiting: VecDeque<u64>) -> bool {
        self.0.insert(slot, Lease { holder, waiting }).is_none()
    }
}
