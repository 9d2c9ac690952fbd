//! Losses.

use bb_ir::DataType;

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::Fact;

pub(super) const RULES: &[Rule] = &[
    Rule {
        op: "NegativeLogLikelihoodLoss",
        flow: scores_only,
        backward: negative_log_likelihood,
        nested: false,
    },
    Rule { op: "SoftmaxCrossEntropyLoss", flow: scores_only, backward: softmax_cross_entropy, nested: false },
];

fn scores_only(index: usize) -> Flow {
    match index {
        0 => Flow::Gradient,
        1 => Flow::Stop,
        _ => Flow::Unknown,
    }
}

/// `L = -w[label]·log p[label]`, `log p` = log-softmax of the scores over axis 1.
///
/// With `k` the weight of an element in the loss: `dscores = (p - onehot(label))·g·k`, where `k = w[label]` or 1, 0 at
/// `ignore_index`, and for `mean` divided by the sum of all `k`. `p = exp(log p)`; `log p` is the loss's second output.
/// Through that output itself: `h - p·Σ h`, as for `LogSoftmax`.
fn softmax_cross_entropy(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (scores, labels) = (s.input(0)?, s.input(1)?);
    let fact = Fact::new(s.b.fact(scores).dtype, s.b.fact(scores).shape.clone());
    let log = s.b.demand_output(s.index(), 1, fact);
    let p = s.b.op("Exp", &[log], vec![]);
    if let Some(h) = s.upstream_of(1) {
        let sum = s.b.reduce_sum(h, &[1], true);
        let share = s.b.mul(p, sum);
        let gradient = s.b.sub(h, share);
        s.give(0, gradient);
    }
    let Some(g) = s.upstream_of(0) else { return Ok(()) };
    let factor = element_factor(s, g, scores, labels)?;
    let hot = one_hot(s, scores, labels)?;
    let difference = s.b.sub(p, hot);
    let gradient = s.b.mul(difference, factor);
    if let Some(dims) = s.b.fact(scores).shape.clone() {
        s.b.refine(gradient, &dims);
    }
    s.give(0, gradient);
    Ok(())
}

/// `L = -w[label]·x[label]`: `-onehot(label)·g·k`, with `k` as in [`softmax_cross_entropy`].
fn negative_log_likelihood(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, scores, labels) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let factor = element_factor(s, g, scores, labels)?;
    let factor = s.b.neg(factor);
    let hot = one_hot(s, scores, labels)?;
    let gradient = s.b.mul(hot, factor);
    s.give(0, gradient);
    Ok(())
}

/// `g·k`, with an axis of extent 1 for the classes, or a number.
fn element_factor(s: &mut Scope<'_>, g: Val, scores: Val, labels: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(scores)?;
    let reduction = s.attributes().text("reduction").unwrap_or("mean");
    let weight = label_weights(s, labels, dtype)?;
    let factor = match (reduction, weight) {
        ("mean", None) => {
            let count = s.b.size(labels, dtype);
            return Ok(divide_number(s, g, count, dtype));
        }
        ("mean", Some(weight)) => {
            let total = s.b.reduce_sum_all(weight);
            let share = s.b.div(g, total);
            s.b.mul(share, weight)
        }
        ("sum" | "none", Some(weight)) => s.b.mul(g, weight),
        ("sum", None) => return Ok(g),
        ("none", None) => g,
        (other, _) => {
            return Err(s.attributes().wrong("reduction", format!("is `{other}`, not none, sum or mean")));
        }
    };
    Ok(s.b.unsqueeze(factor, &[1]))
}

/// `g/count`, as one constant where both are known.
fn divide_number(s: &mut Scope<'_>, g: Val, count: Val, dtype: DataType) -> Val {
    match (s.b.fact(g).uniform, s.b.fact(count).uniform) {
        (Some(g), Some(count)) if count != 0.0 => s.b.scalar(dtype, g / count),
        _ => s.b.div(g, count),
    }
}

/// The weight of each label, in the labels' shape; `None` when it is 1 everywhere.
fn label_weights(s: &mut Scope<'_>, labels: Val, dtype: DataType) -> Result<Option<Val>, AutodiffError> {
    let ignored = s.attributes().int("ignore_index");
    let counted = match ignored {
        Some(ignored) => {
            let ignored = s.b.scalar_like(labels, ignored as f64)?;
            let same = s.b.op("Equal", &[labels, ignored], vec![]);
            Some(s.b.op("Not", &[same], vec![]))
        }
        None => None,
    };
    Ok(match (s.optional(2), counted) {
        (None, None) => None,
        (None, Some(counted)) => Some(s.b.cast(counted, dtype)),
        (Some(weights), None) => Some(s.b.op("Gather", &[weights, labels], vec![int("axis", 0)])),
        (Some(weights), Some(counted)) => {
            let first = s.b.scalar_like(labels, 0.0)?;
            let safe = s.b.op("Where", &[counted, labels, first], vec![]);
            let gathered = s.b.op("Gather", &[weights, safe], vec![int("axis", 0)]);
            let zero = s.b.scalar(dtype, 0.0);
            Some(s.b.op("Where", &[counted, gathered, zero], vec![]))
        }
    })
}

/// 1 at each label, 0 elsewhere, in the shape and type of the scores.
fn one_hot(s: &mut Scope<'_>, scores: Val, labels: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(scores)?;
    let depth = s.b.extent_number(scores, 1);
    let values = s.b.filled(dtype, &[2], &[0.0, 1.0]);
    let hot = s.b.op("OneHot", &[labels, depth, values], vec![int("axis", 1)]);
    if let Some(dims) = s.b.fact(scores).shape.clone() {
        s.b.refine(hot, &dims);
    }
    Ok(hot)
}
