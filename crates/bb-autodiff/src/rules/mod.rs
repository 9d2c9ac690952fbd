//! The rules: how a gradient passes each op.
//!
//! One file a family, each with its `RULES`; [`find`] is the one table over them. The crate's documentation
//! shows how to add one.

mod activation;
mod attention;
mod control;
mod conv;
mod einsum;
mod elementwise;
mod function;
mod indexing;
mod linear;
mod loss;
mod movement;
mod norm;
mod patches;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resample;
mod sample;
mod scatter;
mod select;
mod shaping;
mod signal;
mod softmax;
mod stream;
mod taps;

use std::collections::BTreeSet;

use bb_ir::onnx::{AttributeProto, NodeProto};

use crate::AutodiffError;
use crate::attributes::{Attributes, label, op_name};
use crate::builder::{Builder, Val};
use crate::reverse::pull_back;

/// How a gradient passes an op.
pub(crate) struct Rule {
    /// The op's name, in ONNX's own domain.
    pub(crate) op: &'static str,
    /// What flows back to the input of an index.
    pub(crate) flow: fn(usize) -> Flow,
    /// Emits the gradients of the inputs.
    pub(crate) backward: fn(&mut Scope<'_>) -> Result<(), AutodiffError>,
    /// Whether it passes gradients to what nested graphs capture.
    pub(crate) nested: bool,
}

/// What flows back to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A gradient, but an initializer that stands there is a constant unless it is asked for by name.
    Asked,
    /// A gradient.
    Gradient,
    /// Nothing: the input is a constant or a state by definition.
    Stop,
}

impl Rule {
    /// A rule for an op all of whose float inputs have gradients.
    pub(crate) const fn all(
        op: &'static str,
        backward: fn(&mut Scope<'_>) -> Result<(), AutodiffError>,
    ) -> Self {
        Self { op, flow: |_| Flow::Gradient, backward, nested: false }
    }

    /// A rule for an op whose first input alone has a gradient, the others being constants.
    pub(crate) const fn first(
        op: &'static str,
        backward: fn(&mut Scope<'_>) -> Result<(), AutodiffError>,
    ) -> Self {
        let flow = |index| if index == 0 { Flow::Gradient } else { Flow::Stop };
        Self { op, flow, backward, nested: false }
    }
}

const FAMILIES: &[&[Rule]] = &[
    activation::RULES,
    attention::RULES,
    control::RULES,
    conv::RULES,
    einsum::RULES,
    elementwise::RULES,
    function::RULES,
    indexing::RULES,
    linear::RULES,
    loss::RULES,
    movement::RULES,
    norm::RULES,
    patches::RULES,
    pool::RULES,
    quantize::RULES,
    recurrent::RULES,
    reduce::RULES,
    resample::RULES,
    sample::RULES,
    scatter::RULES,
    select::RULES,
    shaping::RULES,
    signal::RULES,
    softmax::RULES,
    stream::RULES,
];

/// Ops whose float outputs, if any, are constant almost everywhere, or do not depend on the elements of what they read.
const CONSTANT: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "Bernoulli",
    "BitCast",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "BlackmanWindow",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "ConvInteger",
    "Equal",
    "EyeLike",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "HammingWindow",
    "HannWindow",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "MatMulInteger",
    "MelWeightMatrix",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "Or",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "RandomNormalLike",
    "RandomUniformLike",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];

/// The rule of an op.
pub(crate) fn find(op: &str) -> Option<&'static Rule> {
    FAMILIES.iter().flat_map(|family| family.iter()).find(|rule| rule.op == op)
}

/// Whether an op's outputs do not change when its inputs change a little.
pub(crate) fn is_constant(op: &str) -> bool {
    CONSTANT.binary_search(&op).is_ok()
}

/// The names of all ops that a gradient can pass, sorted.
///
/// ```
/// assert!(bb_autodiff::differentiable_ops().contains(&"Gemm"));
/// ```
pub fn differentiable_ops() -> Vec<&'static str> {
    let mut ops: Vec<&str> = FAMILIES.iter().flat_map(|family| family.iter().map(|rule| rule.op)).collect();
    ops.sort_unstable();
    ops
}

/// The names of all ops that no gradient needs to pass, sorted: their outputs are no floats, are constant almost everywhere,
/// or do not depend on the elements of what they read. A loss may depend on them; nothing flows back through them.
///
/// ```
/// assert!(bb_autodiff::constant_ops().contains(&"ArgMax"));
/// ```
pub fn constant_ops() -> Vec<&'static str> {
    CONSTANT.to_vec()
}

/// A node as its rule sees it: the builder to emit with, the values around the node, and where gradients go.
pub(crate) struct Scope<'a> {
    /// Where nodes are added.
    pub(crate) b: &'a mut Builder,
    index: usize,
    node: &'a NodeProto,
    around: Around,
    given: Vec<(Val, Val)>,
}

/// The values around a node.
pub(crate) struct Around {
    pub(crate) inputs: Vec<Option<Val>>,
    pub(crate) outputs: Vec<Option<Val>>,
    /// The gradient of each output, if the loss depends on it.
    pub(crate) upstream: Vec<Option<Val>>,
    /// For each input: whether its gradient is asked for.
    pub(crate) wanted: Vec<bool>,
    /// What nested graphs read from outside and whose gradients are asked for.
    pub(crate) captured: Vec<Val>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(b: &'a mut Builder, index: usize, node: &'a NodeProto, around: Around) -> Self {
        Self { b, index, node, around, given: Vec::new() }
    }

    /// What the nested graphs read from outside and whose gradients are asked for.
    pub(crate) fn captured(&self) -> &[Val] {
        &self.around.captured
    }

    /// The node's attributes.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.node)
    }

    /// The node's attributes as they are, to hand on.
    pub(crate) fn all_attributes(&self) -> Vec<AttributeProto> {
        self.node.attribute.clone()
    }

    /// The node's index among the builder's nodes.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The node's op.
    pub(crate) fn op_type(&self) -> &'a str {
        self.node.op_type.as_deref().unwrap_or_default()
    }

    /// How many outputs the node lists.
    pub(crate) fn output_count(&self) -> usize {
        self.around.outputs.len()
    }

    /// How many inputs the node lists.
    pub(crate) fn input_count(&self) -> usize {
        self.around.inputs.len()
    }

    /// An input that the op always has.
    pub(crate) fn input(&self, index: usize) -> Result<Val, AutodiffError> {
        self.optional(index).ok_or_else(|| self.unsupported(format!("input {index} is missing")))
    }

    /// An input that may be left out.
    pub(crate) fn optional(&self, index: usize) -> Option<Val> {
        self.around.inputs.get(index).copied().flatten()
    }

    /// An output that the op always has.
    pub(crate) fn output(&self, index: usize) -> Result<Val, AutodiffError> {
        let found = self.around.outputs.get(index).copied().flatten();
        found.ok_or_else(|| self.unsupported(format!("output {index} is missing")))
    }

    /// The gradient of the first output, for ops that have one float output.
    pub(crate) fn upstream(&self) -> Result<Val, AutodiffError> {
        self.upstream_of(0).ok_or_else(|| {
            self.unsupported("a gradient flows through another output than the first".to_owned())
        })
    }

    /// The gradient of an output, if the loss depends on it.
    pub(crate) fn upstream_of(&self, index: usize) -> Option<Val> {
        self.around.upstream.get(index).copied().flatten()
    }

    /// Whether the gradient of an input is asked for.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.around.wanted.get(index).copied().unwrap_or(false)
    }

    /// Adds `gradient`, in the input's shape, to the gradient of input `index`.
    pub(crate) fn give(&mut self, index: usize, gradient: Val) {
        if let Some(val) = self.optional(index).filter(|_| self.wants(index)) {
            self.given.push((val, gradient));
        }
    }

    /// Adds `gradient`, in the shape of `val`, which a nested graph reads, to its gradient.
    pub(crate) fn give_captured(&mut self, val: Val, gradient: Val) {
        self.given.push((val, gradient));
    }

    /// Differentiates, instead of the op, other nodes that compute the same: `made` has, for outputs of the op, the
    /// values that stand for them.
    pub(crate) fn through(&mut self, made: &[(usize, Val)]) -> Result<(), AutodiffError> {
        let seeds: Vec<(Val, Val)> = made
            .iter()
            .filter_map(|&(output, val)| self.upstream_of(output).map(|gradient| (val, gradient)))
            .collect();
        self.pull(&seeds)
    }

    /// Differentiates what was made of inputs of the op: `seeds` has values and their gradients.
    pub(crate) fn pull(&mut self, seeds: &[(Val, Val)]) -> Result<(), AutodiffError> {
        let wanted = (0..self.input_count()).filter(|&index| self.wants(index));
        let leaves: BTreeSet<Val> = wanted.filter_map(|index| self.optional(index)).collect();
        let leaves: Vec<Val> = leaves.into_iter().collect();
        let gradients = pull_back(self.b, seeds, &leaves)?;
        let flowing = leaves.iter().zip(gradients).filter_map(|(&leaf, gradient)| Some((leaf, gradient?)));
        self.given.extend(flowing);
        Ok(())
    }

    /// The rule of a function of one number: gives what `gradient` makes of the output's gradient.
    pub(crate) fn unary(
        &mut self,
        gradient: impl FnOnce(&mut Self, Val) -> Result<Val, AutodiffError>,
    ) -> Result<(), AutodiffError> {
        let upstream = self.upstream()?;
        let gradient = gradient(self, upstream)?;
        self.give(0, gradient);
        Ok(())
    }

    /// Sums `gradient` down to the shape of input `index` and adds it to the input's gradient.
    pub(crate) fn give_broadcast(&mut self, index: usize, gradient: Val) -> Result<(), AutodiffError> {
        if self.wants(index) {
            let input = self.input(index)?;
            let gradient = self.b.unbroadcast(gradient, input)?;
            self.give(index, gradient);
        }
        Ok(())
    }

    /// The integers of attribute `name` or, from the operator sets on in which it is one, of input `index`.
    /// `None` if neither is there.
    pub(crate) fn list(&self, name: &str, index: usize) -> Result<Option<Vec<i64>>, AutodiffError> {
        if let Some(values) = self.attributes().ints(name) {
            return Ok(Some(values.to_vec()));
        }
        let Some(input) = self.optional(index) else { return Ok(None) };
        let known = self.b.fact(input).integers();
        known.map(Some).ok_or_else(|| self.b.undetermined(input, "contents"))
    }

    /// An axis attribute, counted from the front of `rank`.
    pub(crate) fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, AutodiffError> {
        let axis = self.attributes().int_or(name, default);
        crate::facts::axis_within(axis, rank)
            .ok_or_else(|| self.attributes().wrong(name, format!("is {axis}, outside of rank {rank}")))
    }

    /// The error that this form of the op is not covered.
    pub(crate) fn unsupported(&self, reason: String) -> AutodiffError {
        AutodiffError::Unsupported { node: label(self.node), op: op_name(self.node), reason }
    }

    /// Names the node in an error that does not name one yet.
    pub(crate) fn blame(&self, error: AutodiffError) -> AutodiffError {
        match error {
            AutodiffError::Undetermined { value, what, .. } => {
                AutodiffError::Undetermined { node: label(self.node), op: op_name(self.node), value, what }
            }
            other => other,
        }
    }

    /// The gradients given, each with the value it is of.
    pub(crate) fn into_given(self) -> Vec<(Val, Val)> {
        self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_op_is_in_two_tables() {
        let ops = differentiable_ops();
        assert!(ops.windows(2).all(|pair| pair[0] < pair[1]), "{ops:?}");
        assert!(CONSTANT.windows(2).all(|pair| pair[0] < pair[1]), "not sorted");
        assert!(ops.iter().all(|op| !is_constant(op)), "an op both has a rule and is constant");
    }
}
