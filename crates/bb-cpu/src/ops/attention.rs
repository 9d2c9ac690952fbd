//! Attention and the rotation of positions into its operands.

use bb_runtime::{DataType, Shape, Tensor};

use super::gemm::{Matrix, product};
use super::types::{Float, Number, by_float};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape;
use crate::simd;

pub(super) const OPS: &[Entry] =
    &[op("Attention", 23, attention), op("RotaryEmbedding", 23, rotary_embedding)];

/// Attributes of an attention.
#[derive(Clone, Copy, Debug)]
struct Settings {
    causal: bool,
    q_heads: Option<usize>,
    kv_heads: Option<usize>,
    scale: Option<f32>,
    softcap: f32,
    /// What the fourth output shows: 0 the products, 1 capped, 2 with the mask, 3 their softmax.
    shows: i64,
    left: Option<i64>,
    right: Option<i64>,
}

/// Where the rows of one operand's heads stand.
#[derive(Clone, Copy, Debug)]
struct Heads {
    batch: usize,
    count: usize,
    length: usize,
    size: usize,
    /// Heads stand side by side in each row.
    packed: bool,
}

impl Heads {
    fn of(tensor: &Tensor, count: Option<usize>) -> Outcome<Self> {
        match (&**tensor.shape(), count) {
            (&[batch, count, length, size], _) => Ok(Self { batch, count, length, size, packed: false }),
            (&[batch, length, width], Some(count)) if count > 0 && width.is_multiple_of(count) => {
                Ok(Self { batch, count, length, size: width / count, packed: true })
            }
            (&[_, _, _], _) => {
                Err(Fault::shape("operands of rank 3 need head counts that divide their last axis"))
            }
            _ => Err(Fault::shape("operands of rank 3 or 4 are expected")),
        }
    }

    /// Copies the rows of one head.
    fn copy<T: Copy>(&self, from: &[T], batch: usize, head: usize, to: &mut [T]) {
        let size = self.size;
        if size == 0 {
            return;
        }
        for (row, to) in to.chunks_exact_mut(size).enumerate().take(self.length) {
            to.copy_from_slice(&from[self.row(batch, head, row)..][..size]);
        }
    }

    fn row(&self, batch: usize, head: usize, row: usize) -> usize {
        if self.packed {
            ((batch * self.length + row) * self.count + head) * self.size
        } else {
            ((batch * self.count + head) * self.length + row) * self.size
        }
    }
}

fn attention(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let heads = |name| node.int(name).filter(|&count| count > 0).map(shape::extent).transpose();
    let window = |name| node.int(name).filter(|&size| size >= 0);
    let settings = Settings {
        causal: node.flag("is_causal"),
        q_heads: heads("q_num_heads")?,
        kv_heads: heads("kv_num_heads")?,
        scale: node.float("scale"),
        softcap: node.float_or("softcap", 0.0),
        shows: node.int_or("qk_matmul_output_mode", 0),
        left: window("left_window_size"),
        right: window("right_window_size"),
    };
    if !(0..=3).contains(&settings.shows) {
        return Err(Fault::attribute("qk_matmul_output_mode", "is none of 0 to 3"));
    }
    Ok(Kernel::new(move |io| by_float!(io.input(0)?.dtype(), T => attend::<T>(io, settings))).via_f32())
}

/// Appends the rows of each head to those that came before; shape `[batch, heads, rows, size]`.
fn extend<T: Float>(
    io: &mut Io<'_, '_>,
    past: Option<&Tensor>,
    new: &Tensor,
    heads: Heads,
) -> Outcome<Tensor> {
    let before = match past.map(|past| &**past.shape()) {
        None => 0,
        Some(&[batch, count, before, size])
            if (batch, count, size) == (heads.batch, heads.count, heads.size) =>
        {
            before
        }
        Some(_) => {
            return Err(Fault::shape("past and new keys and values must agree in all axes but the rows"));
        }
    };
    let rows = before + heads.length;
    let mut all = io.alloc(T::DTYPE, &Shape::from([heads.batch, heads.count, rows, heads.size]))?;
    let to = all.make_mut::<T>()?;
    let from = new.as_slice::<T>()?;
    let past = past.map(Tensor::as_slice::<T>).transpose()?.unwrap_or_default();
    let (old, size) = (before * heads.size, rows * heads.size);
    if size > 0 {
        for (at, to) in to.chunks_exact_mut(size).enumerate() {
            to[..old].copy_from_slice(&past[at * old..][..old]);
            heads.copy(from, at / heads.count, at % heads.count, &mut to[old..]);
        }
    }
    Ok(all)
}

/// What is added to scores: 0, or a number of the mask, or minus infinity.
struct Mask<'a> {
    tensor: Option<&'a Tensor>,
    /// Strides over batch, heads and queries; keys stand side by side.
    strides: [usize; 3],
    /// Keys that the mask tells of.
    keys: usize,
}

impl<'a> Mask<'a> {
    fn new(tensor: Option<&'a Tensor>, extents: [usize; 3], keys: usize) -> Outcome<Self> {
        let Some(held) = tensor else { return Ok(Self { tensor, strides: [0; 3], keys }) };
        let own = held.shape();
        let Some(&last) = own.last() else { return Err(Fault::shape("the mask must have an axis of keys")) };
        if last > keys {
            return Err(Fault::shape(format!("the mask has {last} keys, there are {keys}")));
        }
        let wanted = [extents[0], extents[1], extents[2], last];
        let strides = shape::broadcast_strides(own, &wanted)?;
        Ok(Self { tensor, strides: [strides[0], strides[1], strides[2]], keys: last })
    }

    /// Writes what one query adds to its scores.
    fn write<T: Float>(&self, batch: usize, head: usize, query: usize, to: &mut [T]) -> Outcome {
        let least = T::LOWEST;
        let Some(tensor) = self.tensor else {
            to.fill(T::ZERO);
            return Ok(());
        };
        let begin = batch * self.strides[0] + head * self.strides[1] + query * self.strides[2];
        let (known, unknown) = to.split_at_mut(self.keys);
        unknown.fill(least);
        if known.is_empty() {
            return Ok(());
        }
        if tensor.dtype() == DataType::Bool {
            for (to, &takes_part) in known.iter_mut().zip(&tensor.as_slice::<u8>()?[begin..]) {
                *to = if takes_part != 0 { T::ZERO } else { least };
            }
        } else {
            known.copy_from_slice(&tensor.as_slice::<T>()?[begin..][..self.keys]);
        }
        Ok(())
    }
}

fn attend<T: Float + ndarray::LinalgScalar>(io: &mut Io<'_, '_>, settings: Settings) -> Outcome {
    let (q, k, v) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let (past_k, past_v, lengths) = (io.optional(4), io.optional(5), io.optional_ints(6)?);
    let (q_heads, k_heads) = (Heads::of(q, settings.q_heads)?, Heads::of(k, settings.kv_heads)?);
    let v_heads = Heads::of(v, settings.kv_heads)?;
    let keys_fit =
        (k_heads.batch, k_heads.count, k_heads.length) == (v_heads.batch, v_heads.count, v_heads.length);
    let heads_fit = k_heads.count > 0 && q_heads.count.is_multiple_of(k_heads.count);
    if !keys_fit || !heads_fit || q_heads.batch != k_heads.batch || q_heads.size != k_heads.size {
        return Err(Fault::shape("queries, keys and values do not agree in batch, heads or sizes"));
    }
    if past_k.is_some() != past_v.is_some() {
        return Err(Fault::shape("past keys and past values must come together"));
    }
    let keys = extend::<T>(io, past_k, k, k_heads)?;
    let values = extend::<T>(io, past_v, v, v_heads)?;
    let (batches, heads, queries) = (q_heads.batch, q_heads.count, q_heads.length);
    let count = keys.shape()[2];
    if values.shape()[2] != count || lengths.as_ref().is_some_and(|lengths| lengths.len() != batches) {
        return Err(Fault::shape("past keys and values, or lengths, do not fit the batch"));
    }
    let mask = Mask::new(io.optional(3), [batches, heads, queries], count)?;
    let scale = settings.scale.map_or_else(|| 1.0 / (q_heads.size as f64).sqrt(), f64::from);
    let result_heads = Heads { size: v_heads.size, ..q_heads };
    let result_shape = if q_heads.packed {
        Shape::from([batches, queries, heads * v_heads.size])
    } else {
        Shape::from([batches, heads, queries, v_heads.size])
    };
    let mut result = io.alloc(T::DTYPE, &result_shape)?;
    let mut shown = match io.wants(3) {
        true => Some(io.alloc(T::DTYPE, &Shape::from([batches, heads, queries, count]))?),
        false => None,
    };
    let mut own = io.scratch::<T>(queries * q_heads.size)?;
    let mut scores = io.scratch::<T>(queries * count)?;
    let mut added = io.scratch::<T>(count)?;
    let mut mixed = io.scratch::<T>(queries * v_heads.size)?;
    {
        let (keys, values) = (keys.as_slice::<T>()?, values.as_slice::<T>()?);
        let (own, scores) = (own.make_mut::<T>()?, scores.make_mut::<T>()?);
        let (added, mixed) = (added.make_mut::<T>()?, mixed.make_mut::<T>()?);
        let to = result.make_mut::<T>()?;
        // Where nothing is to be written nothing is computed.
        io.charge([batches, heads, queries.saturating_add(1), count.saturating_add(4), 4])?;
        let blocks = if to.is_empty() && shown.is_none() { 0 } else { batches * heads };
        for at in 0..blocks {
            let (batch, head) = (at / heads, at % heads);
            let other = batch * k_heads.count + head / (heads / k_heads.count);
            q_heads.copy(q.as_slice::<T>()?, batch, head, own);
            let left = Matrix::new(&*own, queries, q_heads.size, false);
            let right = &keys[other * count * q_heads.size..][..count * q_heads.size];
            let right = Matrix::new(right, q_heads.size, count, true);
            if q_heads.size == 0 {
                scores.fill(T::ZERO);
            } else {
                product(
                    T::of(scale),
                    left,
                    right,
                    T::ZERO,
                    scores,
                    (&mut *io.pool, &mut io.hands.workspace),
                )?;
            }
            let mut show = shown.as_mut().map(Tensor::make_mut::<T>).transpose()?;
            let mut show = |stage: i64, query: usize, row: &[T]| {
                if let (Some(show), true) = (&mut show, stage == settings.shows) {
                    show[(at * queries + query) * count..][..count].copy_from_slice(row);
                }
            };
            // Keys that stand before the first query.
            let before = match (&past_k, &lengths) {
                (Some(past), _) => past.shape()[2] as i64,
                (None, Some(lengths)) => lengths[batch].saturating_sub(queries as i64),
                (None, None) => 0,
            };
            for (query, row) in scores.chunks_exact_mut(count.max(1)).enumerate().take(queries) {
                show(0, query, row);
                if settings.softcap > 0.0 {
                    let cap = T::of(f64::from(settings.softcap));
                    simd::map_in_place(row, |x| Float::tanh(x / cap) * cap);
                }
                show(1, query, row);
                mask.write(batch, head, query, added)?;
                let place = (query as i64).saturating_add(before);
                for (key, added) in added.iter_mut().enumerate() {
                    let key = key as i64;
                    let is_hidden = settings.causal && key > place
                        || settings.left.is_some_and(|left| key < place.saturating_sub(left))
                        || settings.right.is_some_and(|right| key > place.saturating_add(right))
                        || lengths.as_ref().is_some_and(|lengths| key >= lengths[batch]);
                    if is_hidden {
                        *added = T::LOWEST;
                    }
                }
                simd::update(row, added, <T as Number>::add);
                show(2, query, row);
                if added.iter().all(|&added| added == T::LOWEST) {
                    row.fill(T::ZERO);
                } else {
                    softmax(row);
                }
                show(3, query, row);
            }
            let right = &values[other * count * v_heads.size..][..count * v_heads.size];
            if count == 0 {
                mixed.fill(T::ZERO);
            } else {
                let left = Matrix::new(&*scores, queries, count, false);
                let right = Matrix::new(right, count, v_heads.size, false);
                product(T::ONE, left, right, T::ZERO, mixed, (&mut *io.pool, &mut io.hands.workspace))?;
            }
            for (query, from) in mixed.chunks_exact(v_heads.size.max(1)).enumerate().take(queries) {
                to[result_heads.row(batch, head, query)..][..v_heads.size].copy_from_slice(from);
            }
        }
    }
    for scratch in [own, scores, added, mixed] {
        io.pool.put(scratch);
    }
    io.emit(0, result);
    io.emit(1, keys);
    io.emit(2, values);
    if let Some(shown) = shown {
        io.emit(3, shown);
    }
    Ok(())
}

/// Softmax of a row; zeros where nothing is above minus infinity.
fn softmax<T: Float>(row: &mut [T]) {
    let most = row.iter().copied().fold(T::LOWEST, T::most);
    if most == T::LOWEST {
        row.fill(T::ZERO);
        return;
    }
    simd::map_in_place(row, |x| Float::exp(x.sub(most)));
    let sum = simd::fold(row, T::ZERO, |x| x, T::add);
    simd::map_in_place(row, |x| x.div(sum));
}

/// Rotates pairs of each row by the angle of its position (Su et al., *RoFormer*, 2021).
fn rotary_embedding(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let heads = node.int("num_heads").filter(|&count| count > 0).map(shape::extent).transpose()?;
    let rotated = shape::extent(node.int_or("rotary_embedding_dim", 0))?;
    let interleaved = node.flag("interleaved");
    Ok(Kernel::new(move |io| {
        let (input, cosines, sines) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let places = io.optional_ints(3)?;
        let held = Heads::of(input, heads)?;
        let rotated = if rotated == 0 { held.size } else { rotated };
        let half = rotated / 2;
        let rows = held.batch * held.length;
        let table = cosines.element_count().checked_div(half).unwrap_or(0);
        let places_fit = match &places {
            Some(places) => places.len() == rows && places.iter().all(|at| (0..table as i64).contains(at)),
            None => table == rows,
        };
        let is_wide = cosines.shape().last().is_none_or(|&extent| extent != half);
        if rotated > held.size || rotated % 2 != 0 || cosines.shape() != sines.shape() || is_wide || !places_fit {
            return Err(Fault::shape("positions and the tables of cosines and sines do not fit the rows"));
        }
        let mut result = io.alloc(input.dtype(), input.shape())?;
        by_float!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            to.copy_from_slice(from);
            let (cosines, sines) = (cosines.as_slice::<T>()?, sines.as_slice::<T>()?);
            for at in 0..rows * held.count {
                let (row, head) = (at / held.count, at % held.count);
                let begin = held.row(row / held.length, head, row % held.length);
                let place = places.as_ref().map_or(row, |places| places[row] as usize);
                for pair in 0..half {
                    let (first, second) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                    let (x, y) = (from[begin + first], from[begin + second]);
                    let (cosine, sine) = (cosines[place * half + pair], sines[place * half + pair]);
                    to[begin + first] = cosine.mul(x).sub(sine.mul(y));
                    to[begin + second] = sine.mul(x).add(cosine.mul(y));
                }
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
