//! Reading and writing by index.

use bb_runtime::{DataType, Shape, Tensor};

use super::types::{Number, by_number, by_width, raw, raw_mut};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::{Io, read_ints};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("Gather", 1, gather),
    op("GatherElements", 11, gather_elements),
    op("GatherND", 11, gather_nd),
    op("NonZero", 9, |_| Ok(non_zero())),
    op("Scatter", 9, scatter_elements),
    op("ScatterElements", 11, scatter_elements),
    op("ScatterND", 11, scatter_nd),
];

/// The place that `index` means on an axis of `extent`.
fn place(index: i64, extent: usize) -> Outcome<usize> {
    let signed = extent as i64;
    let at = if index < 0 { index.saturating_add(signed) } else { index };
    if (0..signed).contains(&at) {
        Ok(at as usize)
    } else {
        Err(Fault::shape(format!("index {index} on an axis of extent {extent}")))
    }
}

fn gather(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 0);
    Ok(Kernel::new(move |io| {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let own = data.shape();
        let axis = shape::axis(axis, own.rank())?;
        let extent = own[axis];
        let extents: Shape =
            own[..axis].iter().chain(indices.shape().iter()).chain(&own[axis + 1..]).copied().collect();
        io.charge([indices.element_count(), 4])?;
        io.reserve(indices.element_count(), 2 * size_of::<i64>())?;
        let places =
            read_ints(indices)?.iter().map(|&index| place(index, extent)).collect::<Outcome<Vec<_>>>()?;
        let mut result = io.alloc(data.dtype(), &extents)?;
        let run = shape::count(&own[axis + 1..])? * data.dtype().size();
        if run > 0 && !places.is_empty() {
            let (from, to) = (data.as_bytes(), result.buffer_mut().make_mut());
            for (block, to) in to.chunks_exact_mut(run * places.len()).enumerate() {
                let from = &from[block * extent * run..(block + 1) * extent * run];
                for (&place, to) in places.iter().zip(to.chunks_exact_mut(run)) {
                    to.copy_from_slice(&from[place * run..(place + 1) * run]);
                }
            }
        }
        io.emit(0, result);
        Ok(())
    })
    .reads_little())
}

/// For each element of a tensor of shape `extents`, the offset of its line along `axis` in one of shape `own`.
fn line_offset(at: usize, extents: &[usize], positions: &[usize], own: &[usize], axis: usize) -> usize {
    (0..extents.len())
        .filter(|&other| other != axis)
        .map(|other| at / positions[other] % extents[other] * own[other])
        .sum()
}

fn check_lines(data: &Tensor, indices: &Tensor, axis: usize) -> Outcome {
    let (own, extents) = (data.shape(), indices.shape());
    let fits = own.rank() == extents.rank()
        && (0..own.rank()).all(|other| other == axis || extents[other] <= own[other]);
    if fits {
        Ok(())
    } else {
        Err(Fault::shape("indices must have the rank of the data and no larger extents"))
    }
}

fn gather_elements(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 0);
    Ok(Kernel::new(move |io| {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let axis = shape::axis(axis, data.shape().rank())?;
        check_lines(data, indices, axis)?;
        let own = shape::strides(data.shape());
        let extents = indices.shape();
        let positions = shape::strides(extents);
        io.charge([indices.element_count(), 4, extents.rank().max(1)])?;
        io.reserve(indices.element_count(), size_of::<i64>())?;
        let list = read_ints(indices)?;
        let mut result = io.alloc(data.dtype(), extents)?;
        by_width!(data.dtype(), T => {
            let (from, to) = (raw::<T>(data)?, raw_mut::<T>(&mut result)?);
            for (at, (to, &index)) in to.iter_mut().zip(&list).enumerate() {
                let line = line_offset(at, extents, &positions, &own, axis);
                *to = from[line + place(index, data.shape()[axis])? * own[axis]];
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

/// How a scattered element meets the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Add,
    Max,
    Min,
    Mul,
    Replace,
}

fn join_of(node: &NodeDef<'_>) -> Outcome<Join> {
    match node.string_or("reduction", "none")? {
        "add" => Ok(Join::Add),
        "max" => Ok(Join::Max),
        "min" => Ok(Join::Min),
        "mul" => Ok(Join::Mul),
        "none" => Ok(Join::Replace),
        other => Err(Fault::attribute("reduction", format!("is `{other}`; use none, add, mul, max or min"))),
    }
}

/// Writes `updates` to the given places of `result`, in order.
fn write(
    result: &mut Tensor,
    updates: &Tensor,
    join: Join,
    mut offset: impl FnMut(usize) -> Outcome<usize>,
) -> Outcome {
    if join == Join::Replace {
        return by_width!(updates.dtype(), T => {
            let (from, to) = (raw::<T>(updates)?, raw_mut::<T>(result)?);
            for (at, &from) in from.iter().enumerate() {
                to[offset(at)?] = from;
            }
            Ok(())
        });
    }
    by_number!(updates.dtype(), T => {
        let (from, to) = (updates.as_slice::<T>()?, result.make_mut::<T>()?);
        for (at, &from) in from.iter().enumerate() {
            let to = &mut to[offset(at)?];
            *to = match join {
                Join::Add => to.add(from),
                Join::Max => to.most(from),
                Join::Min => to.least(from),
                Join::Mul => to.mul(from),
                Join::Replace => from,
            };
        }
        Ok(())
    })
}

fn copy_of(io: &mut Io<'_, '_>, data: &Tensor) -> Outcome<Tensor> {
    let mut result = io.alloc(data.dtype(), data.shape())?;
    result.buffer_mut().make_mut().copy_from_slice(data.as_bytes());
    Ok(result)
}

fn scatter_elements(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 0);
    let join = join_of(node)?;
    Ok(Kernel::new(move |io| {
        let (data, indices, updates) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let axis = shape::axis(axis, data.shape().rank())?;
        check_lines(data, indices, axis)?;
        if updates.shape() != indices.shape() {
            return Err(Fault::shape("indices and updates must have one shape"));
        }
        if updates.dtype() != data.dtype() {
            return Err(Fault::Type(updates.dtype()));
        }
        let own = shape::strides(data.shape());
        let extents = indices.shape();
        let positions = shape::strides(extents);
        io.charge([indices.element_count(), 4, extents.rank().max(1)])?;
        io.reserve(indices.element_count(), size_of::<i64>())?;
        let list = read_ints(indices)?;
        let mut result = copy_of(io, data)?;
        write(&mut result, updates, join, |at| {
            let line = line_offset(at, extents, &positions, &own, axis);
            Ok(line + place(list[at], data.shape()[axis])? * own[axis])
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// Where each index tuple points: tuples, offsets in elements, elements a slice.
fn tuples(
    io: &mut Io<'_, '_>,
    data: &Tensor,
    indices: &Tensor,
    batch: usize,
) -> Outcome<(Vec<usize>, usize)> {
    let (own, shape) = (data.shape(), indices.shape());
    let Some(&width) = shape.last() else { return Err(Fault::shape("indices need an axis")) };
    if batch >= shape.rank()
        || batch > own.rank()
        || width > own.rank() - batch
        || own[..batch] != shape[..batch]
    {
        return Err(Fault::shape("index tuples are longer than the data has axes"));
    }
    let strides = shape::strides(own);
    let run = shape::count(&own[batch + width..])?;
    let per_batch = shape::count(&shape[batch..shape.rank() - 1])?;
    let batch_size = shape::count(&own[batch..])?;
    let tuple_count = shape::count(&shape[..shape.rank() - 1])?;
    io.charge([tuple_count, 4, width.max(1)])?;
    io.reserve(tuple_count, size_of::<usize>())?;
    io.reserve(indices.element_count(), size_of::<i64>())?;
    let list = read_ints(indices)?;
    let mut offsets = Vec::with_capacity(tuple_count);
    for tuple in 0..tuple_count {
        let mut offset = tuple.checked_div(per_batch).unwrap_or(0) * batch_size;
        for axis in 0..width {
            offset += place(list[tuple * width + axis], own[batch + axis])? * strides[batch + axis];
        }
        offsets.push(offset);
    }
    Ok((offsets, run))
}

fn gather_nd(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let batch = shape::extent(node.int_or("batch_dims", 0))?;
    Ok(Kernel::new(move |io| {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let (offsets, run) = tuples(io, data, indices, batch)?;
        let width = indices.shape().last().copied().unwrap_or(0);
        let extents: Shape = indices.shape()[..indices.shape().rank() - 1]
            .iter()
            .chain(&data.shape()[batch + width..])
            .copied()
            .collect();
        let mut result = io.alloc(data.dtype(), &extents)?;
        by_width!(data.dtype(), T => {
            let (from, to) = (raw::<T>(data)?, raw_mut::<T>(&mut result)?);
            if run > 0 {
                for (&offset, to) in offsets.iter().zip(to.chunks_exact_mut(run)) {
                    to.copy_from_slice(&from[offset..offset + run]);
                }
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

fn scatter_nd(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let join = join_of(node)?;
    Ok(Kernel::new(move |io| {
        let (data, indices, updates) = (io.input(0)?, io.input(1)?, io.input(2)?);
        if updates.dtype() != data.dtype() {
            return Err(Fault::Type(updates.dtype()));
        }
        let (offsets, run) = tuples(io, data, indices, 0)?;
        if updates.element_count() != offsets.len() * run {
            return Err(Fault::shape("updates do not fill the slices that indices name"));
        }
        let mut result = copy_of(io, data)?;
        io.charge([updates.element_count(), 2])?;
        write(&mut result, updates, join, |at| Ok(offsets[at / run] + at % run))?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn non_zero() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        let dtype = if input.dtype() == DataType::Bool { DataType::U8 } else { input.dtype() };
        io.reserve(input.element_count(), size_of::<usize>())?;
        let found: Vec<usize> = by_number!(dtype, T => {
            let all = input.as_slice::<T>()?.iter().enumerate();
            Ok(all.filter(|(_, element)| **element != T::ZERO).map(|(at, _)| at).collect())
        })?;
        let extents = input.shape();
        let positions = shape::strides(extents);
        let mut result = io.alloc(DataType::I64, &Shape::from([extents.rank(), found.len()]))?;
        let to = result.make_mut::<i64>()?;
        if !found.is_empty() {
            for (axis, to) in to.chunks_exact_mut(found.len()).enumerate() {
                for (to, &at) in to.iter_mut().zip(&found) {
                    *to = (at / positions[axis] % extents[axis]) as i64;
                }
            }
        }
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}
