//! Time and chance: what starts executions, what waits, clocks and random numbers.

use std::panic::Location;
use std::time::Duration;

use bb_ir::program::{Attribute, Span, domains};
use bb_ir::{Diagnostic, ValueType};

use crate::recorder::{FrameKind, NewNode};
use crate::{Graph, Output};

/// A phase in the life of a node, by name.
///
/// ```
/// use bb_dsl::Phase;
/// assert_eq!(Phase::named("warm").name(), "warm");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase(String);

impl Phase {
    /// The host takes a snapshot; what listens starts in the step after it, in the node and in what is made of the snapshot.
    pub fn snapshot() -> Self {
        Self::named("Snapshot")
    }

    /// The host closed the node.
    pub fn shutdown() -> Self {
        Self::named("Shutdown")
    }

    /// A phase of the program's own, which the host enters by this name.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Graph {
    /// Starts an execution every `period`, the first one a period after the node's first step.
    ///
    /// What reads the trigger that comes out, or comes [after](Output::after) it, runs in these executions. Ticks that
    /// the node slept through are one tick.
    ///
    /// ```
    /// use bb_dsl::{Graph, ModelSlot, Module, PeerSelectorSlot, secs};
    /// struct Gossip { model: ModelSlot, view: PeerSelectorSlot }
    /// impl Module for Gossip {
    ///     fn name(&self) -> &str { "Gossip" }
    ///     fn body(&self, g: &mut Graph) {
    ///         g.on("peer", |g| {
    ///             let tick = g.every(secs(1));
    ///             let mine = self.model.parameters(g).after(tick);
    ///             let other = self.view.sample(g, 1);
    ///             g.send(other, mine).to("peer").then(|g, theirs| self.model.mix(g, theirs, 0.5));
    ///         });
    ///     }
    /// }
    /// let gossip = Gossip { model: ModelSlot::named("model"), view: PeerSelectorSlot::named("view") };
    /// assert!(gossip.build().is_ok());
    /// ```
    #[track_caller]
    pub fn every(&mut self, period: Duration) -> Output {
        let at = Location::caller();
        if period.is_zero() {
            let error = Diagnostic::new("something happens every 0 ns").label(Span::of(at), "recorded here");
            self.error(error.help("give it a period: `g.every(secs(1))`"));
            return Output::poison();
        }
        let node = NewNode::new(domains::SYSCALL, "Interval").attr("period_ns", nanos(period));
        self.source(node.output(ValueType::Trigger), at)
    }

    /// Starts one execution, `delay` after the node's first step.
    #[track_caller]
    pub fn pulse(&mut self, delay: Duration) -> Output {
        let node = NewNode::new(domains::SYSCALL, "Pulse").attr("delay_ns", nanos(delay));
        self.source(node.output(ValueType::Trigger), Location::caller())
    }

    /// Starts an execution for each event of a topic of the node's bus, and gives what the event carries.
    ///
    /// Events come from [`Graph::app_notify`] of any target of the node, and from the node itself: `node.peer_up` and
    /// `node.peer_down` with the peer, `node.delivery_refused` with the reason, `node.outbound_dropped` with the count
    /// (`u64`). An event that is not of type `ty` starts nothing and is counted.
    #[track_caller]
    pub fn on_event(&mut self, topic: &str, ty: ValueType) -> Output {
        let node = NewNode::new(domains::SYSCALL, "EventSource").attr("name", topic).output(ty);
        self.source(node, Location::caller())
    }

    /// Starts an execution when anything was said on a topic of the node's bus: one a step, however many events there
    /// were. See [`Graph::on_event`] for topics.
    #[track_caller]
    pub fn on_trigger(&mut self, topic: &str) -> Output {
        let node = NewNode::new(domains::SYSCALL, "OnTrigger").attr("name", topic).output(ValueType::Trigger);
        self.source(node, Location::caller())
    }

    /// Starts an execution when the node enters a phase.
    #[track_caller]
    pub fn on_phase(&mut self, phase: &Phase) -> Output {
        let at = Location::caller();
        if phase.name().is_empty() {
            self.error(Diagnostic::new("a phase has no name").label(Span::of(at), "recorded here"));
            return Output::poison();
        }
        let node = NewNode::new(domains::SYSCALL, "LifecyclePhase").attr("name", phase.name());
        self.source(node.output(ValueType::Trigger), at)
    }

    /// The value itself, `delay` later.
    #[track_caller]
    pub fn delay(&mut self, value: Output, delay: Duration) -> Output {
        let ty = self.type_of(value);
        let node = NewNode::new(domains::SYSCALL, "After").inputs([value]).attr("delay_ns", nanos(delay));
        self.one(node.output(ty), Location::caller())
    }

    /// A trigger that comes when as many nanoseconds have passed as `nanoseconds` (`i64` or `u64`) says.
    #[track_caller]
    pub fn sleep(&mut self, nanoseconds: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "Sleep").inputs([nanoseconds]);
        self.one(node.output(ValueType::Trigger), Location::caller())
    }

    /// The time of the node's step, in nanoseconds from the origin that its host picked (`u64`).
    #[track_caller]
    pub fn clock(&mut self) -> Output {
        self.one(NewNode::new(domains::SYSCALL, "Clock").output(ValueType::U64), Location::caller())
    }

    /// 64 random bits of the node's seeded generator (`u64`).
    #[track_caller]
    pub fn random_u64(&mut self) -> Output {
        self.one(NewNode::new(domains::SYSCALL, "RngU64").output(ValueType::U64), Location::caller())
    }

    /// Records what starts executions.
    fn source(&mut self, node: NewNode, at: &'static Location<'static>) -> Output {
        if self.frame().kind != FrameKind::Root {
            let error = Diagnostic::new(format!("{} inside a body", node.op.name()))
                .label(Span::of(at), "a body is started by its message")
                .help("record it outside of the body, where it starts executions of its own");
            self.error(error);
            return Output::poison();
        }
        self.one(node, at)
    }
}

/// A time as an attribute.
pub(crate) fn nanos(time: Duration) -> Attribute {
    Attribute::Int(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
