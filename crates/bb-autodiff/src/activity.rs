//! Which nodes gradients pass: those on a way from the loss back to what is differentiated for.

use std::collections::BTreeSet;

use bb_ir::onnx::{GraphProto, NodeProto};

use crate::AutodiffError;
use crate::attributes::{is_onnx, label, op_name};
use crate::builder::{Builder, Val};
use crate::rules::{self, Flow, Rule};

/// The nodes that gradients pass, and the values they pass through.
pub(crate) struct Activity {
    /// Values that depend on what is differentiated for and on which the loss depends.
    pub(crate) values: BTreeSet<Val>,
    /// Nodes that read and make such values, by index, last first, each with its rule.
    pub(crate) nodes: Vec<(usize, &'static Rule)>,
}

/// Everything that an active path is looked for in.
struct Search<'a> {
    builder: &'a Builder,
    loss: Val,
    wrt: &'a [Val],
    /// Depends on `wrt`.
    varied: BTreeSet<Val>,
    /// The loss depends on it.
    useful: BTreeSet<Val>,
}

/// Finds out what is active.
///
/// # Errors
/// [`AutodiffError::NoGradient`], [`AutodiffError::NoGradientToInput`].
pub(crate) fn analyze(builder: &Builder, loss: Val, wrt: &[Val]) -> Result<Activity, AutodiffError> {
    let mut search = Search { builder, loss, wrt, varied: BTreeSet::new(), useful: BTreeSet::from([loss]) };
    search.varied.extend(wrt.iter().copied().filter(|&val| builder.fact(val).may_be_float()));
    for node in builder.nodes() {
        if !stops(node) && reads(builder, node).into_iter().any(|val| search.varied.contains(&val)) {
            let floats = outputs(builder, node).filter(|&val| builder.fact(val).may_be_float());
            search.varied.extend(floats);
        }
    }
    let mut activity = Activity { values: BTreeSet::new(), nodes: Vec::new() };
    for (index, node) in builder.nodes().iter().enumerate().rev() {
        let made =
            outputs(builder, node).any(|val| search.useful.contains(&val) && search.varied.contains(&val));
        if !made {
            continue;
        }
        if let Some(rule) = search.judge(node)? {
            activity.nodes.push((index, rule));
        }
    }
    activity.values = search.varied.intersection(&search.useful).copied().collect();
    Ok(activity)
}

impl Search<'_> {
    /// The rule of a node through which the loss depends on `wrt`; marks what it reads as useful.
    fn judge(&mut self, node: &NodeProto) -> Result<Option<&'static Rule>, AutodiffError> {
        let rule = find_rule(node);
        let captured = captures(self.builder, node);
        if captured.iter().any(|val| self.varied.contains(val)) && rule.is_none_or(|rule| !rule.nested) {
            return Err(self.no_gradient(node));
        }
        let Some(rule) = rule else { return Err(self.no_gradient(node)) };
        for (index, name) in node.input.iter().enumerate() {
            let Some(val) = self.builder.find(name).filter(|val| self.varied.contains(val)) else { continue };
            match (rule.flow)(index) {
                Flow::Gradient => {
                    self.useful.insert(val);
                }
                Flow::Stop => {}
                Flow::Unknown => {
                    return Err(AutodiffError::NoGradientToInput {
                        input: index,
                        node: label(node),
                        op: op_name(node),
                        path: self.path(node, val),
                        value: name.clone(),
                    });
                }
            }
        }
        self.useful.extend(captured);
        Ok(Some(rule))
    }

    fn no_gradient(&self, node: &NodeProto) -> AutodiffError {
        let start = reads(self.builder, node).into_iter().find(|val| self.varied.contains(val));
        let path = start.map(|val| self.path(node, val)).unwrap_or_default();
        AutodiffError::NoGradient { node: label(node), op: op_name(node), path }
    }

    /// Names of values from the loss down to `node`, then from what it reads, `start`, down to one of `wrt`.
    fn path(&self, node: &NodeProto, start: Val) -> Vec<String> {
        let builder = self.builder;
        let mut above = Vec::new();
        let made = outputs(builder, node).find(|val| self.useful.contains(val));
        let mut current = made;
        while let Some(val) = current {
            above.push(builder.name(val).to_owned());
            if val == self.loss {
                break;
            }
            current = builder
                .nodes()
                .iter()
                .filter(|node| reads(builder, node).contains(&val))
                .flat_map(|node| outputs(builder, node))
                .find(|val| self.useful.contains(val) && self.varied.contains(val));
        }
        above.reverse();
        let mut current = Some(start);
        while let Some(val) = current {
            above.push(builder.name(val).to_owned());
            if self.wrt.contains(&val) {
                break;
            }
            current = builder
                .nodes()
                .iter()
                .find(|node| outputs(builder, node).any(|made| made == val))
                .and_then(|node| reads(builder, node).into_iter().find(|val| self.varied.contains(val)));
        }
        above
    }
}

/// The rule of a node.
pub(crate) fn find_rule(node: &NodeProto) -> Option<&'static Rule> {
    if is_onnx(node) { rules::find(node.op_type.as_deref().unwrap_or_default()) } else { None }
}

/// Whether a node's outputs do not change when its inputs change a little.
fn stops(node: &NodeProto) -> bool {
    is_onnx(node) && rules::is_constant(node.op_type.as_deref().unwrap_or_default())
}

fn outputs<'a>(builder: &'a Builder, node: &'a NodeProto) -> impl Iterator<Item = Val> + 'a {
    node.output.iter().filter(|name| !name.is_empty()).filter_map(|name| builder.find(name))
}

/// What a node reads: its inputs and what its nested graphs capture.
fn reads(builder: &Builder, node: &NodeProto) -> Vec<Val> {
    let inputs = node.input.iter().filter(|name| !name.is_empty()).filter_map(|name| builder.find(name));
    inputs.chain(captures(builder, node)).collect()
}

/// Values of the graph that the nested graphs of a node read.
pub(crate) fn captures(builder: &Builder, node: &NodeProto) -> Vec<Val> {
    let mut names = BTreeSet::new();
    for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        free_names(inner, &mut names);
    }
    names.into_iter().filter_map(|name| builder.find(name)).collect()
}

/// Adds the names that a graph reads and does not make.
pub(crate) fn free_names<'a>(graph: &'a GraphProto, free: &mut BTreeSet<&'a str>) {
    let mut bound: BTreeSet<&str> = BTreeSet::new();
    bound.extend(graph.input.iter().filter_map(|input| input.name.as_deref()));
    bound.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()));
    bound.extend(graph.node.iter().flat_map(|node| &node.output).map(String::as_str));
    let mut read: BTreeSet<&str> = BTreeSet::new();
    read.extend(graph.output.iter().filter_map(|output| output.name.as_deref()));
    for node in &graph.node {
        read.extend(node.input.iter().map(String::as_str));
        for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            free_names(inner, &mut read);
        }
    }
    free.extend(read.difference(&bound).filter(|name| !name.is_empty()));
}
