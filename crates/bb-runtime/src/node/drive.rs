//! Letting the node work.

use std::task::{Context, Poll};

use bb_framework::governor;

use super::Node;
use crate::engine::bus;
use crate::ingress::{Input, SendResult};
use crate::{DeliveryError, EngineStep, Time, Value};

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
        let engine = &mut self.engine;
        engine.now = engine.now.max(now);
        engine.start_time();
        engine.is_stepping = true;
        let mut budget = engine.limits.cycle_op_budget;
        if self.ingress.has_work() {
            self.take_inputs();
        }
        let engine = &mut self.engine;
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
        for event in engine.peers.governor.take_events() {
            match event {
                governor::Event::PeerDown(peer) => {
                    engine.steps.push(EngineStep::PeerDown { peer });
                    engine.publish(bus::PEER_DOWN, || Value::Peer(peer));
                }
                governor::Event::PeerUp(peer) => {
                    engine.steps.push(EngineStep::PeerUp { peer });
                    engine.publish(bus::PEER_UP, || Value::Peer(peer));
                }
                _ => {}
            }
        }
        engine.flush_outbound();
        engine.report_records();
        if !engine.frontier.is_empty() {
            let ops_invoked = engine.limits.cycle_op_budget - budget;
            engine.steps.push(EngineStep::CycleBudgetExceeded { ops_invoked });
        }
        engine.is_stepping = false;
        std::mem::take(&mut engine.steps)
    }

    /// [`Node::step`] at the time of the node's clock; `Pending` wakes when another thread hands something in.
    #[must_use = "steps say what the host has to do"]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<EngineStep>> {
        self.ingress.register(cx.waker());
        let steps = self.step(self.clock.now());
        if steps.is_empty() && !self.has_work() { Poll::Pending } else { Poll::Ready(steps) }
    }

    /// Whether a step would do something, deadlines aside.
    pub(super) fn has_work(&self) -> bool {
        !self.engine.frontier.is_empty()
            || !self.engine.steps.is_empty()
            || !self.engine.wire.outbound.is_empty()
            || !self.engine.bus.events.is_empty()
            || !self.engine.phases.entered.is_empty()
            || self.engine.timers.wait_for_start()
            || self.ingress.has_work()
    }

    /// Takes what waits in the ingress queue when the step begins, and no more, so that a step ends.
    fn take_inputs(&mut self) {
        let (waiting, _) = self.ingress.depth();
        for _ in 0..waiting {
            let (peer, taken) = match self.ingress.pop() {
                None => return,
                Some(Input::Envelope { source, bytes, charge }) => {
                    let taken = self.engine.deliver_inbound(source, &bytes);
                    drop(charge);
                    (Some(source), taken)
                }
                Some(Input::Event { input, value, charge }) => {
                    (None, self.take_event(input, &value, charge).map(|_| ()))
                }
                Some(Input::SendResult { peer, result }) => {
                    match result {
                        SendResult::Delivered => self.engine.peers.governor.record_success(peer),
                        SendResult::Failed => {
                            self.engine.peers.governor.record_failure(peer, self.engine.now);
                        }
                    }
                    (None, Ok(()))
                }
            };
            match taken {
                Ok(()) | Err(DeliveryError::PeerDenied { .. }) => {}
                Err(error) => {
                    self.engine.publish(bus::DELIVERY_REFUSED, || Value::Str(error.to_string().into()));
                    self.engine.steps.push(EngineStep::IngressFailed { peer, error });
                }
            }
        }
    }
}
