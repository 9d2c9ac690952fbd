//! Activation functions.
//!
//! `g` is the gradient of the output `y`. Where a function has a corner, the gradient there is that of the branch which
//! the operator's definition puts the corner in.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[
    Rule::all("Celu", |s| s.unary(celu)),
    Rule::all("Elu", |s| s.unary(elu)),
    Rule::all("Gelu", |s| s.unary(gelu)),
    Rule::all("HardSigmoid", |s| s.unary(hard_sigmoid)),
    Rule::all("HardSwish", |s| s.unary(hard_swish)),
    Rule::all("LeakyRelu", |s| s.unary(leaky_relu)),
    Rule::all("Mish", |s| s.unary(mish)),
    Rule::all("PRelu", prelu),
    Rule::all("Relu", |s| s.unary(relu)),
    Rule::all("Selu", |s| s.unary(selu)),
    Rule::all("Shrink", |s| s.unary(shrink)),
    Rule::all("Sigmoid", |s| s.unary(sigmoid)),
    Rule::all("Softplus", |s| s.unary(softplus)),
    Rule::all("Softsign", |s| s.unary(softsign)),
    Rule::all("Swish", |s| s.unary(swish)),
    Rule::all("Tanh", |s| s.unary(tanh)),
    Rule::all("ThresholdedRelu", |s| s.unary(thresholded_relu)),
];

impl Scope<'_> {
    /// A float attribute as a number.
    fn number(&self, name: &str, default: f32) -> f64 {
        f64::from(self.attributes().float_or(name, default))
    }

    /// `above` where `x > limit`, else `below`.
    fn where_above(&mut self, x: Val, limit: f64, above: Val, below: Val) -> Result<Val, AutodiffError> {
        let limit = self.b.scalar_like(x, limit)?;
        let condition = self.b.op("Greater", &[x, limit], vec![]);
        Ok(self.b.op("Where", &[condition, above, below], vec![]))
    }

    /// `below` where `x < limit`, else `above`.
    fn where_below(&mut self, x: Val, limit: f64, below: Val, above: Val) -> Result<Val, AutodiffError> {
        let limit = self.b.scalar_like(x, limit)?;
        let condition = self.b.op("Less", &[x, limit], vec![]);
        Ok(self.b.op("Where", &[condition, below, above], vec![]))
    }

    /// `g·(1-t²)`.
    fn times_tanh_slope(&mut self, g: Val, t: Val) -> Result<Val, AutodiffError> {
        let square = self.b.mul(t, t);
        let one = self.b.scalar_like(t, 1.0)?;
        let slope = self.b.sub(one, square);
        Ok(self.b.mul(g, slope))
    }

    /// `1 - x`.
    fn one_less(&mut self, x: Val) -> Result<Val, AutodiffError> {
        let one = self.b.scalar_like(x, 1.0)?;
        Ok(self.b.sub(one, x))
    }
}

/// `y = max(x, 0) + min(0, α·(exp(x/α)-1))`: `g` for `x > 0`, else `g·exp(x/α)`.
fn celu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let scaled = s.b.scale(x, 1.0 / s.number("alpha", 1.0))?;
    let power = s.b.op("Exp", &[scaled], vec![]);
    let below = s.b.mul(g, power);
    s.where_above(x, 0.0, g, below)
}

/// `y = x` for `x ≥ 0`, else `α·(eˣ-1)`: `g`, or `g·(y+α)`.
fn elu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let (x, y) = (s.input(0)?, s.output(0)?);
    let alpha = s.b.scalar_like(x, s.number("alpha", 1.0))?;
    let slope = s.b.add(y, alpha);
    let below = s.b.mul(g, slope);
    s.where_below(x, 0.0, below, g)
}

/// `y = x·Φ(x)`: `g·(Φ(x) + x·φ(x))`; in the `tanh` approximation, with
/// `u = √(2/π)·(x + 0.044715·x³)`: `g·½·(1 + tanh u + x·(1-tanh² u)·√(2/π)·(1 + 0.134145·x²))`.
/// (Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016.)
fn gelu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let one = s.b.scalar_like(x, 1.0)?;
    let square = s.b.mul(x, x);
    if s.attributes().text("approximate") == Some("tanh") {
        let factor = (2.0 / PI).sqrt();
        let cubic = s.b.scale(square, 0.044_715)?;
        let inner = s.b.add(cubic, one);
        let inner = s.b.mul(inner, x);
        let inner = s.b.scale(inner, factor)?;
        let t = s.b.op("Tanh", &[inner], vec![]);
        let slope = s.b.scale(square, 3.0 * 0.044_715)?;
        let slope = s.b.add(slope, one);
        let slope = s.b.mul(slope, x);
        let slope = s.b.scale(slope, factor)?;
        let slope = s.times_tanh_slope(slope, t)?;
        let sum = s.b.add(slope, t);
        let sum = s.b.add(sum, one);
        let half = s.b.scale(sum, 0.5)?;
        return Ok(s.b.mul(g, half));
    }
    let scaled = s.b.scale(x, FRAC_1_SQRT_2)?;
    let error = s.b.op("Erf", &[scaled], vec![]);
    let cumulative = s.b.add(error, one);
    let cumulative = s.b.scale(cumulative, 0.5)?;
    let exponent = s.b.scale(square, -0.5)?;
    let density = s.b.op("Exp", &[exponent], vec![]);
    let density = s.b.scale(density, 1.0 / (2.0 * PI).sqrt())?;
    let weighted = s.b.mul(x, density);
    let slope = s.b.add(cumulative, weighted);
    Ok(s.b.mul(g, slope))
}

/// `y = max(0, min(1, α·x + β))`: `α·g` where `0 < y < 1`, else zero.
fn hard_sigmoid(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let inside = s.b.scale(g, s.number("alpha", 0.2))?;
    let zero = s.b.scalar_like(y, 0.0)?;
    let below_one = s.where_below(y, 1.0, inside, zero)?;
    s.where_above(y, 0.0, below_one, zero)
}

/// `y = x·max(0, min(1, x/6 + ½))`: zero for `x ≤ -3`, `g` for `x ≥ 3`, between them `g·(x/3 + ½)`.
fn hard_swish(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let third = s.b.scale(x, 1.0 / 3.0)?;
    let half = s.b.scalar_like(x, 0.5)?;
    let slope = s.b.add(third, half);
    let middle = s.b.mul(g, slope);
    let zero = s.b.scalar_like(x, 0.0)?;
    let upper = s.where_below(x, 3.0, middle, g)?;
    s.where_above(x, -3.0, upper, zero)
}

/// `y = x` for `x ≥ 0`, else `α·x`: `g`, or `α·g`.
fn leaky_relu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let below = s.b.scale(g, s.number("alpha", 0.01))?;
    s.where_below(x, 0.0, below, g)
}

/// `y = x·t`, `t = tanh(softplus x)`: `g·(t + x·(1-t²)·sigmoid x)`. (Misra, "Mish", 2019.)
fn mish(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let soft = s.b.op("Softplus", &[x], vec![]);
    let t = s.b.op("Tanh", &[soft], vec![]);
    let sigmoid = s.b.op("Sigmoid", &[x], vec![]);
    let weighted = s.b.mul(x, sigmoid);
    let rest = s.times_tanh_slope(weighted, t)?;
    let slope = s.b.add(t, rest);
    Ok(s.b.mul(g, slope))
}

/// `y = x` for `x ≥ 0`, else `k·x`: `x` gets `g` or `g·k`, `k` gets `g·x` where `x < 0`.
fn prelu(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, k) = (s.upstream()?, s.input(0)?, s.input(1)?);
    if s.wants(0) {
        let below = s.b.mul(g, k);
        let gradient = s.where_below(x, 0.0, below, g)?;
        s.give(0, gradient);
    }
    if s.wants(1) {
        let product = s.b.mul(g, x);
        let zero = s.b.scalar_like(x, 0.0)?;
        let wide = s.where_below(x, 0.0, product, zero)?;
        s.give_broadcast(1, wide)?;
    }
    Ok(())
}

/// `y = max(x, 0)`: `g` where `y > 0`, else zero (so zero at `x = 0`).
fn relu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let zero = s.b.scalar_like(y, 0.0)?;
    s.where_above(y, 0.0, g, zero)
}

/// `y = γ·x` for `x > 0`, else `γ·α·(eˣ-1)`: `γ·g`, or `g·(y + γ·α)`. (Klambauer et al., 2017.)
fn selu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let (x, y) = (s.input(0)?, s.output(0)?);
    let (alpha, gamma) = (s.number("alpha", 1.673_263_2), s.number("gamma", 1.050_701));
    let above = s.b.scale(g, gamma)?;
    let offset = s.b.scalar_like(x, alpha * gamma)?;
    let slope = s.b.add(y, offset);
    let below = s.b.mul(g, slope);
    s.where_above(x, 0.0, above, below)
}

/// `y = x + bias` for `x < -λ`, `x - bias` for `x > λ`, else zero: `g` outside of `±λ`.
fn shrink(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let limit = s.number("lambd", 0.5);
    let zero = s.b.scalar_like(x, 0.0)?;
    let above = s.where_above(x, limit, g, zero)?;
    s.where_below(x, -limit, g, above)
}

/// `y = 1/(1+e⁻ˣ)`: `g·y·(1-y)`.
fn sigmoid(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let rest = s.one_less(y)?;
    let slope = s.b.mul(y, rest);
    Ok(s.b.mul(g, slope))
}

/// `y = ln(1+eˣ)`: `g·sigmoid x`.
fn softplus(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let slope = s.b.op("Sigmoid", &[x], vec![]);
    Ok(s.b.mul(g, slope))
}

/// `y = x/(1+|x|)`: `g·(1-|y|)²`.
fn softsign(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let size = s.b.op("Abs", &[y], vec![]);
    let rest = s.one_less(size)?;
    let slope = s.b.mul(rest, rest);
    Ok(s.b.mul(g, slope))
}

/// `y = x·σ`, `σ = sigmoid(α·x)`: `g·(σ + α·y·(1-σ))`.
fn swish(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let (x, y) = (s.input(0)?, s.output(0)?);
    let alpha = s.number("alpha", 1.0);
    let scaled = s.b.scale(x, alpha)?;
    let sigmoid = s.b.op("Sigmoid", &[scaled], vec![]);
    let rest = s.one_less(sigmoid)?;
    let rest = s.b.mul(y, rest);
    let rest = s.b.scale(rest, alpha)?;
    let slope = s.b.add(sigmoid, rest);
    Ok(s.b.mul(g, slope))
}

/// `y = tanh x`: `g·(1-y²)`.
fn tanh(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    s.times_tanh_slope(g, y)
}

/// `y = x` for `x > α`, else zero: `g`, or zero.
fn thresholded_relu(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let zero = s.b.scalar_like(x, 0.0)?;
    s.where_above(x, s.number("alpha", 1.0), g, zero)
}
