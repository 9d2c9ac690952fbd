//! Values of event streams that wait for the others of their execution.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use crate::engine::frame::Held;

/// For each input of a target that is fed as a stream, the values that wait, oldest first.
///
/// Capped by the caller in number, and by the byte budget, which every waiting value is charged to.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(super) lines: BTreeMap<(u32, u32), VecDeque<Held>>,
    count: usize,
}

impl Lines {
    /// Whether one more value of `input` would let an execution begin.
    pub(crate) fn completes(&self, target: u32, input: u32, inputs: u32) -> bool {
        (0..inputs).all(|other| other == input || self.waits(target, other))
    }

    /// Takes up a value behind those of the same input.
    pub(crate) fn push(&mut self, target: u32, input: u32, value: Held) {
        self.lines.entry((target, input)).or_default().push_back(value);
        self.count += 1;
    }

    /// Takes the oldest value of each input, `value` being the newest of its own.
    pub(crate) fn complete(
        &mut self,
        target: u32,
        input: u32,
        value: Held,
        inputs: u32,
    ) -> SmallVec<[Option<Held>; 4]> {
        let mut own = Some(value);
        if self.waits(target, input) {
            own.into_iter().for_each(|value| self.push(target, input, value));
            own = self.pop(target, input);
        }
        (0..inputs).map(|other| if other == input { own.take() } else { self.pop(target, other) }).collect()
    }

    /// How many values wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn waits(&self, target: u32, input: u32) -> bool {
        self.lines.get(&(target, input)).is_some_and(|line| !line.is_empty())
    }

    fn pop(&mut self, target: u32, input: u32) -> Option<Held> {
        let line = self.lines.get_mut(&(target, input))?;
        let held = line.pop_front()?;
        self.count -= 1;
        if line.is_empty() {
            self.lines.remove(&(target, input));
        }
        Some(held)
    }
}
