//! Optimizers of ONNX's domain for training: one step of each, for any number of tensors.
//!
//! A node is given the rate, the count of updates, and then the tensors in groups: all values, all gradients, all of each
//! state. It gives the new values, then the new states.

use bb_runtime::{DataType, Tensor};
use smallvec::SmallVec;

use super::elementwise::{own, scalar};
use super::types::{Float, by_float};
use super::{Entry, Kernel};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;

/// The domain of these ops.
pub(crate) const DOMAIN: &str = "ai.onnx.preview.training";

pub(super) const OPS: &[Entry] =
    &[entry("Adagrad", adagrad), entry("Adam", adam), entry("Momentum", momentum)];

const fn entry(name: &'static str, build: fn(&NodeDef<'_>) -> Outcome<Kernel>) -> Entry {
    Entry { domain: DOMAIN, name, since: 1, build }
}

/// Inputs before the first tensor: the rate and the count of updates.
const BEFORE: usize = 2;

/// Duchi et al., *Adaptive Subgradient Methods*, 2011, with a rate that decays.
fn adagrad(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let epsilon = f64::from(node.float_or("epsilon", 1e-6));
    let decay = f64::from(node.float_or("decay_factor", 0.0));
    let norm = f64::from(node.float_or("norm_coefficient", 0.0));
    let count = tensors(node, 1)?;
    Ok(Kernel::new(move |io| {
        let (rate, updates) = schedule(io)?;
        let rate = rate / (1.0 + updates as f64 * decay);
        for at in 0..count {
            step(io, at, count, Rule::Adagrad { rate, norm, epsilon })?;
        }
        Ok(())
    })
    .in_place())
}

/// Kingma and Ba, *Adam*, 2015.
fn adam(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let alpha = f64::from(node.float_or("alpha", 0.9));
    let beta = f64::from(node.float_or("beta", 0.999));
    let epsilon = f64::from(node.float_or("epsilon", 1e-6));
    let norm = f64::from(node.float_or("norm_coefficient", 0.0));
    let keep = 1.0 - f64::from(node.float_or("norm_coefficient_post", 0.0));
    let count = tensors(node, 2)?;
    Ok(Kernel::new(move |io| {
        let (rate, updates) = schedule(io)?;
        let power = |base| libm::pow(base, updates as f64);
        let rate = if updates > 0 { rate * (1.0 - power(beta)).sqrt() / (1.0 - power(alpha)) } else { rate };
        for at in 0..count {
            step(io, at, count, Rule::Adam { rate, norm, epsilon, alpha, beta, keep })?;
        }
        Ok(())
    })
    .in_place())
}

/// Gradient descent with momentum, standard or Nesterov's.
fn momentum(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let required = |name: &'static str| {
        let value = node.float(name).ok_or_else(|| Fault::attribute(name, "is missing: it must be a number"));
        value.map(f64::from)
    };
    let (alpha, beta, norm) = (required("alpha")?, required("beta")?, required("norm_coefficient")?);
    let nesterov = match node.string("mode")? {
        Some("standard") => false,
        Some("nesterov") => true,
        other => {
            let other = other.unwrap_or_default();
            return Err(Fault::attribute("mode", format!("is `{other}`; use standard or nesterov")));
        }
    };
    let count = tensors(node, 1)?;
    Ok(Kernel::new(move |io| {
        let (rate, updates) = schedule(io)?;
        let beta = if updates > 0 { beta } else { 1.0 };
        for at in 0..count {
            step(io, at, count, Rule::Momentum { rate, norm, alpha, beta, nesterov })?;
        }
        Ok(())
    })
    .in_place())
}

/// How many tensors a node works on, each of which has `states` states.
fn tensors(node: &NodeDef<'_>, states: usize) -> Outcome<usize> {
    let given = node.input_count().saturating_sub(BEFORE);
    if given == 0 || !given.is_multiple_of(2 + states) {
        let reason = format!("{given} tensors are no groups of values, gradients and {states} of states");
        return Err(Fault::shape(reason));
    }
    Ok(given / (2 + states))
}

/// The rate and the count of updates.
fn schedule(io: &mut Io<'_, '_>) -> Outcome<(f64, i64)> {
    let rate = io.take(0)?;
    let value = match rate.dtype() {
        DataType::F32 | DataType::F64 => scalar(&rate)?,
        other => return Err(Fault::Type(other)),
    };
    io.recycle(rate);
    match *io.take_ints(1)? {
        [updates] => Ok((value, updates)),
        _ => Err(Fault::shape("the count of updates must be a scalar")),
    }
}

/// What one update does to an element.
#[derive(Clone, Copy)]
enum Rule {
    Adagrad { rate: f64, norm: f64, epsilon: f64 },
    Adam { rate: f64, norm: f64, epsilon: f64, alpha: f64, beta: f64, keep: f64 },
    Momentum { rate: f64, norm: f64, alpha: f64, beta: f64, nesterov: bool },
}

impl Rule {
    /// States of each tensor.
    fn states(self) -> usize {
        match self {
            Self::Adagrad { .. } | Self::Momentum { .. } => 1,
            Self::Adam { .. } => 2,
        }
    }
}

/// Updates tensor `at` of `count` and its states.
fn step(io: &mut Io<'_, '_>, at: usize, count: usize, rule: Rule) -> Outcome {
    let value = io.take(BEFORE + at)?;
    let mut value = own(io, value)?;
    let gradient = io.take(BEFORE + count + at)?;
    let mut states: SmallVec<[Tensor; 2]> = SmallVec::new();
    for state in 0..rule.states() {
        let held = io.take(BEFORE + (2 + state) * count + at)?;
        states.push(own(io, held)?);
    }
    let fits = |other: &Tensor| other.shape() == value.shape();
    if !fits(&gradient) || !states.iter().all(fits) {
        return Err(Fault::shape(format!("value {at}, its gradient and its states differ in shape")));
    }
    io.charge([value.element_count(), 4])?;
    by_float!(value.dtype(), T => {
        let (to, gradient) = (value.make_mut::<T>()?, gradient.as_slice::<T>()?);
        match (rule, states.as_mut_slice()) {
            (Rule::Adagrad { rate, norm, epsilon }, [squares]) => {
                let (rate, norm, epsilon) = (T::of(rate), T::of(norm), T::of(epsilon));
                for ((x, &g), h) in to.iter_mut().zip(gradient).zip(squares.make_mut::<T>()?) {
                    let g = norm * *x + g;
                    *h += g * g;
                    *x -= rate * g / (Float::sqrt(*h) + epsilon);
                }
            }
            (Rule::Adam { rate, norm, epsilon, alpha, beta, keep }, [averages, squares]) => {
                let (rate, norm, epsilon, keep) = (T::of(rate), T::of(norm), T::of(epsilon), T::of(keep));
                let (new_alpha, new_beta) = (T::of(1.0 - alpha), T::of(1.0 - beta));
                let (alpha, beta) = (T::of(alpha), T::of(beta));
                let states = averages.make_mut::<T>()?.iter_mut().zip(squares.make_mut::<T>()?);
                for ((x, &g), (v, h)) in to.iter_mut().zip(gradient).zip(states) {
                    let g = norm * *x + g;
                    *v = alpha * *v + new_alpha * g;
                    *h = beta * *h + new_beta * g * g;
                    *x = keep * (*x - rate * *v / (Float::sqrt(*h) + epsilon));
                }
            }
            (Rule::Momentum { rate, norm, alpha, beta, nesterov }, [averages]) => {
                let (rate, norm, alpha, beta) = (T::of(rate), T::of(norm), T::of(alpha), T::of(beta));
                for ((x, &g), v) in to.iter_mut().zip(gradient).zip(averages.make_mut::<T>()?) {
                    let g = norm * *x + g;
                    *v = alpha * *v + beta * g;
                    *x -= rate * if nesterov { g + alpha * *v } else { *v };
                }
            }
            _ => return Err(Fault::shape("states are missing")),
        }
        Ok(())
    })?;
    io.recycle(gradient);
    io.emit(at, value);
    for (state, held) in states.into_iter().enumerate() {
        io.emit((1 + state) * count + at, held);
    }
    Ok(())
}
