//! What starts executions of its own accord: intervals and pulses, and how a source region begins.
//!
//! State: [`Timers`]: whether the node has been stepped, the times that are set, and a counter.

use std::sync::Arc;
use std::time::Duration;

use bb_framework::Scheduler;

use super::Engine;
use super::dense::Target;
use super::frame::Held;
use super::syscall::Source;
use crate::{Time, Value};

/// The timers of source regions, each by its target and region. There are as many as the installed targets have.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Set by the node's first step, from which intervals and pulses count.
    pub(crate) is_started: bool,
    pub(crate) due: Scheduler<(u32, u32)>,
    /// Executions of sources that did not begin: too many under way, or an event of another type.
    pub(crate) skipped: u64,
    has_any: bool,
}

impl Timers {
    pub(crate) fn new(targets: &[Arc<Target>], capacity: usize) -> Self {
        let has_any = targets
            .iter()
            .flat_map(|target| &target.regions)
            .any(|region| matches!(region.source, Some(Source::Interval { .. } | Source::Pulse { .. })));
        Self { is_started: false, due: Scheduler::new(capacity), skipped: 0, has_any }
    }

    /// Whether timers wait for the first step to be set.
    pub(crate) fn wait_for_start(&self) -> bool {
        !self.is_started && self.has_any
    }
}

impl Engine {
    /// Counts from now what began since the last step; sets the timers in the first one.
    pub(crate) fn start_time(&mut self) {
        for index in self.executions.take_fresh() {
            let Some(execution) = self.executions.at_mut(index) else { continue };
            (execution.is_fresh, execution.began) = (false, self.now);
            for &wait in &execution.waits {
                self.waits.begin_at(wait, self.now);
            }
        }
        if std::mem::replace(&mut self.timers.is_started, true) {
            return;
        }
        for (target, held) in Arc::clone(&self.targets).iter().enumerate() {
            for region in &held.regions {
                let after = match region.source {
                    Some(Source::Interval { period }) => period,
                    Some(Source::Pulse { delay }) => delay,
                    _ => continue,
                };
                if self.timers.due.set((target as u32, region.index), self.now + after).is_err() {
                    self.timers.skipped += 1;
                }
            }
        }
    }

    /// Starts what is due, and lets ops go on that slept.
    pub(crate) fn run_timers(&mut self) {
        while let Some((at, (target, region))) = self.timers.due.pop_due(self.now) {
            let source = &self.targets[target as usize].regions[region as usize].source;
            if let Some(Source::Interval { period }) = *source {
                let next = next_tick(at, period, self.now);
                // Behind the end of time there is no tick.
                if next > self.now && self.timers.due.set((target, region), next).is_err() {
                    self.timers.skipped += 1;
                }
            }
            self.start_source(target, region, Held::own(Value::Trigger));
        }
        while let Some(wait) = self.waits.pop_timer(self.now) {
            self.wake(wait);
        }
    }

    /// Begins an execution of a source region.
    pub(crate) fn start_source(&mut self, target: u32, region: u32, value: Held) {
        let region = Arc::clone(&self.targets[target as usize].regions[region as usize]);
        let fits = region.arguments.iter().all(|argument| argument.ty.admits(&value.value));
        if !fits || self.executions.len() >= self.limits.executions {
            self.timers.skipped += 1;
            return;
        }
        self.begin(target, &region, None, [Some(value)]);
    }
}

/// The first tick after `now` of those that are whole periods after `at`.
fn next_tick(at: Time, period: Duration, now: Time) -> Time {
    let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
    let missed = (now.as_nanos() - at.as_nanos()) / period;
    let ahead = period.saturating_mul(missed.saturating_add(1));
    Time::from_nanos(at.as_nanos().saturating_add(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_were_slept_through_are_not_made_up_for() {
        let tick = |at, period, now| {
            next_tick(Time::from_nanos(at), Duration::from_nanos(period), Time::from_nanos(now)).as_nanos()
        };
        assert_eq!(tick(10, 5, 10), 15);
        assert_eq!(tick(10, 5, 14), 15);
        assert_eq!(tick(10, 5, 15), 20);
        assert_eq!(tick(10, 5, 33), 35);
        assert_eq!(tick(u64::MAX - 1, 5, u64::MAX), u64::MAX);
    }
}
