//! A request to peers that waits for its answers.

use std::time::Duration;

use smallvec::SmallVec;

use bb_framework::RequestId;

use super::frame::Held;
use crate::PeerId;
use crate::error::{PeerFailure, QuorumFailure};

/// A request to peers, from the moment it was sent until its op completes or fails.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which of its region's sends.
    pub(crate) send: u32,
    /// Values of the caller that each answer may read.
    pub(crate) captured: SmallVec<[Held; 4]>,
    pub(crate) peers: Vec<Asked>,
    /// How many answers it needs.
    pub(crate) needed: usize,
    /// Whose answers were processed, in order of arrival.
    pub(crate) answered: Vec<PeerId>,
    pub(crate) failed: usize,
}

/// A peer that was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) peer: PeerId,
    pub(crate) request: RequestId,
    pub(crate) state: AskedState,
}

/// How far a peer's answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskedState {
    /// It was processed.
    Answered,
    /// There will be none, or it could not be processed.
    Failed(String),
    /// Nothing came yet.
    Waiting,
    /// The frame works on it.
    Working(u32),
}

/// What a call's op should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Complete,
    Fail,
    Wait,
}

impl Call {
    pub(crate) fn verdict(&self) -> Verdict {
        if self.answered.len() >= self.needed {
            Verdict::Complete
        } else if self.peers.len() - self.failed < self.needed {
            Verdict::Fail
        } else {
            Verdict::Wait
        }
    }

    /// Notes that a peer's answer was processed.
    pub(crate) fn note_answered(&mut self, asked: u32) {
        if let Some(asked) = self.peers.get_mut(asked as usize) {
            asked.state = AskedState::Answered;
            self.answered.push(asked.peer);
        }
    }

    /// Notes that a peer's answer will not come or could not be processed.
    pub(crate) fn note_failed(&mut self, asked: u32, reason: String) {
        if let Some(asked) = self.peers.get_mut(asked as usize) {
            asked.state = AskedState::Failed(reason);
            self.failed += 1;
        }
    }

    /// Why the quorum is not in.
    pub(crate) fn failure(&self, timed_out: Option<Duration>) -> QuorumFailure {
        let mut failed = Vec::new();
        let mut missing = Vec::new();
        for asked in &self.peers {
            match &asked.state {
                AskedState::Answered => {}
                AskedState::Failed(reason) => {
                    failed.push(PeerFailure { peer: asked.peer, reason: reason.clone() });
                }
                AskedState::Waiting | AskedState::Working(_) => missing.push(asked.peer),
            }
        }
        QuorumFailure { needed: self.needed, timed_out, answered: self.answered.clone(), failed, missing }
    }
}
