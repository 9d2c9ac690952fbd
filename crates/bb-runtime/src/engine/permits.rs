//! Limits and queues: who may go on, and who waits, in order.
//!
//! State: [`Permits`], and of each execution the permits that it holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::dense::{Dispatch, Region};
use super::syscall::Syscall;
use super::wait::{Wait, WaitsFor};
use crate::Name;
use crate::error::OpError;

/// What permits are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PermitKey {
    Limit(Name),
    Queue(Name),
}

/// Permits that are given, and who waits for one. An entry leaves with its last holder, so that there are no more of
/// them than executions hold and wait for.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    pub(crate) held: BTreeMap<PermitKey, Permit>,
    /// Ops that were given theirs while they waited, by frame and op; each runs when it is its turn.
    pub(crate) granted: BTreeSet<(u32, u32)>,
}

/// One limit or queue.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    pub(crate) given: u32,
    /// Waits, with how many permits there are as the op that waits says it.
    pub(crate) waiting: VecDeque<(u64, u32)>,
}

impl Syscall {
    /// What permit the op needs, of how many.
    pub(crate) fn permit(&self) -> Option<(PermitKey, u32)> {
        match self {
            Self::LimitAcquire { name, permits } => Some((PermitKey::Limit(name.clone()), *permits)),
            Self::SerializeEnqueue { name } => Some((PermitKey::Queue(name.clone()), 1)),
            _ => None,
        }
    }
}

impl Permits {
    /// Takes a wait out of its line.
    pub(crate) fn forget(&mut self, key: &PermitKey, wait: u64) {
        if let Some(permit) = self.held.get_mut(key) {
            permit.waiting.retain(|(held, _)| *held != wait);
        }
    }
}

impl Engine {
    /// Whether the op may run as far as permits go; if not, it waits.
    pub(crate) fn has_permit(&mut self, index: u32, op: u32, region: &Arc<Region>) -> bool {
        let Dispatch::Syscall(syscall) = region.ops[op as usize].dispatch else { return true };
        let Some((key, permits)) = region.syscalls[syscall as usize].permit() else { return true };
        if self.permits.granted.remove(&(index, op)) {
            return true;
        }
        let permit = self.permits.held.entry(key.clone()).or_default();
        if permit.waiting.is_empty() && permit.given < permits {
            permit.given += 1;
            let execution = self.frames.frame(index).execution;
            if let Some(execution) = self.executions.at_mut(execution) {
                execution.permits.push(key);
            }
            return true;
        }
        let wait = self.waits.reserve();
        let after = self.limits.pending_deadline;
        match self.suspend(index, op, wait, after, WaitsFor::Permit(key.clone())) {
            Ok(()) => {
                if let Some(permit) = self.permits.held.get_mut(&key) {
                    permit.waiting.push_back((wait, permits));
                }
            }
            Err(error) => {
                drop(self.take_inputs(index, op, region));
                self.fail_op(index, op, Arc::new(error));
            }
        }
        false
    }

    /// Gives one permit of the op's execution back.
    pub(crate) fn give_back(&mut self, index: u32, key: &PermitKey) -> Result<(), OpError> {
        let execution = self.frames.frame(index).execution;
        let held = self.executions.at_mut(execution).and_then(|execution| {
            let position = execution.permits.iter().position(|held| held == key)?;
            Some(execution.permits.remove(position))
        });
        if held.is_none() {
            let (PermitKey::Limit(name) | PermitKey::Queue(name)) = key;
            return Err(OpError::NotAcquired { name: name.to_string() });
        }
        self.pass_on(key);
        Ok(())
    }

    /// Gives a permit that came back to whoever waits longest for one.
    pub(crate) fn pass_on(&mut self, key: &PermitKey) {
        if let Some(permit) = self.permits.held.get_mut(key) {
            permit.given -= 1;
        }
        self.serve(key);
    }

    /// Lets those go on who wait at the head of the line and for whom there is a permit.
    pub(crate) fn serve(&mut self, key: &PermitKey) {
        while let Some(permit) = self.permits.held.get_mut(key) {
            match permit.waiting.front() {
                Some(&(wait, permits)) if permit.given < permits => {
                    permit.waiting.pop_front();
                    let Some(Wait { execution, frame, op, .. }) = self.end_wait(wait) else { continue };
                    if let Some(permit) = self.permits.held.get_mut(key) {
                        permit.given += 1;
                    }
                    if let Some(execution) = self.executions.at_mut(execution) {
                        execution.permits.push(key.clone());
                    }
                    self.permits.granted.insert((frame, op));
                    self.frames.frame_mut(frame).sites.queued += 1;
                    self.frontier.push_back((frame, op));
                }
                Some(_) => return,
                None => {
                    if permit.given == 0 {
                        self.permits.held.remove(key);
                    }
                    return;
                }
            }
        }
    }
}
