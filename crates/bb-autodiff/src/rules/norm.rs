//! Normalizations.
//!
//! All are `x̂ = (x - mean)·r`, `r = 1/√(variance + ε)`, over some axes, then `y = x̂·scale + bias`. With `h = g·scale` and means
//! over the same axes: `dx = r·(h - mean h - x̂·mean(h·x̂))`, `dscale = Σ g·x̂`, `dbias = Σ g`. (Ioffe & Szegedy, "Batch
//! Normalization", 2015; Ba et al., "Layer Normalization", 2016.)

use bb_ir::Dim;

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{int, ints};
use crate::builder::Val;
use crate::facts::axis_within;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "BatchNormalization", flow: batch_flow, backward: batch, nested: false },
    Rule::all("GroupNormalization", group),
    Rule::all("InstanceNormalization", instance),
    Rule::all("LRN", local_response),
    Rule::all("LayerNormalization", layer),
    Rule::all("LpNormalization", lp),
    Rule::all("MeanVarianceNormalization", mean_variance),
    Rule::all("RMSNormalization", root_mean_square),
];

/// Running mean and variance are state: they are not trained.
fn batch_flow(index: usize) -> Flow {
    if index < 3 { Flow::Gradient } else { Flow::Stop }
}

/// The mean over `axes`, which stay with extent 1.
fn mean_over(s: &mut Scope<'_>, val: Val, axes: &[i64]) -> Val {
    if axes.is_empty() {
        return val;
    }
    if s.b.opset() >= 18 {
        let axes = s.b.list(axes);
        s.b.op("ReduceMean", &[val, axes], vec![int("keepdims", 1)])
    } else {
        s.b.op("ReduceMean", &[val], vec![ints("axes", axes), int("keepdims", 1)])
    }
}

/// `1/√(variance + ε)`.
fn inverse_deviation(s: &mut Scope<'_>, variance: Val, epsilon: f64) -> Result<Val, AutodiffError> {
    let epsilon = s.b.scalar_like(variance, epsilon)?;
    let sum = s.b.add(variance, epsilon);
    let root = s.b.op("Sqrt", &[sum], vec![]);
    Ok(s.b.op("Reciprocal", &[root], vec![]))
}

/// `x̂` and `r` over `axes`.
fn normalized(s: &mut Scope<'_>, x: Val, axes: &[i64], epsilon: f64) -> Result<(Val, Val), AutodiffError> {
    let mean = mean_over(s, x, axes);
    let centred = s.b.sub(x, mean);
    let square = s.b.mul(centred, centred);
    let variance = mean_over(s, square, axes);
    let r = inverse_deviation(s, variance, epsilon)?;
    Ok((s.b.mul(centred, r), r))
}

/// `r·(h - mean h - x̂·mean(h·x̂))`.
fn through(s: &mut Scope<'_>, h: Val, unit: Val, r: Val, axes: &[i64]) -> Val {
    let mean = mean_over(s, h, axes);
    let product = s.b.mul(h, unit);
    let along = mean_over(s, product, axes);
    let along = s.b.mul(unit, along);
    let rest = s.b.sub(h, mean);
    let rest = s.b.sub(rest, along);
    s.b.mul(r, rest)
}

/// Gives `Σ g·x̂` and `Σ g` over `axes` to inputs 1 and 2.
fn give_affine(s: &mut Scope<'_>, g: Val, unit: Val, axes: &[i64]) {
    if s.wants(1) {
        let product = s.b.mul(g, unit);
        let gradient = s.b.reduce_sum(product, axes, false);
        s.give(1, gradient);
    }
    if s.wants(2) {
        let gradient = s.b.reduce_sum(g, axes, false);
        s.give(2, gradient);
    }
}

/// A value of one number a channel, shaped to broadcast with `[rows, channels, …]` of that rank.
fn by_channel(s: &mut Scope<'_>, val: Val, rank: usize) -> Val {
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    s.b.unsqueeze(val, &axes)
}

/// A training step of [`batch`] whose new running moments, `old·momentum + new·(1 - momentum)`, have gradients themselves.
fn batch_with_moments(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, scale, bias) = (s.input(0)?, s.input(1)?, s.input(2)?);
    let rank = s.b.rank(x)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let momentum = f64::from(s.attributes().float_or("momentum", 0.9));
    let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
    let (unit, _) = normalized(s, x, &axes, epsilon)?;
    let (wide_scale, wide_bias) = (by_channel(s, scale, rank), by_channel(s, bias, rank));
    let scaled = s.b.mul(unit, wide_scale);
    let y = s.b.add(scaled, wide_bias);
    let mean = mean_over(s, x, &axes);
    let centred = s.b.sub(x, mean);
    let square = s.b.mul(centred, centred);
    let variance = mean_over(s, square, &axes);
    let mut made = vec![(0, y)];
    for (index, moment) in [(1, mean), (2, variance)] {
        let flat = s.b.squeeze(moment, &axes);
        made.push((index, s.b.scale(flat, 1.0 - momentum)?));
    }
    s.through(&made)
}

/// Over rows and places of each channel, by the batch itself in training, by the running mean and variance else.
fn batch(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.upstream_of(1).is_some() || s.upstream_of(2).is_some() {
        return batch_with_moments(s);
    }
    let (g, x, scale) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
    let training = if s.b.opset() >= 14 {
        s.attributes().flag("training_mode", false)
    } else {
        (1..s.output_count()).any(|index| s.output(index).is_ok())
    };
    let wide_scale = by_channel(s, scale, rank);
    let h = s.b.mul(g, wide_scale);
    if training {
        let (unit, r) = normalized(s, x, &axes, epsilon)?;
        if s.wants(0) {
            let gradient = through(s, h, unit, r, &axes);
            s.give(0, gradient);
        }
        give_affine(s, g, unit, &axes);
        return Ok(());
    }
    let (mean, variance) = (s.input(3)?, s.input(4)?);
    let r = inverse_deviation(s, variance, epsilon)?;
    let r = by_channel(s, r, rank);
    if s.wants(0) {
        let gradient = s.b.mul(h, r);
        s.give(0, gradient);
    }
    if s.wants(1) {
        let mean = by_channel(s, mean, rank);
        let centred = s.b.sub(x, mean);
        let unit = s.b.mul(centred, r);
        give_affine(s, g, unit, &axes);
    } else {
        give_affine(s, g, g, &axes);
    }
    Ok(())
}

/// Over the places of each channel of each row.
fn instance(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, scale) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let places: Vec<i64> = (2..rank as i64).collect();
    let (unit, r) = normalized(s, x, &places, epsilon)?;
    if s.wants(0) {
        let wide_scale = by_channel(s, scale, rank);
        let h = s.b.mul(g, wide_scale);
        let gradient = through(s, h, unit, r, &places);
        s.give(0, gradient);
    }
    let others: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
    give_affine(s, g, unit, &others);
    Ok(())
}

/// Over the channels and places of each group: `x` as `[rows, groups, rest]`. The scale is a number a channel, before
/// operator set 21 a number a group. (Wu & He, "Group Normalization", 2018.)
fn group(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, scale, bias) = (s.input(0)?, s.input(1)?, s.input(2)?);
    let rank = s.b.rank(x)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let groups =
        s.attributes().int("num_groups").ok_or_else(|| s.attributes().wrong("num_groups", "is missing"))?;
    let apart = s.b.list(&[0, groups, -1]);
    let apart = s.b.reshape(x, apart);
    s.b.refine(apart, &[Dim::Any, Dim::Known(groups.max(0) as usize), Dim::Any]);
    let (mut unit, _) = normalized(s, apart, &[2], epsilon)?;
    let by_group = s.b.opset() < 21;
    let rank = if by_group { 3 } else { rank };
    if !by_group {
        unit = s.b.reshape_like(unit, x);
    }
    let (scale, bias) = (by_channel(s, scale, rank), by_channel(s, bias, rank));
    let scaled = s.b.mul(unit, scale);
    let mut y = s.b.add(scaled, bias);
    if by_group {
        y = s.b.reshape_like(y, x);
    }
    s.through(&[(0, y)])
}

/// `y = x·d^-β`, `d = bias + α/size·Σ x²`, the sum over the channels of a window: `g·d^-β` less `2αβ/size·x` times the sum
/// of `g·x·d^(-β-1)` over the channels in whose windows the channel is. (Krizhevsky et al., 2012, section 3.3.)
fn local_response(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let size = s.attributes().int("size").filter(|size| (1..=1024).contains(size));
    let size = size.ok_or_else(|| s.attributes().wrong("size", "is missing or out of range"))?;
    let number = |name: &str, default: f32| f64::from(s.attributes().float_or(name, default));
    let (alpha, beta, bias) = (number("alpha", 1e-4), number("beta", 0.75), number("bias", 1.0));
    let (before, after) = ((size - 1) / 2, size / 2);
    let squares = s.b.mul(x, x);
    let sum = window_sum(s, squares, before, after)?;
    let scaled = s.b.scale(sum, alpha / size as f64)?;
    let bias = s.b.scalar_like(x, bias)?;
    let base = s.b.add(scaled, bias);
    let exponent = s.b.scalar_like(x, -beta)?;
    let power = s.b.op("Pow", &[base, exponent], vec![]);
    let direct = s.b.mul(g, power);
    let share = s.b.mul(direct, x);
    let share = s.b.div(share, base);
    let along = window_sum(s, share, after, before)?;
    let along = s.b.mul(along, x);
    let along = s.b.scale(along, 2.0 * alpha * beta / size as f64)?;
    let gradient = s.b.sub(direct, along);
    s.give(0, gradient);
    Ok(())
}

/// The sums of `val` over so many channels before and after each: those of the padded value, shifted.
fn window_sum(s: &mut Scope<'_>, val: Val, before: i64, after: i64) -> Result<Val, AutodiffError> {
    let rank = s.b.rank(s.input(0)?)?;
    if rank < 2 {
        return Err(s.unsupported("there is no axis of channels".to_owned()));
    }
    let size = before + after + 1;
    let mut pads = vec![0; 2 * rank];
    pads[1] = before;
    pads[rank + 1] = after;
    let padded = s.b.pad(val, &pads);
    let mut sum: Option<Val> = None;
    for shift in 0..size {
        let behind = shift + 1 - size;
        let part = s.b.slice(padded, 1, shift, if behind == 0 { i64::MAX } else { behind });
        sum = Some(match sum {
            Some(sum) => s.b.add(sum, part),
            None => part,
        });
    }
    let sum = sum.unwrap_or(val);
    if let Some(dims) = s.b.fact(val).shape.clone() {
        s.b.refine(sum, &dims);
    }
    Ok(sum)
}

/// Over all axes from `axis` on, where the mean or the inverse deviation have gradients themselves.
fn layer_with_moments(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, scale) = (s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let first = s.axis("axis", -1, rank)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let axes: Vec<i64> = (first as i64..rank as i64).collect();
    let (unit, r) = normalized(s, x, &axes, epsilon)?;
    let mean = mean_over(s, x, &axes);
    let mut y = s.b.mul(unit, scale);
    if let Some(bias) = s.optional(2) {
        y = s.b.add(y, bias);
    }
    s.through(&[(0, y), (1, mean), (2, r)])
}

/// Over all axes from `axis` on.
fn layer(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.upstream_of(1).is_some() || s.upstream_of(2).is_some() {
        return layer_with_moments(s);
    }
    let (g, x, scale) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let first = s.axis("axis", -1, rank)?;
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let axes: Vec<i64> = (first as i64..rank as i64).collect();
    let (unit, r) = normalized(s, x, &axes, epsilon)?;
    if s.wants(0) {
        let h = s.b.mul(g, scale);
        let gradient = through(s, h, unit, r, &axes);
        s.give(0, gradient);
    }
    if s.wants(1) {
        let product = s.b.mul(g, unit);
        s.give_broadcast(1, product)?;
    }
    s.give_broadcast(2, g)
}

/// `y = x/‖x‖` along an axis: for the 2-norm `(g - y·Σ g·y)/‖x‖`, for the 1-norm `(g - sign x·Σ g·y)/‖x‖`.
fn lp(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let axis = s.attributes().int_or("axis", -1);
    let weighted = s.b.mul(g, y);
    let along = s.b.reduce_sum(weighted, &[axis], true);
    let (norm, direction) = if s.attributes().int_or("p", 2) == 1 {
        let size = s.b.op("Abs", &[x], vec![]);
        (s.b.reduce_sum(size, &[axis], true), s.b.op("Sign", &[x], vec![]))
    } else {
        let square = s.b.mul(x, x);
        let sum = s.b.reduce_sum(square, &[axis], true);
        (s.b.op("Sqrt", &[sum], vec![]), y)
    };
    let along = s.b.mul(direction, along);
    let rest = s.b.sub(g, along);
    let gradient = s.b.div(rest, norm);
    s.give(0, gradient);
    Ok(())
}

/// `x̂` over `axes`, by default all but the channels; `ε` as the operator's definition has it.
fn mean_variance(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let axes = s.attributes().ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let (unit, r) = normalized(s, x, &axes, 1e-9)?;
    let gradient = through(s, g, unit, r, &axes);
    s.give(0, gradient);
    Ok(())
}

/// `y = x·r·scale`, `r = 1/√(mean x² + ε)`: `x` gets `r·(h - x̂·mean(h·x̂))`, `x̂ = x·r`. (Zhang & Sennrich, 2019.)
fn root_mean_square(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, scale) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let first = axis_within(s.attributes().int_or("axis", -1), rank).unwrap_or(0);
    let epsilon = f64::from(s.attributes().float_or("epsilon", 1e-5));
    let axes: Vec<i64> = (first as i64..rank as i64).collect();
    let square = s.b.mul(x, x);
    let mean = mean_over(s, square, &axes);
    let r = inverse_deviation(s, mean, epsilon)?;
    let unit = s.b.mul(x, r);
    if s.wants(0) {
        let h = s.b.mul(g, scale);
        let product = s.b.mul(h, unit);
        let along = mean_over(s, product, &axes);
        let along = s.b.mul(unit, along);
        let rest = s.b.sub(h, along);
        let gradient = s.b.mul(r, rest);
        s.give(0, gradient);
    }
    let product = s.b.mul(g, unit);
    s.give_broadcast(1, product)
}
