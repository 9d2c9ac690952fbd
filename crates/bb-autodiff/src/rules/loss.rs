//! Losses.

use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::Fact;

pub(super) const RULES: &[Rule] = &[
    Rule {
        op: "NegativeLogLikelihoodLoss",
        flow: loss_flow,
        backward: negative_log_likelihood,
        nested: false,
    },
    Rule { op: "SoftmaxCrossEntropyLoss", flow: loss_flow, backward: softmax_cross_entropy, nested: false },
];

/// Scores, and the weights of the classes, which are seldom trained.
fn loss_flow(index: usize) -> Flow {
    match index {
        0 => Flow::Gradient,
        1 => Flow::Stop,
        _ => Flow::Asked,
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
    class_weights(s, g, log, labels)?;
    if !s.wants(0) {
        return Ok(());
    }
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
    class_weights(s, g, scores, labels)?;
    if !s.wants(0) {
        return Ok(());
    }
    let factor = element_factor(s, g, scores, labels)?;
    let factor = s.b.neg(factor);
    let hot = one_hot(s, scores, labels)?;
    let gradient = s.b.mul(hot, factor);
    s.give(0, gradient);
    Ok(())
}

/// What the weights of the classes get: each element's `-g·log p[label]`, for `mean` `g·(-log p[label] - L)` divided by
/// the sum of all `k`, added up by label.
fn class_weights(s: &mut Scope<'_>, g: Val, log: Val, labels: Val) -> Result<(), AutodiffError> {
    let Some(weights) = s.optional(2).filter(|_| s.wants(2)) else { return Ok(()) };
    let dtype = s.b.dtype(log)?;
    s.b.learn(weights, &Fact::new(None, Some(vec![Dim::Any])));
    let (safe, counted) = counted_labels(s, labels)?;
    let places = s.b.unsqueeze(safe, &[1]);
    let found = s.b.op("GatherElements", &[log, places], vec![int("axis", 1)]);
    let found = s.b.squeeze(found, &[1]);
    let mut gradient = s.b.neg(found);
    let factor = if reduction(s)? == "mean" {
        let loss = s.output(0)?;
        gradient = s.b.sub(gradient, loss);
        match label_weights(s, labels, dtype)? {
            Some(weight) => {
                let total = s.b.reduce_sum_all(weight);
                s.b.div(g, total)
            }
            None => g,
        }
    } else {
        g
    };
    gradient = s.b.mul(gradient, factor);
    if let Some(counted) = counted {
        let zero = s.b.scalar(dtype, 0.0);
        gradient = s.b.op("Where", &[counted, gradient, zero], vec![]);
    }
    let gathered = s.b.op("Gather", &[weights, safe], vec![int("axis", 0)]);
    s.pull(&[(gathered, gradient)])
}

/// How the losses of the elements become one.
fn reduction<'a>(s: &Scope<'a>) -> Result<&'a str, AutodiffError> {
    let reduction = s.attributes().text("reduction").unwrap_or("mean");
    if ["none", "sum", "mean"].contains(&reduction) {
        return Ok(reduction);
    }
    Err(s.attributes().wrong("reduction", format!("is `{reduction}`, not none, sum or mean")))
}

/// `g·k`, with an axis of extent 1 for the classes, or a number.
fn element_factor(s: &mut Scope<'_>, g: Val, scores: Val, labels: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(scores)?;
    let weight = label_weights(s, labels, dtype)?;
    let factor = match (reduction(s)?, weight) {
        ("mean", None) => {
            let count = s.b.size(labels, dtype);
            return Ok(divide_number(s, g, count, dtype));
        }
        ("mean", Some(weight)) => {
            let total = s.b.reduce_sum_all(weight);
            let share = s.b.div(g, total);
            s.b.mul(share, weight)
        }
        (_, Some(weight)) => s.b.mul(g, weight),
        ("sum", None) => return Ok(g),
        (_, None) => g,
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

/// The labels with a class in place of those that are ignored, and which are not, if some may be.
fn counted_labels(s: &mut Scope<'_>, labels: Val) -> Result<(Val, Option<Val>), AutodiffError> {
    let Some(ignored) = s.attributes().int("ignore_index") else { return Ok((labels, None)) };
    let ignored = s.b.scalar_like(labels, ignored as f64)?;
    let same = s.b.op("Equal", &[labels, ignored], vec![]);
    let counted = s.b.op("Not", &[same], vec![]);
    let first = s.b.scalar_like(labels, 0.0)?;
    Ok((s.b.op("Where", &[counted, labels, first], vec![]), Some(counted)))
}

/// The weight of each label, in the labels' shape; `None` when it is 1 everywhere.
fn label_weights(s: &mut Scope<'_>, labels: Val, dtype: DataType) -> Result<Option<Val>, AutodiffError> {
    let (safe, counted) = counted_labels(s, labels)?;
    let Some(weights) = s.optional(2) else { return Ok(counted.map(|counted| s.b.cast(counted, dtype))) };
    let gathered = s.b.op("Gather", &[weights, safe], vec![int("axis", 0)]);
    let Some(counted) = counted else { return Ok(Some(gathered)) };
    let zero = s.b.scalar(dtype, 0.0);
    Ok(Some(s.b.op("Where", &[counted, gathered, zero], vec![])))
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
