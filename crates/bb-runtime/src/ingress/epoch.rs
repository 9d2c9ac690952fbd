//! Where the answers of one life of a node go: from install or restore to the next restore.
//!
//! A restore makes new components. Answers that the components before still owe are nobody's then, even if an op of
//! the restored node waits under the same number; and answers to the new components must not touch the node before the
//! restore is certain.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::Completed;
use crate::contracts::{CompletionSink, Pending};
use crate::{ComponentError, Value};

/// A sink that can be opened and ended.
pub(crate) struct Epoch {
    node: Arc<dyn CompletionSink>,
    state: Mutex<State>,
}

enum State {
    /// Not certain yet: answers are kept.
    Staged(Vec<Completed>),
    Open,
    Over,
}

impl Epoch {
    /// A sink whose answers are kept until it is opened.
    pub(crate) fn staged(node: Arc<dyn CompletionSink>) -> Self {
        Self { node, state: Mutex::new(State::Staged(Vec::new())) }
    }

    /// Hands on what was kept, and from now on everything.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Staged(kept) = std::mem::replace(&mut *state, State::Open) {
            for Completed { pending, result } in kept {
                self.node.complete(pending, result);
            }
        }
    }

    /// Drops everything from now on.
    pub(crate) fn end(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Over;
    }
}

impl CompletionSink for Epoch {
    fn complete(&self, pending: Pending, result: Result<SmallVec<[Value; 2]>, ComponentError>) {
        // Held while the answer is handed on, so that none slips in after the end.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Staged(kept) => kept.push(Completed { pending, result }),
            State::Open => self.node.complete(pending, result),
            State::Over => {}
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").finish_non_exhaustive()
    }
}
