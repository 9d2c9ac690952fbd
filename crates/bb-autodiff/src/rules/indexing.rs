//! Ops that select elements by place: the gradient goes back to where each element came from.
//!
//! `g` is the gradient of the output `y`.

use bb_ir::DataType;
use bb_ir::onnx::AttributeProto;

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{int, small_tensor, string, tensor};
use crate::builder::Val;
use crate::facts::{Fact, axis_within, slice_extent};

pub(super) const RULES: &[Rule] = &[
    Rule::first("Gather", gather),
    Rule::first("GatherElements", gather_elements),
    Rule::first("GatherND", gather_nd),
    Rule { op: "OneHot", flow: one_hot_flow, backward: one_hot, nested: false },
    Rule { op: "Range", flow: range_flow, backward: range, nested: false },
    Rule::first("Slice", slice),
    Rule::first("Split", split),
    Rule::first("Tile", tile),
];

/// From it on there is `Range`.
pub(super) const RANGE: i64 = 11;

/// From it on, `ScatterElements` and `ScatterND` can add.
pub(super) const SCATTER_ADDS: i64 = 16;

pub(super) fn adding() -> AttributeProto {
    string("reduction", "add")
}

pub(super) fn require(s: &Scope<'_>, needed: i64) -> Result<(), AutodiffError> {
    let opset = s.b.opset();
    if opset < needed { Err(AutodiffError::Opset { needed, opset }) } else { Ok(()) }
}

/// `y = x[…, i, …]` along an axis: `g` is added to zeros at the indices.
///
/// Before operator set 16, where nothing scatters and adds, by a product with the indices as one-hot rows.
fn gather(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, indices) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let rank = s.b.rank(x)?;
    let axis = s.axis("axis", 0, rank)?;
    let moved = s.b.rank(indices)?;
    let mut to_front: Vec<usize> = (axis..axis + moved).collect();
    to_front.extend((0..axis).chain(axis + moved..rank - 1 + moved));
    let updates = s.b.transpose(g, &to_front);
    let mut order = vec![axis];
    order.extend((0..rank).filter(|&other| other != axis));
    let mut back = vec![0; rank];
    for (place, &own) in order.iter().enumerate() {
        back[own] = place;
    }
    let shape = permuted_shape(s, x, &order)?;
    let front = if s.b.opset() >= SCATTER_ADDS {
        let zeros = zeros(s, x, shape)?;
        let places = s.b.unsqueeze(indices, &[-1]);
        s.b.op("ScatterND", &[zeros, places, updates], vec![adding()])
    } else {
        let dtype = s.b.dtype(x)?;
        let depth = s.b.extent_number(x, axis as i64);
        let values = s.b.filled(dtype, &[2], &[0.0, 1.0]);
        let flat = s.b.list(&[-1]);
        let flat = s.b.reshape(indices, flat);
        let hot = s.b.op("OneHot", &[flat, depth, values], vec![int("axis", -1)]);
        let count = s.b.op("Shape", &[flat], vec![]);
        let free = s.b.list(&[-1]);
        let rows = s.b.op("Concat", &[count, free], vec![int("axis", 0)]);
        let rows = s.b.reshape(updates, rows);
        let sum = s.b.gemm(hot, rows, true, false)?;
        s.b.reshape_to(sum, shape)
    };
    let gradient = s.b.transpose(front, &back);
    s.give(0, gradient);
    Ok(())
}

/// The extents of `x` in the order `perm`.
fn permuted_shape(s: &mut Scope<'_>, x: Val, perm: &[usize]) -> Result<Val, AutodiffError> {
    if let Some(extents) = s.b.fact(x).extents() {
        let extents: Vec<i64> = perm.iter().map(|&axis| extents[axis] as i64).collect();
        return Ok(s.b.list(&extents));
    }
    let shape = s.b.shape(x);
    let perm: Vec<i64> = perm.iter().map(|&axis| axis as i64).collect();
    let order = s.b.list(&perm);
    Ok(s.b.op("Gather", &[shape, order], vec![int("axis", 0)]))
}

/// Zeros of the element type of `like` in the shape that `shape` lists.
pub(super) fn zeros(s: &mut Scope<'_>, like: Val, shape: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(like)?;
    Ok(match small_tensor(dtype, &[1], &[0.0]) {
        Some(zero) => s.b.op("ConstantOfShape", &[shape], vec![tensor("value", zero)]),
        None => {
            let zero = s.b.scalar(dtype, 0.0);
            s.b.op("Expand", &[zero, shape], vec![])
        }
    })
}

/// `y[i] = x[index[i], …]` along an axis: `g` is added to zeros at the indices.
///
/// Before operator set 16 each index is a one-hot row, times `g` and summed along the axis.
fn gather_elements(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, indices) = (s.upstream()?, s.input(0)?, s.input(1)?);
    if s.b.opset() >= SCATTER_ADDS {
        let zeros = s.b.full_like(x, 0.0)?;
        let axis = int("axis", s.attributes().int_or("axis", 0));
        let gradient = s.b.op("ScatterElements", &[zeros, indices, g], vec![axis, adding()]);
        s.give(0, gradient);
        return Ok(());
    }
    let (rank, dtype) = (s.b.rank(x)?, s.b.dtype(x)?);
    let axis = s.axis("axis", 0, rank)?;
    let depth = s.b.extent_number(x, axis as i64);
    let values = s.b.filled(dtype, &[2], &[0.0, 1.0]);
    // The places stand behind the axis along which the indices are.
    let hot = s.b.op("OneHot", &[indices, depth, values], vec![int("axis", axis as i64 + 1)]);
    let wide = s.b.unsqueeze(g, &[axis as i64 + 1]);
    let product = s.b.mul(hot, wide);
    let sum = s.b.reduce_sum(product, &[axis as i64], false);
    // Along the other axes the indices may end before `x` does.
    let (whole, part) = (s.b.op("Shape", &[x], vec![]), s.b.op("Shape", &[sum], vec![]));
    let after = s.b.sub(whole, part);
    let before = s.b.list(&vec![0; rank]);
    let pads = s.b.op("Concat", &[before, after], vec![int("axis", 0)]);
    let gradient = s.b.op("Pad", &[sum, pads], vec![]);
    if let Some(dims) = s.b.fact(x).shape.clone() {
        s.b.refine(gradient, &dims);
    }
    s.give(0, gradient);
    Ok(())
}

/// `y[i] = x[index[i]]`, an index being a row of places: `g` is added to zeros at the indices.
fn gather_nd(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, indices) = (s.upstream()?, s.input(0)?, s.input(1)?);
    if s.b.opset() < SCATTER_ADDS || s.attributes().int_or("batch_dims", 0) != 0 {
        return move_back(s);
    }
    let zeros = s.b.full_like(x, 0.0)?;
    let gradient = s.b.op("ScatterND", &[zeros, indices, g], vec![adding()]);
    s.give(0, gradient);
    Ok(())
}

/// The two numbers.
fn one_hot_flow(index: usize) -> Flow {
    if index == 2 { Flow::Asked } else { Flow::Stop }
}

/// `y = off` but `on` at the indices: each gets the sum of `g` where it stands.
fn one_hot(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, indices, depth, values) = (s.upstream()?, s.input(0)?, s.input(1)?, s.input(2)?);
    let dtype = s.b.dtype(values)?;
    let numbers = s.b.filled(dtype, &[2], &[0.0, 1.0]);
    let hot = s.b.op("OneHot", &[indices, depth, numbers], s.all_attributes());
    let at_hot = s.b.mul(g, hot);
    let (all, on) = (s.b.reduce_sum_all(g), s.b.reduce_sum_all(at_hot));
    let off = s.b.sub(all, on);
    let (off, on) = (s.b.unsqueeze(off, &[0]), s.b.unsqueeze(on, &[0]));
    let gradient = s.b.op("Concat", &[off, on], vec![int("axis", 0)]);
    s.give(2, gradient);
    Ok(())
}

/// First number and step; the limit decides no more than how many there are.
fn range_flow(index: usize) -> Flow {
    if index == 1 { Flow::Stop } else { Flow::Asked }
}

/// `y = start + i·step`: the start gets the sum of `g`, the step that of `g·i`.
fn range(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, y) = (s.upstream()?, s.output(0)?);
    let dtype = s.b.dtype(s.input(0)?)?;
    if s.wants(0) {
        let gradient = s.b.reduce_sum_all(g);
        s.give(0, gradient);
    }
    if s.wants(2) {
        let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
        let count = s.b.size(y, DataType::I64);
        let places = s.b.op("Range", &[zero, count, one], vec![]);
        let places = s.b.cast(places, dtype);
        let weighted = s.b.mul(g, places);
        let gradient = s.b.reduce_sum_all(weighted);
        s.give(2, gradient);
    }
    Ok(())
}

/// A part of `x`: `g` between zeros. Steps of one within known extents by concatenation, all else by [`move_back`].
fn slice(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let x = s.input(0)?;
    let Some((extents, parts)) = s.b.fact(x).extents().zip(slice_parts(s, x)) else { return move_back(s) };
    let mut gradient = s.upstream()?;
    let shape = s.b.fact(s.output(0)?).extents().filter(|shape| shape.len() == extents.len());
    let Some(mut shape) = shape else { return move_back(s) };
    for (axis, first, count) in parts {
        let after = extents[axis] - first - count;
        let mut pieces = Vec::with_capacity(3);
        for (extent, is_part) in [(first, false), (count, true), (after, false)] {
            if is_part {
                pieces.push(gradient);
            } else if extent > 0 {
                let mut block: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
                block[axis] = extent as i64;
                let block = s.b.list(&block);
                pieces.push(zeros(s, x, block)?);
            }
        }
        shape[axis] = extents[axis];
        if pieces.len() > 1 {
            gradient = s.b.op("Concat", &pieces, vec![int("axis", axis as i64)]);
        }
    }
    s.give(0, gradient);
    Ok(())
}

/// Axis, first index and number of elements of every part of a slice, if all are known and taken one by one.
fn slice_parts(s: &Scope<'_>, x: Val) -> Option<Vec<(usize, usize, usize)>> {
    let extents = s.b.fact(x).extents()?;
    s.b.fact(s.output(0).ok()?).extents()?;
    let (starts, ends) = (s.list("starts", 1).ok()??, s.list("ends", 2).ok()??);
    let axes = s.list("axes", 3).ok()?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = s.list("steps", 4).ok()?.unwrap_or_else(|| vec![1; starts.len()]);
    if steps.iter().any(|&step| step != 1) || axes.len() != starts.len() || ends.len() != starts.len() {
        return None;
    }
    let parts = axes.iter().zip(starts.iter().zip(&ends));
    parts
        .map(|(&axis, (&start, &end))| {
            let axis = axis_within(axis, extents.len())?;
            let (first, count) = slice_extent(extents[axis], start, end, 1);
            Some((axis, first.min(extents[axis]), count))
        })
        .collect()
}

/// The parts of `x` along an axis: their gradients one after the other, zeros for those that nothing depends on.
fn split(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let axis = s.attributes().int_or("axis", 0);
    let mut parts = Vec::new();
    for index in 0..s.output_count() {
        let part = match s.upstream_of(index) {
            Some(g) => g,
            None => {
                let output = s.output(index)?;
                s.b.full_like(output, 0.0)?
            }
        };
        parts.push(part);
    }
    let gradient =
        if parts.len() == 1 { parts[0] } else { s.b.op("Concat", &parts, vec![int("axis", axis)]) };
    s.give(0, gradient);
    Ok(())
}

/// `x` several times along each axis: the sum over the times.
fn tile(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let repeats = s.list("repeats", 1).ok().flatten();
    let (Some(extents), Some(repeats)) = (s.b.fact(x).extents(), repeats) else { return move_back(s) };
    let mut split: Vec<i64> = Vec::with_capacity(extents.len() * 2);
    for (&extent, &times) in extents.iter().zip(&repeats) {
        split.extend([times, extent as i64]);
    }
    if split.contains(&0) {
        return move_back(s);
    }
    let shape = s.b.list(&split);
    let apart = s.b.reshape(g, shape);
    let axes: Vec<i64> = (0..extents.len() as i64).map(|axis| 2 * axis).collect();
    let gradient = s.b.reduce_sum(apart, &axes, false);
    s.give(0, gradient);
    Ok(())
}

/// The gradient of any op that puts elements of its first input elsewhere, each maybe several times: the places of the
/// input's elements, as numbers, go through the op itself, and say to where each element of `g` is added.
pub(super) fn move_back(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    require(s, RANGE)?;
    let (g, x) = (s.upstream()?, s.input(0)?);
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let size = s.b.size(x, DataType::I64);
    let range = s.b.op("Range", &[zero, size, one], vec![]);
    let shape = s.b.shape(x);
    let places = s.b.reshape_to(range, shape);
    if let Some(dims) = s.b.fact(x).shape.clone() {
        s.b.learn(places, &Fact::new(Some(DataType::I64), Some(dims)));
    }
    let mut inputs: Vec<Option<Val>> = (0..s.input_count()).map(|index| s.optional(index)).collect();
    inputs[0] = Some(places);
    let moved = s.b.emit(s.op_type(), &inputs, s.all_attributes(), s.output_count())[0];
    let count = s.b.op("Shape", &[range], vec![]);
    let sum = added_at(s, x, count, moved, g)?;
    let gradient = s.b.reshape_to(sum, shape);
    s.give(0, gradient);
    Ok(())
}

/// A list of `count` zeros (a list of one) of the type of `x`, to which the elements of `updates` are added at those of
/// `targets`.
///
/// Before operator set 16 by a product with the targets as one-hot rows.
pub(super) fn added_at(
    s: &mut Scope<'_>,
    x: Val,
    count: Val,
    targets: Val,
    updates: Val,
) -> Result<Val, AutodiffError> {
    let flat = s.b.list(&[-1]);
    let targets = s.b.reshape(targets, flat);
    if s.b.opset() >= SCATTER_ADDS {
        let updates = s.b.reshape(updates, flat);
        let zeros = zeros(s, x, count)?;
        return Ok(s.b.op("ScatterElements", &[zeros, targets, updates], vec![int("axis", 0), adding()]));
    }
    let dtype = s.b.dtype(x)?;
    let (depth, values) = (s.b.squeeze(count, &[0]), s.b.filled(dtype, &[2], &[0.0, 1.0]));
    let hot = s.b.op("OneHot", &[targets, depth, values], vec![int("axis", -1)]);
    let row = s.b.list(&[1, -1]);
    let row = s.b.reshape(updates, row);
    let sum = s.b.op("MatMul", &[row, hot], vec![]);
    Ok(s.b.reshape(sum, flat))
}
