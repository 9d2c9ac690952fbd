//! What ops wait for: a component's answer, an aggregator, or peers' answers.

mod state;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bb_framework::Scheduler;

pub(crate) use self::state::SavedWait;
use super::call::Call;
use super::frame::Held;
use super::permits::PermitKey;
use crate::Time;

/// An op that waits.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) execution: u32,
    pub(crate) frame: u32,
    pub(crate) op: u32,
    /// How long it may wait.
    pub(crate) after: Duration,
    /// How long it may wait once the execution has answered, if its caller's deadline comes before that.
    pub(crate) own: Option<Time>,
    pub(crate) on: WaitsFor,
}

/// What an op waits for.
#[derive(Debug)]
pub(crate) enum WaitsFor {
    /// The answer that a component deferred.
    Answer,
    /// An aggregator that another execution has; the slot.
    Lease(u32),
    /// The answers of peers.
    Peers(Box<Call>),
    /// A permit of a limit, or a turn in a queue.
    Permit(PermitKey),
    /// The inputs of a quorum.
    Quorum,
    /// Time to pass; what the op hands on then.
    Timer(Held),
}

/// All ops that wait, with their deadlines.
#[derive(Debug)]
pub(crate) struct Waits {
    waits: BTreeMap<u64, Wait>,
    deadlines: Scheduler<u64>,
    /// When ops that sleep go on.
    timers: Scheduler<u64>,
    /// The next id; never used twice, so that nobody can end a wait that is not theirs.
    pub(crate) next: u64,
    capacity: usize,
}

impl Waits {
    pub(crate) fn new(capacity: usize, timers: usize) -> Self {
        Self {
            waits: BTreeMap::new(),
            deadlines: Scheduler::new(timers),
            timers: Scheduler::new(timers),
            next: 0,
            capacity,
        }
    }

    pub(crate) fn reserve(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }

    /// Takes up a wait under a reserved id; `false` if as many wait as may.
    pub(crate) fn insert(&mut self, id: u64, wait: Wait, now: Time) -> bool {
        let sleeps = matches!(wait.on, WaitsFor::Timer(_));
        let due = if sleeps { &mut self.timers } else { &mut self.deadlines };
        if self.waits.len() >= self.capacity || due.set(id, now + wait.after).is_err() {
            return false;
        }
        self.waits.insert(id, wait);
        true
    }

    /// Whether one more op may wait, for anything but a timer.
    pub(crate) fn has_room(&self) -> bool {
        self.waits.len() < self.capacity && self.deadlines.has_room()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Wait> {
        let wait = self.waits.remove(&id)?;
        if self.deadlines.cancel(&id).is_none() {
            self.timers.cancel(&id);
        }
        Some(wait)
    }

    /// The next op that has slept long enough.
    pub(crate) fn pop_timer(&mut self, now: Time) -> Option<u64> {
        self.timers.pop_due(now).map(|(_, id)| id)
    }

    /// Counts a wait from `now` on.
    pub(crate) fn begin_at(&mut self, id: u64, now: Time) {
        let Some(wait) = self.waits.get(&id) else { return };
        let due = if matches!(wait.on, WaitsFor::Timer(_)) { &mut self.timers } else { &mut self.deadlines };
        let set = due.set(id, now + wait.after);
        debug_assert!(set.is_ok(), "a timer that is set has its place");
    }

    /// Lets a wait whose deadline came go on until `until`; whether there was room for that.
    pub(crate) fn prolong(&mut self, id: u64, until: Time) -> bool {
        if let Some(wait) = self.waits.get_mut(&id) {
            wait.own = None;
        }
        self.deadlines.set(id, until).is_ok()
    }

    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u64> {
        self.deadlines.pop_due(now).map(|(_, id)| id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Wait> {
        self.waits.get(&id)
    }

    pub(crate) fn call_mut(&mut self, id: u64) -> Option<&mut Call> {
        match &mut self.waits.get_mut(&id)?.on {
            WaitsFor::Peers(call) => Some(call),
            _ => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.deadlines.next_deadline(), self.timers.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

/// Aggregators lent to executions, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Leases(BTreeMap<u32, Lease>);

#[derive(Debug)]
struct Lease {
    holder: u32,
    waiting: VecDeque<u64>,
}

impl Leases {
    /// Lends `slot` to `execution` unless another one has it.
    pub(crate) fn lend(&mut self, slot: u32, execution: u32) -> Lent {
        match self.0.get(&slot) {
            None => {
                self.0.insert(slot, Lease { holder: execution, waiting: VecDeque::new() });
                Lent::New
            }
            Some(lease) if lease.holder == execution => Lent::Already,
            Some(_) => Lent::ToAnother,
        }
    }

    pub(crate) fn wait(&mut self, slot: u32, wait: u64) {
        if let Some(lease) = self.0.get_mut(&slot) {
            lease.waiting.push_back(wait);
        }
    }

    pub(crate) fn forget(&mut self, slot: u32, wait: u64) {
        if let Some(lease) = self.0.get_mut(&slot) {
            lease.waiting.retain(|&held| held != wait);
        }
    }

    /// Ends a lease; who waited for it, in order.
    pub(crate) fn end(&mut self, slot: u32) -> VecDeque<u64> {
        self.0.remove(&slot).map(|lease| lease.waiting).unwrap_or_default()
    }

    /// The execution that has `slot` now.
    pub(crate) fn hand_over(&mut self, slot: u32, execution: u32, waiting: VecDeque<u64>) {
        self.0.insert(slot, Lease { holder: execution, waiting });
    }
}

/// Whether an aggregator could be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lent {
    /// The execution had it already.
    Already,
    /// The execution has it from now on.
    New,
    /// Another execution has it.
    ToAnother,
}
