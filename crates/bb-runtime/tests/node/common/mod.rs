//! Hand-built compiled programs, and components that do as they are told.

#![allow(dead_code, reason = "each test file uses its own part")]

#[macro_use]
pub(crate) mod components;
pub(crate) mod federation;
pub(crate) mod rich;
pub(crate) mod snapshot_file;

use std::collections::BTreeMap;

use bb_ir::program::{
    Attribute, Binding, Graph, NamedValue, Node, NodeId, Program, Region, RegionKind, Target, ValueId,
    domains,
};
use bb_runtime::{
    CompiledModel, Component, ComponentFactory, Config, EngineStep, ExecId, OpId, Outcome, PeerId, Role,
    Roles, Time, Value, ValueType,
};

/// Builds a compiled program.
#[derive(Default)]
pub(crate) struct ProgramBuilder {
    program: Program,
    factories: BTreeMap<&'static str, ComponentFactory>,
}

/// Builds a region.
pub(crate) struct RegionBuilder {
    pub(crate) graph: Graph,
    kind: RegionKind,
}

/// Builds a node.
pub(crate) struct NodeBuilder<'a> {
    graph: &'a mut Graph,
    node: Node,
}

impl ProgramBuilder {
    pub(crate) fn new() -> Self {
        let program = Program { name: "Test".to_owned(), opset: 21, ..Program::default() };
        Self { program, ..Self::default() }
    }

    pub(crate) fn target(mut self, name: &str, regions: impl IntoIterator<Item = RegionBuilder>) -> Self {
        let regions = regions.into_iter().map(|held| Region { kind: held.kind, graph: held.graph }).collect();
        self.program.targets.push(Target { name: name.to_owned(), class: name.to_owned(), regions });
        self
    }

    pub(crate) fn bind<C: Component + Roles>(mut self, slot: &str, role: Role) -> Self {
        let binding =
            Binding { type_name: C::TYPE_NAME.to_owned(), role: Some(role), dependencies: BTreeMap::new() };
        self.program.bindings.insert(slot.to_owned(), binding);
        self.factories.insert(C::TYPE_NAME, ComponentFactory::of::<C>());
        self
    }

    pub(crate) fn build(self) -> CompiledModel {
        CompiledModel::new(self.program, self.factories)
    }
}

impl RegionBuilder {
    pub(crate) fn new(kind: RegionKind) -> Self {
        Self { graph: Graph { name: format!("{kind:?}"), ..Graph::default() }, kind }
    }

    pub(crate) fn entry() -> Self {
        Self::new(RegionKind::Entry)
    }

    pub(crate) fn input(&mut self, name: &str, ty: ValueType) -> ValueId {
        let value = self.graph.add_value(name, ty);
        self.graph.inputs.push(value);
        value
    }

    pub(crate) fn node(&mut self, domain: &'static str, name: &'static str) -> NodeBuilder<'_> {
        NodeBuilder { graph: &mut self.graph, node: Node { op: OpId::new(domain, name), ..Node::default() } }
    }

    pub(crate) fn pass(&mut self, value: ValueId) -> ValueId {
        self.node(domains::SYSCALL, "PassThrough").input(value).one()
    }

    /// A value that never comes.
    pub(crate) fn absent(&mut self) -> ValueId {
        self.node(domains::WIRE, "Source").one()
    }

    pub(crate) fn constant(&mut self, value: impl Into<Value>) -> ValueId {
        self.node(domains::SYSCALL, "Constant").attribute("value", Attribute::Value(value.into())).one()
    }

    pub(crate) fn recv(&mut self, port: i64, ty: ValueType) -> ValueId {
        let value = self.node(domains::WIRE, "Recv").attribute("port", Attribute::Int(port)).one();
        self.graph.values[value.0 as usize].ty = ty;
        value
    }

    pub(crate) fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.push(NamedValue { name: name.to_owned(), value });
    }
}

impl NodeBuilder<'_> {
    pub(crate) fn input(mut self, value: ValueId) -> Self {
        self.node.inputs.push(Some(value));
        self
    }

    pub(crate) fn inputs(mut self, values: impl IntoIterator<Item = ValueId>) -> Self {
        self.node.inputs.extend(values.into_iter().map(Some));
        self
    }

    pub(crate) fn attribute(mut self, name: &str, attribute: Attribute) -> Self {
        self.node.attributes.insert(name.to_owned(), attribute);
        self
    }

    pub(crate) fn slot(mut self, slot: &str) -> Self {
        self.node.slot = Some(slot.to_owned());
        self
    }

    pub(crate) fn uses(mut self, slot: &str) -> Self {
        self.node.uses.push(slot.to_owned());
        self
    }

    pub(crate) fn after(mut self, node: NodeId) -> Self {
        self.node.after.push(node);
        self
    }

    /// Without outputs.
    pub(crate) fn none(self) -> NodeId {
        self.graph.add_node(self.node)
    }

    /// With one output.
    pub(crate) fn one(self) -> ValueId {
        self.many(1)[0]
    }

    /// With some outputs.
    pub(crate) fn many(mut self, count: usize) -> Vec<ValueId> {
        let outputs: Vec<ValueId> = (0..count)
            .map(|_| self.graph.add_value(format!("v{}", self.graph.values.len()), ValueType::Any))
            .collect();
        self.node.outputs = outputs.iter().copied().map(Some).collect();
        self.graph.add_node(self.node);
        outputs
    }
}

/// A chain of pass-through ops from `x` to `y`.
pub(crate) fn chain(length: usize) -> CompiledModel {
    let mut region = RegionBuilder::entry();
    let mut value = region.input("x", ValueType::Any);
    for _ in 0..length {
        value = region.pass(value);
    }
    region.output("y", value);
    ProgramBuilder::new().target("Chain", [region]).build()
}

/// A node with one target of a program.
pub(crate) fn node(id: u64, model: &CompiledModel, target: &str) -> bb_runtime::Node {
    node_with(id, model, target, Config::new())
}

pub(crate) fn node_with(id: u64, model: &CompiledModel, target: &str, config: Config) -> bb_runtime::Node {
    bb_runtime::install(PeerId::from_u64(id), [], model.clone(), &[target], config).expect("it installs")
}

/// Steps until there is nothing to do at `now`.
pub(crate) fn settle(node: &mut bb_runtime::Node, now: Time) -> Vec<EngineStep> {
    let mut all = Vec::new();
    loop {
        let steps = node.step(now);
        if steps.is_empty() {
            return all;
        }
        all.extend(steps);
    }
}

/// The values that an execution handed out, with their names.
pub(crate) fn events(steps: &[EngineStep], execution: ExecId) -> Vec<(String, Value)> {
    let event = |step: &EngineStep| match step {
        EngineStep::AppEvent { exec_id, output, value, .. } if *exec_id == execution => {
            Some((output.to_string(), value.clone()))
        }
        _ => None,
    };
    steps.iter().filter_map(event).collect()
}

/// How an execution ended: exactly once.
pub(crate) fn outcome(steps: &[EngineStep], execution: ExecId) -> Outcome {
    let mut ends = steps.iter().filter_map(|step| match step {
        EngineStep::ExecutionFinished { exec_id, outcome } if *exec_id == execution => Some(outcome.clone()),
        _ => None,
    });
    let outcome = ends.next().expect("it ended");
    assert!(ends.next().is_none(), "it ended twice");
    outcome
}

/// What is to be sent, and to whom.
pub(crate) fn sent(steps: &[EngineStep]) -> Vec<(PeerId, Vec<u8>)> {
    let envelope = |step: &EngineStep| match step {
        EngineStep::SendEnvelope { peer, bytes, .. } => Some((*peer, bytes.to_vec())),
        _ => None,
    };
    steps.iter().filter_map(envelope).collect()
}
