//! Softmax and its logarithm.
//!
//! Before operator set 13 both work on the matrix that `axis` divides the shape into, so over all axes from
//! `axis` on at once.

use std::collections::BTreeSet;

use super::{Rule, Scope};
use crate::AutodiffError;

pub(super) const RULES: &[Rule] = &[Rule::all("LogSoftmax", log_softmax), Rule::all("Softmax", softmax)];

/// The axes over which the exponentials are summed.
fn axes(s: &Scope<'_>) -> Result<Vec<i64>, AutodiffError> {
    let x = s.input(0)?;
    if s.b.opset() >= 13 {
        return Ok(vec![s.attributes().int_or("axis", -1)]);
    }
    let rank = s.b.rank(x)?;
    let axis = s.attributes().int_or("axis", 1);
    if axis == rank as i64 {
        return Ok(Vec::new());
    }
    let first = s.axis("axis", 1, rank)?;
    Ok((first as i64..rank as i64).collect())
}

/// `y = softmax x`: `y·(g - Σ g·y)`.
///
/// Of scores that are all minus infinity `y` is no number. A model in which such rows occur puts something else in their place
/// with a `Where`, and nothing flows back to them.
fn softmax(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, mut y, axes) = (s.upstream()?, s.output(0)?, axes(s)?);
    if is_chosen_from(s) {
        let zero = s.b.scalar_like(y, 0.0)?;
        let no_number = s.b.op("IsNaN", &[y], vec![]);
        y = s.b.op("Where", &[no_number, zero, y], vec![]);
    }
    let weighted = s.b.mul(g, y);
    let sum = s.b.reduce_sum(weighted, &axes, true);
    let centred = s.b.sub(g, sum);
    let gradient = s.b.mul(y, centred);
    s.give(0, gradient);
    Ok(())
}

/// Whether a `Where` decides which elements of the output are used.
fn is_chosen_from(s: &Scope<'_>) -> bool {
    let nodes = &s.b.nodes()[s.index()..];
    let mut same: BTreeSet<&str> =
        nodes.iter().take(1).flat_map(|node| &node.output).map(String::as_str).collect();
    for node in nodes {
        let held = |name: &String| same.contains(name.as_str());
        match node.op_type.as_deref() {
            Some("Where") if node.input.iter().skip(1).any(held) => return true,
            Some("Cast" | "CastLike" | "Identity") if node.input.first().is_some_and(held) => {
                same.extend(node.output.iter().map(String::as_str));
            }
            _ => {}
        }
    }
    false
}

/// `y = ln softmax x`: `g - eʸ·Σ g`.
fn log_softmax(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, y, axes) = (s.upstream()?, s.output(0)?, axes(s)?);
    let probability = s.b.op("Exp", &[y], vec![]);
    let sum = s.b.reduce_sum(g, &axes, true);
    let share = s.b.mul(probability, sum);
    let gradient = s.b.sub(g, share);
    s.give(0, gradient);
    Ok(())
}
