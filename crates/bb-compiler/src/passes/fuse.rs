//! Needs: regions whose tensor ops have slots.
//! Establishes: no tensor op stands alone; each is in a `backend::Run` with those of its slot that it is
//! connected to; what reads only what is there from the start never waits for a component or for the wire.
//! Example: `t = MatMul(x, w); y = Relu(t)` on "compute" -> `y = backend::Run(x) {graph}`, `w` inside it.
//!
//! Each op gets a *level*: that of the ops of its slot before it, and one more than that of anything else
//! before it, save what is there from the start. A run holds ops of one slot and one level that are connected,
//! so every edge that leaves a run goes to a higher level and no circle can come about.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use bb_ir::program::{Attribute, Graph, NamedValue, Node, NodeId, OpId, Program, Span, ValueId, domains};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::edit::{is_tensor_op, producers, reads, region_graphs, remove_dead, renumber};
use crate::{Context, Diagnostics};

pub(crate) fn fuse(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    region_graphs(p).for_each(fuse_graph);
    Ok(())
}

fn fuse_graph(graph: &mut Graph) {
    if !graph.nodes.iter().any(is_tensor_op) {
        return;
    }
    remove_dead(graph);
    let makers = producers(graph);
    let group = groups(graph, &makers);
    rebuild(graph, &makers, &group);
    remove_dead(graph);
    renumber(graph);
}

/// For each node, the smallest index of the nodes that run with it; nothing for what is no tensor op.
fn groups(graph: &Graph, makers: &[Option<NodeId>]) -> Vec<Option<usize>> {
    let mut level: Vec<u32> = vec![0; graph.nodes.len()];
    let mut parent: Vec<usize> = (0..graph.nodes.len()).collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        let tensor_op = is_tensor_op(node);
        let read = reads(node).filter_map(|value| makers[value.0 as usize]);
        let before: Vec<usize> = read.map(|maker| maker.0 as usize).collect();
        let mut own = 0;
        for &maker in &before {
            let other = &graph.nodes[maker];
            let together = tensor_op && is_tensor_op(other) && other.slot == node.slot;
            let waits = if tensor_op { !together && !starts_ready(other) } else { is_tensor_op(other) };
            own = own.max(level[maker] + u32::from(waits));
        }
        for after in &node.after {
            let other = &graph.nodes[after.0 as usize];
            own = own.max(level[after.0 as usize] + u32::from(tensor_op || is_tensor_op(other)));
        }
        level[index] = own;
        if tensor_op {
            for &maker in &before {
                let other = &graph.nodes[maker];
                if is_tensor_op(other) && other.slot == node.slot && level[maker] == own {
                    let (a, b) = (find(&mut parent, maker), find(&mut parent, index));
                    let (low, high) = (a.min(b), a.max(b));
                    parent[high] = low;
                }
            }
        }
    }
    (0..graph.nodes.len())
        .map(|index| is_tensor_op(&graph.nodes[index]).then(|| find(&mut parent, index)))
        .collect()
}

/// Whether what the op gives is there as soon as the region starts.
fn starts_ready(node: &Node) -> bool {
    node.op.is(domains::SYSCALL, "Constant")
        || node.op.is(domains::WIRE, "Recv")
        || node.op.is(domains::WIRE, "Source")
        || node.op.is_source()
}

fn find(parent: &mut [usize], mut index: usize) -> usize {
    while parent[index] != index {
        parent[index] = parent[parent[index]];
        index = parent[index];
    }
    index
}

/// Puts each group into one node, and all nodes into an order that suits.
fn rebuild(graph: &mut Graph, makers: &[Option<NodeId>], group: &[Option<usize>]) {
    let unit: Vec<usize> = group.iter().enumerate().map(|(index, group)| group.unwrap_or(index)).collect();
    let mut members: Vec<SmallVec<[usize; 1]>> = vec![SmallVec::new(); unit.len()];
    unit.iter().enumerate().for_each(|(index, unit)| members[*unit].push(index));
    let outside = read_outside(graph, makers, group);
    let order = order_of(graph, makers, &unit, &members);

    let mut nodes: Vec<Option<Node>> = mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    let constants: HashMap<ValueId, (Attribute, Span)> = nodes
        .iter()
        .flatten()
        .filter(|node| node.op.is(domains::SYSCALL, "Constant"))
        .filter_map(|node| {
            let value @ Attribute::Tensor(_) = node.attributes.get("value")? else { return None };
            Some((node.outputs.first().copied()??, (value.clone(), node.span.clone())))
        })
        .collect();
    let mut place_of: Vec<u32> = vec![0; unit.len()];
    for (position, unit) in order.iter().enumerate() {
        members[*unit].iter().for_each(|member| place_of[*member] = position as u32);
    }
    for unit in order {
        let taken: Vec<Node> = members[unit].iter().filter_map(|member| nodes[*member].take()).collect();
        let mut node = match group[unit] {
            Some(_) => run(graph, taken, &constants, &outside),
            None => taken.into_iter().next().unwrap_or_default(),
        };
        let own = place_of[unit];
        node.after.iter_mut().for_each(|before| before.0 = place_of[before.0 as usize]);
        node.after.retain(|before| before.0 != own);
        node.after.sort_unstable();
        node.after.dedup();
        graph.nodes.push(node);
    }
}

/// Which values are read by anything that is not in the group that makes them.
fn read_outside(graph: &Graph, makers: &[Option<NodeId>], group: &[Option<usize>]) -> Vec<bool> {
    let mut outside = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|output| outside[output.value.0 as usize] = true);
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in reads(node) {
            let made_in = makers[value.0 as usize].and_then(|maker| group[maker.0 as usize]);
            if made_in.is_none() || made_in != group[index] {
                outside[value.0 as usize] = true;
            }
        }
    }
    outside
}

/// An order of the units in which each comes after what it needs; the earliest recorded first.
fn order_of(
    graph: &Graph,
    makers: &[Option<NodeId>],
    unit: &[usize],
    members: &[SmallVec<[usize; 1]>],
) -> Vec<usize> {
    let mut missing: Vec<u32> = vec![0; unit.len()];
    let mut followers: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); unit.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let read = reads(node).filter_map(|value| makers[value.0 as usize]);
        for before in read.chain(node.after.iter().copied()) {
            let before = unit[before.0 as usize];
            if before != unit[index] {
                followers[before].push(unit[index]);
                missing[unit[index]] += 1;
            }
        }
    }
    let units = (0..members.len()).filter(|unit| !members[*unit].is_empty());
    let mut ready: BinaryHeap<Reverse<usize>> =
        units.filter(|unit| missing[*unit] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(members.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(next);
        for &follower in &followers[next] {
            missing[follower] -= 1;
            if missing[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    order
}

/// One node that runs them all; tensors that are constant are taken in.
fn run(
    graph: &Graph,
    nodes: Vec<Node>,
    constants: &HashMap<ValueId, (Attribute, Span)>,
    outside: &[bool],
) -> Node {
    let mut inner = Graph::default();
    let mut map: HashMap<ValueId, ValueId> = HashMap::new();
    let mut run = Node { op: OpId::new(domains::BACKEND, "Run"), ..Node::default() };
    for (index, mut node) in nodes.into_iter().enumerate() {
        if index == 0 {
            run.place.clone_from(&node.place);
            run.span = node.span.clone();
            inner.name = node
                .outputs
                .iter()
                .flatten()
                .next()
                .map_or_else(String::new, |value| format!("{}/run", graph.value(*value).name));
        }
        run.after.append(&mut node.after);
        run.slot = node.slot.take();
        node.place = None;
        let captured = node.attributes.values_mut().filter_map(|attribute| match attribute {
            Attribute::Graph(nested) => Some(&mut nested.captures),
            _ => None,
        });
        let captured = captured.flatten().map(|capture| &mut capture.outer);
        for value in node.inputs.iter_mut().flatten().chain(captured) {
            let outer = *value;
            if let Some(known) = map.get(&outer) {
                *value = *known;
                continue;
            }
            let info = graph.value(outer);
            let id = inner.add_value(info.name.clone(), info.ty.clone());
            map.insert(outer, id);
            *value = id;
            match constants.get(&outer) {
                Some((tensor, span)) => {
                    inner.add_node(Node {
                        op: OpId::new(domains::ONNX, "Constant"),
                        outputs: vec![Some(id)],
                        attributes: [("value".to_owned(), tensor.clone())].into(),
                        span: span.clone(),
                        ..Node::default()
                    });
                }
                None => {
                    inner.inputs.push(id);
                    run.inputs.push(Some(outer));
                }
            }
        }
        for value in node.outputs.iter_mut() {
            let Some(outer) = *value else { continue };
            let info = graph.value(outer);
            let id = inner.add_value(info.name.clone(), info.ty.clone());
            map.insert(outer, id);
            *value = Some(id);
            if outside[outer.0 as usize] {
                inner.outputs.push(NamedValue { name: info.name.clone(), value: id });
                run.outputs.push(Some(outer));
            }
        }
        inner.add_node(node);
    }
    renumber(&mut inner);
    run.attributes.insert("graph".to_owned(), Attribute::Graph(inner));
    run
}
