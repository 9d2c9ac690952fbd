//! What moves elements without changing them: shapes, transposition, slices, joins.

use bb_runtime::{Shape, Tensor};
use smallvec::SmallVec;

use super::types::{by_width, raw, raw_mut};
use super::{Entry, Kernel, op};
use crate::compound::Kind;
use crate::fault::{Fault, Outcome};
use crate::io::{In, Io};
use crate::node::NodeDef;
use crate::shape::{self, Axes, Walk};

pub(super) const OPS: &[Entry] = &[
    op("Concat", 4, concat),
    op("Dropout", 7, |_| Ok(dropout())),
    op("Expand", 8, |_| Ok(expand())),
    op("Flatten", 1, flatten),
    op("Identity", 1, |node| Ok(pass(node, node.kind(0)))),
    op("Reshape", 5, reshape),
    op("Slice", 1, slice_by_attributes),
    op("Slice", 10, |_| Ok(slice())),
    op("Split", 2, split),
    op("Squeeze", 1, squeeze),
    op("Tile", 6, |_| Ok(tile())),
    op("Transpose", 1, transpose),
    op("Unsqueeze", 1, unsqueeze),
];

/// The input with another shape: the same memory if it dies here, a copy otherwise.
fn emit_reshaped(io: &mut Io<'_, '_>, input: In<'_>, shape: Shape) -> Outcome {
    let result = match input {
        In::Owned(tensor) => Tensor::from_buffer(tensor.dtype(), shape, tensor.into_buffer())?,
        In::Borrowed(tensor) => {
            let mut result = io.alloc(tensor.dtype(), &shape)?;
            let to = result.buffer_mut().make_mut();
            if to.len() != tensor.as_bytes().len() {
                return Err(Fault::shape(format!(
                    "{} elements do not fill shape {shape}",
                    tensor.element_count()
                )));
            }
            to.copy_from_slice(tensor.as_bytes());
            result
        }
    };
    io.emit(0, result);
    Ok(())
}

/// Hands its first input on, which is, or becomes, of this kind.
pub(super) fn pass(node: &NodeDef<'_>, kind: Kind) -> Kernel {
    if node.kind(0) != Kind::Tensor {
        let run = Kernel::new(|io| {
            let value = io.take_compound(0)?;
            io.emit_compound(0, value);
            Ok(())
        });
        return run.gives([kind]);
    }
    Kernel::new(|io| {
        let input = io.take(0)?;
        let shape = input.shape().clone();
        emit_reshaped(io, input, shape)
    })
    .in_place()
}

/// As in inference: nothing is dropped.
fn dropout() -> Kernel {
    Kernel::new(|io| {
        if let Some(training) = io.peek(2) {
            let dropping = io.peek(1).map_or(Ok(0.5), super::elementwise::scalar)?;
            if training.as_bytes().first().is_some_and(|&on| on != 0) && dropping != 0.0 {
                return Err(Fault::Unsupported("training_mode".to_owned()));
            }
        }
        let input = io.take(0)?;
        let shape = input.shape().clone();
        if io.wants(1) {
            let mut mask = io.alloc(bb_runtime::DataType::Bool, &shape)?;
            mask.buffer_mut().make_mut().fill(1);
            io.emit(1, mask);
        }
        emit_reshaped(io, input, shape)
    })
    .in_place()
}

fn reshape(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let zero_is_zero = node.flag("allowzero");
    Ok(Kernel::new(move |io| {
        let wanted = io.take_ints(1)?;
        let input = io.take(0)?;
        let mut extents: SmallVec<[usize; 6]> = SmallVec::new();
        let mut open = None;
        for (place, &value) in wanted.iter().enumerate() {
            extents.push(match value {
                -1 if open.is_none() => {
                    open = Some(place);
                    1
                }
                0 if !zero_is_zero => *input.shape().get(place).ok_or_else(|| {
                    Fault::shape(format!(
                        "extent {place} is 0, which copies it, but the input has no such axis"
                    ))
                })?,
                value => shape::extent(value)?,
            });
        }
        if let Some(place) = open {
            let rest = shape::count(&extents)?;
            let count = input.element_count();
            if rest == 0 || !count.is_multiple_of(rest) {
                return Err(Fault::shape(format!("{count} elements do not fill shape {wanted:?}")));
            }
            extents[place] = count / rest;
        }
        emit_reshaped(io, input, Shape::new(&extents))
    })
    .in_place())
}

fn flatten(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 1);
    Ok(Kernel::new(move |io| {
        let input = io.take(0)?;
        let extents = input.shape();
        let rank = extents.rank();
        let axis = if axis == rank as i64 { rank } else { shape::axis(axis, rank)? };
        let shape = Shape::from([shape::count(&extents[..axis])?, shape::count(&extents[axis..])?]);
        emit_reshaped(io, input, shape)
    })
    .in_place())
}

/// Axes are an attribute before version 13 and an input from then on.
fn axes_of(node: &NodeDef<'_>) -> Option<Vec<i64>> {
    if node.opset < 13 { node.ints("axes").map(<[i64]>::to_vec) } else { None }
}

fn squeeze(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let fixed = axes_of(node);
    Ok(Kernel::new(move |io| {
        let given = match (&fixed, io.peek(1)) {
            (Some(axes), _) => Some(SmallVec::from_slice(axes)),
            (None, Some(axes)) => Some(crate::io::read_ints(axes)?),
            (None, None) => None,
        };
        let input = io.take(0)?;
        let extents = input.shape();
        let axes = match given {
            Some(axes) => shape::axes(&axes, extents.rank())?,
            None => (0..extents.rank()).filter(|&axis| extents[axis] == 1).collect(),
        };
        if let Some(&axis) = axes.iter().find(|&&axis| extents[axis] != 1) {
            return Err(Fault::shape(format!("axis {axis} has extent {}, not 1", extents[axis])));
        }
        let shape =
            extents.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &extent)| extent);
        let shape: Shape = shape.collect();
        emit_reshaped(io, input, shape)
    })
    .in_place())
}

fn unsqueeze(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let fixed = axes_of(node);
    Ok(Kernel::new(move |io| {
        let given = match &fixed {
            Some(axes) => SmallVec::from_slice(axes),
            None => io.take_ints(1)?,
        };
        let input = io.take(0)?;
        let extents = input.shape();
        let rank = extents.rank() + given.len();
        let axes = shape::axes(&given, rank)?;
        let mut rest = extents.iter();
        let shape: Shape = (0..rank)
            .map(|axis| if axes.contains(&axis) { 1 } else { rest.next().copied().unwrap_or(1) })
            .collect();
        emit_reshaped(io, input, shape)
    })
    .in_place())
}

/// Copies `from`, read at `start` with `strides`, into all of `to`.
pub(crate) fn gather_strided<T: Copy>(
    from: &[T],
    start: usize,
    strides: &[usize],
    to: &mut [T],
    extents: &[usize],
) {
    let walk = Walk::new(extents, [&shape::strides(extents), strides]);
    let count = walk.inner();
    match walk.inner_strides() {
        [_, 1] => {
            walk.rows(&mut |[o, i]| to[o..o + count].copy_from_slice(&from[start + i..start + i + count]))
        }
        [_, 0] => walk.rows(&mut |[o, i]| to[o..o + count].fill(from[start + i])),
        _ => walk.each(|[o, i]| to[o] = from[start + i]),
    }
}

fn transpose(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let order = node.ints("perm").map(<[i64]>::to_vec);
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let result = permute(io, input, order.as_deref())?;
        io.emit(0, result);
        Ok(())
    }))
}

/// The tensor with its axes in another order; reversed without one.
pub(crate) fn permute(io: &mut Io<'_, '_>, input: &Tensor, order: Option<&[i64]>) -> Outcome<Tensor> {
    let rank = input.shape().rank();
    let order: Axes = match order {
        Some(order) if order.len() == rank => shape::axes(order, rank)?,
        Some(order) => return Err(Fault::shape(format!("perm {order:?} does not name every axis once"))),
        None => (0..rank).rev().collect(),
    };
    let own = shape::strides(input.shape());
    let extents: Shape = order.iter().map(|&axis| input.shape()[axis]).collect();
    let strides: Axes = order.iter().map(|&axis| own[axis]).collect();
    let mut result = io.alloc(input.dtype(), &extents)?;
    by_width!(input.dtype(), T => {
        let (from, to) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?);
        match *extents {
            [rows, columns] if strides[..] == [1, rows] && rows > 1 && columns > 1 => turn(from, to, rows, columns),
            _ => gather_strided(from, 0, &strides, to, &extents),
        }
        Ok(())
    })?;
    Ok(result)
}

/// Transposes a matrix of `columns` rows and `rows` columns, in blocks that stay in cache.
fn turn<T: Copy>(from: &[T], to: &mut [T], rows: usize, columns: usize) {
    const BLOCK: usize = 16;
    for first_row in (0..rows).step_by(BLOCK) {
        for first in (0..columns).step_by(BLOCK) {
            for row in first_row..rows.min(first_row + BLOCK) {
                let last = columns.min(first + BLOCK);
                for (column, to) in (first..last).zip(&mut to[row * columns + first..row * columns + last]) {
                    *to = from[column * rows + row];
                }
            }
        }
    }
}

fn expand() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        let wanted: Shape = io.ints(1)?.iter().map(|&value| shape::extent(value)).collect::<Outcome<_>>()?;
        let extents = shape::broadcast(input.shape(), &wanted)?;
        let strides = shape::broadcast_strides(input.shape(), &extents)?;
        let mut result = io.alloc(input.dtype(), &extents)?;
        by_width!(input.dtype(), T => {
            gather_strided(raw::<T>(input)?, 0, &strides, raw_mut::<T>(&mut result)?, &extents);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
}

fn tile() -> Kernel {
    Kernel::new(|io| {
        let (input, repeats) = (io.input(0)?, io.ints(1)?);
        let own = input.shape();
        if repeats.len() != own.rank() {
            return Err(Fault::shape(format!("{} repeats for {} axes", repeats.len(), own.rank())));
        }
        // Seen as (repeat, extent) pairs, tiling is broadcasting.
        let mut pairs = Axes::new();
        let mut strides = Axes::new();
        let mut extents = Axes::new();
        for ((&repeat, &extent), &stride) in repeats.iter().zip(own.iter()).zip(&shape::strides(own)) {
            let repeat = shape::extent(repeat)?;
            pairs.extend([repeat, extent]);
            strides.extend([0, stride]);
            extents.push(
                repeat.checked_mul(extent).ok_or_else(|| Fault::shape("the result is larger than memory"))?,
            );
        }
        let mut result = io.alloc(input.dtype(), &Shape::new(&extents))?;
        by_width!(input.dtype(), T => {
            gather_strided(raw::<T>(input)?, 0, &strides, raw_mut::<T>(&mut result)?, &pairs);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
}

fn concat(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int("axis").ok_or_else(|| Fault::attribute("axis", "is missing"))?;
    Ok(Kernel::new(move |io| {
        let parts = (0..io.input_count()).map(|index| io.input(index));
        let parts = parts.collect::<Outcome<SmallVec<[&Tensor; 8]>>>()?;
        let axis = shape::axis(axis, io.input(0)?.shape().rank())?;
        let result = join(io, &parts, axis)?;
        io.emit(0, result);
        Ok(())
    }))
}

/// Tensors one after the other along an axis that all of them have.
pub(super) fn join(io: &mut Io<'_, '_>, parts: &[&Tensor], axis: usize) -> Outcome<Tensor> {
    let Some(first) = parts.first() else { return Err(Fault::shape("there is nothing to concatenate")) };
    let mut extents = first.shape().to_vec();
    extents[axis] = 0;
    for part in parts {
        if part.dtype() != first.dtype() {
            return Err(Fault::Type(part.dtype()));
        }
        let fits = part.shape().rank() == extents.len()
            && (0..extents.len()).all(|other| other == axis || part.shape()[other] == extents[other]);
        if !fits {
            return Err(Fault::shape(format!("shapes differ off axis {axis}")));
        }
        extents[axis] = extents[axis]
            .checked_add(part.shape()[axis])
            .ok_or_else(|| Fault::shape("the result is larger than memory"))?;
    }
    let outer = shape::count(&extents[..axis])?;
    io.charge([outer, parts.len(), 4])?;
    let mut result = io.alloc(first.dtype(), &Shape::from(extents))?;
    let to = result.buffer_mut().make_mut();
    let mut at = 0;
    for block in 0..outer {
        for part in parts {
            let bytes = part.as_bytes();
            let length = bytes.len() / outer;
            to[at..at + length].copy_from_slice(&bytes[block * length..(block + 1) * length]);
            at += length;
        }
    }
    Ok(result)
}

fn split(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 0);
    let fixed = if node.opset < 13 { node.ints("split").map(<[i64]>::to_vec) } else { None };
    let part_count = node.output_count();
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let axis = shape::axis(axis, input.shape().rank())?;
        let extent = input.shape()[axis];
        let lengths: Axes = match (&fixed, io.optional_ints(1)?) {
            (Some(lengths), _) => {
                lengths.iter().map(|&length| shape::extent(length)).collect::<Outcome<_>>()?
            }
            (None, Some(lengths)) => {
                lengths.iter().map(|&length| shape::extent(length)).collect::<Outcome<_>>()?
            }
            (None, None) => {
                let length = extent.div_ceil(part_count.max(1));
                (0..part_count).map(|part| length.min(extent.saturating_sub(part * length))).collect()
            }
        };
        io.charge([shape::count(&input.shape()[..axis])?, part_count])?;
        let total = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if lengths.len() != part_count || total != Some(extent) {
            return Err(Fault::shape(format!("parts {lengths:?} of axis {axis} into {part_count} outputs")));
        }
        let outer = shape::count(&input.shape()[..axis])?;
        let row = input.as_bytes().len().checked_div(outer).unwrap_or(0);
        let unit = row.checked_div(extent).unwrap_or(0);
        let mut first = 0;
        for (part, &length) in lengths.iter().enumerate() {
            let mut extents = input.shape().to_vec();
            extents[axis] = length;
            let mut result = io.alloc(input.dtype(), &Shape::from(extents))?;
            let to = result.buffer_mut().make_mut();
            if length * unit > 0 {
                for (block, to) in to.chunks_exact_mut(length * unit).enumerate() {
                    let at = block * row + first * unit;
                    to.copy_from_slice(&input.as_bytes()[at..at + length * unit]);
                }
            }
            first += length;
            io.emit(part, result);
        }
        Ok(())
    }))
}

fn slice_by_attributes(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let starts = node.ints("starts").unwrap_or_default().to_vec();
    let ends = node.ints("ends").unwrap_or_default().to_vec();
    let axes = node.ints("axes").map(<[i64]>::to_vec);
    Ok(Kernel::new(move |io| cut(io, &starts, &ends, axes.as_deref(), None)).reads_little())
}

fn slice() -> Kernel {
    Kernel::new(|io| {
        let (starts, ends) = (io.ints(1)?, io.ints(2)?);
        let (axes, steps) = (io.optional_ints(3)?, io.optional_ints(4)?);
        cut(io, &starts, &ends, axes.as_deref(), steps.as_deref())
    })
    .reads_little()
}

fn cut(
    io: &mut Io<'_, '_>,
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Outcome {
    let input = io.input(0)?;
    let rank = input.shape().rank();
    let axes = match axes {
        Some(axes) => shape::axes(axes, rank)?,
        None => (0..starts.len()).collect(),
    };
    let count = axes.len();
    if starts.len() != count
        || ends.len() != count
        || steps.is_some_and(|steps| steps.len() != count)
        || count > rank
    {
        return Err(Fault::shape("starts, ends, axes and steps differ in length"));
    }
    let own = shape::strides(input.shape());
    let mut extents = input.shape().to_vec();
    let mut first = 0_i64;
    let mut signed: SmallVec<[i64; 6]> = own.iter().map(|&stride| stride as i64).collect();
    for (place, &axis) in axes.iter().enumerate() {
        let step = steps.map_or(1, |steps| steps[place]);
        if step == 0 {
            return Err(Fault::shape("a step is 0"));
        }
        let extent = extents[axis] as i64;
        let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
        let (start, end) = if step > 0 {
            (from_end(starts[place]).clamp(0, extent), from_end(ends[place]).clamp(0, extent))
        } else {
            let end = from_end(ends[place]).clamp(-1, extent - 1);
            (from_end(starts[place]).clamp(-1, extent - 1), end)
        };
        let span = if step > 0 { end - start } else { start - end };
        let length = if span <= 0 { 0 } else { (span - 1) / step.saturating_abs() + 1 };
        extents[axis] = shape::extent(length)?;
        first += start.max(0) * own[axis] as i64;
        signed[axis] = signed[axis].saturating_mul(step);
    }
    let extents = Shape::from(extents);
    let mut result = io.alloc(input.dtype(), &extents)?;
    by_width!(input.dtype(), T => {
        let (from, to) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?);
        if to.is_empty() {
            return done(io, result);
        }
        if signed.iter().all(|&stride| stride >= 0) {
            let strides: Axes = signed.iter().map(|&stride| stride as usize).collect();
            gather_strided(from, first as usize, &strides, to, &extents);
        } else {
            // Backwards: the offset of an element wraps, and comes out right modulo the word.
            io.charge([to.len(), 4, extents.rank()])?;
            let strides: Axes = signed.iter().map(|&stride| stride as usize).collect();
            let positions = shape::strides(&extents);
            for (at, to) in to.iter_mut().enumerate() {
                let mut offset = first as usize;
                for axis in 0..extents.rank() {
                    offset = offset.wrapping_add((at / positions[axis] % extents[axis]).wrapping_mul(strides[axis]));
                }
                *to = from[offset];
            }
        }
        Ok(())
    })?;
    done(io, result)
}

fn done(io: &mut Io<'_, '_>, result: Tensor) -> Outcome {
    io.emit(0, result);
    Ok(())
}
