//! Slots of data sources, aggregators and peer selectors.

use std::panic::Location;

use bb_ir::ValueType;
use bb_ir::program::{Attribute, Role, Span, domains};

use super::slot;
use crate::recorder::NewNode;
use crate::{Graph, Output};

slot! {
    /// A slot for a data source: what a model is fitted to and evaluated on.
    DataSourceSlot
}

slot! {
    /// A slot for an aggregator: what folds the updates of a round.
    ///
    /// [`Call::fold`](crate::Call::fold) records a whole round; these methods are its parts.
    AggregatorSlot
}

slot! {
    /// A slot for a peer selector: what chooses the peers of a round.
    PeerSelectorSlot
}

impl AggregatorSlot {
    /// Begins a round; what an unfinished one left is forgotten.
    #[track_caller]
    pub fn begin(&self, g: &mut Graph) {
        let node = NewNode::new(domains::AGGREGATOR, "Begin").slot(self.name(), Role::Aggregator);
        g.record(node, Location::caller());
    }

    /// Takes a peer's update (named tensors) with its weight (a number).
    #[track_caller]
    pub fn contribute(&self, g: &mut Graph, peer: Output, update: Output, weight: Output) {
        self.contribute_at(g, peer, update, weight, Location::caller());
    }

    pub(crate) fn contribute_at(
        &self,
        g: &mut Graph,
        peer: Output,
        update: Output,
        weight: Output,
        at: &'static Location<'static>,
    ) {
        let node = NewNode::new(domains::AGGREGATOR, "Contribute")
            .slot(self.name(), Role::Aggregator)
            .inputs([peer, update, weight]);
        g.record(node, at);
    }

    /// Ends the round with its result (named tensors), once `answered` is there.
    #[track_caller]
    pub fn aggregate(&self, g: &mut Graph, answered: Output) -> Output {
        let node = NewNode::new(domains::AGGREGATOR, "Aggregate")
            .slot(self.name(), Role::Aggregator)
            .inputs([answered])
            .output(ValueType::Tensors);
        g.one(node, Location::caller())
    }
}

impl PeerSelectorSlot {
    /// All peers it would choose from, in order.
    #[track_caller]
    pub fn all(&self, g: &mut Graph) -> Output {
        let node = NewNode::new(domains::PEER_SELECTOR, "View")
            .slot(self.name(), Role::PeerSelector)
            .output(ValueType::Peers);
        g.one(node, Location::caller())
    }

    /// `count` of them at random without repetition, or all if there are fewer.
    #[track_caller]
    pub fn sample(&self, g: &mut Graph, count: u32) -> Output {
        let at = Location::caller();
        if count == 0 {
            let error = bb_ir::Diagnostic::new("a sample of 0 peers")
                .label(Span::of(at), "recorded here")
                .help("sample 1 or more, or take `.all(g)`");
            g.error(error);
        }
        let node = NewNode::new(domains::PEER_SELECTOR, "Sample")
            .slot(self.name(), Role::PeerSelector)
            .attr("count", Attribute::Int(i64::from(count)))
            .output(ValueType::Peers);
        g.one(node, at)
    }
}
