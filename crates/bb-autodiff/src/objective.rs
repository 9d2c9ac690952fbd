//! What is minimised: a loss put on a model's output, or one that the model has.

use bb_ir::onnx::NodeProto;
use bb_ir::{DataType, Dim};

use crate::AutodiffError;
use crate::attributes::{Attributes, int, is_onnx, string};
use crate::builder::{Builder, Val};
use crate::facts::{Fact, axis_within, is_float};
use crate::reverse::lookup;

/// What is minimised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The model's own loss if it has one, else [`Loss::SoftmaxCrossEntropy`] of the first output.
    ///
    /// A loss is the first output that `SoftmaxCrossEntropyLoss` or `NegativeLogLikelihoodLoss` makes, reduced to one number;
    /// if there is none, the first output that is declared or known to be a float of rank 0.
    #[default]
    Found,
    /// The mean over the batch of half the squared difference between an output and a target of its shape: the
    /// target is an input of the output's type.
    MeanSquaredError {
        /// The output; the model's first one if not given.
        output: Option<String>,
    },
    /// An output of the model, of one element, that is a loss already; the model's inputs are all there is.
    Output(String),
    /// The mean cross-entropy of class labels (`i64`, the scores' shape without the class axis) under the softmax of
    /// the scores.
    ///
    /// Where the model ends in `Softmax` or `LogSoftmax` over the class axis, the scores are what those read: the
    /// softmax of scores is the distribution that the model puts out, and log-softmax leaves log-probabilities as
    /// they are; so the loss is the same, without the rounding of a logarithm of a rounded exponential. Where the
    /// model ends in anything else its output is taken as the scores.
    SoftmaxCrossEntropy {
        /// The axis of the classes; if not given that of a final softmax, else 1.
        axis: Option<i64>,
        /// The output; the model's first one if not given.
        output: Option<String>,
    },
}

/// A loss in a graph under construction.
pub(crate) struct Objective {
    /// The loss: rank 0, or one element.
    pub(crate) loss: Val,
    /// What the batch is compared with: an input that was added.
    pub(crate) label: Option<Val>,
    /// Class scores, classes on axis 1.
    pub(crate) scores: Option<Val>,
}

/// Puts a loss on the outputs (given by name, first one first) of a model.
pub(crate) fn attach(b: &mut Builder, outputs: &[String], loss: &Loss) -> Result<Objective, AutodiffError> {
    match loss {
        Loss::Found => match found(b, outputs) {
            Some(loss) => Ok(Objective { loss, label: None, scores: None }),
            None => attach(b, outputs, &Loss::SoftmaxCrossEntropy { axis: None, output: None }),
        },
        Loss::Output(name) => {
            let loss = output_named(b, outputs, Some(name))?;
            Ok(Objective { loss, label: None, scores: None })
        }
        Loss::MeanSquaredError { output } => {
            let output = output_named(b, outputs, output.as_ref())?;
            mean_squared_error(b, output)
        }
        Loss::SoftmaxCrossEntropy { axis, output } => {
            let output = output_named(b, outputs, output.as_ref())?;
            let scores = class_scores(b, output, *axis)?;
            softmax_cross_entropy(b, scores)
        }
    }
}

/// The output that is a loss already.
fn found(b: &Builder, outputs: &[String]) -> Option<Val> {
    let vals: Vec<Val> = outputs.iter().filter_map(|name| b.find(name)).collect();
    let by_op = vals.iter().copied().find(|&val| {
        maker(b, val).is_some_and(|node| {
            is_onnx(node)
                && matches!(
                    node.op_type.as_deref(),
                    Some("SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss")
                )
                && Attributes(node).text("reduction") != Some("none")
        })
    });
    let is_number = |val: &Val| b.fact(*val).rank() == Some(0) && b.fact(*val).dtype.is_some_and(is_float);
    by_op.or_else(|| vals.iter().copied().find(is_number))
}

fn output_named(b: &Builder, outputs: &[String], name: Option<&String>) -> Result<Val, AutodiffError> {
    let Some(name) = name.or(outputs.first()) else {
        return Err(AutodiffError::NoLoss { reason: "the model has no output".to_owned() });
    };
    if !outputs.contains(name) {
        let known = outputs.to_vec();
        return Err(AutodiffError::Unknown { known, name: name.clone(), what: "output" });
    }
    lookup(b, name)
}

/// `Σ (y - t)² / (2 · rows)`, rows being the extent of axis 0.
fn mean_squared_error(b: &mut Builder, output: Val) -> Result<Objective, AutodiffError> {
    let dtype = b.dtype(output)?;
    let fact = Fact::new(Some(dtype), b.fact(output).shape.clone());
    let name = b.fresh("target");
    let target = b.define(&name, fact);
    let difference = b.sub(output, target);
    let square = b.mul(difference, difference);
    let sum = b.reduce_sum_all(square);
    let half = b.scale(sum, 0.5)?;
    let loss = match b.fact(output).shape.as_deref() {
        Some([]) => half,
        Some([Dim::Known(rows), ..]) => {
            let share = 1.0 / *rows as f64;
            b.scale(half, share)?
        }
        _ => {
            let rows = b.extent_number(output, 0);
            let rows = b.cast(rows, dtype);
            b.div(half, rows)
        }
    };
    Ok(Objective { loss, label: Some(target), scores: None })
}

/// The node that makes `val`, `Identity` skipped.
fn maker(b: &Builder, val: Val) -> Option<&NodeProto> {
    let node = b.nodes().iter().find(|node| node.output.iter().any(|name| name == b.name(val)))?;
    if is_onnx(node) && node.op_type.as_deref() == Some("Identity") {
        return maker(b, b.find(node.input.first()?)?);
    }
    Some(node)
}

/// The scores behind an output, classes on axis 1.
fn class_scores(b: &mut Builder, output: Val, axis: Option<i64>) -> Result<Val, AutodiffError> {
    let no_loss = |reason: &str| AutodiffError::NoLoss { reason: reason.to_owned() };
    let rank = b.fact(output).rank();
    let mut scores = output;
    let mut axis = axis;
    if let Some(node) = maker(b, output)
        && is_onnx(node)
        && matches!(node.op_type.as_deref(), Some("Softmax" | "LogSoftmax"))
    {
        let before = b.opset() < 13;
        let own = Attributes(node).int_or("axis", if before { 1 } else { -1 });
        let input = node.input.first().and_then(|name| b.find(name)).unwrap_or(output);
        let dims = b.fact(output).shape.clone();
        let rank = rank.ok_or_else(|| no_loss("the rank of the final softmax's output is not known"))?;
        let own = axis_within(own, rank)
            .ok_or_else(|| no_loss("the final softmax's axis is outside of its rank"))?;
        let rest_is_one = dims.is_some_and(|dims| dims[own + 1..].iter().all(|dim| *dim == Dim::Known(1)));
        let chosen = match axis {
            None => own,
            Some(axis) => {
                axis_within(axis, rank).ok_or_else(|| no_loss("the class axis is outside of the rank"))?
            }
        };
        if chosen != own || (before && !rest_is_one) {
            return Err(no_loss("the model ends in a softmax over other axes than the classes'"));
        }
        scores = input;
        axis = Some(own as i64);
    }
    let axis = axis.unwrap_or(1);
    if axis == 1 {
        if rank.is_some_and(|rank| rank < 2) {
            return Err(no_loss("scores need two axes at least, rows and classes"));
        }
        return Ok(scores);
    }
    let rank = rank.ok_or_else(|| no_loss("the rank of the scores is not known"))?;
    let axis = axis_within(axis, rank).ok_or_else(|| no_loss("the class axis is outside of the rank"))?;
    if axis == 0 || rank < 2 {
        return Err(no_loss("scores need an axis of rows before that of the classes"));
    }
    let mut perm: Vec<usize> = (0..rank).filter(|&other| other != axis).collect();
    perm.insert(1, axis);
    Ok(b.transpose(scores, &perm))
}

/// The mean cross-entropy; one op from operator set 12 on, written out before.
fn softmax_cross_entropy(b: &mut Builder, scores: Val) -> Result<Objective, AutodiffError> {
    let shape = b.fact(scores).shape.clone();
    let label_shape = shape.as_ref().map(|dims| {
        let mut dims = dims.clone();
        dims.remove(1);
        dims
    });
    let name = b.fresh("label");
    let label = b.define(&name, Fact::new(Some(DataType::I64), label_shape));
    if b.opset() >= 12 {
        let loss = b.op("SoftmaxCrossEntropyLoss", &[scores, label], vec![string("reduction", "mean")]);
        return Ok(Objective { loss, label: Some(label), scores: Some(scores) });
    }
    if shape.is_none_or(|dims| dims.len() != 2) {
        return Err(AutodiffError::Opset { needed: 12, opset: b.opset() });
    }
    let dtype = b.dtype(scores)?;
    let log = b.op("LogSoftmax", &[scores], vec![int("axis", 1)]);
    let depth = b.extent_number(scores, 1);
    let values = b.filled(dtype, &[2], &[0.0, 1.0]);
    let hot = b.op("OneHot", &[label, depth, values], vec![int("axis", 1)]);
    let picked = b.mul(log, hot);
    let sum = b.reduce_sum_all(picked);
    let rows = b.size(label, dtype);
    let mean = b.div(sum, rows);
    let loss = b.neg(mean);
    Ok(Objective { loss, label: Some(label), scores: Some(scores) })
}

/// How many labels the largest score is at: an `i64` of rank 0. Of equal scores the first counts.
pub(crate) fn correct(b: &mut Builder, scores: Val, label: Val) -> Val {
    let best = b.op("ArgMax", &[scores], vec![int("axis", 1), int("keepdims", 0)]);
    let hit = b.op("Equal", &[best, label], vec![]);
    let hit = b.cast(hit, DataType::I64);
    b.reduce_sum_all(hit)
}
