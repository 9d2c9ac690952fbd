//! Ops that put elements at places that indices say.

use bb_ir::DataType;
use bb_ir::onnx::AttributeProto;

use super::indexing::{SCATTER_ADDS, added_at, adding, require};
use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{i64_tensor, int, string, tensor};
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "Scatter", flow: scatter_flow, backward: old_scatter, nested: false },
    Rule { op: "ScatterElements", flow: scatter_flow, backward: scatter_elements, nested: false },
    Rule { op: "ScatterND", flow: scatter_flow, backward: scatter_nd, nested: false },
];

/// From it on there are `ScatterElements` and `GatherElements`, in place of `Scatter`.
const ELEMENTS: i64 = 11;

fn scatter_flow(index: usize) -> Flow {
    if index == 1 { Flow::Stop } else { Flow::Gradient }
}

/// How to put in and to take out at the same places.
struct Places {
    scatter: &'static str,
    gather: &'static str,
    attributes: Vec<AttributeProto>,
    indices: Val,
}

impl Places {
    fn take(&self, s: &mut Scope<'_>, from: Val) -> Val {
        s.b.op(self.gather, &[from, self.indices], self.attributes.clone())
    }

    fn put(&self, s: &mut Scope<'_>, into: Val, updates: Val, reduction: Option<AttributeProto>) -> Val {
        let attributes = self.attributes.iter().cloned().chain(reduction).collect();
        s.b.op(self.scatter, &[into, self.indices, updates], attributes)
    }
}

/// `y = x` with `u` at the indices, or combined there.
fn scatter(s: &mut Scope<'_>, places: &Places) -> Result<(), AutodiffError> {
    match s.attributes().text("reduction").unwrap_or("none") {
        "none" => replaced(s, places),
        "add" => added(s, places),
        "mul" => multiplied(s, places),
        "max" => extreme(s, places, "Less"),
        "min" => extreme(s, places, "Greater"),
        other => Err(s.unsupported(format!("reduction `{other}` has no gradient"))),
    }
}

/// `u` gets `g` at the indices, `x` gets `g` with zeros there.
fn replaced(s: &mut Scope<'_>, places: &Places) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    left(s, places)?;
    if s.wants(2) {
        let gradient = places.take(s, g);
        s.give(2, gradient);
    }
    Ok(())
}

/// `x`, of which elements are replaced, gets `g` with zeros there.
fn left(s: &mut Scope<'_>, places: &Places) -> Result<(), AutodiffError> {
    if s.wants(0) {
        let (g, updates) = (s.upstream()?, s.input(2)?);
        let zeros = s.b.full_like(updates, 0.0)?;
        let gradient = places.put(s, g, zeros, None);
        s.give(0, gradient);
    }
    Ok(())
}

/// `u` gets `g` at the indices, `x` gets `g`.
fn added(s: &mut Scope<'_>, places: &Places) -> Result<(), AutodiffError> {
    let g = s.upstream()?;
    s.give(0, g);
    if s.wants(2) {
        let gradient = places.take(s, g);
        s.give(2, gradient);
    }
    Ok(())
}

/// `x` gets `g` times what it was multiplied by; `u`, which must not be zero, `g·y/u` at the indices.
fn multiplied(s: &mut Scope<'_>, places: &Places) -> Result<(), AutodiffError> {
    let (g, x, updates, y) = (s.upstream()?, s.input(0)?, s.input(2)?, s.output(0)?);
    if s.wants(0) {
        let ones = s.b.full_like(x, 1.0)?;
        let factor = places.put(s, ones, updates, Some(string("reduction", "mul")));
        let gradient = s.b.mul(g, factor);
        s.give(0, gradient);
    }
    if s.wants(2) {
        let weighted = s.b.mul(g, y);
        let taken = places.take(s, weighted);
        let gradient = s.b.div(taken, updates);
        s.give(2, gradient);
    }
    Ok(())
}

/// `g` goes to the largest, in equal parts where several are. `worse` compares what is not chosen with `y`.
fn extreme(s: &mut Scope<'_>, places: &Places, worse: &str) -> Result<(), AutodiffError> {
    require(s, SCATTER_ADDS)?;
    let (g, x, updates, y) = (s.upstream()?, s.input(0)?, s.input(2)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let hits = |s: &mut Scope<'_>, from: Val, best: Val| {
        let passed_over = s.b.op(worse, &[from, best], vec![]);
        let hit = s.b.op("Not", &[passed_over], vec![]);
        s.b.cast(hit, dtype)
    };
    let kept = hits(s, x, y);
    let best = places.take(s, y);
    let new = hits(s, updates, best);
    let count = places.put(s, kept, new, Some(adding()));
    let share = s.b.div(g, count);
    let gradient = s.b.mul(share, kept);
    s.give(0, gradient);
    if s.wants(2) {
        let taken = places.take(s, share);
        let gradient = s.b.mul(taken, new);
        s.give(2, gradient);
    }
    Ok(())
}

fn along_axis(s: &Scope<'_>, scatter: &'static str) -> Result<Places, AutodiffError> {
    let attributes = vec![int("axis", s.attributes().int_or("axis", 0))];
    Ok(Places { scatter, gather: "GatherElements", attributes, indices: s.input(1)? })
}

/// See [`scatter`]; an index an element, along an axis.
fn scatter_elements(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let places = along_axis(s, "ScatterElements")?;
    scatter(s, &places)
}

/// See [`scatter`]: the form of the operator sets in which nothing takes the elements out again.
///
/// The updates' numbers, from 1, are scattered into zeros; then `g` is added to the list of numbers at those.
fn old_scatter(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.b.opset() >= ELEMENTS {
        let places = along_axis(s, "ScatterElements")?;
        return replaced(s, &places);
    }
    let (g, x, updates, places) = (s.upstream()?, s.input(0)?, s.input(2)?, along_axis(s, "Scatter")?);
    left(s, &places)?;
    if s.wants(2) {
        let (flat, shape) = (s.b.list(&[-1]), s.b.op("Shape", &[updates], vec![]));
        let ones = s.b.op("ConstantOfShape", &[shape], vec![tensor("value", i64_tensor(&[1]))]);
        let ones = s.b.reshape(ones, flat);
        let numbers = s.b.op("NonZero", &[ones], vec![]);
        let one = s.b.scalar(DataType::I64, 1.0);
        let numbers = s.b.add(numbers, one);
        let numbers = s.b.reshape_to(numbers, shape);
        let shape = s.b.shape(x);
        let none = s.b.op("ConstantOfShape", &[shape], vec![tensor("value", i64_tensor(&[0]))]);
        let landed = places.put(s, none, numbers, None);
        let count = s.b.op("Shape", &[ones], vec![]);
        let count = s.b.add(count, one);
        let sums = added_at(s, updates, count, landed, g)?;
        let sums = s.b.slice(sums, 0, 1, i64::MAX);
        let gradient = s.b.reshape_like(sums, updates);
        s.give(2, gradient);
    }
    Ok(())
}

/// See [`scatter`]; an index being a row of places.
fn scatter_nd(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let indices = s.input(1)?;
    scatter(s, &Places { scatter: "ScatterND", gather: "GatherND", attributes: vec![], indices })
}
