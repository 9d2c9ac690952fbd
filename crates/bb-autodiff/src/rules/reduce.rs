//! Reductions: the gradient is spread over the axes that were summed.

use bb_ir::Dim;

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::axis_within;

pub(super) const RULES: &[Rule] = &[Rule::first("ReduceMean", mean), Rule::first("ReduceSum", sum)];

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
    let share = match (s.b.fact(x).extents(), s.b.fact(y).extents()) {
        (Some(from), Some(to)) => {
            let (from, to): (usize, usize) = (from.iter().product(), to.iter().product());
            s.b.scale(g, to as f64 / from as f64)?
        }
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

/// `val`, which has the shape of the output, with extent 1 where an axis was reduced: it broadcasts with the input.
pub(super) fn spread(s: &mut Scope<'_>, val: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    if s.attributes().flag("keepdims", true) {
        return Ok(val);
    }
    let given = s.attributes().has("axes") || s.optional(1).is_some();
    let known = if given { s.list("axes", 1).ok().flatten() } else { Some(Vec::new()) };
    match (known, s.b.fact(x).shape.clone()) {
        (Some(axes), _) if axes.is_empty() && s.attributes().flag("noop_with_empty_axes", false) => Ok(val),
        // All axes: a number broadcasts with anything.
        (Some(axes), _) if axes.is_empty() => Ok(val),
        (Some(axes), Some(dims)) => {
            let mut axes: Vec<i64> = axes
                .iter()
                .filter_map(|&axis| axis_within(axis, dims.len()))
                .map(|axis| axis as i64)
                .collect();
            axes.sort_unstable();
            axes.dedup();
            Ok(s.b.unsqueeze(val, &axes))
        }
        _ => {
            let mut attributes = s.all_attributes();
            attributes.retain(|attribute| attribute.name.as_deref() != Some("keepdims"));
            attributes.push(int("keepdims", 1));
            let mut inputs = vec![x];
            inputs.extend(s.optional(1));
            let kept = s.b.op("ReduceSum", &inputs, attributes);
            let shape = s.b.op("Shape", &[kept], vec![]);
            let wide = s.b.reshape(val, shape);
            if let Some(rank) = s.b.fact(x).rank() {
                s.b.refine(wide, &vec![Dim::Any; rank]);
            }
            Ok(wide)
        }
    }
}
