//! Softmax and its relatives.

use bb_runtime::{DataType, Element, Tensor};

use super::cast::convert;
use super::types::{Float, Number, by_float};
use super::{Entry, Kernel, op};
use crate::fault::Outcome;
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape;
use crate::simd;

pub(super) const OPS: &[Entry] =
    &[op("LogSoftmax", 1, |node| softmax(node, true)), op("Softmax", 1, |node| softmax(node, false))];

/// Over one axis since version 13, over all axes from `axis` on before.
fn softmax(node: &NodeDef<'_>, log: bool) -> Outcome<Kernel> {
    let flattened = node.opset < 13;
    let axis = node.int_or("axis", if flattened { 1 } else { -1 });
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let extents = input.shape();
        let axis = if flattened && axis == extents.rank() as i64 {
            extents.rank()
        } else {
            shape::axis(axis, extents.rank())?
        };
        let (count, inner) = if flattened {
            (shape::count(&extents[axis..])?, 1)
        } else {
            (extents[axis], shape::count(&extents[axis + 1..])?)
        };
        let mut result = io.alloc(input.dtype(), extents)?;
        if matches!(input.dtype(), DataType::F16 | DataType::Bf16) {
            half_over_axis(io, input, &mut result, count, inner, log)?;
        } else {
            by_float!(input.dtype(), T => {
                over_axis(io, input.as_slice::<T>()?, result.make_mut::<T>()?, count, inner, log)
            })?;
        }
        io.emit(0, result);
        Ok(())
    }))
}

/// Softmax of half-precision numbers, each step rounded to them, as a runtime that computes in them does.
fn half_over_axis(
    io: &mut Io<'_, '_>,
    input: &Tensor,
    result: &mut Tensor,
    count: usize,
    inner: usize,
    log: bool,
) -> Outcome {
    let dtype = input.dtype();
    let round = move |x: f32| match dtype {
        DataType::F16 => half::f16::from_f32(x).to_f32(),
        _ => half::bf16::from_f32(x).to_f32(),
    };
    let mut wide = convert(io.pool, input, DataType::F32)?;
    let all = wide.make_mut::<f32>()?;
    for first in 0..all.len().checked_div(count).unwrap_or(0) {
        let at = |index: usize| (first / inner * count + index) * inner + first % inner;
        let most = (0..count).fold(f32::NEG_INFINITY, |most, index| most.most(all[at(index)]));
        let mut sum = 0.0;
        for index in 0..count {
            let x = &mut all[at(index)];
            *x = round(*x - most);
            let power = round(crate::math::exp(*x));
            sum += power;
            if !log {
                *x = power;
            }
        }
        let sum = if log { round(crate::math::ln(round(sum))) } else { round(sum) };
        for index in 0..count {
            let x = &mut all[at(index)];
            *x = if log { *x - sum } else { *x / sum };
        }
    }
    let narrow = convert(io.pool, &wide, dtype)?;
    io.pool.put(wide);
    io.pool.put(std::mem::replace(result, narrow));
    Ok(())
}

/// Softmax, or its logarithm, of blocks of `count` rows of `inner` elements, over the rows.
pub(super) fn over_axis<T: Float>(
    io: &mut Io<'_, '_>,
    from: &[T],
    to: &mut [T],
    count: usize,
    inner: usize,
    log: bool,
) -> Outcome {
    if from.is_empty() {
        return Ok(());
    }
    if inner == 1 && count < SHORT {
        return short_rows(io, from, to, count, log);
    }
    if inner == 1 {
        for (from, to) in from.chunks_exact(count).zip(to.chunks_exact_mut(count)) {
            row(from, to, log);
        }
        return Ok(());
    }
    let mut held: Tensor = io.scratch::<T>(2 * inner)?;
    let (most, sum) = held.make_mut::<T>()?.split_at_mut(inner);
    for (from, to) in from.chunks_exact(count * inner).zip(to.chunks_exact_mut(count * inner)) {
        most.fill(T::LOWEST);
        sum.fill(T::ZERO);
        for row in from.chunks_exact(inner) {
            simd::update(most, row, T::most);
        }
        for (row, to) in from.chunks_exact(inner).zip(to.chunks_exact_mut(inner)) {
            simd::map2(row, most, to, |x, most| x.sub(most));
            simd::update(sum, to, |sum, x| sum.add(x.exp()));
        }
        if log {
            simd::map_in_place(sum, |sum| sum.ln());
        }
        for to in to.chunks_exact_mut(inner) {
            if log {
                simd::update(to, sum, |x, sum| x.sub(sum));
            } else {
                simd::update(to, sum, |x, sum| x.exp().div(sum));
            }
        }
    }
    io.pool.put(held);
    Ok(())
}

/// Rows shorter than this are too short for vectors of their own.
const SHORT: usize = 32;

/// Elements of short rows that are computed at once.
const AT_ONCE: usize = 1024;

/// Softmax of rows of `count` elements, or its logarithm: powers and logarithms of many rows at once.
fn short_rows<T: Float>(io: &mut Io<'_, '_>, from: &[T], to: &mut [T], count: usize, log: bool) -> Outcome {
    let rows = (AT_ONCE / count).min(from.len() / count);
    let mut held: Tensor = io.scratch::<T>(rows * (count + 1))?;
    let (powers, sums) = held.make_mut::<T>()?.split_at_mut(rows * count);
    for (from, to) in from.chunks(rows * count).zip(to.chunks_mut(rows * count)) {
        for (from, to) in from.chunks_exact(count).zip(to.chunks_exact_mut(count)) {
            let most = from.iter().fold(T::LOWEST, |most, &x| most.most(x));
            for (to, &x) in to.iter_mut().zip(from) {
                *to = x.sub(most);
            }
        }
        let (powers, sums) = (&mut powers[..to.len()], &mut sums[..to.len() / count]);
        simd::map(to, powers, T::exp);
        for (sum, powers) in sums.iter_mut().zip(powers.chunks_exact(count)) {
            *sum = powers.iter().fold(T::ZERO, |sum, &x| sum.add(x));
        }
        if log {
            simd::map_in_place(sums, T::ln);
            for (to, &sum) in to.chunks_exact_mut(count).zip(&*sums) {
                to.iter_mut().for_each(|x| *x = x.sub(sum));
            }
        } else {
            for ((to, powers), &sum) in to.chunks_exact_mut(count).zip(powers.chunks_exact(count)).zip(&*sums)
            {
                let scale = T::ONE.div(sum);
                to.iter_mut().zip(powers).for_each(|(to, power)| *to = power.mul(scale));
            }
        }
    }
    io.pool.put(held);
    Ok(())
}

/// Softmax of one row, or its logarithm.
pub(super) fn row<T: Float + Element>(from: &[T], to: &mut [T], log: bool) {
    let most = simd::fold(from, T::LOWEST, |x| x, T::most);
    if log {
        simd::map(from, to, |x| x.sub(most));
        let sum = simd::fold(to, T::ZERO, |x| x.exp(), T::add).ln();
        simd::map_in_place(to, |x| x.sub(sum));
    } else {
        simd::map(from, to, |x| x.sub(most).exp());
        let sum = simd::fold(to, T::ZERO, |x| x, T::add);
        let scale = T::ONE.div(sum);
        simd::map_in_place(to, |x| x.mul(scale));
    }
}
