//! How frames and executions begin and end.

use std::sync::Arc;

use super::call::Call;
use super::dense::Region;
use super::execution::{Ended, Execution, Origin};
use super::frame::Held;
use super::wait::WaitsFor;
use super::{Engine, Fault};
use crate::{EngineStep, ExecId, Outcome, PeerId};

impl Engine {
    /// Begins an execution of a region; `given` has a value for each of the region's arguments, or says that it will
    /// not come.
    pub(crate) fn begin(
        &mut self,
        target: u32,
        region: &Arc<Region>,
        origin: Option<Origin>,
        given: impl IntoIterator<Item = Option<Held>>,
    ) -> ExecId {
        let source = origin.as_ref().map(|origin| origin.peer);
        let (execution, id) =
            self.executions.begin(self.incarnation, target, origin, self.now, !self.is_stepping);
        self.start_frame(execution, region, source, None, given);
        id
    }

    /// Starts a frame within an execution.
    pub(crate) fn start_frame(
        &mut self,
        execution: u32,
        region: &Arc<Region>,
        source: Option<PeerId>,
        answers: Option<(u64, u32)>,
        given: impl IntoIterator<Item = Option<Held>>,
    ) -> u32 {
        let index = self.frames.start(region, execution, source, answers, &mut self.frontier);
        if let Some(execution) = self.executions.at_mut(execution) {
            execution.frames.push(index);
        }
        let sites = &mut self.frames.frame_mut(index).sites;
        let mut given = given.into_iter().fuse();
        for argument in &region.arguments {
            let value = given.next().flatten();
            sites.write(index, argument.site, value, &region.consumers, &mut self.frontier);
        }
        if region.ops.is_empty() {
            self.end_frame(index);
        } else if !region.eager.is_empty() {
            self.start_quorums(index, region);
        }
        index
    }

    /// Ends a frame all of whose ops are resolved.
    pub(crate) fn end_frame(&mut self, index: u32) {
        let (execution, answers) = self.free_frame(index);
        match answers {
            Some((wait, asked)) => {
                if let Some(call) = self.waits.call_mut(wait) {
                    call.note_answered(asked);
                }
                self.judge(wait);
            }
            None => self.end_execution(execution, Outcome::Completed),
        }
    }

    /// Ends an op that failed: with it the answer that it worked on, or the execution.
    pub(crate) fn fail_op(&mut self, index: u32, op: u32, error: Fault) {
        let frame = self.frames.frame(index);
        let (execution, answers, region) = (frame.execution, frame.answers, frame.region.clone());
        if let (Some(execution), Some(region)) = (self.executions.at(execution), region) {
            let (op, exec_id) = (region.op_ref(op), execution.id);
            tracing::debug!(%op, execution = %exec_id, %error, "op failed");
            self.steps.push(EngineStep::OpFailed { op, exec_id, error: Arc::clone(&error) });
        }
        match answers {
            Some((wait, asked)) => {
                self.cancel_frame(index);
                let reason = self.cut(error.to_string());
                if let Some(call) = self.waits.call_mut(wait) {
                    call.note_failed(asked, reason);
                }
                self.judge(wait);
            }
            None => self.end_execution(execution, Outcome::Failed(error)),
        }
    }

    /// Ends an execution and everything that belongs to it, and reports it.
    pub(crate) fn end_execution(&mut self, index: u32, outcome: Outcome) {
        let Some(execution) = self.executions.end(index) else { return };
        if !self.is_stepping {
            self.executions.ended.push(self.last_state(&execution));
        }
        let Execution { id, frames, waits, leases, permits, origin, .. } = execution;
        for wait in waits {
            if let Some(call) = self.cancel_wait(wait) {
                self.forget_requests(&call);
            }
        }
        for slot in leases {
            self.end_lease(index, slot);
        }
        for &frame in &frames {
            self.permits.granted.retain(|(held, _)| *held != frame);
        }
        for frame in frames {
            self.drop_frame(frame);
        }
        for key in permits {
            self.pass_on(&key);
        }
        if let Some(Origin { peer, unanswered: Some(request), .. }) = origin {
            let reason = match &outcome {
                Outcome::Completed => "it ended without an answer".to_owned(),
                Outcome::Failed(error) => self.cut(error.to_string()),
                Outcome::Cancelled(reason) => self.cut(reason.to_string()),
            };
            self.send_failure(peer, request, &reason);
        }
        match outcome {
            Outcome::Completed => self.counters.executions_completed += 1,
            Outcome::Cancelled(_) => self.counters.executions_cancelled += 1,
            Outcome::Failed(_) => self.counters.executions_failed += 1,
        }
        let is_completed = outcome.is_completed();
        self.steps.push(EngineStep::ExecutionFinished { exec_id: id, outcome });
        self.end_bootstrap(index, is_completed);
    }

    /// How far an execution is, as what is kept of it until its end is reported.
    pub(crate) fn last_state(&self, execution: &Execution) -> Ended {
        let &Execution { id, target, outputs_written, .. } = execution;
        let running: u64 = execution.frames.iter().map(|&frame| self.frames.frame(frame).fired).sum();
        Ended { id, target, ops_fired: execution.ops_fired + running, outputs_written }
    }

    /// Stops a frame whose execution goes on.
    pub(crate) fn cancel_frame(&mut self, index: u32) {
        let execution = self.frames.frame(index).execution;
        if let Some(held) = self.executions.at_mut(execution) {
            held.frames.retain(|frame| *frame != index);
            let waits = held.waits.clone();
            for wait in waits {
                if self.waits.get(wait).is_some_and(|held| held.frame == index)
                    && let Some(call) = self.cancel_wait(wait)
                {
                    self.cancel_requests(&call);
                }
            }
        }
        self.permits.granted.retain(|(held, _)| *held != index);
        self.drop_frame(index);
    }

    /// Cuts a failure's text to what is kept of one.
    pub(crate) fn cut(&self, mut text: String) -> String {
        if text.len() > self.limits.failure_text_bytes {
            let end = (0..=self.limits.failure_text_bytes).rev().find(|&end| text.is_char_boundary(end));
            text.truncate(end.unwrap_or(0));
        }
        text
    }

    /// Ends a wait whose op will not go on; the request that it waited for, if it did for one.
    fn cancel_wait(&mut self, wait: u64) -> Option<Box<Call>> {
        match self.end_wait(wait)?.on {
            WaitsFor::Answer | WaitsFor::Quorum | WaitsFor::Timer(_) => None,
            WaitsFor::Permit(key) => {
                self.permits.forget(&key, wait);
                self.serve(&key);
                None
            }
            WaitsFor::Lease(slot) => {
                self.leases.forget(slot, wait);
                None
            }
            WaitsFor::Peers(call) => Some(call),
        }
    }

    /// Takes a frame out of its execution and frees it.
    fn free_frame(&mut self, index: u32) -> (u32, Option<(u64, u32)>) {
        let frame = self.frames.frame(index);
        let (execution, answers, fired) = (frame.execution, frame.answers, frame.fired);
        if let Some(execution) = self.executions.at_mut(execution) {
            execution.frames.retain(|frame| *frame != index);
            execution.ops_fired += fired;
        }
        self.counters.ops_fired += fired;
        self.frames.free(index);
        (execution, answers)
    }

    /// Frees a frame as soon as nothing of it is queued.
    fn drop_frame(&mut self, index: u32) {
        let frame = self.frames.frame_mut(index);
        self.counters.ops_fired += frame.fired;
        if frame.sites.queued == 0 {
            self.frames.free(index);
        } else {
            frame.cancelled = true;
            frame.drop_values();
        }
    }
}
