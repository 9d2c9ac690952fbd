//! What is due when: keyed timers, in the order of their time.

mod state;

use std::collections::BTreeMap;

use bb_ir::Time;
use thiserror::Error;

pub use self::state::State;

/// Timers by key; due ones come in the order of their time, then in the order in which they were set.
///
/// - look: [`len`](Self::len) [`is_empty`](Self::is_empty) [`has_room`](Self::has_room) [`due`](Self::due) [`iter`](Self::iter)
///   [`next_deadline`](Self::next_deadline) [`refused`](Self::refused)
/// - command: [`set`](Self::set) [`cancel`](Self::cancel) [`clear`](Self::clear)
///   [`forget_counters`](Self::forget_counters)
/// - drive: [`pop_due`](Self::pop_due)
///
/// ```
/// use bb_framework::Scheduler;
/// use bb_ir::Time;
/// let mut scheduler = Scheduler::new(8);
/// scheduler.set("b", Time::from_nanos(20))?;
/// scheduler.set("a", Time::from_nanos(10))?;
/// scheduler.set("b", Time::from_nanos(5))?;
/// assert_eq!(scheduler.next_deadline(), Some(Time::from_nanos(5)));
/// assert_eq!(scheduler.pop_due(Time::from_nanos(9)), Some((Time::from_nanos(5), "b")));
/// assert_eq!(scheduler.pop_due(Time::from_nanos(9)), None);
/// # Ok::<(), bb_framework::SchedulerFull>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scheduler<K> {
    capacity: usize,
    by_time: BTreeMap<(Time, u64), K>,
    by_key: BTreeMap<K, (Time, u64)>,
    set_so_far: u64,
    refused: u64,
}

/// No room for another timer; the caller sets too many.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("all {capacity} timers are in use; cancel one, or raise the limit")]
pub struct SchedulerFull {
    /// The cap.
    pub capacity: usize,
}

impl<K: Ord + Clone> Scheduler<K> {
    /// A scheduler of at most `capacity` timers.
    ///
    /// Evicts nothing: a timer beyond the cap is refused and counted. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it is empty.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, by_time: BTreeMap::new(), by_key: BTreeMap::new(), set_so_far: 0, refused: 0 }
    }

    /// The most bytes that a scheduler of `capacity` timers holds, besides what its keys own:
    /// two trees whose nodes are at least 5/11 full.
    pub const fn worst_case_bytes(capacity: usize) -> usize {
        2 * crate::tree_bytes(capacity, size_of::<K>() + size_of::<(Time, u64)>())
    }

    /// Sets the timer of `key` to `at`, whatever it was set to before.
    ///
    /// # Errors
    /// [`SchedulerFull`]; nothing is changed then.
    pub fn set(&mut self, key: K, at: Time) -> Result<(), SchedulerFull> {
        if let Some(held) = self.by_key.get_mut(&key) {
            self.by_time.remove(held);
            *held = (at, self.set_so_far);
            self.by_time.insert((at, self.set_so_far), key);
        } else if self.by_key.len() >= self.capacity {
            self.refused += 1;
            return Err(SchedulerFull { capacity: self.capacity });
        } else {
            self.by_key.insert(key.clone(), (at, self.set_so_far));
            self.by_time.insert((at, self.set_so_far), key);
        }
        self.set_so_far += 1;
        Ok(())
    }

    /// Whether one more timer would be taken.
    pub fn has_room(&self) -> bool {
        self.by_key.len() < self.capacity
    }

    /// Drops the timer of `key`; when it would have been due.
    pub fn cancel(&mut self, key: &K) -> Option<Time> {
        let held = self.by_key.remove(key)?;
        self.by_time.remove(&held);
        Some(held.0)
    }

    /// Takes the next timer that is due at `now`, with the time it was set to; not after `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let entry = self.by_time.first_entry()?;
        let at = entry.key().0;
        if at > now {
            return None;
        }
        let key = entry.remove();
        self.by_key.remove(&key);
        Some((at, key))
    }

    /// Drops all timers.
    pub fn clear(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }

    /// Forgets what was counted.
    pub fn forget_counters(&mut self) {
        self.refused = 0;
    }

    /// When the timer of `key` is due.
    pub fn due(&self, key: &K) -> Option<Time> {
        self.by_key.get(key).map(|held| held.0)
    }

    /// The timers, in the order in which they come due.
    pub fn iter(&self) -> impl Iterator<Item = (Time, &K)> {
        self.by_time.iter().map(|(&(at, _), key)| (at, key))
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.by_time.first_key_value().map(|(&(at, _), _)| at)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// How many timers were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
