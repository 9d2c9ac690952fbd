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
    /// Where it was looked for.
    pub(crate) span: Span,
}

/// From what to what gradients flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    /// What is differentiated.
    pub(crate) losses: Vec<Val>,
    /// For what it is differentiated.
    pub(crate) wrt: Vec<Val>,
    /// Nothing is looked for behind what is differentiated for: partial derivatives, not total ones.
    pub(crate) partial: bool,
    /// Depends on `wrt`.
    pub(crate) varied: BTreeSet<Val>,
    /// The losses depend on it.
    pub(crate) useful: BTreeSet<Val>,
}

/// Everything that an active path is looked for in.
struct Search<'a> {
    builder: &'a Builder,
    span: Span,
}

/// Finds out what is active.
///
/// # Errors
/// [`AutodiffError::NoGradient`].
pub(crate) fn analyze(builder: &Builder, loss: Val, wrt: &[Val]) -> Result<Activity, AutodiffError> {
    analyze_span(builder, Span { losses: vec![loss], wrt: wrt.to_vec(), ..Span::default() })
}

/// Finds out what is active between some values and some others.
///
/// # Errors
/// [`AutodiffError::NoGradient`].
pub(crate) fn analyze_span(builder: &Builder, span: Span) -> Result<Activity, AutodiffError> {
    let mut search = Search { builder, span };
    let floats = search.span.wrt.iter().copied().filter(|&val| builder.fact(val).may_be_float());
    search.span.varied = floats.collect();
    search.span.useful = search.span.losses.iter().copied().collect();
    for node in builder.nodes() {
        if !stops(node)
            && !search.is_behind(node)
            && reads(builder, node).into_iter().any(|val| search.span.varied.contains(&val))
        {
            let floats = outputs(builder, node).filter(|&val| builder.fact(val).may_be_float());
            search.span.varied.extend(floats);
        }
    }
    let mut nodes = Vec::new();
    for (index, node) in builder.nodes().iter().enumerate().rev() {
        let span = &search.span;
        let made = outputs(builder, node).any(|val| span.useful.contains(&val) && span.varied.contains(&val));
        let reads_varied = || reads(builder, node).into_iter().any(|val| span.varied.contains(&val));
        if !made || stops(node) || search.is_behind(node) || !reads_varied() {
            continue;
        }
        if let Some(rule) = search.judge(node)? {
            nodes.push((index, rule));
        }
    }
    let values = search.span.varied.intersection(&search.span.useful).copied().collect();
    Ok(Activity { values, nodes, span: search.span })
}

impl Activity {
    /// Puts what surrounds node `index` around an error of a graph inside of it.
    pub(crate) fn surround(&self, builder: &Builder, index: usize, error: AutodiffError) -> AutodiffError {
        let around = |inner: Vec<String>| {
            let node = &builder.nodes()[index];
            let search = Search { builder, span: self.span.clone() };
            let above = search.above(node);
            let start = reads(builder, node).into_iter().find(|val| self.span.varied.contains(val));
            let below = start.map(|val| search.below(val)).unwrap_or_default();
            let mut path = above;
            path.extend(inner);
            path.extend(below);
            path.dedup();
            path
        };
        match error {
            AutodiffError::NoGradient { node, op, path } => {
                AutodiffError::NoGradient { node, op, path: around(path) }
            }
            other => other,
        }
    }
}

impl Search<'_> {
    /// Whether a node makes something that is differentiated for, and its own inputs are not looked at.
    fn is_behind(&self, node: &NodeProto) -> bool {
        self.span.partial && outputs(self.builder, node).any(|val| self.span.wrt.contains(&val))
    }

    /// The rule of a node through which the loss depends on `wrt`; marks what it reads as useful.
    fn judge(&mut self, node: &NodeProto) -> Result<Option<&'static Rule>, AutodiffError> {
        let rule = find_rule(node);
        let captured = captures(self.builder, node);
        if captured.iter().any(|val| self.span.varied.contains(val)) && rule.is_none_or(|rule| !rule.nested) {
            return Err(self.no_gradient(node));
        }
        let Some(rule) = rule else { return Err(self.no_gradient(node)) };
        for (index, name) in node.input.iter().enumerate() {
            let Some(val) = self.builder.find(name).filter(|val| self.span.varied.contains(val)) else {
                continue;
            };
            if (rule.flow)(index) != Flow::Stop {
                self.span.useful.insert(val);
            }
        }
        self.span.useful.extend(captured);
        Ok(Some(rule))
    }

    fn no_gradient(&self, node: &NodeProto) -> AutodiffError {
        let start = reads(self.builder, node).into_iter().find(|val| self.span.varied.contains(val));
        let path = start.map(|val| self.path(node, val)).unwrap_or_default();
        AutodiffError::NoGradient { node: label(node), op: op_name(node), path }
    }

    /// Names of values from the loss down to `node`, then from what it reads, `start`, down to one of `wrt`.
    fn path(&self, node: &NodeProto, start: Val) -> Vec<String> {
        let mut path = self.above(node);
        path.extend(self.below(start));
        path
    }

    /// Names of values from the loss down to what `node` makes.
    fn above(&self, node: &NodeProto) -> Vec<String> {
        let builder = self.builder;
        let mut above = Vec::new();
        let mut current = outputs(builder, node).find(|val| self.span.useful.contains(val));
        while let Some(val) = current {
            above.push(builder.name(val).to_owned());
            if self.span.losses.contains(&val) {
                break;
            }
            current = builder
                .nodes()
                .iter()
                .filter(|node| reads(builder, node).contains(&val))
                .flat_map(|node| outputs(builder, node))
                .find(|val| self.span.useful.contains(val) && self.span.varied.contains(val));
        }
        above.reverse();
        above
    }

    /// Names of values from `start` down to one of `wrt`.
    fn below(&self, start: Val) -> Vec<String> {
        let builder = self.builder;
        let mut below = Vec::new();
        let mut current = Some(start);
        while let Some(val) = current {
            below.push(builder.name(val).to_owned());
            if self.span.wrt.contains(&val) {
                break;
            }
            current =
                builder.nodes().iter().find(|node| outputs(builder, node).any(|made| made == val)).and_then(
                    |node| reads(builder, node).into_iter().find(|val| self.span.varied.contains(val)),
                );
        }
        below
    }
}

/// The rule of a node.
pub(crate) fn find_rule(node: &NodeProto) -> Option<&'static Rule> {
    if is_onnx(node) { rules::find(node.op_type.as_deref().unwrap_or_default()) } else { None }
}

/// Whether a node's outputs do not change when its inputs change a little.
pub(crate) fn stops(node: &NodeProto) -> bool {
    is_onnx(node) && rules::is_constant(node.op_type.as_deref().unwrap_or_default())
}

pub(crate) fn outputs<'a>(builder: &'a Builder, node: &'a NodeProto) -> impl Iterator<Item = Val> + 'a {
    node.output.iter().filter(|name| !name.is_empty()).filter_map(|name| builder.find(name))
}

/// What a node reads: its inputs and what its nested graphs capture.
pub(crate) fn reads(builder: &Builder, node: &NodeProto) -> Vec<Val> {
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

/// The nodes that `outputs` need, and all names that those read or that are put out.
pub(crate) fn prune(nodes: Vec<NodeProto>, outputs: &[String]) -> (Vec<NodeProto>, BTreeSet<String>) {
    prune_but(nodes, outputs, |_| false)
}

/// [`prune`], which keeps the nodes that `stays` says and what they need, too.
pub(crate) fn prune_but(
    nodes: Vec<NodeProto>,
    outputs: &[String],
    stays: impl Fn(&NodeProto) -> bool,
) -> (Vec<NodeProto>, BTreeSet<String>) {
    let mut read: BTreeSet<String> = outputs.iter().cloned().collect();
    let mut kept: Vec<NodeProto> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if stays(&node) || node.output.iter().any(|name| read.contains(name)) {
            read.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
            let mut captured = BTreeSet::new();
            for inner in
                node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
            {
                free_names(inner, &mut captured);
            }
            read.extend(captured.into_iter().map(str::to_owned));
            kept.push(node);
        }
    }
    kept.reverse();
    (kept, read)
}
