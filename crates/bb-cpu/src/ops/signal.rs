//! Fourier transforms and windows of signals.

use bb_runtime::{DataType, Shape, Tensor};

use super::types::Float;
use super::wide::{numbers, of_numbers};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("BlackmanWindow", 17, |node| window(node, &[0.42, -0.5, 0.08])),
    op("DFT", 17, dft),
    op("HammingWindow", 17, |node| window(node, &[25.0 / 46.0, -21.0 / 46.0])),
    op("HannWindow", 17, |node| window(node, &[0.5, -0.5])),
    op("MelWeightMatrix", 17, mel_weight_matrix),
    op("STFT", 17, stft),
];

/// The greatest odd factor of a length: its transform is a sum over all pairs.
const MAX_ODD: usize = 1 << 14;

/// A complex number.
type Complex<T = f64> = [T; 2];

fn add<T: Float>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    [a[0].add(b[0]), a[1].add(b[1])]
}

fn sub<T: Float>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    [a[0].sub(b[0]), a[1].sub(b[1])]
}

fn scale<T: Float>(factor: T, a: Complex<T>) -> Complex<T> {
    [factor.mul(a[0]), factor.mul(a[1])]
}

/// The discrete transform of a signal, without a factor; `inverse` turns the other way.
///
/// Even lengths are halved (Gentleman and Sande, 1966); odd ones are sums over pairs from both ends.
fn transform<T: Float>(signal: &[Complex<T>], inverse: bool) -> Vec<Complex<T>> {
    let count = signal.len();
    if count <= 1 {
        return signal.to_vec();
    }
    let turn = if inverse { 2.0 } else { -2.0 } * std::f64::consts::PI / count as f64;
    let root = |at: usize| -> Complex<T> {
        let (sine, cosine) = libm::sincos(turn * at as f64);
        [T::of(cosine), T::of(sine)]
    };
    let half = count / 2;
    if count.is_multiple_of(2) {
        let (low, high) = signal.split_at(half);
        let sums: Vec<_> = low.iter().zip(high).map(|(&a, &b)| add(a, b)).collect();
        let turned = low.iter().zip(high).enumerate().map(|(at, (&a, &b))| {
            let (x, root) = (sub(a, b), root(at));
            [x[0].mul(root[0]).sub(x[1].mul(root[1])), x[0].mul(root[1]).add(x[1].mul(root[0]))]
        });
        let turned: Vec<_> = turned.collect();
        let (even, odd) = (transform(&sums, inverse), transform(&turned, inverse));
        return even.into_iter().zip(odd).flat_map(|(even, odd)| [even, odd]).collect();
    }
    let pairs = || signal[1..=half].iter().zip(signal.iter().rev());
    let sums: Vec<_> = pairs().map(|(&a, &b)| add(a, b)).collect();
    let differences: Vec<_> = pairs().map(|(&a, &b)| sub(a, b)).collect();
    let roots: Vec<_> = (0..count).map(root).collect();
    let mut to = vec![[T::ZERO; 2]; count];
    to[0] = sums.iter().fold(signal[0], |sum, &pair| add(sum, pair));
    for at in 1..=half {
        let (mut with, mut across) = (signal[0], [T::ZERO; 2]);
        for (pair, (&sum, &difference)) in sums.iter().zip(&differences).enumerate() {
            let [cosine, sine] = roots[(pair + 1) * at % count];
            with = add(with, scale(cosine, sum));
            across = add(across, scale(sine, difference));
        }
        to[at] = [with[0].sub(across[1]), with[1].add(across[0])];
        to[count - at] = [with[0].add(across[1]), with[1].sub(across[0])];
    }
    to
}

/// The inverse transform of complex `f32`, in their own type: its rounding is part of the results that the ONNX cases
/// expect.
fn inverse_in_single(signal: &[Complex]) -> Vec<Complex> {
    let single: Vec<Complex<f32>> = signal.iter().map(|x| x.map(|part| part as f32)).collect();
    transform(&single, true).into_iter().map(|x| x.map(f64::from)).collect()
}

/// The work of [`transform`]: halving down to the odd factor, and there all pairs.
fn transform_work(length: usize) -> usize {
    let halvings = length.checked_ilog2().unwrap_or(0) as usize;
    let odd = if length == 0 { 0 } else { length >> length.trailing_zeros() };
    length.saturating_add(1).saturating_mul(odd.saturating_add(16 * (halvings + 1)))
}

/// Refuses lengths whose transform would take longer than anybody waits.
fn check_length(length: usize) -> Outcome {
    let odd = if length == 0 { 0 } else { length >> length.trailing_zeros() };
    if odd > MAX_ODD {
        return Err(Fault::shape(format!(
            "length {length} has the odd factor {odd}; at most {MAX_ODD} is taken"
        )));
    }
    Ok(())
}

/// The only element of an optional input.
fn only(io: &Io<'_, '_>, at: usize) -> Outcome<Option<i64>> {
    match io.optional_ints(at)?.as_deref() {
        None => Ok(None),
        Some(&[value]) => Ok(Some(value)),
        Some(_) => Err(Fault::shape(format!("input {at} must be a scalar"))),
    }
}

fn dft(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let by_input = node.opset >= 20;
    let fixed = node.int_or("axis", if by_input { -2 } else { 1 });
    let (inverse, onesided) = (node.flag("inverse"), node.flag("onesided"));
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let own = input.shape();
        let axis = if by_input { only(io, 2)?.unwrap_or(fixed) } else { fixed };
        let axis = shape::axis(axis, own.rank())?;
        let (Some(&parts @ (1 | 2)), true) = (own.last(), axis + 1 < own.rank()) else {
            return Err(Fault::shape("the last axis must have extent 1 or 2, and cannot be transformed"));
        };
        let extent = own[axis];
        let length = match only(io, 1)? {
            Some(length) => shape::extent(length)?,
            None if inverse && onesided => extent.saturating_sub(1).saturating_mul(2),
            None => extent,
        };
        check_length(length)?;
        let is_real = inverse && onesided;
        let kept = if onesided && !inverse { length / 2 + 1 } else { length };
        let mut extents = own.to_vec();
        extents[axis] = kept;
        extents[own.rank() - 1] = if is_real { 1 } else { 2 };
        let extents = Shape::from(extents);
        let count = shape::count(&extents)?;
        io.reserve(count.max(length), 8 * size_of::<f64>())?;
        let from = numbers(io, input)?;
        let inner = shape::count(&own[axis + 1..own.rank() - 1])?;
        let outer = shape::count(&own[..axis])?;
        io.charge([outer, inner, transform_work(length)])?;
        let mut all = vec![0.0; count];
        let to_parts = if is_real { 1 } else { 2 };
        for line in 0..outer * inner {
            let (before, after) = (line / inner, line % inner);
            let at = |index: usize| {
                let begin = ((before * extent + index) * inner + after) * parts;
                [from[begin], if parts == 2 { from[begin + 1] } else { 0.0 }]
            };
            let mut signal: Vec<Complex> = (0..length.min(extent)).map(at).collect();
            signal.resize(length, [0.0; 2]);
            if is_real {
                // The other half of a real signal's spectrum is the first one's mirror.
                for index in length / 2 + 1..length {
                    let [x, y] = signal[length - index];
                    signal[index] = [x, -y];
                }
            }
            let factor = if inverse { 1.0 / length.max(1) as f64 } else { 1.0 };
            let transformed = if inverse && !is_real && input.dtype() == DataType::F32 {
                inverse_in_single(&signal)
            } else {
                transform(&signal, inverse)
            };
            for (index, x) in transformed.iter().enumerate().take(kept) {
                let begin = ((before * kept + index) * inner + after) * to_parts;
                for part in 0..to_parts {
                    all[begin + part] = x[part] * factor;
                }
            }
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn stft(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let onesided = node.int_or("onesided", 1) != 0;
    Ok(Kernel::new(move |io| {
        let (input, window) = (io.input(0)?, io.optional(2));
        let (batch, samples, parts) = match **input.shape() {
            [batch, samples] => (batch, samples, 1),
            [batch, samples, parts @ (1 | 2)] => (batch, samples, parts),
            _ => return Err(Fault::shape("a signal of shape [batch, samples, 1 or 2] is expected")),
        };
        let step = match only(io, 1)?.map(shape::extent).transpose()? {
            Some(step) if step > 0 => step,
            _ => return Err(Fault::shape("the step from frame to frame must be at least 1")),
        };
        let length = match (only(io, 3)?, window) {
            (Some(length), _) => shape::extent(length)?,
            (None, Some(window)) => window.element_count(),
            (None, None) => samples,
        };
        let weights = window.map(|window| numbers(io, window)).transpose()?;
        let is_row = window.is_none_or(|window| window.shape().rank() == 1);
        if !is_row
            || length > samples
            || length == 0
            || weights.as_ref().is_some_and(|weights| weights.len() != length)
        {
            return Err(Fault::shape(format!(
                "frames of {length} of {samples} samples, or their window, do not fit"
            )));
        }
        check_length(length)?;
        let (frames, kept) = ((samples - length) / step + 1, if onesided { length / 2 + 1 } else { length });
        let extents = Shape::from([batch, frames, kept, 2]);
        let count = shape::count(&extents)?;
        io.reserve(count.saturating_add(length.saturating_mul(6)), size_of::<f64>())?;
        let from = numbers(io, input)?;
        io.charge([batch, frames, transform_work(length)])?;
        let mut all = Vec::with_capacity(count);
        for at in 0..batch * frames {
            let begin = (at / frames * samples + at % frames * step) * parts;
            let signal: Vec<Complex> = (0..length)
                .map(|index| {
                    let weight = weights.as_ref().map_or(1.0, |weights| weights[index]);
                    let at = begin + index * parts;
                    [from[at] * weight, if parts == 2 { from[at + 1] * weight } else { 0.0 }]
                })
                .collect();
            all.extend(transform(&signal, false).into_iter().take(kept).flatten());
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// The element type that attribute `output_datatype` names.
fn output_type(node: &NodeDef<'_>) -> Outcome<DataType> {
    Ok(node.dtype("output_datatype")?.unwrap_or(DataType::F32))
}

/// A tensor of these numbers in any type.
fn emit_as(io: &mut Io<'_, '_>, dtype: DataType, extents: &Shape, all: &[f64]) -> Outcome {
    let wide = of_numbers(io, DataType::F64, extents, all)?;
    let result = super::cast::convert(io.pool, &wide, dtype)?;
    io.pool.put(wide);
    io.emit(0, result);
    Ok(())
}

/// A sum of cosines: `terms[k]` times cos(2πkn/N).
fn window(node: &NodeDef<'_>, terms: &'static [f64]) -> Outcome<Kernel> {
    let dtype = output_type(node)?;
    let periodic = node.int_or("periodic", 1) != 0;
    Ok(Kernel::new(move |io| {
        let size = shape::extent(only(io, 0)?.ok_or_else(|| Fault::shape("a size is needed"))?)?;
        io.reserve(size, size_of::<f64>())?;
        io.charge([size, 8, terms.len()])?;
        let period = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
        let at = |index: usize| -> f64 {
            let turn = 2.0 * std::f64::consts::PI * index as f64 / period;
            terms.iter().enumerate().map(|(term, factor)| factor * libm::cos(turn * term as f64)).sum()
        };
        let all: Vec<f64> = (0..size).map(at).collect();
        emit_as(io, dtype, &Shape::from([size]), &all)
    }))
}

/// Triangles that sum a spectrum up to bands of equal width on the mel scale.
fn mel_weight_matrix(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let dtype = output_type(node)?;
    Ok(Kernel::new(move |io| {
        let whole = |io: &Io<'_, '_>, at: usize| -> Outcome<usize> {
            shape::extent(only(io, at)?.ok_or_else(|| Fault::shape(format!("input {at} is missing")))?)
        };
        let (bands, length, rate) = (whole(io, 0)?, whole(io, 1)?, whole(io, 2)?);
        let edge = |tensor: &Tensor| super::elementwise::scalar(tensor);
        let (low, high) = (edge(io.input(3)?)?, edge(io.input(4)?)?);
        let bins = length / 2 + 1;
        let extents = Shape::from([bins, bands]);
        let count = shape::count(&extents)?;
        io.reserve(count, size_of::<f64>())?;
        io.charge([bands, 32])?;
        let mel = |hertz: f64| 2595.0 * libm::log1p(hertz / 700.0) / std::f64::consts::LN_10;
        let step = (mel(high) - mel(low)) / (bands as f64 + 2.0);
        let bin = |band: usize| {
            let hertz =
                700.0 * libm::expm1((mel(low) + band as f64 * step) / 2595.0 * std::f64::consts::LN_10);
            ((length as f64 + 1.0) * hertz / rate.max(1) as f64).floor().max(0.0) as usize
        };
        let mut all = vec![0.0; count];
        for band in 0..bands {
            let (left, centre, right) = (bin(band), bin(band + 1), bin(band + 2));
            let mut set = |at: usize, x: f64| {
                if at < bins {
                    all[at * bands + band] = x;
                }
            };
            if left == centre {
                set(centre, 1.0);
            }
            for at in left..=centre.min(bins) {
                if left < centre {
                    set(at, (at - left) as f64 / (centre - left) as f64);
                }
            }
            for at in centre..right.min(bins) {
                set(at, (right - at) as f64 / (right - centre) as f64);
            }
        }
        emit_as(io, dtype, &extents, &all)
    }))
}
