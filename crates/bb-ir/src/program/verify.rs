//! The rules that a well-formed program keeps, recorded or compiled.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use thiserror::Error;

use super::{Attribute, Graph, Node, NodeId, Program, Span, ValueId, domains};

/// How deep graphs may be nested.
pub const MAX_GRAPH_DEPTH: usize = 16;

/// A rule that a program breaks; whoever made or changed the program is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The graph, by the names of the module or target and of the graphs it is in; empty for the program itself.
    pub graph: String,
    /// The node, if it is one that breaks the rule.
    pub node: Option<NodeId>,
    /// Where that node was recorded.
    pub span: Span,
    /// What is wrong.
    pub fault: VerifyFault,
}

/// What is wrong with a program.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyFault {
    /// A node after one that does not come before it.
    #[error("it runs after node {after}, which does not come before it")]
    AfterLater {
        /// The other node's index.
        after: u32,
    },
    /// A value made twice.
    #[error("value `{value}` is made twice")]
    AssignedTwice {
        /// Its name.
        value: String,
    },
    /// What runs at another peer reads a value of this one.
    #[error("its graph `{attribute}` runs at another peer but reads values from around it; send them")]
    BodyCaptures {
        /// The attribute.
        attribute: String,
    },
    /// A graph that is not nested reads values from around it.
    #[error("it is not nested in another graph but reads values from around it")]
    CapturesOfNothing,
    /// Two modules of one name.
    #[error("two modules are named `{module}`")]
    DuplicateModule {
        /// The name.
        module: String,
    },
    /// Two outputs of one name.
    #[error("two outputs are named `{output}`")]
    DuplicateOutput {
        /// The name.
        output: String,
    },
    /// Two receives with one port.
    #[error("port {port} is received twice")]
    DuplicatePort {
        /// The port.
        port: i64,
    },
    /// Two targets of one name.
    #[error("two targets are named `{target}`")]
    DuplicateTarget {
        /// The name.
        target: String,
    },
    /// Two values of one graph with one name.
    #[error("two values are named `{value}`")]
    DuplicateValue {
        /// The name.
        value: String,
    },
    /// A value that is read before, or without, being made.
    #[error("value `{value}` is read but nothing before makes it")]
    NotMade {
        /// Its name.
        value: String,
    },
    /// An index beyond the values of the graph.
    #[error("there is no value {index}, the graph has {count}")]
    OutOfRange {
        /// The index.
        index: u32,
        /// How many values there are.
        count: usize,
    },
    /// Graphs nested too deep.
    #[error("graphs are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A value, module or target without a name.
    #[error("{what} has no name")]
    Unnamed {
        /// What has none.
        what: &'static str,
    },
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.graph.is_empty() {
            write!(f, "in `{}`", self.graph)?;
        }
        if let Some(node) = self.node {
            write!(f, ", node {}", node.0)?;
        }
        if self.span.is_known() {
            write!(f, " ({})", self.span)?;
        }
        let colon = if self.graph.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.fault)
    }
}

impl std::error::Error for VerifyError {}

impl Program {
    /// Checks that the program is well-formed.
    ///
    /// Every index is in range; each value is made once, before it is read; names of modules, of targets, of the
    /// values of a graph and of its outputs are unique; nested graphs capture what is made before their
    /// node, and what runs at another peer captures nothing; nodes come after those they must run
    /// after; each port is received once.
    ///
    /// # Errors
    /// All that is wrong, in the order of the program.
    pub fn verify(&self) -> Result<(), Vec<VerifyError>> {
        let mut verifier = Verifier::default();
        let mut names = BTreeSet::new();
        for module in &self.modules {
            let name = &module.name;
            verifier.path = vec![name.clone()];
            verifier.check(!name.is_empty(), || VerifyFault::Unnamed { what: "a module" });
            let fault = || VerifyFault::DuplicateModule { module: name.clone() };
            verifier.check(names.insert(name), fault);
            verifier.top(&module.body);
            if let Some(bootstrap) = &module.bootstrap {
                verifier.path.push("bootstrap".to_owned());
                verifier.top(bootstrap);
            }
        }
        let mut names = BTreeSet::new();
        for target in &self.targets {
            let name = &target.name;
            verifier.path = vec![name.clone()];
            verifier.check(!name.is_empty(), || VerifyFault::Unnamed { what: "a target" });
            verifier.check(names.insert(name), || VerifyFault::DuplicateTarget { target: name.clone() });
            for (index, region) in target.regions.iter().enumerate() {
                verifier.path = vec![format!("{name}#{index}")];
                verifier.top(&region.graph);
            }
        }
        if verifier.errors.is_empty() { Ok(()) } else { Err(verifier.errors) }
    }
}

#[derive(Default)]
struct Verifier<'a> {
    path: Vec<String>,
    node: Option<(NodeId, &'a Span)>,
    hasher: DefaultHashBuilder,
    ports: BTreeSet<i64>,
    errors: Vec<VerifyError>,
}

impl<'a> Verifier<'a> {
    fn top(&mut self, graph: &'a Graph) {
        self.check(graph.captures.is_empty(), || VerifyFault::CapturesOfNothing);
        self.graph(graph, 0);
    }

    fn graph(&mut self, graph: &'a Graph, depth: usize) {
        if depth > MAX_GRAPH_DEPTH {
            self.fail(VerifyFault::TooDeep { limit: MAX_GRAPH_DEPTH });
            return;
        }
        let mut made = Made { graph, values: vec![false; graph.values.len()] };
        for &input in &graph.inputs {
            made.make(self, input);
        }
        for capture in &graph.captures {
            made.make(self, capture.inner);
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let id = NodeId(index as u32);
            let around = self.node.replace((id, &node.span));
            self.graph_node(id, node, &mut made, depth);
            self.node = around;
        }
        made.unique_names(self);
        let mut outputs = BTreeSet::new();
        for output in &graph.outputs {
            made.read(self, output.value);
            let fault = || VerifyFault::DuplicateOutput { output: output.name.clone() };
            self.check(outputs.insert(&output.name), fault);
        }
    }

    fn graph_node(&mut self, id: NodeId, node: &'a Node, made: &mut Made<'_>, depth: usize) {
        for &input in node.inputs.iter().flatten() {
            made.read(self, input);
        }
        for after in &node.after {
            self.check(after < &id, || VerifyFault::AfterLater { after: after.0 });
        }
        let crosses = node.op.is(domains::WIRE, "Call") || node.op.is(domains::WIRE, "Cast");
        for (name, attribute) in &node.attributes {
            let Attribute::Graph(nested) = attribute else { continue };
            for capture in &nested.captures {
                made.read(self, capture.outer);
            }
            if crosses && name == "body" && !nested.captures.is_empty() {
                self.fail(VerifyFault::BodyCaptures { attribute: name.clone() });
            }
            self.path.push(name.clone());
            self.graph(nested, depth + 1);
            self.path.pop();
        }
        if node.op.is(domains::WIRE, "Recv")
            && let Some(Attribute::Int(port)) = node.attributes.get("port")
        {
            let fault = || VerifyFault::DuplicatePort { port: *port };
            let is_new = self.ports.insert(*port);
            self.check(is_new, fault);
        }
        for &output in node.outputs.iter().flatten() {
            made.make(self, output);
        }
    }

    fn check(&mut self, holds: bool, fault: impl FnOnce() -> VerifyFault) {
        if !holds {
            self.fail(fault());
        }
    }

    fn fail(&mut self, fault: VerifyFault) {
        let (node, span) = self.node.map_or((None, Span::default()), |(id, span)| (Some(id), span.clone()));
        self.errors.push(VerifyError { graph: self.path.join("/"), node, span, fault });
    }
}

/// The values of a graph that are made so far.
struct Made<'a> {
    graph: &'a Graph,
    values: Vec<bool>,
}

impl Made<'_> {
    fn make(&mut self, verifier: &mut Verifier<'_>, id: ValueId) {
        let Some(made) = self.values.get_mut(id.0 as usize) else { return self.out_of_range(verifier, id) };
        let name = &self.graph.values[id.0 as usize].name;
        if std::mem::replace(made, true) {
            verifier.fail(VerifyFault::AssignedTwice { value: name.clone() });
            return;
        }
        verifier.check(!name.is_empty(), || VerifyFault::Unnamed { what: "a value" });
    }

    /// No two values that are made have one name.
    fn unique_names(&self, verifier: &mut Verifier<'_>) {
        let name = |index: u32| self.graph.values[index as usize].name.as_str();
        let hash = |index: u32| verifier.hasher.hash_one(name(index));
        let mut known = HashTable::with_capacity(self.values.len());
        let mut twice = Vec::new();
        for index in (0..self.values.len() as u32).filter(|index| self.values[*index as usize]) {
            let found = known.entry(hash(index), |other| name(*other) == name(index), |other| hash(*other));
            match found {
                Entry::Occupied(_) => twice.push(index),
                Entry::Vacant(place) => {
                    place.insert(index);
                }
            }
        }
        for index in twice {
            verifier.fail(VerifyFault::DuplicateValue { value: name(index).to_owned() });
        }
    }

    fn read(&self, verifier: &mut Verifier<'_>, id: ValueId) {
        match self.values.get(id.0 as usize) {
            Some(true) => {}
            Some(false) => {
                let value = self.graph.values[id.0 as usize].name.clone();
                verifier.fail(VerifyFault::NotMade { value });
            }
            None => self.out_of_range(verifier, id),
        }
    }

    fn out_of_range(&self, verifier: &mut Verifier<'_>, id: ValueId) {
        verifier.fail(VerifyFault::OutOfRange { index: id.0, count: self.graph.values.len() });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Capture, Module, NamedValue, OpId, Region, RegionKind, Target};
    use super::*;
    use crate::ValueType;

    fn program(body: Graph) -> Program {
        let module = Module { name: "M".into(), body, bootstrap: None };
        Program { name: "M".into(), modules: vec![module], ..Program::default() }
    }

    fn faults(program: &Program) -> Vec<VerifyFault> {
        program.verify().err().unwrap_or_default().into_iter().map(|error| error.fault).collect()
    }

    fn relu(input: ValueId, output: ValueId) -> Node {
        Node {
            op: OpId::new("", "Relu"),
            inputs: vec![Some(input)],
            outputs: vec![Some(output)],
            ..Node::default()
        }
    }

    fn sound() -> Graph {
        let mut graph = Graph::default();
        let x = graph.add_value("x", ValueType::Any);
        let y = graph.add_value("y", ValueType::Any);
        graph.inputs.push(x);
        graph.add_node(relu(x, y));
        graph.outputs.push(NamedValue { name: "out".into(), value: y });
        graph
    }

    #[test]
    fn a_sound_program_passes() {
        assert_eq!(program(sound()).verify(), Ok(()));
    }

    #[test]
    fn a_value_is_made_once_and_before_it_is_read() {
        let mut graph = sound();
        graph.nodes.reverse();
        let z = graph.add_value("z", ValueType::Any);
        graph.add_node(relu(z, ValueId(0)));
        graph.add_node(relu(ValueId(9), z));
        let twice = VerifyFault::AssignedTwice { value: "x".into() };
        let not_made = VerifyFault::NotMade { value: "z".into() };
        let range = VerifyFault::OutOfRange { index: 9, count: 3 };
        assert_eq!(faults(&program(graph)), [not_made, twice, range]);
    }

    #[test]
    fn names_are_unique() {
        let mut graph = sound();
        graph.values[1].name = "x".into();
        graph.outputs.push(graph.outputs[0].clone());
        let mut program = program(graph);
        program.modules.push(Module { name: "M".into(), ..Module::default() });
        program.targets = vec![Target { name: "T".into(), ..Target::default() }; 2];
        assert_eq!(
            faults(&program),
            [
                VerifyFault::DuplicateValue { value: "x".into() },
                VerifyFault::DuplicateOutput { output: "out".into() },
                VerifyFault::DuplicateModule { module: "M".into() },
                VerifyFault::DuplicateTarget { target: "T".into() },
            ]
        );
    }

    #[test]
    fn a_node_runs_after_earlier_ones_only() {
        let mut graph = sound();
        graph.nodes[0].after.push(NodeId(0));
        assert_eq!(faults(&program(graph)), [VerifyFault::AfterLater { after: 0 }]);
    }

    #[test]
    fn captures_are_of_values_around_and_never_of_another_peer() {
        let mut inner = Graph::default();
        let seen = inner.add_value("seen", ValueType::Any);
        inner.captures.push(Capture { outer: ValueId(1), inner: seen });
        let mut graph = sound();
        let mut call = Node { op: OpId::new(domains::WIRE, "Call"), ..Node::default() };
        call.attributes.insert("each".into(), Attribute::Graph(inner.clone()));
        graph.add_node(call.clone());
        assert_eq!(faults(&program(graph.clone())), []);

        call.attributes.insert("body".into(), Attribute::Graph(inner.clone()));
        graph.add_node(call);
        assert_eq!(faults(&program(graph)), [VerifyFault::BodyCaptures { attribute: "body".into() }]);
        assert_eq!(faults(&program(inner)), [VerifyFault::CapturesOfNothing]);
    }

    #[test]
    fn ports_are_received_once_in_the_whole_program() {
        let mut graph = Graph::default();
        let value = graph.add_value("received", ValueType::Any);
        graph.add_node(Node {
            op: OpId::new(domains::WIRE, "Recv"),
            outputs: vec![Some(value)],
            attributes: BTreeMap::from([("port".to_owned(), Attribute::Int(3))]),
            ..Node::default()
        });
        let region = Region { kind: RegionKind::Receive, graph };
        let target =
            |name: &str| Target { name: name.into(), class: "c".into(), regions: vec![region.clone()] };
        let program = Program { targets: vec![target("a"), target("b")], ..Program::default() };
        let errors = program.verify().unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), "in `b#0`, node 0: port 3 is received twice");
    }

    #[test]
    fn nesting_has_a_limit() {
        let wrap = |graph| {
            let mut outer = Graph::default();
            outer.add_node(Node {
                attributes: BTreeMap::from([("g".to_owned(), Attribute::Graph(graph))]),
                ..Node::default()
            });
            outer
        };
        let deepest = (0..MAX_GRAPH_DEPTH).fold(Graph::default(), |graph, _| wrap(graph));
        assert_eq!(faults(&program(deepest.clone())), []);
        assert_eq!(faults(&program(wrap(deepest))), [VerifyFault::TooDeep { limit: MAX_GRAPH_DEPTH }]);
    }
}
