//! Executions: what the host or a message started, until its end is reported.

mod state;

use std::time::Duration;

use smallvec::SmallVec;

use bb_framework::RequestId;

use super::permits::PermitKey;
use crate::{ExecId, PeerId, Time};

/// Places that stay in the table when no execution is under way.
const SPARE_PLACES: usize = 1_024;
/// Places for executions that just began that stay when they were taken.
const SPARE_FRESH: usize = 16;

/// One execution: an entry or receive frame, and the frames of the answers it gets.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) id: ExecId,
    /// Which of the installed targets.
    pub(crate) target: u32,
    /// Its frames.
    pub(crate) frames: SmallVec<[u32; 2]>,
    /// What it waits for.
    pub(crate) waits: SmallVec<[u64; 2]>,
    /// Aggregators lent to it.
    pub(crate) leases: SmallVec<[u32; 1]>,
    /// Permits of limits and queues that it holds.
    pub(crate) permits: Vec<PermitKey>,
    /// Whether it began since the last step; the times of such a one count from the next.
    pub(crate) is_fresh: bool,
    /// When it began.
    pub(crate) began: Time,
    /// How long it was given from then on, by the request that started it.
    pub(crate) given: Option<Duration>,
    /// The message that started it, if one did.
    pub(crate) origin: Option<Origin>,
    pub(crate) ops_fired: u64,
    pub(crate) outputs_written: u64,
}

/// The message that started an execution.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: PeerId,
    /// What it asked to be answered; none once it was.
    pub(crate) unanswered: Option<RequestId>,
    /// How long the sender waits.
    pub(crate) deadline: Option<Duration>,
}

/// An execution that ended between two steps; the next one says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: ExecId,
    pub(crate) target: u32,
    pub(crate) ops_fired: u64,
    pub(crate) outputs_written: u64,
}

/// How far an execution is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionState {
    /// The target that it runs.
    pub target: crate::Name,
    /// Ops that ran.
    pub ops_fired: u64,
    /// Outputs handed to the host.
    pub outputs_written: u64,
    /// Ops that wait: for a component, an aggregator or peers.
    pub awaited: usize,
}

impl Execution {
    /// When whoever asked for this execution stops waiting for its answer, if it must still be answered.
    pub(crate) fn answer_due(&self) -> Option<Time> {
        self.origin.as_ref()?.unanswered?;
        self.given.map(|given| self.began + given)
    }
}

/// All executions that are not over, by index.
#[derive(Debug, Default)]
pub(crate) struct Executions {
    slots: Vec<Option<Execution>>,
    free: Vec<u32>,
    begun: u64,
    /// Those that may have begun since the last step.
    fresh: Vec<u32>,
    /// Those that ended since the last step, in the order of their ends.
    pub(crate) ended: Vec<Ended>,
}

impl Executions {
    pub(crate) fn begin(
        &mut self,
        incarnation: u64,
        target: u32,
        origin: Option<Origin>,
        now: Time,
        is_fresh: bool,
    ) -> (u32, ExecId) {
        let id = ExecId { incarnation, counter: self.begun };
        self.begun += 1;
        let execution = Execution {
            id,
            target,
            frames: SmallVec::new(),
            waits: SmallVec::new(),
            leases: SmallVec::new(),
            permits: Vec::new(),
            is_fresh,
            began: now,
            given: origin.as_ref().and_then(|origin| origin.deadline),
            origin,
            ops_fired: 0,
            outputs_written: 0,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(execution);
                index
            }
            None => {
                self.slots.push(Some(execution));
                self.slots.len() as u32 - 1
            }
        };
        if is_fresh {
            self.fresh.push(index);
        }
        (index, id)
    }

    /// Whether any may have begun since the last step.
    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Takes those that began since the last step: their time begins with this one.
    pub(crate) fn take_fresh(&mut self) -> SmallVec<[u32; 4]> {
        let Self { slots, fresh, .. } = self;
        if fresh.is_empty() {
            return SmallVec::new();
        }
        let is_fresh = |index: &u32| {
            slots.get(*index as usize).and_then(Option::as_ref).is_some_and(|execution| execution.is_fresh)
        };
        let taken = fresh.drain(..).filter(is_fresh).collect();
        if fresh.capacity() > SPARE_FRESH {
            *fresh = Vec::new();
        }
        taken
    }

    /// Takes an execution out; its index may be used again.
    pub(crate) fn end(&mut self, index: u32) -> Option<Execution> {
        let execution = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        if self.free.len() == self.slots.len() && self.slots.len() > SPARE_PLACES {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
        Some(execution)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Execution> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Execution> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn find(&self, id: ExecId) -> Option<&Execution> {
        self.slots.iter().flatten().find(|execution| execution.id == id)
    }

    /// Where an execution is in the table.
    pub(crate) fn index_of(&self, id: ExecId) -> Option<u32> {
        let held = |place: &Option<Execution>| place.as_ref().is_some_and(|execution| execution.id == id);
        self.slots.iter().position(held).map(|index| index as u32)
    }

    /// How many have begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
