//! The typed program: what a module records, what the passes rewrite, what a node installs.
//!
//! Protos are for the border; between them everything works on [`Program`]. Values are indices into the
//! graph that owns them; names are kept for people and for the ONNX form.

mod attribute;
mod onnx;
mod op;
mod print;
mod verify;

pub use attribute::Attribute;
pub use onnx::{AttributeError, ProgramError};
pub use op::{Domain, OpId, Role, domains};
pub use verify::{MAX_GRAPH_DEPTH, VerifyError, VerifyFault};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::ValueType;

/// A recorded program, or a compiled one.
///
/// Recorded: `modules` holds the root first and then the modules it calls; `targets` is empty.
/// Compiled: `modules` is empty and each target holds its regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The root module's name.
    pub name: String,
    /// Modules, root first.
    pub modules: Vec<Module>,
    /// What a node can install.
    pub targets: Vec<Target>,
    /// Which component stands in each slot.
    pub bindings: BTreeMap<String, Binding>,
    /// Names of the passes that ran, in order; empty on a recorded program.
    pub passes: Vec<String>,
    /// The version of the ONNX operator set that the program's ONNX ops belong to.
    pub opset: i64,
}

/// A recorded module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// Its name, unique within the program.
    pub name: String,
    /// What it does when it is invoked.
    pub body: Graph,
    /// What it does once before that, if anything.
    pub bootstrap: Option<Graph>,
}

/// One installable part of a compiled program: what a peer class runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// `Module` or `Module.class`.
    pub name: String,
    /// The peer class.
    pub class: String,
    /// Its regions; the index is what a `Send` names as its answer region.
    pub regions: Vec<Region>,
}

/// A graph that an execution runs from start to end on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// What starts it.
    pub kind: RegionKind,
    /// What it runs. Inputs from the wire are `Recv` nodes; `graph.inputs` are the host's inputs of an entry
    /// region and the captured values of an answer region.
    pub graph: Graph,
}

/// What starts a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// The host, when it runs the bootstraps.
    Bootstrap,
    /// The host: `invoke` and `deliver_event`.
    Entry,
    /// Its one source node: a timer, an event of the node, a phase of its life.
    Source,
    /// A message from another node.
    Receive,
    /// One answer to a request of this node; runs within the execution that asked.
    Answer,
}

/// Which component stands in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The component's type name.
    pub type_name: String,
    /// The role the slot has.
    pub role: Option<Role>,
    /// Which slot stands for each dependency that the component declares.
    pub dependencies: BTreeMap<String, String>,
}

/// Nodes and the values between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// A name, for people.
    pub name: String,
    /// All values; a [`ValueId`] is an index into it.
    pub values: Vec<ValueInfo>,
    /// Values given from outside, in order.
    pub inputs: Vec<ValueId>,
    /// Values of the enclosing graph that are read here (a nested graph only).
    pub captures: Vec<Capture>,
    /// Values handed out, in order, each with its public name.
    pub outputs: Vec<NamedValue>,
    /// Nodes in the order in which they were recorded, which is a topological order.
    pub nodes: Vec<Node>,
}

/// A value within its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// A node within its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueInfo {
    /// Unique within its graph and the graphs around it.
    pub name: String,
    /// What it may hold.
    pub ty: ValueType,
}

/// A value of the enclosing graph, and the value that stands for it inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// In the enclosing graph.
    pub outer: ValueId,
    /// In this graph.
    pub inner: ValueId,
}

/// A value under a public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedValue {
    /// The public name.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// One op.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: OpId,
    /// What it reads; `None` is an optional input left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it writes; `None` is an optional output left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Attribute>,
    /// The peer class that runs it; `None` where the module names no class.
    pub place: Option<String>,
    /// The slot whose component runs it.
    pub slot: Option<String>,
    /// Further slots that it touches.
    pub uses: Vec<String>,
    /// Nodes that must have run before it, data edges aside.
    pub after: Vec<NodeId>,
    /// Where it was recorded.
    pub span: Span,
}

/// A place in the source of the program's author.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file, as the compiler of the host language names it; empty when unknown.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl RegionKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Bootstrap, Self::Entry, Self::Source, Self::Receive, Self::Answer];

    /// Its name in programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Entry => "entry",
            Self::Source => "source",
            Self::Receive => "receive",
            Self::Answer => "answer",
        }
    }
}

impl Graph {
    /// Adds a value.
    pub fn add_value(&mut self, name: impl Into<String>, ty: ValueType) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(ValueInfo { name: name.into(), ty });
        id
    }

    /// Adds a node.
    pub fn add_node(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// What is known of a value of this graph.
    ///
    /// # Panics
    /// Never for an id that this graph gave out.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0 as usize]
    }
}

impl Program {
    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }
}

impl Span {
    /// The place of a caller.
    pub fn of(location: &std::panic::Location<'_>) -> Self {
        Self { file: location.file().into(), line: location.line(), column: location.column() }
    }

    /// Whether the place is known.
    pub fn is_known(&self) -> bool {
        !self.file.is_empty()
    }
}

impl Default for Span {
    fn default() -> Self {
        Self { file: Arc::from(""), line: 0, column: 0 }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
