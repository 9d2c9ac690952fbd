//! Where values go: branches, joins, deadlines.

use std::panic::Location;
use std::time::Duration;

use bb_ir::program::{Attribute, Span, domains};
use bb_ir::{Diagnostic, ValueType};

use crate::recorder::NewNode;
use crate::timers::nanos;
use crate::{Graph, Output, Quorum, Values};

impl Graph {
    /// The value `count` times.
    #[track_caller]
    pub fn tee(&mut self, value: Output, count: usize) -> Vec<Output> {
        let ty = self.type_of(value);
        let mut node = NewNode::new(domains::SYSCALL, "Tee").inputs([value]);
        node.outputs = vec![Some(ty); count];
        self.record(node, Location::caller())
    }

    /// The value if `open` (`bool`) is true; absent if it is false, and what reads it does not run.
    #[track_caller]
    pub fn gate(&mut self, value: Output, open: Output) -> Output {
        let ty = self.type_of(value);
        self.one(NewNode::new(domains::SYSCALL, "Gate").inputs([value, open]).output(ty), Location::caller())
    }

    /// The first of the values that is there; absent if none will be.
    #[track_caller]
    pub fn any(&mut self, values: impl Values) -> Output {
        let at = Location::caller();
        let values = values.list();
        let ty = self.common(&values);
        self.one(NewNode::new(domains::SYSCALL, "Any").inputs(values).output(ty), at)
    }

    /// The values, as soon as each is there or known to be absent.
    ///
    /// ```
    /// use bb_dsl::{Graph, Module};
    /// struct Both;
    /// impl Module for Both {
    ///     fn name(&self) -> &str { "Both" }
    ///     fn body(&self, g: &mut Graph) {
    ///         let (x, y) = (g.input("x"), g.input("y"));
    ///         let (x, y) = g.barrier((x, y));
    ///         g.output("x", x);
    ///         g.output("y", y);
    ///     }
    /// }
    /// assert!(Both.build().is_ok());
    /// ```
    #[track_caller]
    pub fn barrier<V: Values>(&mut self, values: V) -> V {
        let list = values.list();
        let mut node = NewNode::new(domains::SYSCALL, "Barrier");
        node.outputs = list.iter().map(|value| Some(self.type_of(*value))).collect();
        let mut outputs = self.record(node.inputs(list), Location::caller()).into_iter();
        values.like(&mut || outputs.next().unwrap_or_else(Output::poison))
    }

    /// As many of the values as the quorum asks for, in the order in which they come; all absent if not so many will be.
    ///
    /// The time that the quorum gives counts from the start of the execution; if it is over first, the op fails.
    #[track_caller]
    pub fn quorum(&mut self, values: impl Values, quorum: Quorum) -> Vec<Output> {
        let at = Location::caller();
        let values = values.list();
        let count = quorum.count.map_or(values.len(), |count| count as usize);
        if count == 0 || count > values.len() {
            let error = Diagnostic::new(format!("a quorum of {count} of {} values", values.len()))
                .label(Span::of(at), "recorded here")
                .help("ask for at least 1, and for no more than there are");
            self.error(error);
            return vec![Output::poison(); count];
        }
        let ty = self.common(&values);
        let mut node = NewNode::new(domains::SYSCALL, "Quorum")
            .inputs(values)
            .attr("count", count as i64)
            .attr("deadline_ns", Attribute::Int(quorum.deadline_attribute()));
        node.outputs = vec![Some(ty); count];
        self.record(node, at)
    }

    /// The value, if the execution has run for less than `within`; else the op fails.
    ///
    /// Without a time, what counts is the deadline of the request that started the execution, if one did.
    #[track_caller]
    pub fn deadline_check(&mut self, value: Output, within: Option<Duration>) -> Output {
        let ty = self.type_of(value);
        let node = NewNode::new(domains::SYSCALL, "DeadlineCheck").inputs([value]).output(ty);
        self.one(node.attr("within_ns", within.map_or(Attribute::Int(0), nanos)), Location::caller())
    }

    /// The value twice, one of them absent: the first if it is in time, the second if it is late. In time is what
    /// [`Graph::deadline_check`] lets pass.
    #[track_caller]
    pub fn deadline_match(&mut self, value: Output, within: Option<Duration>) -> (Output, Output) {
        let ty = self.type_of(value);
        let node = NewNode::new(domains::SYSCALL, "DeadlineMatch").inputs([value]);
        let node =
            node.output(ty.clone()).output(ty).attr("within_ns", within.map_or(Attribute::Int(0), nanos));
        let mut outputs = self.record(node, Location::caller()).into_iter();
        let mut next = || outputs.next().unwrap_or_else(Output::poison);
        (next(), next())
    }

    /// A random id (16 bytes) that nobody can guess.
    #[track_caller]
    pub fn correlate_tag(&mut self) -> Output {
        self.one(NewNode::new(domains::SYSCALL, "CorrelateTag").output(ValueType::Bytes), Location::caller())
    }

    /// An id (16 bytes) that the values decide: equal values give equal ids, on every node.
    ///
    /// The first half of BLAKE3 over the wire form of the tuple of the values.
    #[track_caller]
    pub fn correlate_tag_of(&mut self, values: impl Values) -> Output {
        let node = NewNode::new(domains::SYSCALL, "CorrelateTag").inputs(values.list());
        self.one(node.output(ValueType::Bytes), Location::caller())
    }

    /// The type of all of them, if they have one.
    fn common(&self, values: &[Output]) -> ValueType {
        let mut types = values.iter().map(|value| self.type_of(*value));
        let first = types.next().unwrap_or_default();
        if types.all(|ty| ty == first) { first } else { ValueType::Any }
    }
}
