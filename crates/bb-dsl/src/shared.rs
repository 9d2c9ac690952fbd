//! What the executions of a node share, by name: limits, queues, holds, events, metrics, the address book.

use std::panic::Location;
use std::sync::Arc;

use bb_ir::ValueType;
use bb_ir::program::domains;

use crate::recorder::NewNode;
use crate::{Graph, Output};

/// How many executions of a node may be at something at one time; the others wait, first come, first served.
///
/// What an execution has acquired and not released when it ends is released then.
///
/// ```
/// use bb_dsl::{Graph, Limit, Module};
/// struct Slow { gpu: Limit }
/// impl Module for Slow {
///     fn name(&self) -> &str { "Slow" }
///     fn body(&self, g: &mut Graph) {
///         let x = g.input("x");
///         let x = self.gpu.acquire(g, x);
///         let y = g.pass_through(x);
///         let y = self.gpu.release(g, y);
///         g.output("y", y);
///     }
/// }
/// assert!(Slow { gpu: Limit::named("gpu", 2) }.build().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Arc<str>,
    permits: u32,
}

impl Limit {
    /// The limit of that name; at least 1 may be at it.
    pub fn named(name: impl Into<Arc<str>>, permits: u32) -> Self {
        Self { name: name.into(), permits: permits.max(1) }
    }

    /// The value, when one of the permits is this execution's.
    #[track_caller]
    pub fn acquire(&self, g: &mut Graph, value: Output) -> Output {
        let ty = g.type_of(value);
        let node = NewNode::new(domains::SYSCALL, "Limit.Acquire").inputs([value]).output(ty);
        let node = node.attr("name", &*self.name).attr("permits", i64::from(self.permits));
        g.one(node, Location::caller())
    }

    /// The value; one permit of this execution is given back.
    #[track_caller]
    pub fn release(&self, g: &mut Graph, value: Output) -> Output {
        let ty = g.type_of(value);
        let node = NewNode::new(domains::SYSCALL, "Limit.Release").inputs([value]).output(ty);
        g.one(node.attr("name", &*self.name), Location::caller())
    }
}

/// A queue in which one execution of a node is served at a time, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serialize(Arc<str>);

impl Serialize {
    /// The queue of that name.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The value, when it is this execution's turn.
    #[track_caller]
    pub fn enqueue(&self, g: &mut Graph, value: Output) -> Output {
        self.op(g, "Serialize.Enqueue", value, Location::caller())
    }

    /// The value; the next execution has its turn. An execution that ends does so by itself.
    #[track_caller]
    pub fn dequeue(&self, g: &mut Graph, value: Output) -> Output {
        self.op(g, "Serialize.Dequeue", value, Location::caller())
    }

    fn op(&self, g: &mut Graph, op: &'static str, value: Output, at: &'static Location<'static>) -> Output {
        let ty = g.type_of(value);
        g.one(NewNode::new(domains::SYSCALL, op).inputs([value]).attr("name", &*self.0).output(ty), at)
    }
}

/// Values that executions leave for later ones, each under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold(Arc<str>);

impl Hold {
    /// The hold of that name.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Keeps a value under a key, in place of what is there; gives how many are kept now (`i64`).
    ///
    /// A key is a bool, a number without a fraction, a text, bytes or a peer.
    #[track_caller]
    pub fn stash(&self, g: &mut Graph, key: Output, value: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "Hold.Stash").inputs([key, value]).attr("name", &*self.0);
        g.one(node.output(ValueType::I64), Location::caller())
    }

    /// Takes all that is kept, when `when` is there: a tuple of `(key, value)` in the order of the keys' wire form.
    #[track_caller]
    pub fn flush(&self, g: &mut Graph, when: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "Hold.Flush").inputs([when]).attr("name", &*self.0);
        g.one(node.output(ValueType::Any), Location::caller())
    }
}

impl Graph {
    /// Says something on a topic of the node's bus: the host sees it in an `AppNotified` step, and what listens
    /// ([`Graph::on_event`], [`Graph::on_trigger`]) starts. It is no output of the execution.
    #[track_caller]
    pub fn app_notify(&mut self, topic: &str, value: Output) {
        let node = NewNode::new(domains::SYSCALL, "AppNotify").inputs([value]).attr("name", topic);
        self.record(node, Location::caller());
    }

    /// Keeps the value as the last one of that name, for the host to look at.
    #[track_caller]
    pub fn record_last(&mut self, name: &str, value: Output) {
        let node = NewNode::new(domains::SYSCALL, "Record").inputs([value]).attr("name", name);
        self.record(node, Location::caller());
    }

    /// Adds a number (`i64` or `u64`) to the counter of that name.
    #[track_caller]
    pub fn incr_metric(&mut self, name: &str, by: Output) {
        let node = NewNode::new(domains::SYSCALL, "IncrMetric").inputs([by]).attr("name", name);
        self.record(node, Location::caller());
    }

    /// Takes up where a peer can be reached, as a hint; whether anything is new (`bool`).
    #[track_caller]
    pub fn address_book_insert(&mut self, peer: Output, addresses: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "AddressBook.Insert").inputs([peer, addresses]);
        self.one(node.output(ValueType::Bool), Location::caller())
    }

    /// Takes up many peers, a tuple of `(peer, addresses)` each; how many addresses are new (`i64`).
    #[track_caller]
    pub fn address_book_insert_many(&mut self, peers: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "AddressBook.InsertMany").inputs([peers]);
        self.one(node.output(ValueType::I64), Location::caller())
    }

    /// Where a peer was last known, best first; empty if the node knows no address.
    #[track_caller]
    pub fn address_book_lookup(&mut self, peer: Output) -> Output {
        let node = NewNode::new(domains::SYSCALL, "AddressBook.Lookup").inputs([peer]);
        self.one(node.output(ValueType::Addresses), Location::caller())
    }

    /// Hands a value to the host under this name, wherever it is recorded: [`Graph::output`] for values that the
    /// module that calls this one does not get.
    #[track_caller]
    pub fn app_emit(&mut self, name: &str, value: Output) {
        let node = NewNode::new(domains::SYSCALL, "AppEmit").inputs([value]).attr("name", name);
        self.record(node, Location::caller());
    }
}
