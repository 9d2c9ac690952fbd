//! Sums of products in Einstein's notation.
//!
//! The product is linear in each operand, so an operand's gradient is a sum of products too: of `g` and the other
//! operands, with the operand's letters left.

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::string;
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[Rule::all("Einsum", einsum)];

/// Stands for the ellipsis.
const REST: char = '.';

/// An equation: the letters of each operand and of the output.
struct Equation {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Equation {
    fn read(text: &str) -> Self {
        let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let plain = plain.replace("...", ".");
        let (left, right) = match plain.split_once("->") {
            Some((left, right)) => (left.to_owned(), Some(right.chars().collect())),
            None => (plain, None),
        };
        let operands: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
        let output = right.unwrap_or_else(|| {
            let all: Vec<char> = operands.iter().flatten().copied().collect();
            let once =
                |letter: &char| *letter == REST || all.iter().filter(|other| *other == letter).count() == 1;
            let mut output: Vec<char> = all.iter().copied().filter(once).collect();
            output.sort_unstable();
            output.dedup();
            output
        });
        Self { operands, output }
    }

    /// A letter that stands nowhere.
    fn unused(&self, taken: &[char]) -> Option<char> {
        let used = |letter: &char| self.operands.iter().flatten().chain(taken).any(|other| other == letter);
        ('a'..='z').chain('A'..='Z').find(|letter| !used(letter))
    }
}

fn term(letters: &[char]) -> String {
    letters.iter().map(|&letter| if letter == REST { "...".to_owned() } else { letter.to_string() }).collect()
}

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
            s.give_broadcast(index, gradient)?;
        }
    }
    Ok(())
}

/// The gradient of operand `index`, maybe wider than it along axes on which it was broadcast.
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
            values.push(identity(s, x, place)?);
            terms.push(term(&[letter, fresh]));
            held.push(letter);
            held.push(fresh);
            wanted.push(fresh);
        } else {
            wanted.push(letter);
        }
    }
    if own.contains(&REST) && !held.contains(&REST) {
        return Err(s.unsupported("the ellipsis is summed over; name its axes".to_owned()));
    }
    let left: Vec<char> = wanted.iter().copied().filter(|letter| held.contains(letter)).collect();
    let text = format!("{}->{}", terms.join(","), term(&left));
    let narrow = s.b.op("Einsum", &values, vec![string("equation", &text)]);
    if left.len() == wanted.len() {
        return Ok(narrow);
    }
    // Letters of this operand alone were summed over: every element has the same gradient.
    let missing = wanted.iter().enumerate().filter(|(_, letter)| !held.contains(letter)).map(|(axis, _)| {
        let before_rest = !wanted[..axis].contains(&REST);
        if before_rest { axis as i64 } else { axis as i64 - wanted.len() as i64 }
    });
    let missing: Vec<i64> = missing.collect();
    let wide = s.b.unsqueeze(narrow, &missing);
    let shape = s.b.shape(x);
    Ok(s.b.op("Expand", &[wide, shape], vec![]))
}

/// The identity matrix of the extent of an axis of `x`.
fn identity(s: &mut Scope<'_>, x: Val, axis: i64) -> Result<Val, AutodiffError> {
    let extent = s.b.extent(x, axis);
    super::resample::identity(s, x, extent)
}
