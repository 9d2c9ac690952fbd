//! ONNX's own op for gradients, `Gradient` of the domain `ai.onnx.preview.training`, written out.
//!
//! The op names the value `y`, the values `xs` that it is differentiated for, and those, `zs`, that stay as they are; its
//! inputs say at which `xs` and `zs`. Where these are the values themselves, the gradient reads what the graph computes
//! anyway; where they are others, what lies between them and `y` is computed once more of those.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

use crate::AutodiffError;
use crate::activity::{captures, prune, prune_but};
use crate::attributes::{Attributes, is_onnx, label, op_name};
use crate::builder::{Builder, Val, declarations};
use crate::reverse::{lookup, most_nodes, pull_back};

/// The domain of the op.
const TRAINING: &str = "ai.onnx.preview.training";

/// A model with ONNX ops in place of each `Gradient` of its graph, in the order in which they stand, so that one may be
/// differentiated by the next; a model without any stays as it is.
///
/// The partial derivatives are of the sum of `y`'s elements. What `xs` and `zs` are made of is not looked at, and what
/// is in neither is a constant.
///
/// ```
/// use bb_ir::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto, type_proto};
///
/// let value = |name: &str| ValueInfoProto {
///     name: Some(name.into()),
///     r#type: Some(TypeProto {
///         value: Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape: None })),
///         ..Default::default()
///     }),
///     ..Default::default()
/// };
/// let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
///     op_type: Some(op.into()),
///     input: inputs.iter().map(|&name| name.into()).collect(),
///     output: vec![output.into()],
///     ..Default::default()
/// };
/// let mut gradient = node("Gradient", &["x"], "dy_dx");
/// gradient.domain = Some("ai.onnx.preview.training".into());
/// gradient.attribute = vec![
///     AttributeProto { name: Some("xs".into()), strings: vec!["x".into()], ..Default::default() },
///     AttributeProto { name: Some("y".into()), s: Some("y".into()), ..Default::default() },
/// ];
/// let graph = GraphProto {
///     node: vec![node("Exp", &["x"], "y"), gradient],
///     input: vec![value("x")],
///     output: vec![value("dy_dx")],
///     ..Default::default()
/// };
/// let opset = OperatorSetIdProto { domain: None, version: Some(22) };
/// let model = ModelProto { opset_import: vec![opset], graph: Some(graph), ..Default::default() };
///
/// let expanded = bb_autodiff::expand_gradients(&model)?;
/// let nodes = &expanded.graph.as_ref().unwrap().node;
/// assert!(nodes.iter().all(|node| node.op_type() != "Gradient"));
/// assert_eq!(nodes.last().unwrap().output, ["dy_dx"]);
/// # Ok::<(), bb_autodiff::AutodiffError>(())
/// ```
///
/// # Errors
/// A `Gradient` that names no value of the graph before it, or has another number of inputs than it names; what
/// [`Gradients::of`](crate::Gradients::of) refuses. A nested graph's `Gradient` stays, and backends refuse it.
pub fn expand_gradients(model: &ModelProto) -> Result<Cow<'_, ModelProto>, AutodiffError> {
    let Some(graph) = model.graph.as_ref().filter(|graph| graph.node.iter().any(is_gradient)) else {
        return Ok(Cow::Borrowed(model));
    };
    let expanded = expand(graph.clone(), opset_of(model))?;
    let is_in_use = expanded.node.iter().any(|node| node.domain.as_deref() == Some(TRAINING));
    let mut opset_import = model.opset_import.clone();
    opset_import.retain(|set| is_in_use || set.domain.as_deref() != Some(TRAINING));
    Ok(Cow::Owned(ModelProto { graph: Some(expanded), opset_import, ..model.clone() }))
}

/// The version of ONNX's own operator set in which a model is written.
pub(crate) fn opset_of(model: &ModelProto) -> i64 {
    let own = |set: &&OperatorSetIdProto| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx"));
    model.opset_import.iter().find(own).and_then(|set| set.version).unwrap_or(1)
}

fn is_gradient(node: &NodeProto) -> bool {
    node.domain.as_deref() == Some(TRAINING) && node.op_type.as_deref() == Some("Gradient")
}

/// How many there may be: each may make the graph larger for the next.
const MOST_GRADIENTS: usize = 64;

fn expand(mut graph: GraphProto, opset: i64) -> Result<GraphProto, AutodiffError> {
    let nodes = std::mem::take(&mut graph.node);
    let mut builder = Builder::open(&graph, opset)?;
    graph.node = nodes;
    builder.reserve(&graph);
    builder.limit(most_nodes(graph.node.len()));
    let declared = declarations(&graph);
    let (mut written, mut count) = (BTreeSet::new(), 0);
    for node in &graph.node {
        written.extend(node.output.iter().filter(|name| !name.is_empty()).cloned());
        if is_gradient(node) {
            count += 1;
            if count > MOST_GRADIENTS {
                return Err(unsupported(node, format!("the graph has more than {MOST_GRADIENTS} of them")));
            }
            gradient(&mut builder, node).map_err(|error| blame(node, error))?;
        } else {
            builder.append(node, &declared)?;
        }
    }
    let is_written = |node: &NodeProto| node.output.iter().any(|name| written.contains(name));
    (graph.node, _) = prune_but(builder.into_nodes(), &[], is_written);
    Ok(graph)
}

fn unsupported(node: &NodeProto, reason: String) -> AutodiffError {
    AutodiffError::Unsupported { node: label(node), op: op_name(node), reason }
}

/// Names the node in an error that does not name one yet.
fn blame(node: &NodeProto, error: AutodiffError) -> AutodiffError {
    match error {
        AutodiffError::Undetermined { node: named, value, what, .. } if named.is_empty() => {
            AutodiffError::Undetermined { node: label(node), op: op_name(node), value, what }
        }
        other => other,
    }
}

/// Adds what the outputs of `node`, a `Gradient`, are.
fn gradient(b: &mut Builder, node: &NodeProto) -> Result<(), AutodiffError> {
    let attributes = Attributes(node);
    let y = attributes.text("y").ok_or_else(|| attributes.wrong("y", "is missing: it must name a value"))?;
    let (xs, zs) = (attributes.texts("xs")?, attributes.texts("zs")?);
    let names = [&xs[..], &zs[..]].concat();
    if names.len() != node.input.len() || node.output.len() > xs.len() {
        let (inputs, outputs) = (node.input.len(), node.output.len());
        let (all, reached) = (names.len(), xs.len());
        let reason = format!(
            "names {reached} values, {all} with `zs`, but there are {inputs} inputs and {outputs} outputs"
        );
        return Err(attributes.wrong("xs", reason));
    }
    let mut leaves = Vec::with_capacity(names.len());
    let mut moved = BTreeMap::new();
    for (name, given) in names.iter().zip(&node.input) {
        let (own, mut leaf) = (lookup(b, name)?, lookup(b, given)?);
        if leaf != own {
            // A copy, as one value may be given for several.
            let copy = b.next_name("Identity");
            leaf = b.emit_as(&copy, "Identity", &[leaf], vec![]);
            moved.insert((*name).to_owned(), leaf);
        }
        leaves.push(leaf);
    }
    let mut y = lookup(b, y)?;
    if !moved.is_empty() {
        y = again(b, node, y, &names, moved)?;
    }
    let seed = b.full_like(y, 1.0)?;
    let gradients = pull_back(b, &[(y, seed)], &leaves)?;
    for ((name, &leaf), gradient) in node.output.iter().zip(&leaves).zip(gradients) {
        let gradient = match gradient {
            Some(gradient) => gradient,
            None => b.full_like(leaf, 0.0)?,
        };
        if !name.is_empty() {
            b.define_as(name, gradient)?;
        }
    }
    Ok(())
}

/// `y`, computed once more of the values that `moved` has in place of those of its names; what makes one of `leaves` is not
/// looked at.
fn again(
    b: &mut Builder,
    gradient: &NodeProto,
    y: Val,
    leaves: &[&str],
    mut moved: BTreeMap<String, Val>,
) -> Result<Val, AutodiffError> {
    let (nodes, _) = prune(b.nodes().to_vec(), &[b.name(y).to_owned()]);
    for node in nodes {
        let captured = captures(b, &node).into_iter().any(|val| moved.contains_key(b.name(val)));
        let reads = node.input.iter().any(|name| moved.contains_key(name));
        if !(captured || reads) || node.output.iter().any(|name| leaves.contains(&name.as_str())) {
            continue;
        }
        if captured || !is_onnx(&node) {
            let reason = format!("`{}` cannot be computed at other values", label(&node));
            return Err(unsupported(gradient, reason));
        }
        let inputs: Vec<Option<Val>> =
            node.input.iter().map(|name| moved.get(name).copied().or_else(|| b.find(name))).collect();
        let op = node.op_type.as_deref().unwrap_or_default();
        let made = b.emit(op, &inputs, node.attribute.clone(), node.output.len());
        moved.extend(node.output.into_iter().filter(|name| !name.is_empty()).zip(made));
    }
    Ok(moved.get(b.name(y)).copied().unwrap_or(y))
}
