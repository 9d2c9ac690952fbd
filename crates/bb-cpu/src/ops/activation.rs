//! Functions of one element with parameters: activations, trigonometry, rounding, tests for special numbers.

use bb_runtime::{DataType, Tensor};

use super::elementwise::{binary_new, map};
use super::legacy::one_a_channel;
use super::types::{Number, by_float, by_number};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("Acos", 7, |_| Ok(exact(libm::acosf, libm::acos))),
    op("Acosh", 9, |_| Ok(exact(libm::acoshf, libm::acosh))),
    op("Asin", 7, |_| Ok(exact(libm::asinf, libm::asin))),
    op("Asinh", 9, |_| Ok(exact(libm::asinhf, libm::asinh))),
    op("Atan", 7, |_| Ok(exact(libm::atanf, libm::atan))),
    op("Atanh", 9, |_| Ok(exact(libm::atanhf, libm::atanh))),
    op("Ceil", 1, |_| Ok(exact(libm::ceilf, libm::ceil))),
    op("Celu", 12, |node| with_alpha(node, 1.0, |x, a| x.max(0.0) + (a * libm::expm1(x / a)).min(0.0))),
    op("Clip", 6, clip_by_attributes),
    op("Clip", 11, |_| Ok(clip())),
    op("Cos", 7, |_| Ok(exact(libm::cosf, libm::cos))),
    op("Cosh", 9, |_| Ok(exact(libm::coshf, libm::cosh))),
    op("Elu", 6, |node| with_alpha(node, 1.0, |x, a| if x < 0.0 { a * libm::expm1(x) } else { x })),
    op("Erf", 9, |_| Ok(exact(libm::erff, libm::erf))),
    op("Floor", 1, |_| Ok(exact(libm::floorf, libm::floor))),
    op("Gelu", 20, gelu),
    op("HardSigmoid", 6, hard_sigmoid),
    op("HardSwish", 14, |_| Ok(exact64(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)))),
    op("IsInf", 10, is_inf),
    op("IsNaN", 9, |_| Ok(test(f64::is_nan))),
    op("LeakyRelu", 6, |node| with_alpha(node, 0.01, |x, a| if x < 0.0 { a * x } else { x })),
    op("Mish", 18, |_| Ok(exact64(|x| x * libm::tanh(softplus(x))))),
    op("PRelu", 1, |_| Ok(one_a_channel(prelu()))),
    op("PRelu", 9, |_| Ok(prelu())),
    op("Round", 11, |_| Ok(exact(f32::round_ties_even, f64::round_ties_even))),
    op("Selu", 6, selu),
    op("Shrink", 9, shrink),
    op("Sin", 7, |_| Ok(exact(libm::sinf, libm::sin))),
    op("Sinh", 9, |_| Ok(exact(libm::sinhf, libm::sinh))),
    op("Softplus", 1, |_| Ok(exact64(softplus))),
    op("Softsign", 1, |_| Ok(exact64(|x| x / (1.0 + x.abs())))),
    op("Swish", 24, |node| with_alpha(node, 1.0, |x, a| x / (1.0 + libm::exp(-a * x)))),
    op("Tan", 7, |_| Ok(exact(libm::tanf, libm::tan))),
    op("ThresholdedRelu", 10, |node| with_alpha(node, 1.0, |x, a| if x > a { x } else { 0.0 })),
];

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// The work of a function of one element that is computed exactly.
const EXACT: usize = 16;

/// A function given for both types.
fn exact(single: fn(f32) -> f32, double: fn(f64) -> f64) -> Kernel {
    Kernel::new(move |io| {
        let input = io.take(0)?;
        io.charge([input.element_count(), EXACT])?;
        let result = match input.dtype() {
            DataType::F32 => map::<f32>(io, input, single)?,
            DataType::F64 => map::<f64>(io, input, double)?,
            other => return Err(Fault::Type(other)),
        };
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}

/// A function computed in `f64`.
fn exact64(f: impl Fn(f64) -> f64 + Copy + Send + 'static) -> Kernel {
    Kernel::new(move |io| {
        let input = io.take(0)?;
        io.charge([input.element_count(), EXACT])?;
        let result = by_number!(input.dtype(), T => map::<T>(io, input, |x| T::from_f64(f(x.to_f64()))))?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}

fn with_alpha(node: &NodeDef<'_>, otherwise: f32, f: fn(f64, f64) -> f64) -> Outcome<Kernel> {
    let alpha = f64::from(node.float_or("alpha", otherwise));
    Ok(exact64(move |x| f(x, alpha)))
}

fn hard_sigmoid(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (alpha, beta) = (f64::from(node.float_or("alpha", 0.2)), f64::from(node.float_or("beta", 0.5)));
    Ok(exact64(move |x| (alpha * x + beta).clamp(0.0, 1.0)))
}

fn selu(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let alpha = f64::from(node.float_or("alpha", 1.673_263_2));
    let gamma = f64::from(node.float_or("gamma", 1.050_701));
    Ok(exact64(move |x| gamma * if x > 0.0 { x } else { alpha * libm::expm1(x) }))
}

fn shrink(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (bias, lambda) = (f64::from(node.float_or("bias", 0.0)), f64::from(node.float_or("lambd", 0.5)));
    Ok(exact64(move |x| {
        if x < -lambda {
            x + bias
        } else if x > lambda {
            x - bias
        } else {
            0.0
        }
    }))
}

fn gelu(node: &NodeDef<'_>) -> Outcome<Kernel> {
    match node.string_or("approximate", "none")? {
        "none" => Ok(exact64(|x| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)))),
        "tanh" => Ok(exact64(|x| {
            0.5 * x * (1.0 + libm::tanh((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)))
        })),
        other => Err(Fault::attribute("approximate", format!("is `{other}`; use none or tanh"))),
    }
}

fn test(f: impl Fn(f64) -> bool + Copy + Send + 'static) -> Kernel {
    Kernel::new(move |io| {
        let input = io.input(0)?;
        let mut result = io.alloc(DataType::Bool, input.shape())?;
        by_float!(input.dtype(), T => {
            simd::map(input.as_slice::<T>()?, result.make_mut::<u8>()?, |x: T| u8::from(f(x.to_f64())));
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

fn is_inf(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (negative, positive) =
        (node.int_or("detect_negative", 1) != 0, node.int_or("detect_positive", 1) != 0);
    Ok(test(move |x| x.is_infinite() && if x > 0.0 { positive } else { negative }))
}

fn prelu() -> Kernel {
    Kernel::new(|io| {
        let (input, slope) = (io.input(0)?, io.input(1)?);
        if input.dtype() != slope.dtype() {
            return Err(Fault::Type(slope.dtype()));
        }
        let result = by_number!(input.dtype(), T => {
            binary_new::<T, T>(io, input, slope, |x, slope| if x.below_zero() { x.mul(slope) } else { x })
        })?;
        if result.shape() != input.shape() {
            return Err(Fault::shape("the slope has more elements along an axis than the input"));
        }
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

fn clip_by_attributes(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (least, most) = (node.float_or("min", f32::MIN), node.float_or("max", f32::MAX));
    Ok(exact64(move |x| x.max(f64::from(least)).min(f64::from(most))))
}

fn clip() -> Kernel {
    Kernel::new(|io| {
        let bound = |bound: Option<&Tensor>, dtype: DataType| match bound {
            Some(bound) if bound.dtype() != dtype => Err(Fault::Type(bound.dtype())),
            Some(bound) if bound.element_count() != 1 => Err(Fault::shape("a bound must be a scalar")),
            other => Ok(other.cloned()),
        };
        let input = io.take(0)?;
        let (least, most) = (io.take(1).ok(), io.take(2).ok());
        let (least, most) = (bound(least.as_deref(), input.dtype())?, bound(most.as_deref(), input.dtype())?);
        let result = by_number!(input.dtype(), T => {
            let read = |bound: Option<Tensor>, otherwise: T| match bound {
                Some(bound) => bound.as_slice::<T>().map(|bound| bound[0]),
                None => Ok(otherwise),
            };
            let (least, most) = (read(least, T::LOWEST)?, read(most, T::HIGHEST)?);
            map::<T>(io, input, |x| {
                let x = if x < least { least } else { x };
                if x > most { most } else { x }
            })
        })?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}
