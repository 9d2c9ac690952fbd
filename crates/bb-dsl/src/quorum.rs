//! How many answers a call waits for, and how long.

use std::time::Duration;

/// How many answers a call waits for, and how long.
///
/// Without a time, the node's own deadline for requests holds: no call waits for ever.
///
/// ```
/// use bb_dsl::{Quorum, secs};
/// let quorum = Quorum::at_least(8).within(secs(30));
/// # let _ = quorum;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quorum {
    pub(crate) count: Option<u32>,
    pub(crate) deadline: Option<Duration>,
}

impl Quorum {
    /// Every peer asked must answer.
    pub const fn all() -> Self {
        Self { count: None, deadline: None }
    }

    /// That many of the peers asked must answer; at least 1.
    pub const fn at_least(count: u32) -> Self {
        Self { count: Some(count), deadline: None }
    }

    /// The call fails when the answers are not in after this time.
    pub const fn within(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// The same as [`Quorum::within`].
    pub const fn deadline(self, time: Duration) -> Self {
        self.within(time)
    }

    /// -1 for all.
    pub(crate) fn count_attribute(self) -> i64 {
        self.count.map_or(-1, i64::from)
    }

    /// Nanoseconds; 0 for the node's own.
    pub(crate) fn deadline_attribute(self) -> i64 {
        self.deadline.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// That many seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// That many milliseconds.
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
