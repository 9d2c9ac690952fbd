//! Needs: one module; a `Gradient` that names the value `y` and the values `xs` of its graph.
//! Establishes: ONNX ops in place of every `Gradient`, on the same slot and class.
//! Example: `y = ReduceSum(Tanh(x)); d = Gradient(x) {xs = ["x"], y = "y"}` -> `…; d = Mul(…, 1 - tanh²)`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use bb_autodiff::Gradients;
use bb_ir::onnx::{GraphProto, NodeProto};
use bb_ir::program::{Attribute, Graph, Node, OpId, Program, ValueId, domains};
use bb_ir::{Diagnostic, ValueType};
use hashbrown::HashMap;

use super::infer_types::infer;
use crate::edit::{module_graphs, nested_mut, order_effects, producers, renumber};
use crate::{Context, Diagnostics};

pub(crate) fn differentiate(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let opset = p.opset;
    let mut diagnostics = Diagnostics::default();
    for graph in module_graphs(p) {
        if has_gradient(graph) {
            infer(graph, &mut diagnostics);
            expand(graph, opset, &mut diagnostics);
        }
    }
    diagnostics.into_result()
}

fn is_gradient(node: &Node) -> bool {
    node.op.is(domains::ONNX_TRAINING, "Gradient")
}

fn has_gradient(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| is_gradient(node) || crate::edit::nested(node).any(has_gradient))
}

fn expand(graph: &mut Graph, opset: i64, diagnostics: &mut Diagnostics) {
    for node in &mut graph.nodes {
        nested_mut(node).for_each(|nested| expand(nested, opset, diagnostics));
    }
    if !graph.nodes.iter().any(is_gradient) {
        return;
    }
    let mut alias: HashMap<ValueId, ValueId> = HashMap::new();
    let mut stands_for = Vec::with_capacity(graph.nodes.len());
    let nodes = mem::take(&mut graph.nodes);
    for mut node in nodes {
        let resolve = |value: &mut ValueId| {
            if let Some(other) = alias.get(value) {
                *value = *other;
            }
        };
        node.inputs.iter_mut().flatten().for_each(resolve);
        nested_mut(&mut node)
            .flat_map(|nested| &mut nested.captures)
            .for_each(|capture| resolve_capture(&alias, &mut capture.outer));
        node.after = node.after.iter().filter_map(|before| stands_for[before.0 as usize]).collect();
        if !is_gradient(&node) {
            stands_for.push(Some(graph.add_node(node)));
            continue;
        }
        stands_for.push(None);
        match gradient(graph, &node, opset) {
            Ok(gradients) => {
                let outputs = node.outputs.iter().zip(gradients);
                alias.extend(outputs.filter_map(|(output, value)| Some(((*output)?, value))));
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    for output in &mut graph.outputs {
        resolve_capture(&alias, &mut output.value);
    }
    order_effects(graph);
    renumber(graph);
}

fn resolve_capture(alias: &HashMap<ValueId, ValueId>, value: &mut ValueId) {
    if let Some(other) = alias.get(value) {
        *value = *other;
    }
}

/// Adds the ops that compute the gradients; gives their values.
fn gradient(graph: &mut Graph, node: &Node, opset: i64) -> Result<Vec<ValueId>, Diagnostic> {
    let blame = |what: String| {
        Diagnostic::new(format!("no gradient: {what}")).label(node.span.clone(), "asked for here")
    };
    let y = crate::edit::text(node, "y").to_owned();
    let xs: Vec<String> =
        node.inputs.iter().flatten().map(|value| graph.value(*value).name.clone()).collect();
    let by_name: HashMap<String, ValueId> = graph
        .values
        .iter()
        .enumerate()
        .map(|(index, info)| (info.name.clone(), ValueId(index as u32)))
        .collect();
    let Some(&loss) = by_name.get(&y) else {
        return Err(blame(format!("there is no value `{y}`")));
    };
    let slice = slice_of(graph, loss, node);
    let proto = to_proto(graph, &slice, loss);
    let wanted: Vec<&str> = xs.iter().map(String::as_str).collect();
    let made = Gradients::of(&proto, opset, &y, &wanted).map_err(|error| blame(error.to_string()))?;

    let first = node.outputs.iter().flatten().next();
    let prefix = first.map_or("gradient", |value| &graph.value(*value).name).to_owned();
    let mut values = by_name;
    // A forward op may be given an output that its gradient reads.
    for (&index, changed) in slice.iter().zip(&made.graph.node) {
        for (position, name) in changed.output.iter().enumerate() {
            let held = graph.nodes[index].outputs.get(position).copied().flatten();
            if held.is_none() && !name.is_empty() {
                let value = graph.add_value(format!("{prefix}/{name}"), ValueType::ANY_TENSOR);
                values.insert(name.clone(), value);
                let outputs = &mut graph.nodes[index].outputs;
                outputs.resize(outputs.len().max(position + 1), None);
                outputs[position] = Some(value);
            }
        }
    }
    for backward in &made.graph.node[slice.len()..] {
        let new = from_proto(graph, backward, node, &prefix, &mut values).map_err(blame)?;
        graph.add_node(new);
    }
    let found = made.gradients.iter().map(|name| values.get(name).copied());
    found.collect::<Option<Vec<_>>>().ok_or_else(|| blame("a gradient that nothing makes".to_owned()))
}

/// The tensor ops that `y` comes from, in order.
fn slice_of(graph: &Graph, y: ValueId, gradient: &Node) -> Vec<usize> {
    let makers = producers(graph);
    let mut found = BTreeSet::new();
    let mut open = vec![y];
    while let Some(value) = open.pop() {
        let Some(maker) = makers[value.0 as usize] else { continue };
        let node = &graph.nodes[maker.0 as usize];
        if node.op.domain().is_onnx() && node.slot == gradient.slot && found.insert(maker.0 as usize) {
            open.extend(node.inputs.iter().flatten());
        }
    }
    found.into_iter().collect()
}

fn to_proto(graph: &Graph, slice: &[usize], loss: ValueId) -> GraphProto {
    let makers = producers(graph);
    let mut proto = GraphProto { name: Some("gradient".to_owned()), ..GraphProto::default() };
    let inside: BTreeSet<usize> = slice.iter().copied().collect();
    let mut declared = BTreeSet::new();
    for &index in slice {
        let node = &graph.nodes[index];
        for value in node.inputs.iter().flatten().filter(|value| declared.insert(**value)) {
            let maker = makers[value.0 as usize].map(|maker| maker.0 as usize);
            let info = graph.value(*value);
            if maker.is_some_and(|maker| inside.contains(&maker)) {
                proto.value_info.push(info.ty.to_onnx(&info.name));
                continue;
            }
            let constant = maker.and_then(|maker| match graph.nodes[maker].attributes.get("value") {
                Some(Attribute::Tensor(tensor)) if graph.nodes[maker].op.is(domains::SYSCALL, "Constant") => {
                    Some(tensor)
                }
                _ => None,
            });
            match constant {
                Some(tensor) => proto.initializer.push(tensor.to_onnx(&info.name)),
                None => proto.input.push(info.ty.to_onnx(&info.name)),
            }
        }
        proto.node.push(node_proto(graph, node));
    }
    let info = graph.value(loss);
    proto.output.push(info.ty.to_onnx(&info.name));
    proto
}

fn node_proto(graph: &Graph, node: &Node) -> NodeProto {
    let name =
        |value: &Option<ValueId>| value.map_or_else(String::new, |value| graph.value(value).name.clone());
    NodeProto {
        name: node.outputs.iter().flatten().next().map(|value| graph.value(*value).name.clone()),
        op_type: Some(node.op.name().to_owned()),
        input: node.inputs.iter().map(name).collect(),
        output: node.outputs.iter().map(name).collect(),
        attribute: node.attributes.iter().filter_map(|(name, held)| held.to_onnx(name)).collect(),
        ..NodeProto::default()
    }
}

/// A node of the backward graph as one of ours; values that are new get names of their own.
fn from_proto(
    graph: &mut Graph,
    proto: &NodeProto,
    gradient: &Node,
    prefix: &str,
    values: &mut HashMap<String, ValueId>,
) -> Result<Node, String> {
    let mut inputs = Vec::with_capacity(proto.input.len());
    for name in &proto.input {
        match values.get(name) {
            _ if name.is_empty() => inputs.push(None),
            Some(value) => inputs.push(Some(*value)),
            None => return Err(format!("the backward graph reads `{name}`, which nothing makes")),
        }
    }
    let mut outputs = Vec::with_capacity(proto.output.len());
    for name in &proto.output {
        outputs.push((!name.is_empty()).then(|| {
            let value = graph.add_value(format!("{prefix}/{name}"), ValueType::ANY_TENSOR);
            values.insert(name.clone(), value);
            value
        }));
    }
    let mut attributes = BTreeMap::new();
    for held in &proto.attribute {
        let name = held.name.clone().unwrap_or_default();
        let value = Attribute::from_onnx(held).map_err(|reason| format!("attribute `{name}`: {reason}"))?;
        attributes.insert(name, value);
    }
    Ok(Node {
        op: OpId::new(proto.domain.clone().unwrap_or_default(), proto.op_type.clone().unwrap_or_default()),
        inputs,
        outputs,
        attributes,
        place: gradient.place.clone(),
        slot: gradient.slot.clone(),
        span: gradient.span.clone(),
        ..Node::default()
    })
}
