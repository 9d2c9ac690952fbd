//! Ops that move elements: the gradient moves back.

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::ints;
use crate::builder::Val;
use crate::facts::axis_within;

pub(super) const RULES: &[Rule] = &[
    Rule::all("Concat", concat),
    Rule { op: "Dropout", flow: dropout_flow, backward: dropout, nested: false },
    Rule::first("Expand", |s| {
        let g = s.upstream()?;
        s.give_broadcast(0, g)
    }),
    Rule::all("Flatten", restore),
    Rule::all("Identity", |s| s.unary(|_, g| Ok(g))),
    Rule::first("Reshape", restore),
    Rule::first("Squeeze", restore),
    Rule::all("Transpose", transpose),
    Rule::first("Unsqueeze", restore),
];

/// The same elements in another shape: `g` in the shape of the input.
fn restore(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let gradient = s.b.reshape_like(g, x);
    s.give(0, gradient);
    Ok(())
}

/// `g` with the axes back in their order: by the inverse permutation.
fn transpose(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let gradient = match s.attributes().ints("perm") {
        None => s.b.op("Transpose", &[g], vec![]),
        Some(perm) => {
            let mut inverse = vec![0; perm.len()];
            for (to, &from) in perm.iter().enumerate() {
                let from = axis_within(from, perm.len())
                    .ok_or_else(|| s.attributes().wrong("perm", format!("is {perm:?}, not a permutation")))?;
                inverse[from] = to;
            }
            s.b.transpose(g, &inverse)
        }
    };
    s.give(0, gradient);
    Ok(())
}

/// Each input gets its part of `g` along the axis.
fn concat(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let axis = s.attributes().int("axis").ok_or_else(|| s.attributes().wrong("axis", "is missing"))?;
    let mut start: Option<Val> = None;
    for index in 0..s.input_count() {
        let input = s.input(index)?;
        let extent = s.b.extent(input, axis);
        let begin = match start {
            Some(begin) => begin,
            None => s.b.list(&[0]),
        };
        let end = add_lists(s, begin, extent);
        if s.wants(index) {
            let part = slice(s, g, begin, end, axis)?;
            if let Some(dims) = s.b.fact(input).shape.clone() {
                s.b.refine(part, &dims);
            }
            s.give(index, part);
        }
        start = Some(end);
    }
    Ok(())
}

/// The sum of two lists of integers, computed here where both are known.
fn add_lists(s: &mut Scope<'_>, a: Val, b: Val) -> Val {
    let known = s.b.fact(a).integers().zip(s.b.fact(b).integers());
    let sums: Option<Vec<i64>> =
        known.and_then(|(a, b)| a.iter().zip(&b).map(|(a, b)| a.checked_add(*b)).collect());
    match sums {
        Some(sums) => s.b.list(&sums),
        None => s.b.add(a, b),
    }
}

/// The part of `val` from `begin` to `end` (lists of one) along an axis.
fn slice(s: &mut Scope<'_>, val: Val, begin: Val, end: Val, axis: i64) -> Result<Val, AutodiffError> {
    if s.b.opset() >= 10 {
        let axes = s.b.list(&[axis]);
        return Ok(s.b.op("Slice", &[val, begin, end, axes], vec![]));
    }
    let bounds = [begin, end].map(|list| {
        s.b.fact(list).integers().ok_or_else(|| s.b.undetermined(val, "shape (before operator set 10)"))
    });
    let [begin, end] = bounds;
    let attributes = vec![ints("axes", &[axis]), ints("starts", &begin?), ints("ends", &end?)];
    Ok(s.b.op("Slice", &[val], attributes))
}

fn dropout_flow(index: usize) -> Flow {
    if index == 0 { Flow::Gradient } else { Flow::Stop }
}

/// Inference: `g`. Training with ratio `p`: `g·mask/(1-p)`.
fn dropout(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let training = match s.optional(2) {
        None => false,
        Some(mode) => match s.b.fact(mode).uniform {
            Some(flag) => flag != 0.0,
            None => return Err(s.b.undetermined(mode, "contents (is it training?)")),
        },
    };
    if !training {
        s.give(0, g);
        return Ok(());
    }
    let dtype = s.b.dtype(g)?;
    let shape = s.b.fact(g).shape.clone();
    let mask = s.b.demand_output(s.index(), 1, crate::facts::Fact::new(Some(bb_ir::DataType::Bool), shape));
    let kept = match s.optional(1) {
        Some(ratio) => {
            let ratio = s.b.cast(ratio, dtype);
            let one = s.b.scalar(dtype, 1.0);
            s.b.sub(one, ratio)
        }
        None => s.b.scalar(dtype, 0.5),
    };
    let scaled = s.b.div(g, kept);
    let zero = s.b.scalar(dtype, 0.0);
    let gradient = s.b.op("Where", &[mask, scaled, zero], vec![]);
    s.give(0, gradient);
    Ok(())
}
