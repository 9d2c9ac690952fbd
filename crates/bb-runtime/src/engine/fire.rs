//! Runs one op that does more than hand a value on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::components::{CallContext, Called, Results};
use super::dense::{Dispatch, Method, Region, Run};
use super::execution::Execution;
use super::frame::{Frame, Held};
use super::methods::{self, Inputs};
use super::run::app_event;
use super::wait::{Lent, Wait, WaitsFor};
use super::{Engine, Fault};
use crate::error::OpError;
use crate::{EngineStep, Role, Tensor, Time, Value, ValueType};

impl Engine {
    /// Runs an op whose inputs are all there.
    pub(crate) fn fire(&mut self, index: u32, op: u32, region: &Arc<Region>) {
        if self.bootstraps.is_blocking() && self.is_parked(index, op, region) {
            return;
        }
        let dispatch = region.ops[op as usize].dispatch;
        if let Dispatch::Method(method, slot) = dispatch
            && method.role() == Role::Aggregator
            && !self.has_lease(index, op, slot, region)
        {
            return;
        }
        if !self.has_permit(index, op, region) {
            return;
        }
        let mut inputs = self.take_inputs(index, op, region);
        let result = match dispatch {
            Dispatch::Bundle => bundle(inputs).map(Some),
            Dispatch::Emit(name) => {
                self.emit(index, region, name, inputs);
                Ok(Some(Outputs::new()))
            }
            Dispatch::Method(method, slot) => {
                match self.call_method(index, op, region, method, slot, &mut inputs) {
                    Ok(Some(results)) => {
                        let outputs = results.into_iter().map(|value| Some(Held::own(value)));
                        return self.finish_op(index, op, outputs);
                    }
                    other => other.map(|_| None),
                }
            }
            Dispatch::PassThrough => Ok(Some(inputs)),
            Dispatch::Run(run) => self.run_graph(index, region, run, inputs).map(Some),
            Dispatch::Send(send) => self.send(index, op, region, send, &mut inputs),
            Dispatch::Syscall(syscall) => self.syscall(index, op, region, syscall, inputs),
            Dispatch::Source => Ok(Some(self.source(index))),
            Dispatch::Unbundle => unbundle(inputs, region.ops[op as usize].outputs.len()).map(Some),
        };
        match result {
            Ok(Some(outputs)) => self.finish_op(index, op, outputs),
            Ok(None) => {}
            Err(error) => self.fail_op(index, op, Arc::new(error)),
        }
    }

    pub(crate) fn take_inputs(&mut self, index: u32, op: u32, region: &Region) -> Inputs {
        let Frame { sites, .. } = self.frames.frame_mut(index);
        if sites.is_eager(op) {
            return Inputs::new();
        }
        let inputs = &region.inputs[region.ops[op as usize].inputs.range()];
        inputs.iter().map(|&input| sites.take(input, &region.constants)).collect()
    }

    fn emit(&mut self, index: u32, region: &Region, name: u32, inputs: Inputs) {
        let execution = self.frames.frame(index).execution;
        let (Some(execution), Some(Some(held))) =
            (self.executions.at_mut(execution), inputs.into_iter().next())
        else {
            return;
        };
        execution.outputs_written += 1;
        self.steps.push(app_event(region, name, execution.id, held.value));
    }

    fn source(&self, index: u32) -> Outputs {
        let source = self.frames.frame(index).source;
        SmallVec::from_iter([source.map(|peer| Held::own(Value::Peer(peer)))])
    }

    fn run_graph(
        &mut self,
        index: u32,
        region: &Region,
        run: u32,
        mut inputs: Inputs,
    ) -> Result<Outputs, OpError> {
        let count = inputs.len();
        let tensors = (0..count)
            .map(|input| methods::tensor(&mut inputs, input))
            .collect::<Result<SmallVec<[Tensor; 4]>, _>>()?;
        let Run { slot, .. } = region.runs[run as usize];
        let names = &self.lowered.slots[slot as usize];
        let execution = self.frames.frame(index).execution;
        let target = self.executions.at(execution).map_or(0, |execution| execution.target);
        let span = tracing::trace_span!("run", slot = names.name.as_str());
        let _entered = span.enter();
        let outputs = self.components.run(names, target, region.first_run + run, &tensors)?;
        Ok(outputs.into_iter().map(|tensor| Some(Held::own(Value::Tensor(tensor)))).collect())
    }

    fn call_method(
        &mut self,
        index: u32,
        op: u32,
        region: &Region,
        method: Method,
        slot: u32,
        inputs: &mut Inputs,
    ) -> Result<Option<Results>, OpError> {
        let frame = self.frames.frame(index);
        let (source, execution) = (frame.source, frame.execution);
        let Some(id) = self.executions.at(execution).map(|execution| execution.id) else { return Ok(None) };
        let names = &self.lowered.slots[slot as usize];
        let span = tracing::debug_span!("call", slot = names.name.as_str(), ?method, execution = %id);
        let _entered = span.enter();
        let cx = CallContext {
            lowered: &self.lowered,
            now: self.now,
            execution: id,
            local_peer: self.peer_id,
            source,
            peers: &self.peers,
            rng: &mut self.rng,
            waits: &mut self.waits,
            sink: &self.sink,
        };
        let called = methods::call(&mut self.components, slot, method, cx, inputs);
        if method == Method::AggregatorAggregate && !matches!(called, Ok(Called::Later(_))) {
            self.end_lease(execution, slot);
        }
        match called? {
            Called::Now(results) => {
                check_count(region, op, &results)?;
                Ok(Some(results))
            }
            Called::Later(wait) => {
                let after = self.limits.pending_deadline;
                self.suspend(index, op, wait, after, WaitsFor::Answer)?;
                Ok(None)
            }
        }
    }

    /// A method's results as the op's outputs.
    pub(crate) fn outputs_of(&self, region: &Region, op: u32, results: Results) -> Result<Outputs, OpError> {
        check_count(region, op, &results)?;
        Ok(results.into_iter().map(|value| Some(Held::own(value))).collect())
    }

    /// Lets an op wait, under an id that was reserved for it.
    pub(crate) fn suspend(
        &mut self,
        index: u32,
        op: u32,
        wait: u64,
        after: Duration,
        on: WaitsFor,
    ) -> Result<(), OpError> {
        let frame = self.frames.frame(index);
        let (execution, region) = (frame.execution, frame.region.clone());
        let own = self.now + after;
        let due = self.executions.at(execution).and_then(Execution::answer_due);
        let due = due.filter(|due| *due < own && !matches!(on, WaitsFor::Timer(_)));
        let after = due.map_or(after, |due| due.since(self.now));
        let own = due.map(|_| own);
        let waiting = Wait { execution, frame: index, op, after, own, on };
        if !self.waits.insert(wait, waiting, self.now) {
            return Err(OpError::TooManyPending { cap: self.waits.capacity() });
        }
        if let (Some(execution), Some(region)) = (self.executions.at_mut(execution), region) {
            execution.waits.push(wait);
            let op = region.op_ref(op);
            self.steps.push(EngineStep::AsyncSuspended { op, exec_id: execution.id, deadline: after });
        }
        Ok(())
    }

    /// Ends a wait and forgets that its execution has it.
    pub(crate) fn end_wait(&mut self, wait: u64) -> Option<Wait> {
        let ended = self.waits.remove(wait)?;
        if let Some(execution) = self.executions.at_mut(ended.execution) {
            execution.waits.retain(|held| *held != wait);
        }
        Some(ended)
    }

    /// Whether the op's execution has the aggregator in `slot`; if another one has it, the op waits.
    fn has_lease(&mut self, index: u32, op: u32, slot: u32, region: &Arc<Region>) -> bool {
        let execution = self.frames.frame(index).execution;
        match self.leases.lend(slot, execution) {
            Lent::Already => true,
            Lent::New => {
                if let Some(execution) = self.executions.at_mut(execution) {
                    execution.leases.push(slot);
                }
                true
            }
            Lent::ToAnother => {
                let wait = self.waits.reserve();
                let after = self.limits.pending_deadline;
                match self.suspend(index, op, wait, after, WaitsFor::Lease(slot)) {
                    Ok(()) => self.leases.wait(slot, wait),
                    Err(error) => {
                        let inputs = self.take_inputs(index, op, region);
                        drop(inputs);
                        self.fail_op(index, op, Arc::new(error));
                    }
                }
                false
            }
        }
    }

    /// Takes an aggregator back; the execution that waited longest for it has it now, and its ops that waited
    /// are ready again.
    pub(crate) fn end_lease(&mut self, execution: u32, slot: u32) {
        if let Some(execution) = self.executions.at_mut(execution) {
            execution.leases.retain(|held| *held != slot);
        }
        let mut waiting = self.leases.end(slot);
        waiting.retain(|&wait| self.waits.get(wait).is_some());
        let Some(next) = waiting.front().and_then(|&wait| self.waits.get(wait)).map(|held| held.execution)
        else {
            return;
        };
        let (ready, others) = waiting
            .into_iter()
            .partition(|&wait| self.waits.get(wait).is_some_and(|held| held.execution == next));
        let ready: VecDeque<u64> = ready;
        if let Some(execution) = self.executions.at_mut(next) {
            execution.leases.push(slot);
        }
        self.leases.hand_over(slot, next, others);
        for wait in ready {
            let Some(Wait { frame, op, .. }) = self.end_wait(wait) else { continue };
            self.frames.frame_mut(frame).sites.queued += 1;
            self.frontier.push_back((frame, op));
        }
    }

    /// Gives an op that waited its results, or the reason why there are none.
    pub(crate) fn complete(&mut self, wait: u64, result: Result<Results, crate::ComponentError>) {
        let is_awaited = matches!(self.waits.get(wait), Some(Wait { on: WaitsFor::Answer, .. }));
        let Some(Wait { frame, op, .. }) = is_awaited.then(|| self.end_wait(wait)).flatten() else {
            self.counters.late_completions += 1;
            return;
        };
        let Some(region) = self.frames.frame(frame).region.clone() else { return };
        if let Dispatch::Method(Method::AggregatorAggregate, slot) = region.ops[op as usize].dispatch {
            self.end_lease(self.frames.frame(frame).execution, slot);
        }
        let outputs = match (result, region.ops[op as usize].dispatch) {
            (Ok(results), _) => {
                let (cap, byte_count) = (self.limits.completion_bytes, byte_count(&results));
                if byte_count > cap {
                    Err(OpError::ResultTooLarge { byte_count, cap })
                } else {
                    self.outputs_of(&region, op, results)
                }
            }
            (Err(error), Dispatch::Method(_, slot)) => {
                Err(super::components::failed(&self.lowered.slots[slot as usize], error))
            }
            (Err(_), _) => return,
        };
        match outputs {
            Ok(outputs) => self.finish_op(frame, op, outputs),
            Err(error) => self.fail_op(frame, op, Arc::new(error)),
        }
    }

    /// Lets an op go on that slept.
    pub(crate) fn wake(&mut self, wait: u64) {
        if let Some(Wait { frame, op, on: WaitsFor::Timer(value), .. }) = self.end_wait(wait) {
            self.finish_op(frame, op, [Some(value)]);
        }
    }

    /// Until when an op may wait whose caller's deadline came, because the caller has its answer.
    fn outlives_caller(&self, wait: u64) -> Option<Time> {
        let held = self.waits.get(wait)?;
        let origin = self.executions.at(held.execution)?.origin.as_ref()?;
        held.own.filter(|own| *own > self.now && origin.unanswered.is_none())
    }

    /// Ends what waits past its deadline.
    pub(crate) fn expire_waits(&mut self) {
        while let Some(wait) = self.waits.pop_due(self.now) {
            if let Some(own) = self.outlives_caller(wait)
                && self.waits.prolong(wait, own)
            {
                continue;
            }
            if matches!(self.waits.get(wait), Some(Wait { on: WaitsFor::Peers(_), .. })) {
                self.expire_call(wait);
                continue;
            }
            let Some(ended) = self.end_wait(wait) else { continue };
            match &ended.on {
                WaitsFor::Lease(slot) => self.leases.forget(*slot, wait),
                WaitsFor::Permit(key) => {
                    self.permits.forget(key, wait);
                    self.serve(key);
                }
                WaitsFor::Quorum => {
                    let state = self.frames.frame_mut(ended.frame).sites.eager_mut(ended.op);
                    if state.is_none_or(|state| state.is_queued) {
                        continue;
                    }
                }
                _ => {}
            }
            let error: Fault = Arc::new(OpError::DeadlineExceeded { after: ended.after });
            self.fail_op(ended.frame, ended.op, error);
        }
    }
}

/// The outputs of an op, in order.
pub(crate) type Outputs = SmallVec<[Option<Held>; 4]>;

/// Whether a method gave a result for each output of its op; results that the program has no use for are dropped.
fn check_count(region: &Region, op: u32, results: &Results) -> Result<(), OpError> {
    let expected = region.ops[op as usize].outputs.len();
    let got = results.len();
    if got < expected { Err(OpError::OutputCount { expected, got }) } else { Ok(()) }
}

fn bundle(inputs: Inputs) -> Result<Outputs, OpError> {
    let values = inputs.into_iter().enumerate().map(|(index, held)| match held {
        Some(held) => Ok(held.value),
        None => Err(methods::wrong(index, ValueType::Any, None)),
    });
    let tuple = values.collect::<Result<Vec<Value>, _>>()?.into();
    Ok(SmallVec::from_iter([Some(Held::own(Value::Tuple(tuple)))]))
}

fn unbundle(inputs: Inputs, expected: usize) -> Result<Outputs, OpError> {
    match inputs.into_iter().next().flatten().map(|held| held.value) {
        Some(Value::Tuple(items)) if items.len() == expected => {
            Ok(items.iter().map(|item| Some(Held::own(item.clone()))).collect())
        }
        other => Err(methods::wrong(0, ValueType::Tuple(vec![ValueType::Any; expected]), other.as_ref())),
    }
}

/// Bytes of values, as far as they are counted.
fn byte_count(values: &[Value]) -> usize {
    values
        .iter()
        .map(|value| match value {
            Value::Str(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Tensor(tensor) => tensor.as_bytes().len(),
            Value::Tensors(tensors) => tensors.byte_count(),
            Value::Tuple(items) => byte_count(items),
            Value::Peers(peers) => size_of_val::<[_]>(peers),
            Value::Custom(custom) => custom.encoded().len(),
            other => size_of_val(other),
        })
        .sum()
}
