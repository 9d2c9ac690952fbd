//! Where [`Node::poll`](crate::Node::poll) reads the time.

use std::fmt;
use std::time::Instant;

use crate::Time;

/// Tells a node the time; only [`Node::poll`](crate::Node::poll) asks it.
pub trait Clock: Send + Sync {
    /// The time since an origin that never changes.
    fn now(&self) -> Time;
}

/// The monotonic clock of the system, counted from when it was made.
#[derive(Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        Self { origin: instant_now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::ZERO + instant_now().duration_since(self.origin)
    }
}

impl fmt::Debug for SystemClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemClock")
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one clock of the project; everything else is given the time"
)]
fn instant_now() -> Instant {
    Instant::now()
}
