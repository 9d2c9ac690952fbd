//! A node's own clock: it runs a little fast, and jumps ahead.

use std::time::Duration;

use bytesandbrains::Time;

/// Tells a node's time from the world's. It never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalClock {
    offset: u64,
    /// How much faster than the world's it runs, in millionths.
    drift_ppm: u64,
}

impl LocalClock {
    pub(super) fn drifting(drift_ppm: u64) -> Self {
        Self { offset: 0, drift_ppm }
    }

    pub(super) fn local(self, world: Time) -> Time {
        let drifted = u128::from(world.as_nanos()) * u128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        Time::from_nanos(u64::try_from(drifted).unwrap_or(u64::MAX).saturating_add(self.offset))
    }

    /// The first moment of the world at which this clock shows `local` or later.
    pub(super) fn world(self, local: Time) -> Time {
        let since = u128::from(local.as_nanos().saturating_sub(self.offset));
        let world = (since * 1_000_000).div_ceil(u128::from(1_000_000 + self.drift_ppm));
        Time::from_nanos(u64::try_from(world).unwrap_or(u64::MAX))
    }

    pub(super) fn jump(&mut self, by: Duration) {
        self.offset = self.offset.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_woken_when_its_clock_shows_the_time_and_not_before() {
        for (drift_ppm, offset) in [(0, 0), (1, 7), (500, 1_000_003), (999, 123_456_789)] {
            let clock = LocalClock { offset, drift_ppm };
            for nanos in (0..10_000_000_000).step_by(123_456_789) {
                let local = Time::from_nanos(nanos + offset);
                let world = clock.world(local);
                assert!(clock.local(world) >= local);
                if world > Time::ZERO {
                    assert!(clock.local(world - Duration::from_nanos(1)) < local);
                }
            }
        }
    }
}
