//! What holds after every step, looked at in debug builds: caps are kept, and no table holds a key of what is over. That an op
//! runs once and with all its inputs is looked at where it runs, in [`Frame`](super::frame::Frame).

use std::collections::BTreeMap;

use super::Engine;
use super::call::AskedState;
use super::wait::WaitsFor;

/// Steps among which one is looked at, for so many things under way: so a step costs no more for it, however much there is.
const THINGS_A_STEP: usize = 64;

impl Engine {
    /// Panics if something does not hold.
    pub(crate) fn check_invariants(&mut self) {
        let things = self.executions.len() + self.frames.len() + self.frontier.len() + self.waits.len();
        self.unchecked += 1;
        if things > self.unchecked * THINGS_A_STEP {
            return;
        }
        self.unchecked = 0;
        self.check_caps();
        self.check_frames();
        self.check_waits();
        self.check_permits();
    }

    fn check_caps(&self) {
        let (limits, outbound) = (&self.limits, &self.wire.outbound);
        for (what, count, cap) in [
            ("bytes in flight", self.budget.in_flight(), self.budget.capacity()),
            ("executions", self.executions.len(), limits.executions),
            ("ops that wait", self.waits.len(), self.waits.capacity()),
            ("requests", self.wire.requests.len(), self.waits.capacity()),
            ("messages to be sent", outbound.len(), limits.outbound_count),
            ("bytes to be sent", outbound.byte_count(), limits.outbound_bytes),
            ("events on the bus", self.bus.events.len(), limits.bus),
        ] {
            debug_assert!(count <= cap, "{what}: {count} of {cap}");
        }
    }

    /// Every frame is one of its execution, and entries of the frontier are of frames in use.
    fn check_frames(&self) {
        let mut queued: BTreeMap<u32, u32> = BTreeMap::new();
        for &(frame, _) in self.frontier.iter().chain(&self.bootstraps.parked) {
            *queued.entry(frame).or_default() += 1;
        }
        for (index, execution) in self.executions.iter() {
            for &frame in &execution.frames {
                let held = self.frames.frame(frame);
                let is_alive = held.region.is_some() && !held.cancelled && held.execution == index;
                debug_assert!(is_alive, "{} has a frame that is over", execution.id);
                let expected = queued.remove(&frame).unwrap_or(0);
                debug_assert_eq!(held.sites.queued, expected, "entries of a frame of {}", execution.id);
            }
            for &wait in &execution.waits {
                debug_assert!(self.waits.get(wait).is_some(), "{} has a wait that is over", execution.id);
            }
        }
        for (frame, count) in queued {
            let held = self.frames.frame(frame);
            debug_assert!(held.cancelled && held.sites.queued == count, "an entry of a frame that is over");
        }
    }

    /// Every wait and every request is one of an execution that is under way.
    fn check_waits(&self) {
        let mut asked = 0;
        for (_, id, wait) in self.waits.in_order() {
            let execution = self.executions.at(wait.execution);
            let is_alive =
                execution.is_some_and(|held| held.waits.contains(&id) && held.frames.contains(&wait.frame));
            debug_assert!(is_alive, "a wait of an execution that is over");
            if let WaitsFor::Peers(call) = &wait.on {
                asked += call.peers.iter().filter(|asked| asked.state == AskedState::Waiting).count();
            }
        }
        debug_assert_eq!(self.wire.requests.len(), asked, "requests, and waits for their answers");
    }

    /// Every permit and every aggregator is lent to an execution that is under way.
    fn check_permits(&self) {
        let mut given = BTreeMap::new();
        for (index, execution) in self.executions.iter() {
            for key in &execution.permits {
                *given.entry(key).or_insert(0) += 1;
            }
            for &slot in &execution.leases {
                debug_assert_eq!(self.leases.holder(slot), Some(index), "an aggregator is lent to two");
            }
        }
        let lent: usize = self.executions.iter().map(|(_, execution)| execution.leases.len()).sum();
        debug_assert_eq!(self.leases.len(), lent, "an aggregator is lent to an execution that is over");
        for (key, permit) in &self.permits.held {
            let given = given.remove(key).unwrap_or(0);
            debug_assert_eq!(permit.given, given, "permits of {key:?} and who holds them");
        }
        debug_assert!(given.is_empty(), "permits of nothing are held");
        for (frame, _) in &self.permits.granted {
            debug_assert!(
                !self.frames.frame(*frame).cancelled,
                "a permit is granted to a frame that is over"
            );
        }
    }
}
