//! Arithmetic, element by element, with broadcasting; changes of precision.
//!
//! `g` is the gradient of the output `y`. A gradient of a broadcast operand is summed over the axes along which the
//! operand was broadcast.

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::facts::is_float;

pub(super) const RULES: &[Rule] = &[
    Rule::all("Add", add),
    Rule::all("Cast", cast),
    Rule::first("CastLike", cast),
    Rule::all("Div", div),
    Rule::all("Mean", mean),
    Rule::all("Mod", modulo),
    Rule::all("Mul", mul),
    Rule::all("Pow", pow),
    Rule::all("Sub", sub),
    Rule::all("Sum", sum),
];

/// `y = a + b`: both get `g`.
fn add(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    s.give_broadcast(0, g)?;
    s.give_broadcast(1, g)
}

/// `y = x₀ + x₁ + …`: each gets `g`.
fn sum(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    (0..s.input_count()).try_for_each(|index| s.give_broadcast(index, g))
}

/// `y = a - b`: `a` gets `g`, `b` gets `-g`.
fn sub(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    s.give_broadcast(0, g)?;
    if s.wants(1) {
        let input = s.input(1)?;
        let summed = s.b.unbroadcast(g, input)?;
        let negated = s.b.neg(summed);
        s.give(1, negated);
    }
    Ok(())
}

/// `y = a·b`: `a` gets `g·b`, `b` gets `g·a`.
fn mul(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, a, b) = (s.upstream()?, s.input(0)?, s.input(1)?);
    for (index, other) in [(0, b), (1, a)] {
        if s.wants(index) {
            let product = s.b.mul(g, other);
            s.give_broadcast(index, product)?;
        }
    }
    Ok(())
}

/// `y = a/b`: `a` gets `g/b`, `b` gets `-g·y/b`.
fn div(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, b, y) = (s.upstream()?, s.input(1)?, s.output(0)?);
    let quotient = s.b.div(g, b);
    s.give_broadcast(0, quotient)?;
    if s.wants(1) {
        let product = s.b.mul(quotient, y);
        let summed = s.b.unbroadcast(product, b)?;
        let negated = s.b.neg(summed);
        s.give(1, negated);
    }
    Ok(())
}

/// `y = xᵉ`: `x` gets `g·e·xᵉ⁻¹`, `e` gets `g·y·ln x`, zero where `x ≤ 0`.
fn pow(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, e, y) = (s.upstream()?, s.input(0)?, s.input(1)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    if s.wants(0) {
        let exponent = s.b.cast(e, dtype);
        let slope = match s.b.fact(e).uniform {
            Some(2.0) => s.b.mul(exponent, x),
            _ => {
                let one = s.b.scalar(dtype, 1.0);
                let less = s.b.sub(exponent, one);
                let power = s.b.op("Pow", &[x, less], vec![]);
                s.b.mul(exponent, power)
            }
        };
        let product = s.b.mul(g, slope);
        s.give_broadcast(0, product)?;
    }
    if s.wants(1) {
        let zero = s.b.scalar(dtype, 0.0);
        let positive = s.b.op("Greater", &[x, zero], vec![]);
        let log = s.b.op("Log", &[x], vec![]);
        let log = s.b.op("Where", &[positive, log, zero], vec![]);
        let slope = s.b.mul(y, log);
        let product = s.b.mul(g, slope);
        let exponent_type = s.b.dtype(e)?;
        let product = s.b.cast(product, exponent_type);
        s.give_broadcast(1, product)?;
    }
    Ok(())
}

/// `y = (x₀ + x₁ + …)/n`: each gets `g/n`.
fn mean(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    let share = s.b.scale(g, 1.0 / s.input_count() as f64)?;
    (0..s.input_count()).try_for_each(|index| s.give_broadcast(index, share))
}

/// `y = a - b·trunc(a/b)` (`fmod`): `a` gets `g`, `b` gets `g·(y-a)/b`.
fn modulo(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, a, b, y) = (s.upstream()?, s.input(0)?, s.input(1)?, s.output(0)?);
    s.give_broadcast(0, g)?;
    if s.wants(1) {
        let multiple = s.b.sub(y, a);
        let quotient = s.b.div(multiple, b);
        let product = s.b.mul(g, quotient);
        s.give_broadcast(1, product)?;
    }
    Ok(())
}

/// A change of precision: `g` in the input's type. From or to other types no gradient flows.
fn cast(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let dtype = s.b.dtype(x)?;
    if is_float(dtype) {
        let gradient = s.b.cast(g, dtype);
        s.give(0, gradient);
    }
    Ok(())
}
