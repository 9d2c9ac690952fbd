//! Normalizations.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::types::{Float, Number, by_float};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape;
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("BatchNormalization", 1, batch_normalization),
    op("GroupNormalization", 21, group_normalization),
    op("InstanceNormalization", 6, instance_normalization),
    op("LRN", 1, lrn),
    op("LayerNormalization", 17, |node| layer_normalization(node, true)),
    op("LpNormalization", 1, lp_normalization),
    op("MeanVarianceNormalization", 9, mean_variance),
    op("RMSNormalization", 23, |node| layer_normalization(node, false)),
];

/// Sum and sum of squared deviations of a slice, and its length.
fn moments<T: Float>(from: &[T]) -> (T, T) {
    let count = T::of(from.len() as f64);
    let mean = simd::fold(from, T::ZERO, |x| x, T::add).div(count);
    let squares = simd::fold(from, T::ZERO, |x| x.sub(mean).mul(x.sub(mean)), T::add);
    (mean, squares.div(count))
}

/// Over all axes from `axis` on; `centred` or by the root mean square alone.
fn layer_normalization(node: &NodeDef<'_>, centred: bool) -> Outcome<Kernel> {
    let axis = node.int_or("axis", -1);
    let epsilon = f64::from(node.float_or("epsilon", 1e-5));
    Ok(Kernel::new(move |io| {
        let (input, scale, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
        let extents = input.shape();
        let axis = shape::axis(axis, extents.rank())?;
        let normalized = Shape::new(&extents[axis..]);
        let count = shape::count(&normalized)?;
        let outer: Shape =
            extents.iter().enumerate().map(|(at, &extent)| if at < axis { extent } else { 1 }).collect();
        let mut result = io.alloc(input.dtype(), extents)?;
        let (mut means, mut inverse) = (io.alloc(input.dtype(), &outer)?, io.alloc(input.dtype(), &outer)?);
        by_float!(input.dtype(), T => {
            let scale = broadcast_to::<T>(io, scale, extents)?;
            let bias = bias.map(|bias| broadcast_to::<T>(io, bias, extents)).transpose()?;
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            let (means, inverse) = (means.make_mut::<T>()?, inverse.make_mut::<T>()?);
            if count > 0 {
                for (row, (from, to)) in from.chunks_exact(count).zip(to.chunks_exact_mut(count)).enumerate() {
                    let (mean, variance) = if centred {
                        moments(from)
                    } else {
                        let squares = simd::fold(from, T::ZERO, |x| x.mul(x), T::add);
                        (T::ZERO, squares.div(T::of(count as f64)))
                    };
                    let factor = T::ONE.div(Float::sqrt(variance.add(T::of(epsilon))));
                    means[row] = mean;
                    inverse[row] = factor;
                    simd::map(from, to, |x| x.sub(mean).mul(factor));
                }
            }
            simd::update(to, scale.as_slice::<T>()?, T::mul);
            io.pool.put(scale);
            if let Some(bias) = bias {
                simd::update(to, bias.as_slice::<T>()?, T::add);
                io.pool.put(bias);
            }
            Ok(())
        })?;
        io.emit(0, result);
        if centred {
            io.emit(1, means);
            io.emit(2, inverse);
        } else {
            io.pool.put(means);
            io.pool.put(inverse);
        }
        Ok(())
    })
    .via_f32())
}

fn broadcast_to<T: Number>(io: &mut Io<'_, '_>, from: &Tensor, extents: &Shape) -> Outcome<Tensor> {
    let strides = shape::broadcast_strides(from.shape(), extents)?;
    let mut wide = io.alloc(from.dtype(), extents)?;
    super::layout::gather_strided(from.as_slice::<T>()?, 0, &strides, wide.make_mut::<T>()?, extents);
    Ok(wide)
}

/// Channels stand on axis 1; `groups` of them share moments.
fn by_group<T: Float>(
    input: &Tensor,
    groups: usize,
    epsilon: f64,
    scale: &[T],
    bias: &[T],
    to: &mut [T],
) -> Outcome {
    let &[_, channels, ref rest @ ..] = &**input.shape() else {
        return Err(Fault::shape("a batch and a channel axis are expected"));
    };
    let inner = shape::count(rest)?;
    if groups == 0 || !channels.is_multiple_of(groups) || scale.len() != channels || bias.len() != channels {
        return Err(Fault::shape(format!("{channels} channels in {groups} groups, {} scales", scale.len())));
    }
    let from = input.as_slice::<T>()?;
    let size = channels / groups * inner;
    if size == 0 {
        return Ok(());
    }
    for (group, (from, to)) in from.chunks_exact(size).zip(to.chunks_exact_mut(size)).enumerate() {
        let (mean, variance) = moments(from);
        let factor = T::ONE.div(Float::sqrt(variance.add(T::of(epsilon))));
        let first = group % groups * (channels / groups);
        for (channel, (from, to)) in from.chunks_exact(inner).zip(to.chunks_exact_mut(inner)).enumerate() {
            let (scale, bias) = (scale[first + channel], bias[first + channel]);
            simd::map(from, to, |x| x.sub(mean).mul(factor).mul(scale).add(bias));
        }
    }
    Ok(())
}

fn group_normalization(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let groups = shape::extent(node.int_or("num_groups", 1))?;
    let epsilon = f64::from(node.float_or("epsilon", 1e-5));
    Ok(Kernel::new(move |io| {
        let (input, scale, bias) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let mut result = io.alloc(input.dtype(), input.shape())?;
        by_float!(input.dtype(), T => {
            by_group(input, groups, epsilon, scale.as_slice::<T>()?, bias.as_slice::<T>()?, result.make_mut::<T>()?)
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn instance_normalization(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let epsilon = f64::from(node.float_or("epsilon", 1e-5));
    Ok(Kernel::new(move |io| {
        let (input, scale, bias) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let groups = input.shape().get(1).copied().unwrap_or(0);
        let mut result = io.alloc(input.dtype(), input.shape())?;
        by_float!(input.dtype(), T => {
            by_group(input, groups, epsilon, scale.as_slice::<T>()?, bias.as_slice::<T>()?, result.make_mut::<T>()?)
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// In training it normalizes by the batch's own moments and also gives the running ones.
fn batch_normalization(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let epsilon = f64::from(node.float_or("epsilon", 1e-5));
    let momentum = f64::from(node.float_or("momentum", 0.9));
    let training = node.flag("training_mode");
    if node.opset < 7 && !node.flag("is_test") {
        return Err(Fault::Unsupported("training before version 7".to_owned()));
    }
    if node.opset < 9 && node.int_or("spatial", 1) == 0 {
        return Err(Fault::Unsupported("spatial=0".to_owned()));
    }
    if node.opset < 14 && node.output_count() > 1 {
        return Err(Fault::Unsupported("more than one output before version 14".to_owned()));
    }
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[batch, ref rest @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch axis is expected"));
        };
        let channels = rest.first().copied().unwrap_or(1);
        let inner = shape::count(rest.get(1..).unwrap_or_default())?;
        let mut parameters = Vec::with_capacity(4);
        for place in 1..5 {
            let parameter = io.input(place)?;
            if parameter.element_count() != channels {
                return Err(Fault::shape(format!(
                    "{} parameters for {channels} channels",
                    parameter.element_count()
                )));
            }
            parameters.push(convert(io.pool, parameter, DataType::F64)?);
        }
        let mut result = io.alloc(input.dtype(), input.shape())?;
        io.reserve(channels, 2 * size_of::<f64>())?;
        let (mut means, mut variances) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        by_float!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            for channel in 0..channels {
                let of = |place: usize| parameters[place].as_slice::<f64>().map(|all| all[channel]);
                let (scale, bias, mut mean, mut variance) = (of(0)?, of(1)?, of(2)?, of(3)?);
                let block = |row: usize| (row * channels + channel) * inner;
                if training {
                    let count = (batch * inner) as f64;
                    let rows = || (0..batch).map(|row| &from[block(row)..block(row) + inner]);
                    let sum: f64 = rows().map(|row| simd::fold(row, T::ZERO, |x| x, T::add).to_f64()).sum();
                    let own = sum / count;
                    let at = T::of(own);
                    let squares: f64 = rows()
                        .map(|row| simd::fold(row, T::ZERO, |x| x.sub(at).mul(x.sub(at)), T::add).to_f64())
                        .sum();
                    means.push(mean * momentum + own * (1.0 - momentum));
                    variances.push(variance * momentum + squares / count * (1.0 - momentum));
                    (mean, variance) = (own, squares / count);
                }
                let factor = scale / (variance + epsilon).sqrt();
                let (factor, offset) = (T::of(factor), T::of(bias - mean * factor));
                for row in 0..batch {
                    let at = block(row)..block(row) + inner;
                    simd::map(&from[at.clone()], &mut to[at], |x| x.mul(factor).add(offset));
                }
            }
            Ok(())
        })?;
        io.emit(0, result);
        if training {
            for (place, all) in [(1, means), (2, variances)] {
                let wide = Tensor::from_slice([all.len()], &all)?;
                let dtype = io.input(3)?.dtype();
                let narrow = convert(io.pool, &wide, dtype)?;
                io.emit(place, narrow);
            }
        }
        for parameter in parameters {
            io.pool.put(parameter);
        }
        Ok(())
    })
    .via_f32())
}

fn lp_normalization(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", -1);
    let p = node.int_or("p", 2);
    if !matches!(p, 1 | 2) {
        return Err(Fault::attribute("p", format!("is {p}; use 1 or 2")));
    }
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let extents = input.shape();
        let axis = shape::axis(axis, extents.rank())?;
        let reduction = if p == 1 { super::reduce::Reduction::L1 } else { super::reduce::Reduction::L2 };
        let norms = super::reduce::reduce_axes(io, input, &[axis], true, reduction)?;
        let result = by_float!(input.dtype(), T => {
            super::elementwise::binary_new::<T, T>(io, input, &norms, |x, norm| if norm == T::ZERO { T::ZERO } else { x / norm })
        })?;
        io.pool.put(norms);
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn mean_variance(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axes = node.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let extents = input.shape();
        let axes = shape::axes(&axes, extents.rank())?;
        let means = super::reduce::reduce_axes(io, input, &axes, true, super::reduce::Reduction::Mean)?;
        let result = by_float!(input.dtype(), T => {
            let centred = super::elementwise::binary_new::<T, T>(io, input, &means, |x, mean| x - mean)?;
            let squares = super::elementwise::binary_new::<T, T>(io, &centred, &centred, |x, _| x * x)?;
            let variances = super::reduce::reduce_axes(io, &squares, &axes, true, super::reduce::Reduction::Mean)?;
            super::elementwise::binary_new::<T, T>(io, &centred, &variances, |x, variance| x / (Float::sqrt(variance) + T::of(1e-9)))
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// Local response normalization across channels.
fn lrn(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let size = shape::extent(node.int("size").ok_or_else(|| Fault::attribute("size", "is missing"))?)?;
    let (alpha, beta) = (f64::from(node.float_or("alpha", 1e-4)), f64::from(node.float_or("beta", 0.75)));
    let bias = f64::from(node.float_or("bias", 1.0));
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[_, channels, ref rest @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        };
        let inner = shape::count(rest)?;
        io.charge([input.element_count(), size.min(channels).saturating_add(8)])?;
        let mut result = io.alloc(input.dtype(), input.shape())?;
        by_float!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            for (at, to) in to.iter_mut().enumerate() {
                let channel = at / inner % channels;
                let first = channel.saturating_sub(size.saturating_sub(1) / 2);
                let last = channels.saturating_sub(1).min(channel.saturating_add(size / 2));
                let start = at - channel * inner;
                let sum: f64 = (first..=last).map(|other| from[start + other * inner].to_f64()).map(|x| x * x).sum();
                *to = T::of(from[at].to_f64() / (bias + alpha / size as f64 * sum).powf(beta));
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
