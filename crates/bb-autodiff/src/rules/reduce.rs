//! Reductions: what arrives at the output is spread over the axes that were reduced.
//!
//! `g` is the gradient of the output `y`; where it stands beside `x` it is broadcast over the reduced axes.

use bb_ir::Dim;

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::axis_within;

pub(super) const RULES: &[Rule] = &[
    Rule::first("ReduceL1", l1),
    Rule::first("ReduceL2", l2),
    Rule::first("ReduceLogSum", log_sum),
    Rule::first("ReduceLogSumExp", log_sum_exp),
    Rule::first("ReduceMax", |s| extreme(s, "Less")),
    Rule::first("ReduceMean", mean),
    Rule::first("ReduceMin", |s| extreme(s, "Greater")),
    Rule::first("ReduceProd", product),
    Rule::first("ReduceSum", sum),
    Rule::first("ReduceSumSquare", sum_square),
];

/// What a reduction reduces.
enum Axes {
    /// Every axis.
    All,
    /// These.
    Known(Vec<i64>),
    /// None: the op is the identity over axes.
    None,
    /// Those that a value lists when the graph runs; none listed means all of them, or none if the flag is set.
    Running(Val, bool),
}

fn axes(s: &Scope<'_>) -> Axes {
    let noop = s.attributes().flag("noop_with_empty_axes", false);
    let known = match (s.list("axes", 1), s.optional(1)) {
        (Ok(known), _) => known.unwrap_or_default(),
        (Err(_), Some(running)) => return Axes::Running(running, noop),
        (Err(_), None) => Vec::new(),
    };
    match (known.is_empty(), noop) {
        (true, true) => Axes::None,
        (true, false) => Axes::All,
        (false, _) => Axes::Known(known),
    }
}

/// The sum of `val`, which has the input's shape, over the reduced axes, which stay with extent 1.
fn sum_kept(s: &mut Scope<'_>, val: Val) -> Val {
    match axes(s) {
        Axes::None => val,
        Axes::All => s.b.op("ReduceSum", &[val], vec![int("keepdims", 1)]),
        Axes::Known(axes) => s.b.reduce_sum(val, &axes, true),
        Axes::Running(axes, noop) => {
            let attributes = vec![int("keepdims", 1), int("noop_with_empty_axes", i64::from(noop))];
            s.b.op("ReduceSum", &[val, axes], attributes)
        }
    }
}

/// `val`, which has the shape of the output, with extent 1 where an axis was reduced: it broadcasts with the input.
fn spread(s: &mut Scope<'_>, val: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    if s.attributes().flag("keepdims", true) {
        return Ok(val);
    }
    match (axes(s), s.b.fact(x).rank()) {
        // A number broadcasts with anything.
        (Axes::None | Axes::All, _) => Ok(val),
        (Axes::Known(axes), Some(rank)) => {
            let within = axes.iter().filter_map(|&axis| axis_within(axis, rank));
            let mut axes: Vec<i64> = within.map(|axis| axis as i64).collect();
            axes.sort_unstable();
            axes.dedup();
            Ok(s.b.unsqueeze(val, &axes))
        }
        (_, rank) => {
            let kept = sum_kept(s, x);
            let shape = s.b.op("Shape", &[kept], vec![]);
            let wide = s.b.reshape(val, shape);
            if let Some(rank) = rank {
                s.b.refine(wide, &vec![Dim::Any; rank]);
            }
            Ok(wide)
        }
    }
}

/// `y = Σ x`: `g` at every element.
fn sum(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let gradient = spread(s, g)?;
    let gradient = s.b.expand_like(gradient, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = Σ x / n`: `g/n` at every element.
fn mean(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let share = match (s.b.fact(x).element_count(), s.b.fact(y).element_count()) {
        (Some(from), Some(to)) => s.b.scale(g, to as f64 / from as f64)?,
        _ => {
            let (from, to) = (s.b.size(x, dtype), s.b.size(y, dtype));
            let count = s.b.div(from, to);
            s.b.div(g, count)
        }
    };
    let gradient = spread(s, share)?;
    let gradient = s.b.expand_like(gradient, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = Σ |x|`: `g·sign x`.
fn l1(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let wide = spread(s, g)?;
    let sign = s.b.op("Sign", &[x], vec![]);
    let gradient = s.b.mul(wide, sign);
    s.give(0, gradient);
    Ok(())
}

/// `y = √Σx²`: `g·x/y`, zero where `y` is.
fn l2(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let (zero, one) = (s.b.scalar_like(y, 0.0)?, s.b.scalar_like(y, 1.0)?);
    let positive = s.b.op("Greater", &[y, zero], vec![]);
    let divisor = s.b.op("Where", &[positive, y, one], vec![]);
    let share = s.b.div(g, divisor);
    let wide = spread(s, share)?;
    let gradient = s.b.mul(wide, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = ln Σ x`: `g·e⁻ʸ` at every element.
fn log_sum(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let negative = s.b.neg(y);
    let inverse = s.b.op("Exp", &[negative], vec![]);
    let share = s.b.mul(g, inverse);
    let gradient = spread(s, share)?;
    let gradient = s.b.expand_like(gradient, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = ln Σ eˣ`: `g·eˣ⁻ʸ`.
fn log_sum_exp(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let total = spread(s, y)?;
    let difference = s.b.sub(x, total);
    let share = s.b.op("Exp", &[difference], vec![]);
    let wide = spread(s, g)?;
    let gradient = s.b.mul(wide, share);
    s.give(0, gradient);
    Ok(())
}

/// `y = Σ x²`: `2·g·x`.
fn sum_square(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let doubled = s.b.scale(g, 2.0)?;
    let wide = spread(s, doubled)?;
    let gradient = s.b.mul(wide, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = max x`: `g` goes to the largest, in equal parts where several are. `worse` compares an element that is not
/// chosen with `y`.
fn extreme(s: &mut Scope<'_>, worse: &str) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let best = spread(s, y)?;
    let passed_over = s.b.op(worse, &[x, best], vec![]);
    let hit = s.b.op("Not", &[passed_over], vec![]);
    let hit = s.b.cast(hit, dtype);
    let count = sum_kept(s, hit);
    let wide = spread(s, g)?;
    let share = s.b.div(wide, count);
    let gradient = s.b.mul(share, hit);
    s.give(0, gradient);
    Ok(())
}

/// `y = Π x`: `g` times the product of the other elements.
///
/// With `p` the product of the elements that are not zero: `p/x` where there is no zero; `p` at the zero where there is
/// one; nothing else.
fn product(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let dtype = s.b.dtype(x)?;
    let (zero, one) = (s.b.scalar(dtype, 0.0), s.b.scalar(dtype, 1.0));
    let size = s.b.op("Abs", &[x], vec![]);
    let other = s.b.op("Greater", &[size, zero], vec![]);
    let safe = s.b.op("Where", &[other, x, one], vec![]);
    let is_zero = s.b.op("Where", &[other, zero, one], vec![]);
    let zeros = sum_kept(s, is_zero);
    let mut attributes = s.all_attributes();
    attributes.retain(|attribute| attribute.name.as_deref() != Some("keepdims"));
    attributes.push(int("keepdims", 1));
    let inputs = [Some(safe), s.optional(1)];
    let used = if inputs[1].is_some() { 2 } else { 1 };
    let p = s.b.emit("ReduceProd", &inputs[..used], attributes, 1)[0];
    let half = s.b.scalar(dtype, 0.5);
    let no_zero = s.b.op("Less", &[zeros, half], vec![]);
    let quotient = s.b.div(p, safe);
    let outside = s.b.op("Where", &[no_zero, quotient, zero], vec![]);
    let more = s.b.scalar(dtype, 1.5);
    let at_most_one = s.b.op("Less", &[zeros, more], vec![]);
    let inside = s.b.op("Where", &[at_most_one, p, zero], vec![]);
    let slope = s.b.op("Where", &[other, outside, inside], vec![]);
    let wide = spread(s, g)?;
    let gradient = s.b.mul(wide, slope);
    s.give(0, gradient);
    Ok(())
}
