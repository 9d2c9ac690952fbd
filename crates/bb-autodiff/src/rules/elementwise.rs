//! Element by element: arithmetic with broadcasting, and functions of one number.
//!
//! `g` is the gradient of the output `y`. A gradient of a broadcast operand is summed over the axes along which the
//! operand was broadcast.

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::builder::Val;
use crate::facts::is_float;

pub(super) const RULES: &[Rule] = &[
    Rule::all("Add", add),
    Rule::all("Cast", cast),
    Rule::first("CastLike", cast),
    Rule::all("Div", div),
    Rule::all("Exp", |s| s.unary(|s, g| Ok(s.b.mul(g, s.output(0)?)))),
    Rule::all("Log", |s| s.unary(|s, g| Ok(s.b.div(g, s.input(0)?)))),
    Rule::all("Mul", mul),
    Rule::all("Neg", |s| s.unary(|s, g| Ok(s.b.neg(g)))),
    Rule::all("Pow", pow),
    Rule::all("Relu", |s| s.unary(relu)),
    Rule::all("Sigmoid", |s| s.unary(sigmoid)),
    Rule::all("Sqrt", |s| s.unary(sqrt)),
    Rule::all("Sub", sub),
    Rule::all("Sum", sum),
    Rule::all("Tanh", |s| s.unary(tanh)),
];

impl Scope<'_> {
    /// The rule of a function of one number: gives what `gradient` makes of the output's gradient.
    pub(super) fn unary(
        &mut self,
        gradient: fn(&mut Self, Val) -> Result<Val, AutodiffError>,
    ) -> Result<(), AutodiffError> {
        let upstream = self.upstream()?;
        let gradient = gradient(self, upstream)?;
        self.give(0, gradient);
        Ok(())
    }
}

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

/// `y = max(x, 0)`: `g` where `y > 0`, else zero (so zero at `x = 0`).
fn relu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let zero = s.b.scalar_like(y, 0.0)?;
    let positive = s.b.op("Greater", &[y, zero], vec![]);
    Ok(s.b.op("Where", &[positive, g, zero], vec![]))
}

/// `y = 1/(1+e⁻ˣ)`: `g·y·(1-y)`.
fn sigmoid(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let one = s.b.scalar_like(y, 1.0)?;
    let rest = s.b.sub(one, y);
    let slope = s.b.mul(y, rest);
    Ok(s.b.mul(g, slope))
}

/// `y = √x`: `g/(2y)`.
fn sqrt(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let half = s.b.scale(g, 0.5)?;
    Ok(s.b.div(half, y))
}

/// `y = tanh x`: `g·(1-y²)`.
fn tanh(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let square = s.b.mul(y, y);
    let one = s.b.scalar_like(y, 1.0)?;
    let slope = s.b.sub(one, square);
    Ok(s.b.mul(g, slope))
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
