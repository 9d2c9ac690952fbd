//! The reverse sweep: from the loss back, each active node's rule once.

use std::collections::BTreeMap;

use bb_ir::onnx::{GraphProto, NodeProto};

use crate::AutodiffError;
use crate::activity::{self, Activity, Span, prune};
use crate::attributes::{label, op_name};
use crate::builder::{Builder, Val};
use crate::facts::Fact;
use crate::recompute::{Recompute, recompute};
use crate::rules::{Around, Scope};

/// A graph extended by the nodes that compute gradients.
///
/// `graph` holds the nodes it was made of, verbatim and in their order, then the backward nodes; inputs,
/// initializers and outputs are as before. (A `SoftmaxCrossEntropyLoss` is given its second output if it had none.)
///
/// ```
/// use bb_autodiff::Gradients;
/// use bb_ir::onnx::{GraphProto, NodeProto, TypeProto, ValueInfoProto, TensorShapeProto, type_proto};
///
/// // y = tanh(x), rank 0
/// let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(TensorShapeProto::default()) };
/// let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
/// let value = |name: &str| ValueInfoProto {
///     name: Some(name.into()),
///     r#type: Some(ty.clone()),
///     ..Default::default()
/// };
/// let tanh = NodeProto {
///     op_type: Some("Tanh".into()),
///     input: vec!["x".into()],
///     output: vec!["y".into()],
///     ..Default::default()
/// };
/// let graph = GraphProto { node: vec![tanh], input: vec![value("x")], output: vec![value("y")], ..Default::default() };
///
/// let gradients = Gradients::of(&graph, 22, "y", &["x"])?;
/// let ops: Vec<&str> = gradients.graph.node.iter().filter_map(|node| node.op_type.as_deref()).collect();
/// assert_eq!(ops, ["Tanh", "Constant", "Mul", "Sub"]); // 1 - y·y
/// # Ok::<(), bb_autodiff::AutodiffError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Forward and backward nodes.
    pub graph: GraphProto,
    /// The name of the gradient with respect to each of `wrt`, in their order; two of them may be one value,
    /// and one may be an input of the graph.
    pub gradients: Vec<String>,
    opset: i64,
    /// How many nodes, from the first on, are the forward pass.
    forward: usize,
}

impl Gradients {
    /// The gradients of `loss` with respect to the values `wrt` (inputs, initializers or intermediate values) of a
    /// graph in ONNX's operator set `opset`.
    ///
    /// Of a loss that is no scalar the sum of its elements is differentiated. A value on which the loss does not
    /// depend has a gradient of zeros. Integers, comparisons and shapes are constants.
    ///
    /// # Errors
    /// A name that is not in the graph; an op without a gradient on a path from the loss to one of `wrt`; an
    /// element type or a rank that a rule needs and neither the graph nor inference tells.
    pub fn of(graph: &GraphProto, opset: i64, loss: &str, wrt: &[&str]) -> Result<Self, AutodiffError> {
        let mut builder = Builder::open(graph, opset)?;
        let loss = lookup(&builder, loss)?;
        let wrt: Vec<Val> = wrt.iter().map(|name| lookup(&builder, name)).collect::<Result<_, _>>()?;
        let gradients = differentiate(&mut builder, loss, &wrt, None)?;
        let gradients: Vec<String> = gradients.iter().map(|&val| builder.name(val).to_owned()).collect();
        let node = backward_pruned(builder.into_nodes(), graph.node.len(), &gradients);
        let (graph, forward) = (GraphProto { node, ..graph.clone() }, graph.node.len());
        Ok(Self { graph, gradients, opset, forward })
    }

    /// The same gradients, to the bit, from a graph that holds less at a time: see [`Recompute`].
    ///
    /// # Errors
    /// None for a graph that [`Gradients::of`] made.
    pub fn recomputing(self, how: Recompute) -> Result<Self, AutodiffError> {
        let graph = recompute(self.graph, self.opset, self.forward, &self.gradients, how)?;
        Ok(Self { graph, ..self })
    }
}

/// The first `forward` nodes, and of the rest those that `outputs` need.
fn backward_pruned(mut nodes: Vec<NodeProto>, forward: usize, outputs: &[String]) -> Vec<NodeProto> {
    let (kept, _) = prune(nodes.split_off(forward.min(nodes.len())), outputs);
    nodes.extend(kept);
    nodes
}

/// The value called `name`.
pub(crate) fn lookup(builder: &Builder, name: &str) -> Result<Val, AutodiffError> {
    builder.find(name).ok_or_else(|| AutodiffError::Unknown {
        known: builder.value_names().map(str::to_owned).collect(),
        name: name.to_owned(),
        what: "value",
    })
}

/// How many nodes a graph may have with its gradients, beside [`MOST_NODES_A_NODE`] for each that it has without.
///
/// Rules that write an op out take up to some hundred nodes, for each axis where they read between pixels.
const MOST_NODES: usize = 1 << 13;

/// How many nodes gradients may add for each node.
const MOST_NODES_A_NODE: usize = 64;

/// How many nodes a graph of `count` nodes may have with its gradients.
pub(crate) fn most_nodes(count: usize) -> usize {
    MOST_NODES_A_NODE.saturating_mul(count).saturating_add(MOST_NODES)
}

/// Adds the nodes that compute the gradients of `seed · loss` (`seed`: 1 if not given) with respect to `wrt`.
pub(crate) fn differentiate(
    builder: &mut Builder,
    loss: Val,
    wrt: &[Val],
    seed: Option<Val>,
) -> Result<Vec<Val>, AutodiffError> {
    let activity = activity::analyze(builder, loss, wrt)?;
    builder.end_forward();
    let mut gradients: BTreeMap<Val, Val> = BTreeMap::new();
    if activity.values.contains(&loss) {
        let seed = match seed {
            Some(seed) => builder.expand_like(seed, loss),
            None => builder.full_like(loss, 1.0)?,
        };
        gradients.insert(loss, seed);
    }
    sweep(builder, &activity, &mut gradients)?;
    wrt.iter()
        .map(|&val| match gradients.get(&val) {
            Some(&gradient) => Ok(gradient),
            None => builder.full_like(val, 0.0),
        })
        .collect()
}

/// What each of `leaves` gets of the gradients `seeds` (value, gradient), everything else being constant; `None` where
/// nothing flows. What a leaf is made of is not looked at, so that these are partial derivatives.
///
/// # Errors
/// An op without a gradient between them, and those of its rules.
pub(crate) fn pull_back(
    builder: &mut Builder,
    seeds: &[(Val, Val)],
    leaves: &[Val],
) -> Result<Vec<Option<Val>>, AutodiffError> {
    let losses = seeds.iter().map(|&(val, _)| val).collect();
    let span = Span { losses, wrt: leaves.to_vec(), partial: true, ..Span::default() };
    let activity = activity::analyze_span(builder, span)?;
    let mut gradients: BTreeMap<Val, Val> = BTreeMap::new();
    for &(val, gradient) in seeds {
        if activity.values.contains(&val) {
            collect(builder, &mut gradients, val, gradient);
        }
    }
    sweep(builder, &activity, &mut gradients)?;
    Ok(leaves.iter().map(|leaf| gradients.get(leaf).copied()).collect())
}

/// Adds `gradient` to what `val` has got.
fn collect(builder: &mut Builder, gradients: &mut BTreeMap<Val, Val>, val: Val, gradient: Val) {
    let sum = match gradients.get(&val) {
        Some(&sum) => builder.add(sum, gradient),
        None => gradient,
    };
    let Fact { dtype, shape, .. } = builder.fact(val).clone();
    builder.learn(sum, &Fact::new(dtype, shape));
    gradients.insert(val, sum);
}

/// Runs the rules of the active nodes, last first.
fn sweep(
    builder: &mut Builder,
    activity: &Activity,
    gradients: &mut BTreeMap<Val, Val>,
) -> Result<(), AutodiffError> {
    let most = most_nodes(builder.nodes().len()).min(builder.most());
    for &(index, rule) in &activity.nodes {
        let node = builder.nodes()[index].clone();
        let find = |name: &String| if name.is_empty() { None } else { builder.find(name) };
        let inputs: Vec<Option<Val>> = node.input.iter().map(find).collect();
        let outputs: Vec<Option<Val>> = node.output.iter().map(find).collect();
        let upstream: Vec<Option<Val>> = outputs
            .iter()
            .map(|val| gradients.get(&val.filter(|&val| !builder.is_empty(val))?).copied())
            .collect();
        if upstream.iter().all(Option::is_none) {
            continue;
        }
        let captured = activity::captures(builder, &node);
        let captured = captured.into_iter().filter(|val| activity.values.contains(val)).collect();
        let is_wanted = |val: Val| activity.values.contains(&val) && !builder.is_empty(val);
        let wanted = inputs.iter().map(|val| val.is_some_and(is_wanted));
        let wanted: Vec<bool> = wanted.collect();
        let around = Around { inputs, outputs, upstream, wanted, captured };
        let mut scope = Scope::new(builder, index, &node, around);
        if let Err(error) = (rule.backward)(&mut scope) {
            let error = scope.blame(error);
            return Err(activity.surround(builder, index, error));
        }
        for (val, gradient) in scope.into_given() {
            collect(builder, gradients, val, gradient);
        }
        let count = builder.nodes().len();
        if count > most {
            return Err(AutodiffError::Unsupported {
                node: label(&node),
                op: op_name(&node),
                reason: format!(
                    "with its gradient the graph has {count} nodes, more than the {most} it may have"
                ),
            });
        }
    }
    Ok(())
}
