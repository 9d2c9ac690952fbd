//! What several passes do to graphs: effect order, removal of nodes, dense numbering.

use std::collections::BTreeSet;
use std::mem;

use bb_ir::program::{Attribute, Graph, Node, NodeId, OpId, Program, Role, Span, ValueId, domains};
use bb_ir::{Value, ValueType};
use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

/// Whether the op is a tensor op that a backend runs.
pub(crate) fn is_tensor_op(node: &Node) -> bool {
    let domain = node.op.domain();
    domain.is_onnx() || domain.as_str() == domains::ONNX_TRAINING
}

/// Whether the op may be left out when nobody reads what it gives.
pub(crate) fn is_pure(node: &Node) -> bool {
    let moves = matches!(
        node.op.name(),
        "Any" | "Barrier" | "Bundle" | "Constant" | "Gate" | "PassThrough" | "Tee" | "Unbundle"
    );
    is_tensor_op(node)
        || node.op.is(domains::BACKEND, "Run")
        || (node.op.domain().as_str() == domains::SYSCALL && moves)
}

/// The role of the slot that runs the op.
pub(crate) fn slot_role(node: &Node) -> Option<Role> {
    if is_tensor_op(node) { Some(Role::Backend) } else { node.op.domain().role() }
}

/// The role of the further slots that the op uses.
pub(crate) fn uses_role(node: &Node) -> Role {
    if node.op.domain().as_str() == domains::WIRE { Role::Aggregator } else { Role::DataSource }
}

/// The graphs that all passes before `partition` work on.
pub(crate) fn module_graphs(program: &mut Program) -> impl Iterator<Item = &mut Graph> {
    program
        .modules
        .iter_mut()
        .flat_map(|module| std::iter::once(&mut module.body).chain(&mut module.bootstrap))
}

/// The graphs that all passes from `partition` on work on.
pub(crate) fn region_graphs(program: &mut Program) -> impl Iterator<Item = &mut Graph> {
    program.targets.iter_mut().flat_map(|target| target.regions.iter_mut().map(|region| &mut region.graph))
}

/// The nested graphs of a node.
pub(crate) fn nested(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes.values().filter_map(Attribute::as_graph)
}

/// The nested graphs of a node.
pub(crate) fn nested_mut(node: &mut Node) -> impl Iterator<Item = &mut Graph> {
    node.attributes.values_mut().filter_map(|attribute| match attribute {
        Attribute::Graph(graph) => Some(graph),
        _ => None,
    })
}

/// The values of its graph that a node reads, those that its nested graphs capture among them.
pub(crate) fn reads(node: &Node) -> impl Iterator<Item = ValueId> {
    let captured = nested(node).flat_map(|nested| nested.captures.iter().map(|capture| capture.outer));
    node.inputs.iter().flatten().copied().chain(captured)
}

/// Takes a nested graph out of a node.
pub(crate) fn take_graph(node: &mut Node, name: &str) -> Option<Graph> {
    match node.attributes.remove(name) {
        Some(Attribute::Graph(graph)) => Some(graph),
        _ => None,
    }
}

/// A text attribute; empty if there is none.
pub(crate) fn text<'a>(node: &'a Node, name: &str) -> &'a str {
    node.attributes.get(name).and_then(Attribute::as_str).unwrap_or_default()
}

/// A constant that only says "now".
pub(crate) fn trigger(graph: &mut Graph, name: String, place: Option<String>, span: Span) -> (ValueId, Node) {
    let value = graph.add_value(name, ValueType::Trigger);
    let node = Node {
        op: OpId::new(domains::SYSCALL, "Constant"),
        outputs: vec![Some(value)],
        attributes: [("value".to_owned(), Attribute::Value(Value::Trigger))].into(),
        place,
        span,
        ..Node::default()
    };
    (value, node)
}

/// The slots whose state a node touches. Backends have none; of what a body does elsewhere, nothing is seen
/// here, while what is done with each answer is done here.
pub(crate) fn touched(node: &Node) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = node.uses.iter().cloned().collect();
    if let Some(slot) = &node.slot
        && slot_role(node) != Some(Role::Backend)
    {
        all.insert(slot.clone());
    }
    all.extend(node.op.shared_state().map(|kind| format!("{kind}:{}", text(node, "name"))));
    if let Some(each) = node.attributes.get("each").and_then(Attribute::as_graph) {
        all.extend(each.nodes.iter().flat_map(touched));
    }
    all
}

/// Orders the nodes that touch one slot on one class as they stand in the graph.
pub(crate) fn order_effects(graph: &mut Graph) {
    let mut last: HashMap<(Option<String>, String), NodeId> = HashMap::new();
    for index in 0..graph.nodes.len() {
        let node = &mut graph.nodes[index];
        for slot in touched(node) {
            let before = last.insert((node.place.clone(), slot), NodeId(index as u32));
            node.after.extend(before);
        }
        node.after.sort_unstable();
        node.after.dedup();
        for nested in nested_mut(node) {
            order_effects(nested);
        }
    }
}

/// Removes the nodes that `keep` does not keep; who came after one of them comes after what it came after.
pub(crate) fn retain_nodes(graph: &mut Graph, keep: &[bool]) {
    let mut stands_for: Vec<SmallVec<[NodeId; 2]>> = Vec::with_capacity(keep.len());
    let mut kept = 0;
    for (index, mut node) in mem::take(&mut graph.nodes).into_iter().enumerate() {
        let mut after: SmallVec<[NodeId; 2]> =
            node.after.iter().flat_map(|before| stands_for[before.0 as usize].iter().copied()).collect();
        after.sort_unstable();
        after.dedup();
        if keep[index] {
            node.after.clear();
            node.after.extend(after);
            stands_for.push(smallvec![NodeId(kept)]);
            kept += 1;
            graph.nodes.push(node);
        } else {
            stands_for.push(after);
        }
    }
}

/// Puts nodes before all others.
pub(crate) fn prepend(graph: &mut Graph, nodes: Vec<Node>) {
    let count = nodes.len() as u32;
    for node in &mut graph.nodes {
        for before in &mut node.after {
            before.0 += count;
        }
    }
    graph.nodes.splice(0..0, nodes);
}

/// Leaves out nodes whose outputs nobody reads, if they do nothing else.
pub(crate) fn remove_dead(graph: &mut Graph) {
    let mut used = vec![false; graph.values.len()];
    for output in &graph.outputs {
        used[output.value.0 as usize] = true;
    }
    let mut keep = vec![true; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let read = |value: &Option<ValueId>| value.is_some_and(|value| used[value.0 as usize]);
        if is_pure(node) && !node.outputs.iter().any(read) {
            keep[index] = false;
            continue;
        }
        for value in reads(node) {
            used[value.0 as usize] = true;
        }
    }
    if keep.contains(&false) {
        retain_nodes(graph, &keep);
    }
}

/// Numbers values in the order in which they come to be: inputs, captures, then node by node. Values that
/// nothing makes are left out.
pub(crate) fn renumber(graph: &mut Graph) {
    const NONE: u32 = u32::MAX;
    let mut numbers = vec![NONE; graph.values.len()];
    let mut values = Vec::with_capacity(graph.values.len());
    {
        let mut define = |id: ValueId| {
            let number = &mut numbers[id.0 as usize];
            if *number == NONE {
                *number = values.len() as u32;
                values.push(mem::take(&mut graph.values[id.0 as usize]));
            }
        };
        graph.inputs.iter().for_each(|id| define(*id));
        graph.captures.iter().for_each(|capture| define(capture.inner));
        graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten()).for_each(|id| define(*id));
    }
    graph.values = values;
    let change = |id: &mut ValueId| id.0 = numbers[id.0 as usize];
    map_values(graph, change);
}

/// Applies `change` to every mention of a value of this graph.
pub(crate) fn map_values(graph: &mut Graph, mut change: impl FnMut(&mut ValueId)) {
    graph.inputs.iter_mut().for_each(&mut change);
    graph.captures.iter_mut().for_each(|capture| change(&mut capture.inner));
    graph.outputs.iter_mut().for_each(|output| change(&mut output.value));
    for node in &mut graph.nodes {
        node.inputs.iter_mut().flatten().for_each(&mut change);
        node.outputs.iter_mut().flatten().for_each(&mut change);
        for nested in nested_mut(node) {
            nested.captures.iter_mut().for_each(|capture| change(&mut capture.outer));
        }
    }
}

/// For each value, the node that makes it.
pub(crate) fn producers(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut all = vec![None; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in node.outputs.iter().flatten() {
            all[value.0 as usize] = Some(NodeId(index as u32));
        }
    }
    all
}

/// A value's name, for people: without the module calls it came through and without its number.
pub(crate) fn short_name(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}
