//! Reductions over axes, and the places of extremes.

use bb_runtime::{DataType, Shape, Tensor};
use smallvec::SmallVec;

use super::types::{Float, Number, by_float, by_number};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape::{self, Axes, Walk};
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("ArgMax", 1, |node| arg(node, true)),
    op("ArgMin", 1, |node| arg(node, false)),
    op("ReduceL1", 1, |node| reduce(node, Reduction::L1, 18)),
    op("ReduceL2", 1, |node| reduce(node, Reduction::L2, 18)),
    op("ReduceLogSum", 1, |node| reduce(node, Reduction::LogSum, 18)),
    op("ReduceLogSumExp", 1, |node| reduce(node, Reduction::LogSumExp, 18)),
    op("ReduceMax", 1, |node| reduce(node, Reduction::Max, 18)),
    op("ReduceMean", 1, |node| reduce(node, Reduction::Mean, 18)),
    op("ReduceMin", 1, |node| reduce(node, Reduction::Min, 18)),
    op("ReduceProd", 1, |node| reduce(node, Reduction::Prod, 18)),
    op("ReduceSum", 1, |node| reduce(node, Reduction::Sum, 13)),
    op("ReduceSumSquare", 1, |node| reduce(node, Reduction::SumSquare, 18)),
];

/// What becomes of the elements that fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

/// A reduction; its axes are an attribute before version `axes_input` and an input from then on.
fn reduce(node: &NodeDef<'_>, reduction: Reduction, axes_input: i64) -> Outcome<Kernel> {
    let keep = node.int_or("keepdims", 1) != 0;
    let by_input = node.opset >= axes_input;
    let fixed = if by_input { None } else { node.ints("axes").map(<[i64]>::to_vec) };
    let none_is_noop = node.flag("noop_with_empty_axes");
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let given = match &fixed {
            Some(axes) => Some(SmallVec::from_slice(axes)),
            None if by_input => io.optional_ints(1)?,
            None => None,
        };
        let rank = input.shape().rank();
        let axes = match given {
            Some(axes) if !axes.is_empty() => shape::axes(&axes, rank)?,
            _ if none_is_noop => Axes::new(),
            _ => (0..rank).collect(),
        };
        let is_flags =
            input.dtype() == DataType::Bool && matches!(reduction, Reduction::Max | Reduction::Min);
        let result = if is_flags {
            let flags = Tensor::from_buffer(DataType::U8, input.shape().clone(), input.buffer().clone())?;
            let result = reduce_axes(io, &flags, &axes, keep, reduction)?;
            let shape = result.shape().clone();
            let mut bytes = result;
            // The least of no flags is true.
            bytes.make_mut::<u8>()?.iter_mut().for_each(|flag| *flag = u8::from(*flag != 0));
            Tensor::from_buffer(DataType::Bool, shape, bytes.into_buffer())?
        } else {
            reduce_axes(io, input, &axes, keep, reduction)?
        };
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// The extents of a tensor seen as (outer, reduced, inner) where the reduced axes are adjacent.
fn blocks(extents: &[usize], axes: &[usize]) -> Option<(usize, usize, usize)> {
    let (first, last) = (*axes.iter().min()?, *axes.iter().max()?);
    if last - first + 1 != axes.len() {
        return None;
    }
    Some((
        extents[..first].iter().product(),
        extents[first..=last].iter().product(),
        extents[last + 1..].iter().product(),
    ))
}

/// Reduces `input` over `axes`.
pub(crate) fn reduce_axes(
    io: &mut Io<'_, '_>,
    input: &Tensor,
    axes: &[usize],
    keep: bool,
    reduction: Reduction,
) -> Outcome<Tensor> {
    let extents = input.shape();
    let kept: Shape = extents
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent })
        .collect();
    let shape: Shape = if keep {
        kept.clone()
    } else {
        extents
            .iter()
            .enumerate()
            .filter(|(axis, _)| !axes.contains(axis))
            .map(|(_, &extent)| extent)
            .collect()
    };
    let mut result = io.alloc(input.dtype(), &shape)?;
    by_number!(input.dtype(), T => {
        let from = input.as_slice::<T>()?;
        let to = result.make_mut::<T>()?;
        let blocks = if axes.is_empty() { Some((from.len(), 1, 1)) } else { blocks(extents, axes) };
        match reduction {
            Reduction::L1 => fold_into(from, to, extents, &kept, blocks, T::ZERO, Number::abs, T::add)?,
            Reduction::L2 | Reduction::SumSquare => {
                fold_into(from, to, extents, &kept, blocks, T::ZERO, |x| x.mul(x), T::add)?;
            }
            Reduction::LogSum | Reduction::Mean | Reduction::Sum => {
                fold_into(from, to, extents, &kept, blocks, T::ZERO, |x| x, T::add)?;
            }
            Reduction::Max => fold_into(from, to, extents, &kept, blocks, T::LOWEST, |x| x, T::most)?,
            Reduction::Min => fold_into(from, to, extents, &kept, blocks, T::HIGHEST, |x| x, T::least)?,
            Reduction::Prod => fold_into(from, to, extents, &kept, blocks, T::ONE, |x| x, T::mul)?,
            Reduction::LogSumExp => {}
        }
        match reduction {
            Reduction::L2 => simd::map_in_place(to, |x| T::from_f64(x.to_f64().sqrt())),
            Reduction::LogSum => simd::map_in_place(to, |x| T::from_f64(x.to_f64().ln())),
            Reduction::Mean => {
                let count = from.len().checked_div(to.len()).unwrap_or(1);
                simd::map_in_place(to, |x| T::from_f64(x.to_f64() / count as f64));
            }
            _ => {}
        }
        Ok::<(), Fault>(())
    })?;
    if reduction == Reduction::LogSumExp {
        by_float!(input.dtype(), T => log_sum_exp(io, input.as_slice::<T>()?, result.make_mut::<T>()?, extents, &kept))?;
    }
    Ok(result)
}

#[allow(clippy::too_many_arguments, reason = "one call a reduction, right above")]
fn fold_into<T: Number>(
    from: &[T],
    to: &mut [T],
    extents: &Shape,
    kept: &Shape,
    blocks: Option<(usize, usize, usize)>,
    start: T,
    map: impl Fn(T) -> T + Copy,
    join: impl Fn(T, T) -> T + Copy,
) -> Outcome {
    match blocks {
        Some((_, count, 1)) if count > 0 => {
            for (to, row) in to.iter_mut().zip(from.chunks_exact(count)) {
                *to = simd::fold(row, start, map, join);
            }
        }
        Some((_, count, inner)) if count > 0 && inner > 0 => {
            for (to, block) in to.chunks_exact_mut(inner).zip(from.chunks_exact(count * inner)) {
                to.fill(start);
                for row in block.chunks_exact(inner) {
                    simd::update(to, row, |to, from| join(to, map(from)));
                }
            }
        }
        _ => {
            to.fill(start);
            let walk =
                Walk::new(extents, [&shape::strides(extents), &shape::broadcast_strides(kept, extents)?]);
            walk.each(|[i, o]| to[o] = join(to[o], map(from[i])));
        }
    }
    Ok(())
}

fn log_sum_exp<T: Float>(
    io: &mut Io<'_, '_>,
    from: &[T],
    to: &mut [T],
    extents: &Shape,
    kept: &Shape,
) -> Outcome {
    let walk = Walk::new(extents, [&shape::strides(extents), &shape::broadcast_strides(kept, extents)?]);
    to.fill(T::LOWEST);
    walk.each(|[i, o]| to[o] = to[o].most(from[i]));
    let mut sums = io.scratch::<T>(to.len())?;
    let all = sums.make_mut::<T>()?;
    walk.each(|[i, o]| {
        let most = if to[o] == T::LOWEST || to[o] == T::HIGHEST { T::ZERO } else { to[o] };
        all[o] = all[o].add(from[i].sub(most).exp());
    });
    for (to, &sum) in to.iter_mut().zip(&*all) {
        let most = if *to == T::LOWEST || *to == T::HIGHEST { T::ZERO } else { *to };
        *to = most.add(sum.ln());
    }
    io.pool.put(sums);
    Ok(())
}

fn arg(node: &NodeDef<'_>, largest: bool) -> Outcome<Kernel> {
    let axis = node.int_or("axis", 0);
    let keep = node.int_or("keepdims", 1) != 0;
    let last = node.flag("select_last_index");
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let extents = input.shape();
        let axis = shape::axis(axis, extents.rank())?;
        let count = extents[axis];
        let (outer, inner) = (shape::count(&extents[..axis])?, shape::count(&extents[axis + 1..])?);
        if count == 0 && outer * inner > 0 {
            return Err(Fault::shape("an axis without elements has no extreme"));
        }
        let mut shape: Vec<usize> = extents.to_vec();
        if keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        let mut result = io.alloc(DataType::I64, &Shape::from(shape))?;
        let to = result.make_mut::<i64>()?;
        by_number!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            for (at, to) in to.iter_mut().enumerate() {
                let first = at / inner * count * inner + at % inner;
                let mut best = 0;
                for index in 1..count {
                    let (new, old) = (from[first + index * inner], from[first + best * inner]);
                    let better = if largest { new > old } else { new < old };
                    if better || last && new == old || new.is_nan() && !old.is_nan() {
                        best = index;
                    }
                }
                *to = i64::try_from(best).unwrap_or(i64::MAX);
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
