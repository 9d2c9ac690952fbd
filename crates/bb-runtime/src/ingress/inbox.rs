//! Completions that were taken from their lane and not worked on yet, for a snapshot looks at them; and what a restore
//! and a clear do to both lanes.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::{Completed, Door, Ingress, Input, Sender};

/// The node's own end of the completions' lane.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) completions: RefCell<VecDeque<Completed>>,
}

/// Inputs as they were saved: each with what its sender's line may still cost in its turn.
pub(crate) type SavedInputs = Vec<(Input, usize)>;

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.completions.borrow().is_empty()
    }
}

impl Ingress {
    /// Shows all inputs that wait, line by line in the order of their turns, each with what its line may still cost in
    /// its turn.
    pub(crate) fn look_at_inputs<R>(
        &self,
        see: impl FnOnce(&mut dyn Iterator<Item = (Sender, usize, &Input)>) -> R,
    ) -> R {
        self.shared.lanes.with_inputs(|inputs| see(&mut inputs.queue.iter()))
    }

    /// Takes over the completions that wait now, and shows all of them, oldest first.
    pub(crate) fn look_at_completions<R>(&self, see: impl FnOnce(&VecDeque<Completed>) -> R) -> R {
        let mut completions = self.inbox.completions.borrow_mut();
        for _ in 0..self.shared.lanes.completions() {
            completions.extend(self.shared.lanes.pop_completion().map(|completed| *completed));
        }
        see(&completions)
    }

    /// Puts restored inputs in front of those that wait, and restored answers in the place of all others.
    pub(crate) fn restore(&self, inputs: SavedInputs, completions: VecDeque<Completed>, door: Door) {
        self.set_door(door);
        self.clear_completions();
        self.shared.lanes.free_places(|held| {
            let waiting = held.queue.take_all();
            for (input, credit) in inputs {
                let sender = input.sender();
                held.queue.push(sender, input.cost(), input);
                held.queue.set_credit(sender, credit);
            }
            for (sender, cost, input) in waiting {
                held.queue.push(sender, cost, input);
            }
        });
        *self.inbox.completions.borrow_mut() = completions;
    }

    /// Takes all inputs that wait, line by line.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Input> {
        let all = self.shared.lanes.free_places(|inputs| inputs.queue.take_all());
        all.into_iter().map(|(_, _, input)| input)
    }

    /// Drops all answers that wait.
    pub(crate) fn clear_completions(&self) {
        self.inbox.completions.borrow_mut().clear();
        for _ in 0..self.shared.lanes.completions() {
            drop(self.shared.lanes.pop_completion());
        }
    }

    /// Forgets what was counted.
    pub(crate) fn clear_counters(&self) {
        self.set_door(Door::default());
        self.set_turned_away((0, 0));
        self.shared.late_completions.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sets how many messages were turned away, and how many of them because their peer is muted.
    pub(crate) fn set_turned_away(&self, turned_away: (u64, u64)) {
        self.shared.shut_out.set_turned_away(turned_away);
    }

    fn set_door(&self, door: Door) {
        self.shared.desk.set_door(door);
    }
}
