//! The two wire forms: a call with its answers, and a message one way.

use std::collections::BTreeSet;
use std::panic::Location;
use std::time::Duration;

use bb_ir::program::{self, Attribute, Role, Span, domains};
use bb_ir::{Diagnostic, Value, ValueType};

use crate::recorder::{Effect, FrameKind, NewNode};
use crate::slots::AggregatorSlot;
use crate::{Graph, Output, Quorum, Update, Values};

/// A call whose body has been recorded and whose answers have not been taken yet.
pub(crate) struct PendingCall {
    peers: Output,
    values: Vec<Output>,
    class: String,
    body: Option<program::Graph>,
    at: &'static Location<'static>,
}

impl PendingCall {
    pub(crate) fn report_unused(self, g: &mut Graph) {
        if self.body.is_some() {
            let error = Diagnostic::new(format!("nobody takes the answers of this call at \"{}\"", self.class))
                .label(Span::of(self.at), "called here")
                .help("take them with `.fold(g, …)`, `.each(g, …)` or `.first(g)`; one way is `g.send(peers, values)`");
            g.error(error);
        }
    }
}

/// A call that does not say yet where its body runs; made by [`Graph::call`].
#[must_use = "a call does nothing until `.at(\"class\", |g, values| …)`"]
#[derive(Debug)]
pub struct CallTo<'g, V> {
    g: &'g mut Graph,
    peers: Output,
    values: V,
    at: &'static Location<'static>,
}

impl<'g, V: Values> CallTo<'g, V> {
    pub(crate) fn new(g: &'g mut Graph, peers: Output, values: V, at: &'static Location<'static>) -> Self {
        Self { g, peers, values, at }
    }

    /// Records what runs at each peer of the call, which is of class `class`; what `body` returns is sent back.
    ///
    /// The body sees the values that were sent, constants and the components of its own node.
    #[track_caller]
    pub fn at<R: Values>(self, class: &str, body: impl FnOnce(&mut Graph, V) -> R) -> Call<R> {
        let Self { g, peers, values, at } = self;
        let (body, results) = record_body(g, class, &values, Location::caller(), body);
        g.calls.push(PendingCall {
            peers,
            values: values.list(),
            class: class.to_owned(),
            body: Some(body.0),
            at,
        });
        Call { id: g.calls.len() - 1, types: body.1, results, quorum: Quorum::all() }
    }
}

/// Records a body at another peer; the types of its results come with it.
fn record_body<V: Values, R: Values>(
    g: &mut Graph,
    class: &str,
    values: &V,
    at: &'static Location<'static>,
    body: impl FnOnce(&mut Graph, V) -> R,
) -> ((program::Graph, Vec<ValueType>), R) {
    g.check_class(class, at);
    let types: Vec<ValueType> = values.list().iter().map(|value| g.type_of(*value)).collect();
    g.open(class, FrameKind::Body, Some(class.to_owned()));
    let mut inputs = g.frame_inputs("received", types, at).into_iter();
    let received = values.like(&mut || inputs.next().unwrap_or_else(Output::poison));
    let results = body(g, received);
    let listed = results.list();
    let types = listed.iter().map(|result| g.type_of(*result)).collect();
    g.frame_outputs(&listed, at);
    let (graph, _) = g.close();
    ((graph, types), results)
}

/// A call whose answers are to be taken; made by [`CallTo::at`].
#[must_use = "take the answers with `.fold(g, …)`, `.each(g, …)` or `.first(g)`"]
#[derive(Debug)]
pub struct Call<R> {
    id: usize,
    types: Vec<ValueType>,
    results: R,
    quorum: Quorum,
}

impl<R: Values> Call<R> {
    /// How many answers the call waits for, and how long; all of them unless said.
    pub const fn quorum(mut self, quorum: Quorum) -> Self {
        self.quorum = quorum;
        self
    }

    /// How long the call waits.
    pub const fn within(mut self, time: Duration) -> Self {
        self.quorum = self.quorum.within(time);
        self
    }

    /// Folds the answers with an aggregator as they come in, and gives what it makes of them.
    ///
    /// An answer is the update, or `(update, weight)`; without a weight each counts 1.
    #[track_caller]
    pub fn fold(self, g: &mut Graph, aggregator: &AggregatorSlot, quorum: Quorum) -> Output
    where
        R: Update,
    {
        let at = Location::caller();
        aggregator.begin(g);
        let call = Self { quorum, ..self };
        let answered = call.answered(g, Some(aggregator.name()), at, |g, peer, result| {
            let (update, weight) = result.parts();
            let weight = weight.unwrap_or_else(|| g.record_constant(Value::I64(1).into(), at));
            aggregator.contribute_at(g, peer, update, weight, at);
        });
        aggregator.aggregate(g, answered)
    }

    /// Runs a region an answer, in the order in which they come in; it sees the values of this execution.
    ///
    /// What comes out is how many answered.
    #[track_caller]
    pub fn each(self, g: &mut Graph, region: impl FnOnce(&mut Graph, Output, R)) -> Output {
        self.answered(g, None, Location::caller(), region)
    }

    /// The first answer, and the peer that gave it.
    #[track_caller]
    pub fn first(self, g: &mut Graph) -> (Output, R) {
        let at = Location::caller();
        let mut node = self.node(g, "first");
        node.outputs = std::iter::once(ValueType::Peer).chain(self.types.clone()).map(Some).collect();
        let mut outputs = g.record(node, at).into_iter();
        let mut next = || outputs.next().unwrap_or_else(Output::poison);
        (next(), self.results.like(&mut next))
    }

    fn answered(
        self,
        g: &mut Graph,
        folds: Option<&str>,
        at: &'static Location<'static>,
        region: impl FnOnce(&mut Graph, Output, R),
    ) -> Output {
        let mut node = self.node(g, "each");
        let place = g.place().map(str::to_owned);
        g.open("each", FrameKind::Each, place);
        let types = std::iter::once(ValueType::Peer).chain(self.types);
        let mut inputs = g.frame_inputs("answer", types, at).into_iter();
        let mut next = || inputs.next().unwrap_or_else(Output::poison);
        let (peer, result) = (next(), self.results.like(&mut next));
        region(g, peer, result);
        let (each, touched): (program::Graph, BTreeSet<Effect>) = g.close();
        node = node.attr("each", each).output(ValueType::I64);
        node.touches = touched;
        if let Some(slot) = folds {
            node = node.uses(slot, Role::Aggregator);
        }
        g.one(node, at)
    }

    /// The `Call` node, without what differs from mode to mode.
    fn node(&self, g: &mut Graph, mode: &str) -> NewNode {
        let at = g.calls[self.id].at;
        if self.quorum.count == Some(0) {
            let error = Diagnostic::new("a call waits for at least 0 answers")
                .label(Span::of(at), "called here")
                .help("`Quorum::at_least(1)` or more; one way is `g.send(peers, values)`");
            g.error(error);
        }
        if self.quorum.deadline == Some(Duration::ZERO) {
            let error = Diagnostic::new("a call waits 0 ns")
                .label(Span::of(at), "called here")
                .help("give it a time, or leave it out: the node's own deadline for requests holds then");
            g.error(error);
        }
        let call = &mut g.calls[self.id];
        let body = call.body.take().unwrap_or_default();
        NewNode::new(domains::WIRE, "Call")
            .inputs(std::iter::once(call.peers).chain(call.values.iter().copied()))
            .attr("class", call.class.as_str())
            .attr("body", body)
            .attr("mode", mode)
            .attr("quorum", self.quorum.count_attribute())
            .attr("deadline_ns", Attribute::Int(self.quorum.deadline_attribute()))
    }
}

/// A message that does not say yet where it goes; made by [`Graph::send`].
#[must_use = "a message is not sent until `.to(\"class\").then(|g, values| …)`"]
#[derive(Debug)]
pub struct CastTo<'g, V> {
    g: &'g mut Graph,
    peers: Output,
    values: V,
    at: &'static Location<'static>,
}

impl<'g, V: Values> CastTo<'g, V> {
    pub(crate) fn new(g: &'g mut Graph, peers: Output, values: V, at: &'static Location<'static>) -> Self {
        Self { g, peers, values, at }
    }

    /// The class of the peers that it goes to.
    pub fn to(self, class: &str) -> Cast<'g, V> {
        Cast { to: self, class: class.to_owned() }
    }
}

/// A message that does not say yet what it starts; made by [`CastTo::to`].
#[must_use = "a message is not sent until `.then(|g, values| …)`"]
#[derive(Debug)]
pub struct Cast<'g, V> {
    to: CastTo<'g, V>,
    class: String,
}

impl<V: Values> Cast<'_, V> {
    /// Records what the message starts at each receiver: one execution.
    #[track_caller]
    pub fn then(self, body: impl FnOnce(&mut Graph, V)) {
        let Self { to: CastTo { g, peers, values, at }, class } = self;
        let ((body, _), ()) = record_body(g, &class, &values, Location::caller(), body);
        let node = NewNode::new(domains::WIRE, "Cast")
            .inputs(std::iter::once(peers).chain(values.list()))
            .attr("class", class)
            .attr("body", body);
        g.record(node, at);
    }
}
