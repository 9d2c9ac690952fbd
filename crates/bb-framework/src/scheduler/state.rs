//! A saved [`Scheduler`].

use bb_ir::Time;

use super::Scheduler;
use crate::state::{Remaining, StateError, within};

/// All that decides what a [`Scheduler`] will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<K> {
    /// The timers, in the order in which they come due.
    pub timers: Vec<(Remaining, K)>,
    /// Timers refused.
    pub refused: u64,
}

impl<K: Ord + Clone> Scheduler<K> {
    /// What [`Scheduler::from_state`] takes.
    pub fn state(&self, now: Time) -> State<K> {
        let timers = self.iter().map(|(at, key)| (Remaining::of(at, now), key.clone())).collect();
        State { timers, refused: self.refused }
    }

    /// The scheduler that was saved, at `now`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_state(state: State<K>, capacity: usize, now: Time) -> Result<Self, StateError> {
        const LIST: &str = "timers";
        let count = state.timers.len();
        within(LIST, count, capacity)?;
        let mut scheduler = Self::new(capacity);
        let mut before = Remaining(i64::MIN);
        for (index, (due, key)) in state.timers.into_iter().enumerate() {
            if due < before {
                return Err(StateError::Order { list: LIST, index });
            }
            before = due;
            let set = (due.at(now), index as u64);
            if scheduler.by_key.insert(key.clone(), set).is_some() {
                return Err(StateError::Duplicate { list: LIST, index });
            }
            scheduler.by_time.insert(set, key);
        }
        scheduler.set_so_far = count as u64;
        scheduler.refused = state.refused;
        Ok(scheduler)
    }
}
