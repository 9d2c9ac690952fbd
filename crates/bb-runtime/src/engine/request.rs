//! Sends to peers, and what becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Engine;
use super::call::{Asked, AskedState, Call, Verdict};
use super::dense::{Region, Request, SendKind};
use super::execution::{Execution, Origin};
use super::fire::Outputs;
use super::frame::Held;
use super::methods::{self, Inputs};
use super::wait::{Wait, WaitsFor};
use super::wire::Unsent;
use crate::envelope::{Correlation, Fill};
use crate::error::OpError;
use crate::{EngineStep, List, PeerId, Value, ValueType};

impl Engine {
    /// Runs a `Send`: none, if the op waits for answers.
    pub(crate) fn send(
        &mut self,
        index: u32,
        op: u32,
        region: &Arc<Region>,
        send: u32,
        inputs: &mut Inputs,
    ) -> Result<Option<Outputs>, OpError> {
        let held = &region.sends[send as usize];
        match &held.kind {
            SendKind::Cast => {
                let peers = methods::peers(inputs, 0)?;
                let fills = fills(&held.ports, inputs, 1)?;
                let mut message = self.wire.message(fills, None, None)?;
                for peer in peers {
                    match self.post(peer, &mut message) {
                        Ok(()) | Err(Unsent::Denied(_) | Unsent::QueueFull) => {}
                        Err(Unsent::NoMemory(error)) => return Err(error.into()),
                        Err(Unsent::TooLarge { byte_count, cap }) => {
                            return Err(OpError::MessageTooLarge { byte_count, cap });
                        }
                    }
                }
                Ok(Some(Outputs::new()))
            }
            SendKind::Reply => {
                let fills = fills(&held.ports, inputs, 0)?;
                let execution = self.frames.frame(index).execution;
                let due = self.executions.at(execution).and_then(Execution::answer_due);
                if due.is_some_and(|due| due < self.now) {
                    return Err(OpError::AnswerTooLate);
                }
                let origin = self.executions.at_mut(execution).and_then(|held| held.origin.as_mut());
                let Some(Origin { peer, unanswered, .. }) = origin else { return Err(OpError::NotARequest) };
                let (peer, request) = (*peer, unanswered.ok_or(OpError::NotARequest)?);
                let mut message = self.wire.message(fills, Some(Correlation::Response(request)), None)?;
                *unanswered = None;
                let Err(unsent) = self.answer(peer, &mut message) else { return Ok(Some(Outputs::new())) };
                if let Unsent::NoMemory(_) | Unsent::TooLarge { .. } = unsent {
                    // Whoever asked is told of the failure at the end of the execution: that is a short message.
                    let origin = self.executions.at_mut(execution).and_then(|held| held.origin.as_mut());
                    origin.into_iter().for_each(|origin| origin.unanswered = Some(request));
                }
                Err(OpError::NotSent { peer, reason: unsent.to_string() })
            }
            SendKind::Request(request) => self.request(index, op, &held.ports, send, request, inputs),
        }
    }

    fn request(
        &mut self,
        index: u32,
        op: u32,
        ports: &[u32],
        send: u32,
        request: &Request,
        inputs: &mut Inputs,
    ) -> Result<Option<Outputs>, OpError> {
        let peers = methods::peers(inputs, 0)?;
        let first_captured = inputs.len() - request.captured as usize;
        let captured = inputs.drain(first_captured..).flatten().collect();
        let after = request.deadline.unwrap_or(self.limits.request_deadline);
        let execution = self.frames.frame(index).execution;
        let due = self.executions.at(execution).and_then(Execution::answer_due);
        let after = due.map_or(after, |due| due.since(self.now).min(after));
        // One id for all: an answer counts only from a peer that was asked.
        let request_id = self.rng.request_id();
        let fills = fills(ports, inputs, 1)?;
        let mut message = self.wire.message(fills, Some(Correlation::Request(request_id)), Some(after))?;
        let wait = self.waits.reserve();
        let needed = request.quorum.map_or(peers.len(), |quorum| quorum as usize);
        let mut call =
            Call { send, captured, peers: with_room(peers.len())?, needed, answered: Vec::new(), failed: 0 };
        for (asked, peer) in peers.into_iter().enumerate() {
            call.peers.push(Asked { peer, request: request_id, state: AskedState::Waiting });
            let sent = self
                .wire
                .requests
                .begin(peer, request_id, self.now + after, (wait, asked as u32))
                .map_err(|error| error.to_string())
                .and_then(|()| self.post(peer, &mut message).map_err(|unsent| unsent.to_string()));
            if let Err(reason) = sent {
                self.wire.requests.cancel(peer, request_id);
                call.note_failed(asked as u32, reason);
            }
        }
        match call.verdict() {
            Verdict::Complete => {
                self.cancel_requests(&call);
                Ok(Some(answered(&call)))
            }
            Verdict::Fail => {
                self.cancel_requests(&call);
                Err(OpError::from(Box::new(call.failure(None))))
            }
            Verdict::Wait => {
                if !self.waits.has_room() {
                    self.cancel_requests(&call);
                    return Err(OpError::TooManyPending { cap: self.waits.capacity() });
                }
                self.suspend(index, op, wait, after, WaitsFor::Peers(Box::new(call))).map(|()| None)
            }
        }
    }

    /// Completes or fails a request whose answers have come to that.
    pub(crate) fn judge(&mut self, wait: u64) {
        let Some(call) = self.waits.call_mut(wait) else { return };
        match call.verdict() {
            Verdict::Wait => {}
            Verdict::Complete => {
                let outputs = answered(call);
                self.complete_call(wait, outputs);
            }
            Verdict::Fail => self.fail_call(wait, None),
        }
    }

    /// Ends a request with its op's outputs; peers that have not answered are not waited for.
    pub(crate) fn complete_call(&mut self, wait: u64, outputs: Outputs) {
        let Some(Wait { frame, op, on: WaitsFor::Peers(call), .. }) = self.end_wait(wait) else { return };
        self.cancel_requests(&call);
        self.finish_op(frame, op, outputs);
    }

    /// Ends a request whose time is up.
    pub(crate) fn expire_call(&mut self, wait: u64) {
        let Some(held) = self.waits.get(wait) else { return };
        let after = held.after;
        if let (WaitsFor::Peers(call), Some(execution)) = (&held.on, self.executions.at(held.execution)) {
            for asked in call.peers.iter().filter(|asked| asked.state == AskedState::Waiting) {
                self.peers.timed_out(asked.peer, self.now);
                self.steps.push(EngineStep::WireTimeout { peer: asked.peer, exec_id: execution.id });
            }
        }
        self.fail_call(wait, Some(after));
    }

    fn fail_call(&mut self, wait: u64, timed_out: Option<Duration>) {
        let Some(Wait { frame, op, on: WaitsFor::Peers(call), .. }) = self.end_wait(wait) else { return };
        self.cancel_requests(&call);
        let failure = call.failure(timed_out);
        self.fail_op(frame, op, Arc::new(OpError::from(Box::new(failure))));
    }

    /// Takes a peer's failure to answer.
    pub(crate) fn take_failure(&mut self, wait: u64, asked: u32, reason: String) {
        let reason = self.cut(reason);
        if let Some(call) = self.waits.call_mut(wait) {
            call.note_failed(asked, reason);
        }
        self.judge(wait);
    }

    /// Takes a peer's answer: its values in the order of the request's answer ports.
    pub(crate) fn take_answer(&mut self, wait: u64, asked: u32, peer: PeerId, values: SmallVec<[Held; 4]>) {
        let Some(held) = self.waits.get(wait) else { return };
        let (execution, frame) = (held.execution, held.frame);
        let WaitsFor::Peers(call) = &held.on else { return };
        let Some(region) = self.frames.frame(frame).region.clone() else { return };
        let SendKind::Request(request) = &region.sends[call.send as usize].kind else { return };
        let Some(answer) = request.answer else {
            if let Some(call) = self.waits.call_mut(wait) {
                call.note_answered(asked);
            }
            let first = Some(Held::own(Value::Peer(peer)));
            let outputs = std::iter::once(first).chain(values.into_iter().map(Some)).collect();
            return self.complete_call(wait, outputs);
        };
        let Some(target) = self.executions.at(execution).map(|held| held.target) else { return };
        let answer = Arc::clone(&self.targets[target as usize].regions[answer as usize]);
        let mut given: SmallVec<[Option<Held>; 4]> = call.captured.iter().cloned().map(Some).collect();
        let mut values: SmallVec<[Option<Held>; 4]> = values.into_iter().map(Some).collect();
        for argument in answer.arguments.iter().skip(answer.given_count as usize) {
            let position = request.answer_ports.iter().position(|(port, _)| Some(*port) == argument.port);
            given.push(position.and_then(|position| values.get_mut(position)?.take()));
        }
        let started = self.start_frame(execution, &answer, Some(peer), Some((wait, asked)), given);
        if let Some(call) = self.waits.call_mut(wait)
            && let Some(held) = call.peers.get_mut(asked as usize)
            && held.state == AskedState::Waiting
        {
            held.state = AskedState::Working(started);
        }
    }

    /// Forgets what a request still waits for, and stops what works on its answers.
    pub(crate) fn cancel_requests(&mut self, call: &Call) {
        self.forget_requests(call);
        for asked in &call.peers {
            if let AskedState::Working(frame) = asked.state {
                self.counters.late_answers += 1;
                self.cancel_frame(frame);
            }
        }
    }

    /// Forgets what a request still waits for.
    pub(crate) fn forget_requests(&mut self, call: &Call) {
        for asked in call.peers.iter().filter(|asked| asked.state == AskedState::Waiting) {
            self.wire.requests.cancel(asked.peer, asked.request);
        }
    }
}

/// A list with room for as many entries as an input says.
fn with_room<T>(count: usize) -> Result<Vec<T>, OpError> {
    let byte_count = count.saturating_mul(size_of::<T>());
    List::try_with_capacity(count).map_err(|_| OpError::AllocationFailed { byte_count })
}

/// The values of a message, each with the port it goes to; the first of them is the input `first`.
fn fills(ports: &[u32], inputs: &mut Inputs, first: usize) -> Result<Vec<Fill>, OpError> {
    ports
        .iter()
        .enumerate()
        .map(|(index, &port)| match inputs.get_mut(first + index).and_then(Option::take) {
            Some(held) => Ok(Fill { port, value: held.value }),
            None => Err(methods::wrong(first + index, ValueType::Any, None)),
        })
        .collect()
}

fn answered(call: &Call) -> Outputs {
    let count = i64::try_from(call.answered.len()).unwrap_or(i64::MAX);
    SmallVec::from_iter([Some(Held::own(Value::I64(count)))])
}
