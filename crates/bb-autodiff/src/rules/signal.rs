//! Fourier transforms.
//!
//! A transform is linear and, but for a factor, turned back by its inverse: with `F` that of a length `n`, `Fᴴ = n·F⁻¹`.

use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::axis_within;

pub(super) const RULES: &[Rule] =
    &[Rule::first("DFT", transform), Rule { op: "STFT", flow: short_flow, backward: short, nested: false }];

/// From it on, the axis of a transform is an input.
const AXIS_AS_INPUT: i64 = 20;

/// How many parts the numbers of `val` have: 1 if they are real, 2 if they are complex.
fn parts(s: &Scope<'_>, val: Val) -> Result<usize, AutodiffError> {
    let last = s.b.fact(val).shape.as_ref().and_then(|dims| dims.last());
    match last {
        Some(Dim::Known(parts @ (1 | 2))) => Ok(*parts),
        _ => Err(s.b.undetermined(val, "extent of the last axis")),
    }
}

/// The transform of `val` to `length` elements along `axis`.
fn transformed(s: &mut Scope<'_>, val: Val, length: Val, axis: usize, flags: [bool; 2]) -> Val {
    let mut attributes = vec![int("inverse", i64::from(flags[0])), int("onesided", i64::from(flags[1]))];
    let mut inputs = vec![Some(val), Some(length)];
    if s.b.opset() >= AXIS_AS_INPUT {
        inputs.push(Some(s.b.scalar(DataType::I64, axis as f64)));
    } else {
        attributes.push(int("axis", axis as i64));
    }
    s.b.emit("DFT", &inputs, attributes, 1)[0]
}

/// `y = F·x`, of as many elements of `x` as the transform has, or as many zeros behind it: `Fᴴ·g`, cut or filled up to the
/// extent of `x`; of a real `x`, its real part. What a transform to one side leaves out is no part of `y`: zeros there.
fn transform(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let rank = s.b.rank(x)?;
    let axis = match s.optional(2).filter(|_| s.b.opset() >= AXIS_AS_INPUT) {
        Some(axis) => {
            let known = s.b.fact(axis).integers().and_then(|list| list.first().copied());
            known.ok_or_else(|| s.b.undetermined(axis, "contents"))?
        }
        None => s.attributes().int_or("axis", if s.b.opset() >= AXIS_AS_INPUT { -2 } else { 1 }),
    };
    let axis =
        axis_within(axis, rank).ok_or_else(|| s.unsupported("the axis is outside of the rank".to_owned()))?;
    let (inverse, onesided) = (s.attributes().flag("inverse", false), s.attributes().flag("onesided", false));
    let parts = parts(s, x)?;
    let dtype = s.b.dtype(x)?;
    let extent = s.b.extent_number(x, axis as i64);
    let length = match s.optional(1) {
        Some(length) => {
            let length = s.b.cast(length, DataType::I64);
            let flat = s.b.list(&[]);
            s.b.reshape(length, flat)
        }
        None if inverse && onesided => {
            let (one, two) = (s.b.scalar(DataType::I64, 1.0), s.b.scalar(DataType::I64, 2.0));
            let fewer = s.b.sub(extent, one);
            s.b.mul(fewer, two)
        }
        None => extent,
    };
    let factor = s.b.cast(length, dtype);
    let turned = transformed(s, g, length, axis, [!inverse, false]);
    let mut gradient = match inverse {
        // The inverse has its factor already.
        true => s.b.div(turned, factor),
        false => s.b.mul(turned, factor),
    };
    if inverse && onesided {
        gradient = both_halves(s, gradient, length, axis)?;
    }
    if parts == 1 {
        gradient = s.b.slice(gradient, rank as i64 - 1, 0, 1);
    }
    if s.optional(1).is_some() || (inverse && onesided) {
        gradient = fitted(s, gradient, extent, axis)?;
    }
    if let Some(dims) = s.b.fact(x).shape.clone() {
        s.b.refine(gradient, &dims);
    }
    s.give(0, gradient);
    Ok(())
}

/// Of the gradient of a whole spectrum that of its first half, of which the second was made: twice as much, but of the
/// places that have no other half.
fn both_halves(s: &mut Scope<'_>, gradient: Val, length: Val, axis: usize) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(gradient)?;
    let (zero, one, two) =
        (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0), s.b.scalar(DataType::I64, 2.0));
    let half = s.b.div(length, two);
    let count = s.b.add(half, one);
    let count = s.b.unsqueeze(count, &[0]);
    let (begin, axes) = (s.b.list(&[0]), s.b.list(&[axis as i64]));
    let first = s.b.op("Slice", &[gradient, begin, count, axes], vec![]);
    let places = s.b.squeeze(count, &[0]);
    let places = s.b.op("Range", &[zero, places, one], vec![]);
    let twice = s.b.mul(places, two);
    let (is_first, is_middle) =
        (s.b.op("Equal", &[places, zero], vec![]), s.b.op("Equal", &[twice, length], vec![]));
    let alone = s.b.op("Or", &[is_first, is_middle], vec![]);
    let (once, double) = (s.b.scalar(dtype, 1.0), s.b.scalar(dtype, 2.0));
    let factor = s.b.op("Where", &[alone, once, double], vec![]);
    let behind: Vec<i64> = (1..(s.b.rank(gradient)? - axis) as i64).collect();
    let factor = s.b.unsqueeze(factor, &behind);
    Ok(s.b.mul(first, factor))
}

/// `val` cut, or with zeros behind, to `extent` places of an axis.
fn fitted(s: &mut Scope<'_>, val: Val, extent: Val, axis: usize) -> Result<Val, AutodiffError> {
    let rank = s.b.rank(val)?;
    let own = s.b.extent_number(val, axis as i64);
    let missing = s.b.sub(extent, own);
    let missing = s.b.unsqueeze(missing, &[0]);
    let mut pads = Vec::with_capacity(3);
    for count in [rank + axis, rank - axis - 1] {
        if count > 0 {
            pads.push(s.b.list(&vec![0; count]));
        }
    }
    pads.insert(1, missing);
    let pads = s.b.op("Concat", &pads, vec![int("axis", 0)]);
    Ok(s.b.op("Pad", &[val, pads], vec![]))
}

/// The signal and the window.
fn short_flow(index: usize) -> Flow {
    if index == 0 || index == 2 { Flow::Gradient } else { Flow::Stop }
}

/// The transforms of frames of a signal: cut out, weighed by the window and transformed, which is differentiated.
fn short(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, step) = (s.input(0)?, s.input(1)?);
    let real = s.b.rank(x)? == 2;
    let signal = if real { s.b.unsqueeze(x, &[2]) } else { x };
    let scalar = |s: &mut Scope<'_>, val: Val| {
        let val = s.b.cast(val, DataType::I64);
        let flat = s.b.list(&[]);
        s.b.reshape(val, flat)
    };
    let samples = s.b.extent_number(x, 1);
    let length = match (s.optional(3), s.optional(2)) {
        (Some(length), _) => scalar(s, length),
        (None, Some(window)) => s.b.extent_number(window, 0),
        (None, None) => samples,
    };
    let step = scalar(s, step);
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let room = s.b.sub(samples, length);
    let more = s.b.div(room, step);
    let count = s.b.add(more, one);
    let frames = s.b.op("Range", &[zero, count, one], vec![]);
    let begins = s.b.mul(frames, step);
    let begins = s.b.unsqueeze(begins, &[1]);
    let within = s.b.op("Range", &[zero, length, one], vec![]);
    let places = s.b.add(begins, within);
    let mut cut = s.b.op("Gather", &[signal, places], vec![int("axis", 1)]);
    if let Some(window) = s.optional(2) {
        let dtype = s.b.dtype(x)?;
        let window = s.b.cast(window, dtype);
        let window = s.b.unsqueeze(window, &[1]);
        cut = s.b.mul(cut, window);
    }
    let onesided = s.attributes().flag("onesided", true);
    let made = transformed(s, cut, length, 2, [false, onesided]);
    s.through(&[(0, made)])
}
