//! Ops that go on where an earlier run stopped: they take a state or a cache and give the next one.

use bb_runtime::{Shape, Tensor};

use super::elementwise::own;
use super::types::{Float, Number, by_float};
use super::wide::{numbers, of_numbers};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("CausalConvWithState", 27, causal_conv),
    op("LinearAttention", 27, linear_attention),
    op("SwiGLU", 28, swi_glu),
    op("TensorScatter", 24, tensor_scatter),
];

/// A convolution of each channel alone, over what came before and what comes now.
fn causal_conv(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let gated = match node.string_or("activation", "none")? {
        "none" => false,
        "silu" | "swish" => true,
        other => {
            return Err(Fault::attribute("activation", format!("is `{other}`; use none, silu or swish")));
        }
    };
    Ok(Kernel::new(move |io| {
        let (input, weight, bias, past) = (io.input(0)?, io.input(1)?, io.optional(2), io.optional(3));
        let (&[batch, channels, length], &[filters, 1, taps]) = (&**input.shape(), &**weight.shape()) else {
            return Err(Fault::shape("[batch, channels, length] and weights [channels, 1, taps] are expected"));
        };
        let before = taps.saturating_sub(1);
        let past_fits = past.is_none_or(|past| **past.shape() == [batch, channels, before]);
        if filters != channels || taps == 0 || !past_fits || bias.is_some_and(|bias| bias.element_count() != channels) {
            return Err(Fault::shape("weights, bias or state do not fit the channels"));
        }
        io.charge([batch, channels, length, taps])?;
        let mut result = io.alloc(input.dtype(), input.shape())?;
        let mut state = io.alloc(input.dtype(), &Shape::from([batch, channels, before]))?;
        by_float!(input.dtype(), T => {
            let mut line = io.scratch::<T>(before + length)?;
            let (from, weight) = (input.as_slice::<T>()?, weight.as_slice::<T>()?);
            let bias = bias.map(Tensor::as_slice::<T>).transpose()?;
            let past = past.map(Tensor::as_slice::<T>).transpose()?;
            let (to, next) = (result.make_mut::<T>()?, state.make_mut::<T>()?);
            let planes = if before + length == 0 { 0 } else { batch * channels };
            for plane in 0..planes {
                let channel = plane % channels;
                let line = line.make_mut::<T>()?;
                match past {
                    Some(past) => line[..before].copy_from_slice(&past[plane * before..][..before]),
                    None => line[..before].fill(T::ZERO),
                }
                line[before..].copy_from_slice(&from[plane * length..][..length]);
                let weight = &weight[channel * taps..][..taps];
                for (at, to) in to[plane * length..][..length].iter_mut().enumerate() {
                    let start = bias.map_or(T::ZERO, |bias| bias[channel]);
                    let sum = line[at..at + taps].iter().zip(weight).fold(start, |sum, (&x, &w)| sum.add(x.mul(w)));
                    *to = if gated { sum.div(T::ONE.add(Float::exp(sum.neg()))) } else { sum };
                }
                next[plane * before..][..before].copy_from_slice(&line[length..]);
            }
            io.pool.put(line);
            Ok(())
        })?;
        io.emit(0, result);
        io.emit(1, state);
        Ok(())
    })
    .via_f32())
}

/// Attention whose past is one matrix a head, decayed and corrected from row to row (Yang et al., *Gated Delta
/// Networks*, 2024).
fn linear_attention(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (gating, correcting) = match node.string_or("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(Fault::attribute("update_rule", format!("is `{other}`"))),
    };
    let heads = |name| shape::extent(node.int_or(name, 0));
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    if q_heads == 0 || kv_heads == 0 || !q_heads.is_multiple_of(kv_heads) {
        return Err(Fault::attribute("q_num_heads", "must be a multiple of kv_num_heads, both above 0"));
    }
    let scale = node.float("scale").filter(|&scale| scale != 0.0).map(f64::from);
    Ok(Kernel::new(move |io| {
        let (q, k, v) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let (past, decay, beta) = (io.optional(3), io.optional(4), io.optional(5));
        let (&[batch, rows, q_width], &[k_batch, k_rows, k_width], &[v_batch, v_rows, v_width]) =
            (&**q.shape(), &**k.shape(), &**v.shape())
        else {
            return Err(Fault::shape("queries, keys and values of rank 3 are expected"));
        };
        let (size, v_size) = (q_width / q_heads, v_width / kv_heads);
        let last = |tensor: Option<&Tensor>, rank: usize| {
            tensor.map(|held| if held.shape().rank() == rank { held.shape()[rank - 1] } else { 0 })
        };
        let (decays, betas) = (last(decay, 3), last(beta, 3));
        let fits = (batch, rows) == (k_batch, k_rows)
            && (batch, rows) == (v_batch, v_rows)
            && q_width == size * q_heads
            && k_width == size * kv_heads
            && v_width == v_size * kv_heads
            && gating == decay.is_some()
            && correcting == beta.is_some()
            && decays.is_none_or(|last| last == kv_heads || last == kv_heads * size)
            && betas.is_none_or(|last| last == kv_heads || last == 1)
            && decay
                .is_none_or(|decay| Some(decay.element_count()) == decays.map(|last| batch * rows * last))
            && beta.is_none_or(|beta| Some(beta.element_count()) == betas.map(|last| batch * rows * last))
            && past.is_none_or(|past| **past.shape() == [batch, kv_heads, size, v_size]);
        if !fits {
            return Err(Fault::shape("operands do not agree in batch, rows, heads or sizes"));
        }
        let state_shape = Shape::from([batch, kv_heads, size, v_size]);
        let result_shape = Shape::from([batch, rows, q_heads * v_size]);
        let (state_count, result_count) = (shape::count(&state_shape)?, shape::count(&result_shape)?);
        io.reserve(state_count.saturating_add(result_count), size_of::<f64>())?;
        io.charge([batch, q_heads, rows, size.saturating_add(4), v_size.saturating_add(4), 4])?;
        let wide = |io: &mut crate::io::Io<'_, '_>, held: Option<&Tensor>| {
            held.map(|held| numbers(io, held)).transpose()
        };
        let (queries, keys, values) = (numbers(io, q)?, numbers(io, k)?, numbers(io, v)?);
        let (decay, beta) = (wide(io, decay)?, wide(io, beta)?);
        let mut state = wide(io, past)?.unwrap_or_else(|| vec![0.0; state_count]);
        let scale = scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt());
        let mut all = vec![0.0; result_count];
        let mut written = vec![0.0; v_size];
        for at in 0..if v_size == 0 { 0 } else { batch * kv_heads * rows } {
            let (image, head, row) = (at / rows / kv_heads, at / rows % kv_heads, at % rows);
            let state = &mut state[(image * kv_heads + head) * size * v_size..][..size * v_size];
            let line = image * rows + row;
            let key = &keys[(line * kv_heads + head) * size..][..size];
            written.copy_from_slice(&values[(line * kv_heads + head) * v_size..][..v_size]);
            if let (Some(decay), Some(last)) = (&decay, decays) {
                for (place, cells) in state.chunks_exact_mut(v_size.max(1)).enumerate() {
                    let at =
                        if last == kv_heads { line * last + head } else { line * last + head * size + place };
                    let factor = libm::exp(decay[at]);
                    cells.iter_mut().for_each(|cell| *cell *= factor);
                }
            }
            if let (Some(beta), Some(last)) = (&beta, betas) {
                let factor = beta[if last == 1 { line } else { line * last + head }];
                for (column, written) in written.iter_mut().enumerate() {
                    let held: f64 =
                        key.iter().enumerate().map(|(place, key)| key * state[place * v_size + column]).sum();
                    *written = factor * (*written - held);
                }
            }
            for (key, cells) in key.iter().zip(state.chunks_exact_mut(v_size.max(1))) {
                cells.iter_mut().zip(&written).for_each(|(cell, written)| *cell += key * written);
            }
            let share = q_heads / kv_heads;
            for other in head * share..(head + 1) * share {
                let query = &queries[(line * q_heads + other) * size..][..size];
                let to = &mut all[(line * q_heads + other) * v_size..][..v_size];
                for (query, cells) in query.iter().zip(state.chunks_exact(v_size.max(1))) {
                    to.iter_mut().zip(cells).for_each(|(to, cell)| *to += scale * query * cell);
                }
            }
        }
        let result = of_numbers(io, q.dtype(), &result_shape, &all)?;
        let state = of_numbers(io, past.map_or(q.dtype(), Tensor::dtype), &state_shape, &state)?;
        io.emit(0, result);
        io.emit(1, state);
        Ok(())
    })
    .via_f32())
}

/// `a · sigmoid(alpha · a) · b`.
fn swi_glu(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let alpha = f64::from(node.float_or("alpha", 1.0));
    Ok(Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        if a.shape() != b.shape() {
            return Err(Fault::shape("both operands must have one shape"));
        }
        let result = by_float!(a.dtype(), T => {
            let alpha = T::of(alpha);
            super::elementwise::binary_new::<T, T>(io, a, b, |a, b| a / (T::ONE + Float::exp(-(alpha * a))) * b)
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// Writes rows into a cache, each batch entry from its own place on.
fn tensor_scatter(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", -2);
    let circular = match node.string_or("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(Fault::attribute("mode", format!("is `{other}`; use linear or circular"))),
    };
    Ok(Kernel::new(move |io| {
        let cache = io.take(0)?;
        let mut cache = own(io, cache)?;
        let update = io.take(1)?;
        let places = if io.input_count() > 2 { Some(io.take_ints(2)?) } else { None };
        let (extents, rank) = (cache.shape().clone(), cache.shape().rank());
        let axis = shape::axis(axis, rank)?;
        let fits = update.shape().rank() == rank
            && update.dtype() == cache.dtype()
            && (0..rank).all(|at| at == axis || update.shape()[at] == extents[at])
            && axis > 0
            && places.as_ref().is_none_or(|places| places.len() == extents[0]);
        if !fits {
            return Err(Fault::shape("the update or its places do not fit the cache"));
        }
        let (rows, length) = (update.shape()[axis], extents[axis]);
        let unit = shape::count(&extents[axis + 1..])? * cache.dtype().size();
        let (outer, each) = (shape::count(&extents[..axis])?, shape::count(&extents[1..axis])?);
        let outer = if unit == 0 { 0 } else { outer };
        io.charge([outer, rows, 8])?;
        let from = update.as_bytes();
        let to = cache.buffer_mut().make_mut();
        for at in 0..outer * rows {
            let (block, row) = (at / rows, at % rows);
            let begin = places.as_ref().map_or(0, |places| places[block / each.max(1)]);
            let place = usize::try_from(begin).ok().and_then(|begin| begin.checked_add(row));
            let place = if circular { place.and_then(|place| place.checked_rem(length)) } else { place };
            let place = place.filter(|&place| place < length);
            let place = place.ok_or_else(|| Fault::shape("a row would be written beyond the cache"))?;
            to[(block * length + place) * unit..][..unit].copy_from_slice(&from[at * unit..][..unit]);
        }
        io.recycle(update);
        io.emit(0, cache);
        Ok(())
    })
    .in_place())
}
