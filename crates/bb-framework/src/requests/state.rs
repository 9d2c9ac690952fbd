//! A saved [`RequestTracker`].

use bb_ir::{PeerId, Time};

use super::{RequestId, RequestTracker};
use crate::state::{Remaining, StateError, within};

/// All that decides what a [`RequestTracker`] will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<T> {
    /// The requests in flight, the next one due first.
    pub requests: Vec<RequestState<T>>,
    /// Responses that nobody had asked for.
    pub unsolicited: u64,
    /// Requests that could not begin.
    pub refused: u64,
}

/// A request of a saved [`RequestTracker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestState<T> {
    /// When it ends.
    pub deadline: Remaining,
    /// Who was asked.
    pub peer: PeerId,
    /// Its id.
    pub id: RequestId,
    /// What is kept with it.
    pub payload: T,
}

impl<T: Clone> RequestTracker<T> {
    /// What [`RequestTracker::from_state`] takes.
    pub fn state(&self, now: Time) -> State<T> {
        let request = |(deadline, peer, id, payload): (Time, PeerId, RequestId, &T)| RequestState {
            deadline: Remaining::of(deadline, now),
            peer,
            id,
            payload: payload.clone(),
        };
        State {
            requests: self.iter().map(request).collect(),
            unsolicited: self.unsolicited,
            refused: self.refused,
        }
    }
}

impl<T> RequestTracker<T> {
    /// The tracker that was saved, at `now`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_state(state: State<T>, capacity: usize, now: Time) -> Result<Self, StateError> {
        const LIST: &str = "requests";
        within(LIST, state.requests.len(), capacity)?;
        let mut tracker = Self::new(capacity);
        let mut before = Remaining(i64::MIN);
        for (index, saved) in state.requests.into_iter().enumerate() {
            if saved.deadline < before {
                return Err(StateError::Order { list: LIST, index });
            }
            before = saved.deadline;
            if tracker.begin(saved.peer, saved.id, saved.deadline.at(now), saved.payload).is_err() {
                return Err(StateError::Duplicate { list: LIST, index });
            }
        }
        tracker.unsolicited = state.unsolicited;
        tracker.refused = state.refused;
        Ok(tracker)
    }
}
