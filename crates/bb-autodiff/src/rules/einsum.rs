//! Sums of products in Einstein's notation.
//!
//! The product is linear in each operand, so an operand's gradient is a sum of products too: of `g` and the other
//! operands, with the operand's letters left.

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::string;
use crate::builder::Val;
use crate::equation::{Equation, REST, term};

pub(super) const RULES: &[Rule] = &[Rule::all("Einsum", einsum)];

fn einsum(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let text =
        s.attributes().text("equation").ok_or_else(|| s.attributes().wrong("equation", "is missing"))?;
    let equation = Equation::read(text);
    if equation.operands.len() != s.input_count() {
        return Err(s.attributes().wrong("equation", "has another number of operands than the node"));
    }
    for index in 0..s.input_count() {
        if s.wants(index) {
            let gradient = operand(s, &equation, index)?;
            s.give(index, gradient);
        }
    }
    Ok(())
}

/// The gradient of operand `index`.
fn operand(s: &mut Scope<'_>, equation: &Equation, index: usize) -> Result<Val, AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(index)?);
    let own = &equation.operands[index];
    let mut terms = vec![term(&equation.output)];
    let mut values = vec![g];
    let mut held: Vec<char> = equation.output.clone();
    for (other, letters) in equation.operands.iter().enumerate() {
        if other != index {
            terms.push(term(letters));
            values.push(s.input(other)?);
            held.extend(letters);
        }
    }
    // A letter that stands twice takes a diagonal: its gradient is there alone.
    let mut wanted: Vec<char> = Vec::with_capacity(own.len());
    for (axis, &letter) in own.iter().enumerate() {
        if wanted.contains(&letter) {
            let fresh =
                equation.unused(&wanted).ok_or_else(|| s.unsupported("all letters are in use".to_owned()))?;
            let before_rest = !own[..axis].contains(&REST);
            let place = if before_rest { axis as i64 } else { axis as i64 - own.len() as i64 };
            let extent = s.b.extent(x, place);
            values.push(super::resample::identity(s, x, extent)?);
            terms.push(term(&[letter, fresh]));
            held.push(letter);
            held.push(fresh);
            wanted.push(fresh);
        } else {
            wanted.push(letter);
        }
    }
    // With the ellipsis first, axes that it lacks here or there are the leading ones, as broadcasting has it.
    let mut order: Vec<char> = wanted.iter().copied().filter(|&letter| letter == REST).collect();
    order.extend(wanted.iter().filter(|&&letter| letter != REST));
    let like = if order == wanted { x } else { rearranged(s, x, &wanted, &order) };
    let left: Vec<char> = order.iter().copied().filter(|letter| held.contains(letter)).collect();
    let text = format!("{}->{}", terms.join(","), term(&left));
    let mut gradient = s.b.op("Einsum", &values, vec![string("equation", &text)]);
    // Along letters of this operand alone, and where the others have one element for all, every element has the same.
    let letters = order.iter().filter(|&&letter| letter != REST);
    let places = letters.clone().zip(-(letters.count() as i64)..);
    let missing: Vec<i64> =
        places.filter(|(letter, _)| !held.contains(letter)).map(|(_, place)| place).collect();
    gradient = s.b.unsqueeze(gradient, &missing);
    if !order.iter().all(|letter| equation.output.contains(letter)) && !s.b.covers(gradient, like) {
        let shape = s.b.shape(like);
        gradient = s.b.op("Expand", &[gradient, shape], vec![]);
    }
    gradient = s.b.unbroadcast(gradient, like)?;
    Ok(if order == wanted { gradient } else { rearranged(s, gradient, &order, &wanted) })
}

/// `val` with its axes, which are those of `from`, in the order of `to`.
fn rearranged(s: &mut Scope<'_>, val: Val, from: &[char], to: &[char]) -> Val {
    let text = format!("{}->{}", term(from), term(to));
    s.b.op("Einsum", &[val], vec![string("equation", &text)])
}
