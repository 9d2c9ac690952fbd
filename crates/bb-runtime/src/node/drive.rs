//! Letting the node work.

use std::collections::BTreeSet;
use std::task::{Context, Poll};

use bb_framework::backpressure::{self, Load};
use bb_framework::fair_queue::Turn;

use super::Node;
use crate::engine::bus;
use crate::ingress::{Input, Intake};
use crate::{DeliveryError, EngineStep, Time, Value};

impl Node {
    /// Does what there is to do at `now`, up to the op budget of a step; an earlier `now` than the last counts as
    /// that one.
    ///
    /// In this order: what other threads handed in, ready ops, the bus, timers, deadlines, answers that came later, the
    /// ops that these made ready, phases of the node's life, the ops that these made ready, messages to be sent.
    ///
    /// ```
    /// # use bb_runtime::{EngineStep, Node, Time};
    /// # fn drive(node: &mut Node, now: Time, ship: impl Fn(&[u8])) {
    /// for step in node.step(now) {
    ///     match step {
    ///         EngineStep::SendEnvelope { bytes, .. } => ship(&bytes),
    ///         EngineStep::AppEvent { output, value, .. } => println!("{output}: {value}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # }
    /// ```
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
        self.tell_untold();
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
        #[cfg(debug_assertions)]
        engine.check_invariants();
        self.hand_out()
    }

    /// [`Node::step`] at the time of the node's clock; `Pending` wakes when another thread hands something in.
    ///
    /// ```
    /// # use bb_runtime::{EngineStep, Node};
    /// # async fn next(node: &mut Node) -> Vec<EngineStep> {
    /// std::future::poll_fn(|cx| node.poll(cx)).await
    /// # }
    /// ```
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
            || self.engine.phases.waiting().next().is_some()
            || self.engine.timers.wait_for_start()
            || self.engine.executions.has_fresh()
            || self.ingress.has_work()
    }

    /// Takes of what waits in the ingress queue as much as a step takes, senders in turn; nothing while more ops are
    /// ready than a step may run, for what is taken in would only wait elsewhere, where nobody's share is kept.
    fn take_inputs(&mut self) {
        if self.engine.frontier.len() >= self.engine.limits.cycle_op_budget {
            return;
        }
        let Intake { load, turns } = self.ingress.take();
        let is_pressed = load.is_full(backpressure::Config::default().threshold_percent);
        let mut pressing = BTreeSet::new();
        for Turn { sender, of_sender, item } in turns {
            if self.take_input(item, Load { of_sender, ..load }) && is_pressed {
                pressing.extend(sender);
            }
        }
        if !pressing.is_empty() {
            self.shut_out(pressing);
        }
        self.engine.peers.take_heard(self.engine.now);
    }

    /// Takes one input; whether its sender is denied.
    fn take_input(&mut self, input: Input, load: Load) -> bool {
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
            Ok(()) => false,
            Err(DeliveryError::PeerDenied { .. }) => true,
            Err(error) => {
                self.engine.counters.refused.note(&error);
                self.engine.publish(bus::DELIVERY_REFUSED, || Value::Str(error.to_string().into()));
                self.engine.steps.push(EngineStep::IngressFailed { peer, error });
                false
            }
        }
    }
}
