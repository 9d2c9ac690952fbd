//! What was taken from the lanes and not worked on yet: a snapshot looks at it, and steps take from it first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::{Completed, Ingress, Input};

/// The node's own end of both lanes.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) inputs: RefCell<VecDeque<Input>>,
    pub(super) completions: RefCell<VecDeque<Completed>>,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.borrow().is_empty() && self.completions.borrow().is_empty()
    }
}

impl Ingress {
    /// Takes over what waits in both lanes now and shows all that waits, oldest first.
    pub(crate) fn look<R>(&self, see: impl FnOnce(&VecDeque<Input>, &VecDeque<Completed>) -> R) -> R {
        let mut inputs = self.inbox.inputs.borrow_mut();
        let (waiting, _) = self.depth();
        while inputs.len() < waiting
            && let Some(input) = self.shared.lanes.pop_keeping_place()
        {
            inputs.push_back(*input);
        }
        let mut completions = self.inbox.completions.borrow_mut();
        for _ in 0..self.shared.lanes.completions() {
            completions.extend(self.shared.lanes.pop_completion().map(|completed| *completed));
        }
        see(&inputs, &completions)
    }

    /// Puts restored inputs in front of those that wait, and restored answers in the place of all others.
    pub(crate) fn restore(&self, inputs: VecDeque<Input>, completions: VecDeque<Completed>, refused: u64) {
        self.shared.lanes.keep_places(inputs.len());
        self.shared.refused.store(refused, Ordering::Relaxed);
        self.clear_completions();
        let mut waiting = self.inbox.inputs.borrow_mut();
        for input in inputs.into_iter().rev() {
            waiting.push_front(input);
        }
        *self.inbox.completions.borrow_mut() = completions;
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
        self.shared.refused.store(0, Ordering::Relaxed);
        self.shared.late_completions.store(0, Ordering::Relaxed);
    }
}
