//! Memory that training steps write to, shared by all components that are made from one configuration.

use std::sync::{Mutex, PoisonError};

use bb_runtime::Outputs;

/// Tensors that nobody reads any more: a component that trains borrows them, so that one that rests holds its parameters
/// and nothing else.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Outputs>>);

/// How many trainings at a time find memory here; further ones make their own.
const TRAININGS: usize = 8;

impl Spare {
    /// Tensors to write over, or none.
    pub(super) fn take(&self) -> Outputs {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes back what nobody else holds.
    pub(super) fn put(&self, mut outputs: Outputs) {
        outputs.retain(|tensor| tensor.buffer_mut().reclaim());
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < TRAININGS {
            held.push(outputs);
        }
    }
}
