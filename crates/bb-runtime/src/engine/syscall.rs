//! What the engine does itself, beyond handing values on: the ops of the domain `ai.bytesandbrains.syscall`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Engine;
use super::dense::Region;
use super::fire::Outputs;
use super::frame::Held;
use super::methods::{Inputs, wrong};
use super::permits::PermitKey;
use super::wait::WaitsFor;
use crate::error::OpError;
use crate::{EngineStep, Name, Value, ValueType};

/// What starts the executions of a source region.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Each event of a topic.
    Event { topic: Name },
    /// A timer, again and again.
    Interval { period: Duration },
    /// A phase in the node's life.
    Phase { name: Name },
    /// A timer, once.
    Pulse { delay: Duration },
    /// Anything that was said on a topic, once a step.
    Trigger { topic: Name },
}

/// An op that the engine runs itself.
#[derive(Clone, Debug)]
pub(crate) enum Syscall {
    After { delay: Duration },
    Any,
    Barrier,
    BookInsert,
    BookInsertMany,
    BookLookup,
    Clock,
    CorrelateTag,
    DeadlineCheck { within: Option<Duration> },
    DeadlineMatch { within: Option<Duration> },
    Gate,
    HoldFlush { name: Name },
    HoldStash { name: Name },
    IncrMetric { name: Name },
    LimitAcquire { name: Name, permits: u32 },
    LimitRelease { name: Name },
    Notify { topic: Name },
    Quorum { count: u32, deadline: Option<Duration> },
    Record { name: Name },
    RngU64,
    SerializeDequeue { name: Name },
    SerializeEnqueue { name: Name },
    Sleep,
    Tee,
}

impl Engine {
    /// Runs one; none if it waits.
    pub(crate) fn syscall(
        &mut self,
        index: u32,
        op: u32,
        region: &Region,
        syscall: u32,
        mut inputs: Inputs,
    ) -> Result<Option<Outputs>, OpError> {
        let outputs = match &region.syscalls[syscall as usize] {
            Syscall::After { delay } => {
                let value = first(inputs)?;
                return self.sleep(index, op, *delay, value).map(|()| None);
            }
            Syscall::Sleep => {
                let delay = Duration::from_nanos(count(&mut inputs, 0)?);
                return self.sleep(index, op, delay, Held::own(Value::Trigger)).map(|()| None);
            }
            Syscall::Any | Syscall::Quorum { .. } | Syscall::Barrier => self.join(index, op, region, syscall),
            Syscall::Tee => {
                let value = first(inputs)?;
                let copies = region.ops[op as usize].outputs.len();
                (0..copies).map(|_| Some(value.clone())).collect()
            }
            Syscall::Gate => {
                let is_open = match inputs.get(1).and_then(Option::as_ref).map(|held| &held.value) {
                    Some(Value::Bool(is_open)) => *is_open,
                    other => return Err(wrong(1, ValueType::Bool, other)),
                };
                one_or_none(first(inputs)?, is_open)
            }
            Syscall::Clock => one(Value::U64(self.now.as_nanos())),
            Syscall::RngU64 => one(Value::U64(self.rng.u64())),
            Syscall::CorrelateTag => one(Value::Bytes(self.tag(inputs))),
            Syscall::DeadlineCheck { within } => {
                let value = first(inputs)?;
                match self.lateness(index, *within) {
                    Some(after) => return Err(OpError::DeadlineExceeded { after }),
                    None => SmallVec::from_iter([Some(value)]),
                }
            }
            Syscall::DeadlineMatch { within } => {
                let value = first(inputs)?;
                let is_late = self.lateness(index, *within).is_some();
                SmallVec::from_iter(if is_late { [None, Some(value)] } else { [Some(value), None] })
            }
            // The op runs only when the permit is its execution's.
            Syscall::LimitAcquire { .. } | Syscall::SerializeEnqueue { .. } => {
                SmallVec::from_iter([Some(first(inputs)?)])
            }
            Syscall::LimitRelease { name } => {
                let value = first(inputs)?;
                self.give_back(index, &PermitKey::Limit(name.clone()))?;
                SmallVec::from_iter([Some(value)])
            }
            Syscall::SerializeDequeue { name } => {
                let value = first(inputs)?;
                self.give_back(index, &PermitKey::Queue(name.clone()))?;
                SmallVec::from_iter([Some(value)])
            }
            Syscall::HoldStash { name } => self.stash(name, &mut inputs)?,
            Syscall::HoldFlush { name } => one(self.holds.flush(name)),
            Syscall::Notify { topic } => {
                self.notify(index, region, topic, first(inputs)?);
                Outputs::new()
            }
            Syscall::Record { name } => {
                self.records.record(name, first(inputs)?);
                Outputs::new()
            }
            Syscall::IncrMetric { name } => {
                self.records.increment(name, count(&mut inputs, 0)?);
                Outputs::new()
            }
            Syscall::BookInsert => self.book_insert(&mut inputs)?,
            Syscall::BookInsertMany => self.book_insert_many(&mut inputs)?,
            Syscall::BookLookup => self.book_lookup(&mut inputs)?,
        };
        Ok(Some(outputs))
    }

    /// What an eager op has taken becomes its outputs.
    fn join(&mut self, index: u32, op: u32, region: &Region, syscall: u32) -> Outputs {
        let Some(state) = self.frames.frame_mut(index).sites.eager_mut(op) else { return Outputs::new() };
        let (taken, wait) = (state.end(), state.wait.take());
        if let Some(wait) = wait {
            self.end_wait(wait);
        }
        match &region.syscalls[syscall as usize] {
            Syscall::Barrier => {
                let mut outputs: Outputs = SmallVec::new();
                outputs.resize_with(region.ops[op as usize].outputs.len(), || None);
                for (input, value) in taken {
                    if let Some(output) = outputs.get_mut(input as usize) {
                        *output = Some(value);
                    }
                }
                outputs
            }
            Syscall::Quorum { count, .. } => {
                taken.into_iter().take(*count as usize).map(|(_, value)| Some(value)).collect()
            }
            _ => taken.into_iter().take(1).map(|(_, value)| Some(value)).collect(),
        }
    }

    /// Lets the quorums of a frame that has just started wait for their deadlines.
    pub(crate) fn start_quorums(&mut self, index: u32, region: &Region) {
        for held in &region.eager {
            let super::dense::Dispatch::Syscall(syscall) = region.ops[held.op as usize].dispatch else {
                continue;
            };
            let Syscall::Quorum { deadline: Some(deadline), .. } = region.syscalls[syscall as usize] else {
                continue;
            };
            let state = self.frames.frame_mut(index).sites.eager_mut(held.op);
            if state.is_none_or(|state| state.is_queued) {
                continue;
            }
            let wait = self.waits.reserve();
            match self.suspend(index, held.op, wait, deadline, WaitsFor::Quorum) {
                Ok(()) => {
                    if let Some(state) = self.frames.frame_mut(index).sites.eager_mut(held.op) {
                        state.wait = Some(wait);
                    }
                }
                Err(error) => return self.fail_op(index, held.op, Arc::new(error)),
            }
        }
    }

    /// Ends the wait of a quorum that will not come about.
    pub(crate) fn end_dead_quorum(&mut self, index: u32, op: u32) {
        let state = self.frames.frame_mut(index).sites.eager_mut(op);
        let wait = state.and_then(|state| {
            state.is_over = true;
            state.taken.clear();
            state.wait.take()
        });
        if let Some(wait) = wait {
            self.end_wait(wait);
        }
    }

    /// Hands `value` on when `delay` has passed.
    fn sleep(&mut self, index: u32, op: u32, delay: Duration, value: Held) -> Result<(), OpError> {
        let wait = self.waits.reserve();
        self.suspend(index, op, wait, delay, WaitsFor::Timer(value))
    }

    /// How long the execution was given, if that is over.
    fn lateness(&self, index: u32, within: Option<Duration>) -> Option<Duration> {
        let execution = self.executions.at(self.frames.frame(index).execution)?;
        let given = within.or(execution.given)?;
        (self.now >= execution.began + given).then_some(given)
    }

    fn tag(&mut self, inputs: Inputs) -> Bytes {
        if inputs.is_empty() {
            return Bytes::copy_from_slice(&self.rng.request_id().0);
        }
        let values = inputs.into_iter().flatten().map(|held| held.value).collect();
        Bytes::copy_from_slice(&Value::Tuple(values).digest().0[..16])
    }

    /// Says something on the bus, and to the host.
    fn notify(&mut self, index: u32, region: &Region, topic: &Name, value: Held) {
        let execution = self.frames.frame(index).execution;
        if let Some(execution) = self.executions.at(execution) {
            self.steps.push(EngineStep::AppNotified {
                module: region.module.clone(),
                exec_id: execution.id,
                topic: topic.clone(),
                value: value.value.clone(),
            });
        }
        self.bus.publish(topic.clone(), value);
    }
}

/// The one input of an op.
fn first(inputs: Inputs) -> Result<Held, OpError> {
    inputs.into_iter().next().flatten().ok_or_else(|| wrong(0, ValueType::Any, None))
}

/// A number that is not negative.
fn count(inputs: &mut Inputs, index: usize) -> Result<u64, OpError> {
    match inputs.get_mut(index).and_then(Option::take).map(|held| held.value) {
        Some(Value::U64(number)) => Ok(number),
        Some(Value::I64(number)) if number >= 0 => Ok(number.unsigned_abs()),
        other => Err(wrong(index, ValueType::U64, other.as_ref())),
    }
}

pub(crate) fn one(value: Value) -> Outputs {
    SmallVec::from_iter([Some(Held::own(value))])
}

fn one_or_none(value: Held, is_there: bool) -> Outputs {
    SmallVec::from_iter([is_there.then_some(value)])
}
