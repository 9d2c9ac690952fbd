//! Sorting, running sums, selection and padding.

use bb_runtime::{DataType, Shape, Tensor};

use super::types::{Number, by_number, by_width, raw, raw_mut};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("Compress", 9, compress),
    op("CumProd", 26, |node| cumulate(node, true)),
    op("CumSum", 11, |node| cumulate(node, false)),
    op("DepthToSpace", 1, |node| blocks(node, true)),
    op("Hardmax", 1, hardmax),
    op("Pad", 2, pad),
    op("ReverseSequence", 10, reverse_sequence),
    op("SpaceToDepth", 1, |node| blocks(node, false)),
    op("TopK", 1, top_k),
    op("Trilu", 14, trilu),
    op("Unique", 11, unique),
];

/// Where the line of element `at` begins, and how far its elements are apart, along the axis between.
fn line(at: usize, count: usize, inner: usize) -> usize {
    at / inner * count * inner + at % inner
}

fn cumulate(node: &NodeDef<'_>, product: bool) -> Outcome<Kernel> {
    let (exclusive, reverse) = (node.flag("exclusive"), node.flag("reverse"));
    Ok(Kernel::new(move |io| {
        let (input, axes) = (io.input(0)?, io.ints(1)?);
        let extents = input.shape();
        let &[axis] = &*axes else { return Err(Fault::shape("one axis is expected")) };
        let axis = shape::axis(axis, extents.rank())?;
        let (count, inner) = (extents[axis], shape::count(&extents[axis + 1..])?);
        let mut result = io.alloc(input.dtype(), extents)?;
        by_number!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            for start in 0..from.len().checked_div(count).unwrap_or(0) {
                let first = line(start, count, inner);
                let mut sum = if product { T::ONE } else { T::ZERO };
                for step in 0..count {
                    let at = first + if reverse { count - 1 - step } else { step } * inner;
                    let next = if product { sum.mul(from[at]) } else { sum.add(from[at]) };
                    to[at] = if exclusive { sum } else { next };
                    sum = next;
                }
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn hardmax(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let flattened = node.opset < 13;
    let axis = node.int_or("axis", if flattened { 1 } else { -1 });
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let extents = input.shape();
        let axis = shape::axis(axis, extents.rank())?;
        let (count, inner) = if flattened {
            (shape::count(&extents[axis..])?, 1)
        } else {
            (extents[axis], shape::count(&extents[axis + 1..])?)
        };
        let mut result = io.alloc(input.dtype(), extents)?;
        by_number!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            to.fill(T::ZERO);
            for start in 0..from.len().checked_div(count).unwrap_or(0) {
                let first = line(start, count, inner);
                let mut best = first;
                for step in 1..count {
                    if from[first + step * inner] > from[best] {
                        best = first + step * inner;
                    }
                }
                to[best] = T::ONE;
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn compress(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int("axis");
    Ok(Kernel::new(move |io| {
        let (input, condition) = (io.input(0)?, io.input(1)?);
        let (outer, extent, unit, mut extents) = match axis {
            None => (1, input.element_count(), input.dtype().size(), vec![0]),
            Some(axis) => {
                let own = input.shape();
                let axis = shape::axis(axis, own.rank())?;
                let mut extents = own.to_vec();
                extents[axis] = 0;
                (
                    shape::count(&own[..axis])?,
                    own[axis],
                    shape::count(&own[axis + 1..])? * input.dtype().size(),
                    extents,
                )
            }
        };
        io.reserve(condition.element_count().min(extent), size_of::<usize>())?;
        io.charge([outer, condition.element_count().min(extent)])?;
        let chosen: Vec<usize> = condition
            .as_slice::<u8>()?
            .iter()
            .take(extent)
            .enumerate()
            .filter(|(_, on)| **on != 0)
            .map(|(at, _)| at)
            .collect();
        let place = axis.map_or(Ok(0), |axis| shape::axis(axis, extents.len()))?;
        extents[place] = chosen.len();
        let mut result = io.alloc(input.dtype(), &Shape::from(extents))?;
        let (from, to) = (input.as_bytes(), result.buffer_mut().make_mut());
        if unit > 0 {
            let mut slots = to.chunks_exact_mut(unit);
            for block in 0..outer {
                for (at, to) in chosen.iter().zip(&mut slots) {
                    let first = (block * extent + at) * unit;
                    to.copy_from_slice(&from[first..first + unit]);
                }
            }
        }
        io.emit(0, result);
        Ok(())
    }))
}

/// Moves blocks of the channel axis to the two last axes, or back.
fn blocks(node: &NodeDef<'_>, to_space: bool) -> Outcome<Kernel> {
    let size =
        shape::extent(node.int("blocksize").ok_or_else(|| Fault::attribute("blocksize", "is missing"))?)?;
    if size == 0 {
        return Err(Fault::attribute("blocksize", "is 0"));
    }
    let columns_first = match node.string_or("mode", "DCR")? {
        "CRD" => true,
        "DCR" => false,
        other => return Err(Fault::attribute("mode", format!("is `{other}`; use DCR or CRD"))),
    };
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[n, c, h, w] = &**input.shape() else { return Err(Fault::shape("four axes are expected")) };
        let squared = size.checked_mul(size).ok_or_else(|| Fault::shape("the block is too large"))?;
        let wrong = || Fault::shape(format!("blocks of {size} do not divide the input"));
        let (split, order, extents) = if to_space {
            if !c.is_multiple_of(squared) {
                return Err(wrong());
            }
            let depth = c / squared;
            let (split, order) = if columns_first {
                ([n, depth, size, size, h, w], [0, 1, 4, 2, 5, 3])
            } else {
                ([n, size, size, depth, h, w], [0, 3, 4, 1, 5, 2])
            };
            (split, order, [n, depth, h.saturating_mul(size), w.saturating_mul(size)])
        } else {
            if !h.is_multiple_of(size) || !w.is_multiple_of(size) {
                return Err(wrong());
            }
            let order = if columns_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
            (
                [n, c, h / size, size, w / size, size],
                order,
                [n, c.saturating_mul(squared), h / size, w / size],
            )
        };
        let split = input.reshaped(split)?;
        let moved = super::layout::permute(io, &split, Some(&order))?;
        io.emit(0, Tensor::from_buffer(moved.dtype(), extents, moved.into_buffer())?);
        Ok(())
    }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

fn pad(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let fill = match node.string_or("mode", "constant")? {
        "constant" => Fill::Constant,
        "edge" => Fill::Edge,
        "reflect" => Fill::Reflect,
        "wrap" => Fill::Wrap,
        other => {
            return Err(Fault::attribute(
                "mode",
                format!("is `{other}`; use constant, edge, reflect or wrap"),
            ));
        }
    };
    let fixed = if node.opset < 11 { node.ints("pads").map(<[i64]>::to_vec) } else { None };
    let fixed_value = f64::from(node.float_or("value", 0.0));
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let own = input.shape();
        let rank = own.rank();
        let pads = match &fixed {
            Some(pads) => pads.iter().copied().collect(),
            None => io.ints(1)?,
        };
        let axes = match io.optional_ints(3)? {
            Some(axes) => shape::axes(&axes, rank)?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(Fault::shape(format!("{} pads for {} axes", pads.len(), axes.len())));
        }
        let mut before = vec![0_i64; rank];
        let mut extents = own.to_vec();
        for (place, &axis) in axes.iter().enumerate() {
            before[axis] = pads[place];
            let extent =
                (own[axis] as i64).saturating_add(pads[place]).saturating_add(pads[axes.len() + place]);
            extents[axis] = shape::extent(extent)?;
        }
        let mut result = io.alloc(input.dtype(), &Shape::from(extents.clone()))?;
        let value = match io.optional(2) {
            Some(value) if value.dtype() != input.dtype() => return Err(Fault::Type(value.dtype())),
            Some(value) if value.element_count() == 1 => value.clone(),
            Some(_) => return Err(Fault::shape("the value must be a scalar")),
            None => {
                let zero = Tensor::scalar(if fixed.is_some() { fixed_value } else { 0.0 });
                super::cast::convert(io.pool, &zero, input.dtype())?
            }
        };
        if result.as_bytes().is_empty() {
            io.emit(0, result);
            return Ok(());
        }
        let places = extents.iter().fold(0, |all: usize, &extent| all.saturating_add(extent));
        io.reserve(places, size_of::<usize>())?;
        io.charge([result.element_count(), 2, rank.max(1)])?;
        // For each axis, where each place of the result is read from; `usize::MAX` is the value.
        let mut sources: Vec<Vec<usize>> = Vec::with_capacity(rank);
        for axis in 0..rank {
            let extent = own[axis] as i64;
            let places = (0..extents[axis]).map(|at| {
                let at = at as i64 - before[axis];
                if (0..extent).contains(&at) {
                    return at as usize;
                }
                if extent == 0 {
                    return usize::MAX;
                }
                let period = 2 * (extent - 1);
                match fill {
                    Fill::Constant => usize::MAX,
                    Fill::Edge => at.clamp(0, extent - 1) as usize,
                    Fill::Reflect if period == 0 => 0,
                    Fill::Reflect => {
                        let at = at.rem_euclid(period);
                        at.min(period - at) as usize
                    }
                    Fill::Wrap => at.rem_euclid(extent) as usize,
                }
            });
            sources.push(places.collect());
        }
        let strides = shape::strides(own);
        by_width!(input.dtype(), T => {
            let (from, to, value) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?, raw::<T>(&value)?[0]);
            let positions = shape::strides(&extents);
            for (at, to) in to.iter_mut().enumerate() {
                let mut offset = Some(0);
                for axis in 0..rank {
                    let source = sources[axis][at / positions[axis] % extents[axis]];
                    offset = if source == usize::MAX { None } else { offset.map(|offset| offset + source * strides[axis]) };
                    if offset.is_none() {
                        break;
                    }
                }
                *to = offset.map_or(value, |offset| from[offset]);
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

fn reverse_sequence(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (batch_axis, time_axis) = (node.int_or("batch_axis", 1), node.int_or("time_axis", 0));
    Ok(Kernel::new(move |io| {
        let (input, lengths) = (io.input(0)?, io.ints(1)?);
        let own = input.shape();
        let (batch, time) = (shape::axis(batch_axis, own.rank())?, shape::axis(time_axis, own.rank())?);
        if batch == time || lengths.len() != own[batch] {
            return Err(Fault::shape("one length for each row of the batch is expected"));
        }
        if lengths.iter().any(|&length| length < 0 || length as usize > own[time]) {
            return Err(Fault::shape(format!("lengths must be 0 to {}", own[time])));
        }
        let strides = shape::strides(own);
        let mut result = io.alloc(input.dtype(), own)?;
        by_width!(input.dtype(), T => {
            let (from, to) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?);
            for (at, to) in to.iter_mut().enumerate() {
                let step = at / strides[time] % own[time];
                let length = lengths[at / strides[batch] % own[batch]] as usize;
                let source = if step < length { length - 1 - step } else { step };
                *to = from[at - step * strides[time] + source * strides[time]];
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

fn top_k(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", -1);
    let largest = node.int_or("largest", 1) != 0;
    let fixed = if node.opset < 10 { node.int("k") } else { None };
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let k = match fixed {
            Some(k) => k,
            None => io.ints(1)?.first().copied().ok_or_else(|| Fault::shape("k is missing"))?,
        };
        let own = input.shape();
        let axis = shape::axis(axis, own.rank())?;
        let (count, inner) = (own[axis], shape::count(&own[axis + 1..])?);
        let k = shape::extent(k)?;
        if k > count {
            return Err(Fault::shape(format!("k is {k}, the axis has {count}")));
        }
        let mut extents = own.to_vec();
        extents[axis] = k;
        let extents = Shape::from(extents);
        let (mut values, mut places) = (io.alloc(input.dtype(), &extents)?, io.alloc(DataType::I64, &extents)?);
        let lines = input.element_count().checked_div(count).unwrap_or(0);
        io.reserve(count, 2 * size_of::<usize>())?;
        io.charge([lines, count, 2 * sort_depth(count)])?;
        by_number!(input.dtype(), T => {
            let (from, values, places) = (input.as_slice::<T>()?, values.make_mut::<T>()?, places.make_mut::<i64>()?);
            let mut order: Vec<usize> = Vec::with_capacity(count);
            for start in 0..lines {
                let first = line(start, count, inner);
                order.clear();
                order.extend(0..count);
                order.sort_by(|&a, &b| {
                    let (x, y) = (from[first + a * inner], from[first + b * inner]);
                    let ascending = x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()));
                    if largest { ascending.reverse() } else { ascending }
                });
                let to = line(start, k, inner);
                for (rank, &at) in order.iter().take(k).enumerate() {
                    values[to + rank * inner] = from[first + at * inner];
                    places[to + rank * inner] = at as i64;
                }
            }
            Ok(())
        })?;
        io.emit(0, values);
        io.emit(1, places);
        Ok(())
    })
    .via_f32())
}

/// How often a sort of `count` items looks at each.
fn sort_depth(count: usize) -> usize {
    count.checked_ilog2().unwrap_or(0) as usize + 1
}

fn trilu(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let upper = node.int_or("upper", 1) != 0;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let diagonal = io.optional_ints(1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let Some(&[rows, columns]) = input.shape().last_chunk::<2>() else {
            return Err(Fault::shape("at least two axes are expected"));
        };
        let mut result = io.alloc(input.dtype(), input.shape())?;
        by_width!(input.dtype(), T => {
            let (from, to) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?);
            for (at, (from, to)) in from.iter().zip(to).enumerate() {
                let (row, column) = (at / columns % rows, at % columns);
                let distance = column as i64 - row as i64;
                let kept = if upper { distance >= diagonal } else { distance <= diagonal };
                *to = if kept { *from } else { 0 };
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

/// Distinct elements, or distinct slices along an axis.
fn unique(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int("axis");
    let sorted = node.int_or("sorted", 1) != 0;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let own = input.shape();
        let axis = axis.map(|axis| shape::axis(axis, own.rank())).transpose()?;
        let (outer, count, inner) = match axis {
            None => (1, input.element_count(), 1),
            Some(axis) => (shape::count(&own[..axis])?, own[axis], shape::count(&own[axis + 1..])?),
        };
        // A group has its members in memory of their own.
        io.reserve(count, 16 * size_of::<usize>())?;
        io.charge([outer, count, inner.saturating_add(4), 2 * sort_depth(count)])?;
        let (first_of, place_of, counts, result) = by_number!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            let slice = |at: usize| (0..outer).flat_map(move |block| {
                let first = (block * count + at) * inner;
                from[first..first + inner].iter()
            });
            // NaN comes last.
            let one = |a: &T, b: &T| a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
            let compare = |a: usize, b: usize| {
                let unequal = slice(a).zip(slice(b)).map(|(a, b)| one(a, b)).find(|order| order.is_ne());
                unequal.unwrap_or(std::cmp::Ordering::Equal)
            };
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
            let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
            for at in order {
                match groups.last_mut() {
                    Some((first, members)) if compare(*first, at).is_eq() && slice(*first).eq(slice(at)) => members.push(at),
                    _ => groups.push((at, vec![at])),
                }
            }
            if !sorted {
                groups.sort_by_key(|(first, _)| *first);
            }
            let mut place_of = vec![0_i64; count];
            for (group, (_, members)) in groups.iter().enumerate() {
                for &member in members {
                    place_of[member] = group as i64;
                }
            }
            let first_of: Vec<i64> = groups.iter().map(|(first, _)| *first as i64).collect();
            let counts: Vec<i64> = groups.iter().map(|(_, members)| members.len() as i64).collect();
            let mut extents = own.to_vec();
            match axis {
                None => extents = vec![groups.len()],
                Some(axis) => extents[axis] = groups.len(),
            }
            let mut result = io.alloc(input.dtype(), &Shape::from(extents))?;
            let to = result.make_mut::<T>()?;
            for block in 0..outer {
                for (place, (first, _)) in groups.iter().enumerate() {
                    let (source, target) = ((block * count + first) * inner, (block * groups.len() + place) * inner);
                    to[target..target + inner].copy_from_slice(&from[source..source + inner]);
                }
            }
            Ok((first_of, place_of, counts, result))
        })?;
        io.emit(0, result);
        for (output, list) in [(1, first_of), (2, place_of), (3, counts)] {
            io.emit_slice(output, &Shape::from([list.len()]), &list)?;
        }
        Ok(())
    })
    .via_f32())
}
