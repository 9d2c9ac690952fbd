//! Equations in Einstein's notation, as `Einsum` has them.

use std::collections::BTreeMap;

use bb_ir::Dim;

/// Stands for the ellipsis.
pub(crate) const REST: char = '.';

/// An equation: the letters of each operand and of the output.
pub(crate) struct Equation {
    pub(crate) operands: Vec<Vec<char>>,
    pub(crate) output: Vec<char>,
}

impl Equation {
    pub(crate) fn read(text: &str) -> Self {
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
    pub(crate) fn unused(&self, taken: &[char]) -> Option<char> {
        let used = |letter: &char| self.operands.iter().flatten().chain(taken).any(|other| other == letter);
        ('a'..='z').chain('A'..='Z').find(|letter| !used(letter))
    }

    /// The output's extents, of those of the operands; `broadcast` is of two shapes. `None` where the rank is not known.
    pub(crate) fn extents(
        &self,
        operands: &[Option<&[Dim]>],
        broadcast: impl Fn(&[Dim], &[Dim]) -> Vec<Dim>,
    ) -> Option<Vec<Dim>> {
        let mut found: BTreeMap<char, Vec<Dim>> = BTreeMap::new();
        if operands.len() != self.operands.len() {
            return None;
        }
        for (letters, dims) in self.operands.iter().zip(operands) {
            let rest = dims.map_or(Some(0), |dims| (dims.len() + 1).checked_sub(letters.len()))?;
            let mut place = 0;
            for &letter in letters {
                let count = if letter == REST { rest } else { 1 };
                let own = match dims {
                    Some(dims) => dims.get(place..place + count)?,
                    None if letter == REST && self.output.contains(&REST) => return None,
                    None => &[Dim::Any],
                };
                place += count;
                let wide = found.get(&letter).map_or_else(|| own.to_vec(), |held| broadcast(held, own));
                found.insert(letter, wide);
            }
        }
        let parts: Option<Vec<Vec<Dim>>> =
            self.output.iter().map(|letter| found.get(letter).cloned()).collect();
        Some(parts?.concat())
    }
}

/// How letters are written.
pub(crate) fn term(letters: &[char]) -> String {
    letters.iter().map(|&letter| if letter == REST { "...".to_owned() } else { letter.to_string() }).collect()
}
