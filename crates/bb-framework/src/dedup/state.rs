//! A saved [`DedupWindow`].

use bb_ir::PeerId;

use super::{DedupWindow, MessageId};
use crate::state::{StateError, within};

/// All that decides what a [`DedupWindow`] will say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The messages in the window, oldest first.
    pub messages: Vec<(PeerId, MessageId)>,
    /// How many have left it.
    pub evicted: u64,
}

impl DedupWindow {
    /// What [`DedupWindow::from_state`] takes.
    pub fn state(&self) -> State {
        State { messages: self.iter().collect(), evicted: self.evicted() }
    }

    /// The window that was saved.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_state(state: &State, capacity: usize) -> Result<Self, StateError> {
        const LIST: &str = "seen";
        within(LIST, state.messages.len(), capacity)?;
        let mut window = Self::new(capacity);
        window.evicted = state.evicted;
        for (index, &(sender, message)) in state.messages.iter().enumerate() {
            if !window.insert(sender, message) {
                return Err(StateError::Duplicate { list: LIST, index });
            }
        }
        Ok(window)
    }
}
