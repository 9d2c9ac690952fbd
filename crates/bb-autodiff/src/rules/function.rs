//! Functions of one number: powers, exponentials, trigonometry.
//!
//! `g` is the gradient of the output `y`. Derivatives: Abramowitz & Stegun, 4.3 to 4.6 and 7.1.

use std::f64::consts::PI;

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[
    Rule::all("Abs", |s| s.unary(abs)),
    Rule::all("Acos", |s| s.unary(|s, g| arc(s, g, -1.0, Arc::OneLess))),
    Rule::all("Acosh", |s| s.unary(|s, g| arc(s, g, 1.0, Arc::LessOne))),
    Rule::all("Asin", |s| s.unary(|s, g| arc(s, g, 1.0, Arc::OneLess))),
    Rule::all("Asinh", |s| s.unary(|s, g| arc(s, g, 1.0, Arc::PlusOne))),
    Rule::all("Atan", |s| s.unary(atan)),
    Rule::all("Atanh", |s| s.unary(atanh)),
    Rule::all("Cos", |s| s.unary(cos)),
    Rule::all("Cosh", |s| s.unary(|s, g| times(s, g, "Sinh"))),
    Rule::all("Erf", |s| s.unary(erf)),
    Rule::all("Exp", |s| s.unary(|s, g| Ok(s.b.mul(g, s.output(0)?)))),
    Rule::all("Log", |s| s.unary(|s, g| Ok(s.b.div(g, s.input(0)?)))),
    Rule::all("Neg", |s| s.unary(|s, g| Ok(s.b.neg(g)))),
    Rule::all("Reciprocal", |s| s.unary(reciprocal)),
    Rule::all("Sin", |s| s.unary(|s, g| times(s, g, "Cos"))),
    Rule::all("Sinh", |s| s.unary(|s, g| times(s, g, "Cosh"))),
    Rule::all("Sqrt", |s| s.unary(sqrt)),
    Rule::all("Tan", |s| s.unary(tan)),
];

/// `y = |x|`: `g·sign x`, so zero at `x = 0`.
fn abs(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    times(s, g, "Sign")
}

/// `g·f(x)`.
fn times(s: &mut Scope<'_>, g: Val, f: &str) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let slope = s.b.op(f, &[x], vec![]);
    Ok(s.b.mul(g, slope))
}

/// What the square root in the derivative of an inverse function is of.
#[derive(Clone, Copy)]
enum Arc {
    /// `1 - x²`
    OneLess,
    /// `x² - 1`
    LessOne,
    /// `x² + 1`
    PlusOne,
}

/// `arcsin' = 1/√(1-x²)`, `arccos' = -1/√(1-x²)`, `arsinh' = 1/√(x²+1)`, `arcosh' = 1/√(x²-1)`.
fn arc(s: &mut Scope<'_>, g: Val, sign: f64, kind: Arc) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let one = s.b.scalar_like(x, 1.0)?;
    let square = s.b.mul(x, x);
    let radicand = match kind {
        Arc::OneLess => s.b.sub(one, square),
        Arc::LessOne => s.b.sub(square, one),
        Arc::PlusOne => s.b.add(square, one),
    };
    let root = s.b.op("Sqrt", &[radicand], vec![]);
    let gradient = s.b.div(g, root);
    if sign < 0.0 { Ok(s.b.neg(gradient)) } else { Ok(gradient) }
}

/// `y = arctan x`: `g/(1+x²)`.
fn atan(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let one = s.b.scalar_like(x, 1.0)?;
    let square = s.b.mul(x, x);
    let divisor = s.b.add(square, one);
    Ok(s.b.div(g, divisor))
}

/// `y = artanh x`: `g/(1-x²)`.
fn atanh(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let one = s.b.scalar_like(x, 1.0)?;
    let square = s.b.mul(x, x);
    let divisor = s.b.sub(one, square);
    Ok(s.b.div(g, divisor))
}

/// `y = cos x`: `-g·sin x`.
fn cos(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let product = times(s, g, "Sin")?;
    Ok(s.b.neg(product))
}

/// `y = erf x`: `g·2/√π·exp(-x²)`.
fn erf(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let square = s.b.mul(x, x);
    let negative = s.b.neg(square);
    let bell = s.b.op("Exp", &[negative], vec![]);
    let slope = s.b.scale(bell, 2.0 / PI.sqrt())?;
    Ok(s.b.mul(g, slope))
}

/// `y = 1/x`: `-g·y²`.
fn reciprocal(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let square = s.b.mul(y, y);
    let product = s.b.mul(g, square);
    Ok(s.b.neg(product))
}

/// `y = √x`: `g/(2y)`.
fn sqrt(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let half = s.b.scale(g, 0.5)?;
    Ok(s.b.div(half, y))
}

/// `y = tan x`: `g·(1+y²)`.
fn tan(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
    let y = s.output(0)?;
    let one = s.b.scalar_like(y, 1.0)?;
    let square = s.b.mul(y, y);
    let slope = s.b.add(square, one);
    Ok(s.b.mul(g, slope))
}
