//! Letting the node work.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use bb_framework::backpressure::{self, Load};

use super::Node;
use crate::engine::bus;
use crate::ingress::Input;
use crate::{DeliveryError, EngineStep, PeerId, Time, Value};

impl Node {
    /// Does what there is to do at `now`, up to the op budget of a step; an earlier `now` than the last counts as
    /// that one.
    ///
    /// In this order: what other threads handed in, ready ops, the bus, timers, deadlines, answers that came later, the
    /// ops that these made ready, phases of the node's life, the ops that these made ready, messages to be sent.
    #[must_use = "steps say what the host has to do"]
    pub fn step(&mut self, now: Time) -> Vec<EngineStep> {
        let span = tracing::trace_span!("step", peer = %self.engine.peer_id);
        let _entered = span.enter();
        self.has_stepped = true;
        let engine = &mut self.engine;
        engine.now = engine.now.max(now);
        engine.start_time();
        engine.is_stepping = true;
        engine.peers.take_heard(engine.now);
        let mut budget = engine.limits.cycle_op_budget;
        if !self.shut_out.is_empty() {
            self.shut_out([]);
        }
        if self.ingress.has_work() {
            self.take_inputs();
        }
        let engine = &mut self.engine;
        if !engine.bootstraps.queue.is_empty() {
            engine.start_bootstraps();
        }
        engine.run_frontier(&mut budget);
        engine.run_bus();
        engine.run_timers();
        engine.expire_waits();
        while let Some(completed) = self.ingress.pop_completion() {
            engine.complete(completed.pending.0, completed.result);
        }
        engine.run_frontier(&mut budget);
        engine.run_lifecycle();
        engine.run_frontier(&mut budget);
        engine.report_peers();
        engine.report_waiting_bootstraps();
        engine.flush_outbound();
        engine.report_records();
        if !engine.frontier.is_empty() {
            let ops_invoked = engine.limits.cycle_op_budget - budget;
            engine.steps.push(EngineStep::CycleBudgetExceeded { ops_invoked });
        }
        engine.is_stepping = false;
        self.hand_out()
    }

    /// [`Node::step`] at the time of the node's clock; `Pending` wakes when another thread hands something in.
    #[must_use = "steps say what the host has to do"]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<EngineStep>> {
        self.ingress.register(cx.waker());
        let steps = self.step(self.clock.now() + self.clock_offset);
        if steps.is_empty() && !self.has_work() { Poll::Pending } else { Poll::Ready(steps) }
    }

    /// Whether a step would do something, deadlines aside.
    pub(super) fn has_work(&self) -> bool {
        !self.engine.frontier.is_empty()
            || !self.engine.steps.is_empty()
            || !self.ended.is_empty()
            || !self.engine.wire.outbound.is_empty()
            || !self.engine.bus.events.is_empty()
            || !self.engine.phases.entered.is_empty()
            || self.engine.timers.wait_for_start()
            || self.engine.executions.has_fresh()
            || self.ingress.has_work()
    }

    /// Takes what waits in the ingress queue when the step begins, and no more, so that a step ends.
    fn take_inputs(&mut self) {
        let (queued, capacity) = self.ingress.depth();
        let threshold = usize::try_from(backpressure::Config::default().threshold_percent).unwrap_or(100);
        if queued * 100 < capacity * threshold {
            for _ in 0..queued {
                let Some(input) = self.ingress.pop() else { break };
                self.take_input(input, Load { queued, of_sender: 1, capacity });
            }
        } else {
            self.take_inputs_under_pressure(queued, capacity);
        }
        self.engine.peers.take_heard(self.engine.now);
    }

    /// Takes what waits in a queue so full that it matters whose messages these are.
    fn take_inputs_under_pressure(&mut self, queued: usize, capacity: usize) {
        let inputs: Vec<Input> = (0..queued).map_while(|_| self.ingress.pop()).collect();
        let mut senders: BTreeMap<PeerId, usize> = BTreeMap::new();
        for input in &inputs {
            if let Input::Envelope { source, .. } = input {
                *senders.entry(*source).or_default() += 1;
            }
        }
        for input in inputs {
            let of_sender = match &input {
                Input::Envelope { source, .. } => senders.get(source).copied().unwrap_or_default(),
                _ => 0,
            };
            self.take_input(input, Load { queued, of_sender, capacity });
        }
        self.shut_out(senders.into_keys());
    }

    fn take_input(&mut self, input: Input, load: Load) {
        let (peer, taken) = match input {
            Input::Envelope { source, bytes, charge } => {
                let taken = self.engine.deliver_inbound(source, &bytes, load);
                drop(charge);
                (Some(source), taken)
            }
            Input::Event { input, value, charge } => {
                (None, self.take_event(input, &value, charge).map(|_| ()))
            }
            Input::SendResult { peer, result } => {
                self.engine.peers.take_send_result(peer, result, self.engine.now);
                (None, Ok(()))
            }
        };
        match taken {
            Ok(()) | Err(DeliveryError::PeerDenied { .. }) => {}
            Err(error) => {
                self.engine.counters.refused.note(&error);
                self.engine.publish(bus::DELIVERY_REFUSED, || Value::Str(error.to_string().into()));
                self.engine.steps.push(EngineStep::IngressFailed { peer, error });
            }
        }
    }
}
