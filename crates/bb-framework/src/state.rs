//! What a machine is saved as, and what can be wrong with it.
//!
//! Each machine has a plain `State` in its own module, made by `state` and taken by `from_state`. A moment is saved as
//! the distance from the time of the saving, so that a machine goes on under another clock as it would have.

use std::time::Duration;

use bb_ir::Time;
use thiserror::Error;

/// A moment as nanoseconds from the time at which it was saved; less than zero for one that was over by then.
///
/// The largest number stands for a moment that is some 292 years away or more: it becomes [`Time::MAX`] again.
///
/// ```
/// use bb_framework::state::Remaining;
/// use bb_ir::Time;
/// let saved = Remaining::of(Time::from_nanos(70), Time::from_nanos(100));
/// assert_eq!(saved, Remaining(-30));
/// assert_eq!(saved.at(Time::from_nanos(500)), Time::from_nanos(470));
/// assert_eq!(Remaining::of(Time::MAX, Time::ZERO).at(Time::from_nanos(5)), Time::MAX);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remaining(pub i64);

/// A saved machine that cannot have been saved by one of these limits; whoever made the bytes is at fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// An entry that is there twice.
    #[error("`{list}[{index}]` is there twice")]
    Duplicate {
        /// The list.
        list: &'static str,
        /// The second of the two.
        index: usize,
    },
    /// An entry that no machine would have.
    #[error("`{list}[{index}]`: {reason}")]
    Invalid {
        /// The list.
        list: &'static str,
        /// The entry.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry that stands before one that belongs in front of it.
    #[error("`{list}[{index}]` is out of order")]
    Order {
        /// The list.
        list: &'static str,
        /// The entry.
        index: usize,
    },
    /// More entries than the machine may have.
    #[error("`{list}` has {count} entries, at most {cap} are allowed; raise the limit")]
    TooMany {
        /// The list.
        list: &'static str,
        /// Its entries.
        count: usize,
        /// The cap.
        cap: usize,
    },
}

impl Remaining {
    /// How far `at` is from `now`.
    pub fn of(at: Time, now: Time) -> Self {
        let distance = i128::from(at.as_nanos()) - i128::from(now.as_nanos());
        Self(i64::try_from(distance).unwrap_or(if distance < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The moment, seen from `now`.
    pub fn at(self, now: Time) -> Time {
        match self.0 {
            i64::MAX => Time::MAX,
            0.. => now + Duration::from_nanos(self.0.unsigned_abs()),
            _ => now - Duration::from_nanos(self.0.unsigned_abs()),
        }
    }
}

/// Checks that a list is not too long.
pub(crate) fn within(list: &'static str, count: usize, cap: usize) -> Result<(), StateError> {
    if count > cap { Err(StateError::TooMany { list, count, cap }) } else { Ok(()) }
}

/// Checks that every item is greater than the one before.
pub(crate) fn ascending<T: Ord>(list: &'static str, items: &[T]) -> Result<(), StateError> {
    match items.windows(2).position(|pair| pair[0] >= pair[1]) {
        None => Ok(()),
        Some(at) if items[at] == items[at + 1] => Err(StateError::Duplicate { list, index: at + 1 }),
        Some(at) => Err(StateError::Order { list, index: at + 1 }),
    }
}
