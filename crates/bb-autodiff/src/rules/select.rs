//! Ops that let one of several values through.

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "Clip", flow: clip_flow, backward: clip, nested: false },
    Rule::all("Max", |s| extreme(s, "Less")),
    Rule::all("Min", |s| extreme(s, "Greater")),
    Rule::all("Where", choose),
];

/// `y = c ? a : b`: `a` gets `g` where `c`, `b` where not.
fn choose(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, condition) = (s.upstream()?, s.input(0)?);
    let zero = s.b.scalar_like(g, 0.0)?;
    if s.wants(1) {
        let wide = s.b.op("Where", &[condition, g, zero], vec![]);
        s.give_broadcast(1, wide)?;
    }
    if s.wants(2) {
        let wide = s.b.op("Where", &[condition, zero, g], vec![]);
        s.give_broadcast(2, wide)?;
    }
    Ok(())
}

fn clip_flow(index: usize) -> Flow {
    if index == 0 { Flow::Gradient } else { Flow::Asked }
}

/// `y = min(max(x, low), high)`: `x` gets `g` where `y = x`; `low` and `high` get the sum of `g` where they stand, which
/// is `high` everywhere if it is below `low`.
fn clip(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let zero = s.b.scalar_like(x, 0.0)?;
    let raised = s.b.op("Less", &[x, y], vec![]);
    let lowered = s.b.op("Greater", &[x, y], vec![]);
    if s.wants(0) {
        let changed = s.b.op("Or", &[raised, lowered], vec![]);
        let gradient = s.b.op("Where", &[changed, zero, g], vec![]);
        s.give(0, gradient);
    }
    let (mut at_low, mut at_high) = (raised, lowered);
    if let (Some(low), Some(high)) = (s.optional(1), s.optional(2)) {
        let crossed = s.b.op("Greater", &[low, high], vec![]);
        let in_order = s.b.op("Not", &[crossed], vec![]);
        at_low = s.b.op("And", &[raised, in_order], vec![]);
        let over = s.b.op("And", &[raised, crossed], vec![]);
        at_high = s.b.op("Or", &[lowered, over], vec![]);
    }
    for (index, condition) in [(1, at_low), (2, at_high)] {
        if s.wants(index) {
            let wide = s.b.op("Where", &[condition, g, zero], vec![]);
            s.give_broadcast(index, wide)?;
        }
    }
    Ok(())
}

/// `y = max(x₀, x₁, …)`: `g` goes to the largest, in equal parts where several are. `worse` compares an input that is not
/// chosen with `y`.
fn extreme(s: &mut Scope<'_>, worse: &str) -> Result<(), AutodiffError> {
    let (g, y) = (s.upstream()?, s.output(0)?);
    if s.input_count() == 1 {
        s.give(0, g);
        return Ok(());
    }
    let dtype = s.b.dtype(y)?;
    let mut chosen: Vec<Val> = Vec::with_capacity(s.input_count());
    for index in 0..s.input_count() {
        let x = s.input(index)?;
        let passed_over = s.b.op(worse, &[x, y], vec![]);
        let hit = s.b.op("Not", &[passed_over], vec![]);
        chosen.push(s.b.cast(hit, dtype));
    }
    let mut count = chosen[0];
    for &hit in &chosen[1..] {
        count = s.b.add(count, hit);
    }
    let share = s.b.div(g, count);
    for (index, hit) in chosen.into_iter().enumerate() {
        if s.wants(index) {
            let wide = s.b.mul(share, hit);
            s.give_broadcast(index, wide)?;
        }
    }
    Ok(())
}
