//! Ops that take elements elsewhere as a whole: padding, blocks, order, running sums.
//!
//! `g` is the gradient of the output `y`.

use bb_ir::{DataType, Dim};

use super::indexing::move_back;
use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{graph, int, ints, string};
use crate::builder::Val;
use crate::facts::{Fact, axis_within};

pub(super) const RULES: &[Rule] = &[
    Rule::first("CenterCropPad", crop),
    Rule::first("Compress", move_back),
    Rule::first("CumProd", running_product),
    Rule::first("CumSum", running_sum),
    Rule::first("DepthToSpace", to_space),
    Rule { op: "Pad", flow: pad_flow, backward: pad, nested: false },
    Rule::first("ReverseSequence", again),
    Rule::first("SpaceToDepth", to_depth),
    Rule::first("TopK", top),
    Rule::first("Trilu", again),
    Rule::first("Unique", unique),
];

/// Some places of each axis, from the middle: as the op does it with `g`, to the extents of `x`. An odd number of places
/// to be cut or added has its odd one at the end both ways.
fn crop(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let mut shape = s.b.shape(x);
    if let Some(axes) = s.attributes().ints("axes") {
        let axes = s.b.list(axes);
        shape = s.b.op("Gather", &[shape, axes], vec![int("axis", 0)]);
    }
    let gradient = s.b.op("CenterCropPad", &[g, shape], s.all_attributes());
    s.give(0, gradient);
    Ok(())
}

/// Ops that are their own transpose: the op itself on `g`.
fn again(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let mut inputs: Vec<Option<Val>> = (0..s.input_count()).map(|index| s.optional(index)).collect();
    inputs[0] = Some(g);
    let gradient = s.b.emit(s.op_type(), &inputs, s.all_attributes(), 1)[0];
    s.give(0, gradient);
    Ok(())
}

/// `y` = sums of `x` up to each place: sums of `g` from each place on.
fn running_sum(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, axis) = (s.upstream()?, s.input(1)?);
    let exclusive = i64::from(s.attributes().flag("exclusive", false));
    let reverse = i64::from(!s.attributes().flag("reverse", false));
    let gradient = s.b.op("CumSum", &[g, axis], vec![int("exclusive", exclusive), int("reverse", reverse)]);
    s.give(0, gradient);
    Ok(())
}

/// `y` = products of `x` up to each place: as the loop that multiplies, whose gradient holds where an element is zero.
fn running_product(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, axis) = (s.input(0)?, s.input(1)?);
    let dtype = s.b.dtype(x)?;
    let rank = s.b.rank(x)?;
    let known = s.b.fact(axis).integers().and_then(|list| list.first().copied());
    let axis = known.ok_or_else(|| s.b.undetermined(axis, "contents"))?;
    let axis =
        axis_within(axis, rank).ok_or_else(|| s.unsupported("the axis is outside of the rank".to_owned()))?;
    let whole = s.b.fact(x).shape.clone();
    let slice = whole.clone().map(|mut dims| {
        dims.remove(axis);
        dims
    });
    let mut inner = s.b.nested("Scan");
    let product = inner.accept(Fact::new(Some(dtype), slice.clone()));
    let element = inner.accept(Fact::new(Some(dtype), slice.clone()));
    let next = inner.op("Mul", &[product, element], vec![]);
    let put_out = if s.attributes().flag("exclusive", false) { product } else { next };
    let body = inner.enclose(&[], &[product, element], &[next, put_out]);
    let kept: Vec<i64> = (0..rank as i64).filter(|&other| other != axis as i64).collect();
    let shape = s.b.shape(x);
    let kept = s.b.list(&kept);
    let shape = s.b.op("Gather", &[shape, kept], vec![int("axis", 0)]);
    let one = s.b.scalar(dtype, 1.0);
    let ones = s.b.op("Expand", &[one, shape], vec![]);
    let direction = i64::from(s.attributes().flag("reverse", false));
    let attributes = vec![
        graph("body", body),
        int("num_scan_inputs", 1),
        ints("scan_input_axes", &[axis as i64]),
        ints("scan_input_directions", &[direction]),
        ints("scan_output_axes", &[axis as i64]),
        ints("scan_output_directions", &[direction]),
    ];
    let facts = vec![Fact::new(Some(dtype), slice), Fact::new(Some(dtype), whole)];
    let made = s.b.emit_nested("Scan", &[Some(ones), Some(x)], attributes, facts)[1];
    s.through(&[(0, made)])
}

/// Channels become places: the inverse, or, where the channels come first in a block, each element back.
fn to_space(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.attributes().text("mode").unwrap_or("DCR") != "DCR" {
        return move_back(s);
    }
    let g = s.upstream()?;
    let gradient =
        s.b.op("SpaceToDepth", &[g], vec![int("blocksize", s.attributes().int_or("blocksize", 1))]);
    s.give(0, gradient);
    Ok(())
}

/// Places become channels: the inverse.
fn to_depth(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let mut attributes = vec![int("blocksize", s.attributes().int_or("blocksize", 1))];
    if s.b.opset() >= 11 {
        attributes.push(string("mode", s.attributes().text("mode").unwrap_or("DCR")));
    }
    let gradient = s.b.op("DepthToSpace", &[g], attributes);
    s.give(0, gradient);
    Ok(())
}

fn pad_flow(index: usize) -> Flow {
    match index {
        0 => Flow::Gradient,
        2 => Flow::Asked,
        _ => Flow::Stop,
    }
}

/// `y = x` with something around: `g` without what is around. The number that is put around gets the rest's sum.
fn pad(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.attributes().text("mode").unwrap_or("constant") != "constant" {
        return move_back(s);
    }
    let g = s.upstream()?;
    let gradient = match s.attributes().ints("pads") {
        Some(pads) => {
            let pads: Vec<i64> = pads.iter().map(|places| places.saturating_neg()).collect();
            s.b.op("Pad", &[g], vec![ints("pads", &pads)])
        }
        None => {
            let pads = s.input(1)?;
            let pads = match s.b.fact(pads).integers() {
                Some(pads) => {
                    s.b.list(&pads.iter().map(|places| places.saturating_neg()).collect::<Vec<i64>>())
                }
                None => s.b.neg(pads),
            };
            let mut inputs = vec![Some(g), Some(pads)];
            if let Some(axes) = s.optional(3) {
                inputs.extend([None, Some(axes)]);
            }
            s.b.emit("Pad", &inputs, vec![], 1)[0]
        }
    };
    s.give(0, gradient);
    if s.wants(2) {
        let (all, inside) = (s.b.reduce_sum_all(g), s.b.reduce_sum_all(gradient));
        let around = s.b.sub(all, inside);
        let number = s.input(2)?;
        let around = s.b.reshape_like(around, number);
        s.give(2, around);
    }
    Ok(())
}

/// The largest along an axis: `g` instead of zeros where they stood, which the op's second output says.
fn top(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let shape = s.b.fact(s.output(0)?).shape.clone();
    let indices = s.b.demand_output(s.index(), 1, Fact::new(Some(DataType::I64), shape));
    let zeros = s.b.full_like(x, 0.0)?;
    let axis = s.axis("axis", -1, s.b.rank(x)?)?;
    let scatter = if s.b.opset() < 11 { "Scatter" } else { "ScatterElements" };
    let gradient = s.b.op(scatter, &[zeros, indices, g], vec![int("axis", axis as i64)]);
    s.give(0, gradient);
    Ok(())
}

/// The distinct elements (or slices along an axis): each is its first occurrence, which the op's second output says.
fn unique(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let x = s.input(0)?;
    let fact = Fact::new(Some(DataType::I64), Some(vec![Dim::Any]));
    let places = s.b.demand_output(s.index(), 1, fact);
    let (from, axis) = match s.attributes().int("axis") {
        Some(axis) => (x, axis),
        None => {
            let flat = s.b.list(&[-1]);
            (s.b.reshape(x, flat), 0)
        }
    };
    let made = s.b.op("Gather", &[from, places], vec![int("axis", axis)]);
    s.through(&[(0, made)])
}
