//! A saved [`OutboundQueue`].

use std::collections::VecDeque;

use super::{Config, Dropped, OutboundQueue};
use crate::state::{StateError, within};

/// All that decides what an [`OutboundQueue`] will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<T> {
    /// The messages that wait with their bytes, oldest first.
    pub messages: Vec<(T, usize)>,
    /// What was dropped so far.
    pub dropped: Dropped,
    /// How much of that was reported.
    pub reported: Dropped,
}

impl<T: Clone> OutboundQueue<T> {
    /// What [`OutboundQueue::from_state`] takes.
    pub fn state(&self) -> State<T> {
        State {
            messages: self.messages.iter().cloned().collect(),
            dropped: self.dropped,
            reported: self.reported,
        }
    }
}

impl<T> OutboundQueue<T> {
    /// The queue that was saved.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_state(state: State<T>, config: Config) -> Result<Self, StateError> {
        const LIST: &str = "outbound";
        within(LIST, state.messages.len(), config.messages)?;
        let byte_count = state.messages.iter().fold(0, |sum: usize, held| sum.saturating_add(held.1));
        within("outbound_bytes", byte_count, config.bytes)?;
        let (dropped, reported) = (state.dropped, state.reported);
        if reported.count > dropped.count || reported.bytes > dropped.bytes {
            let reason = "more was reported as dropped than was dropped";
            return Err(StateError::Invalid { list: LIST, index: 0, reason });
        }
        Ok(Self { config, messages: VecDeque::from(state.messages), byte_count, dropped, reported })
    }
}
