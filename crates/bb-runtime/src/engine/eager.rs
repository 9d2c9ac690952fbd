//! Ops that take each input as it comes, and may run before all have come: `Any`, `Quorum`, `Barrier`.
//!
//! State: [`EagerState`], one for each such op of a frame.

use smallvec::SmallVec;

use super::dense::{CONSTANT, NO_SITE};
use super::frame::Held;

/// An op that takes each input as it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EagerOp {
    pub(crate) op: u32,
    /// How many inputs must be there; none: each must be there or known to be absent.
    pub(crate) needed: Option<u32>,
    /// Ops that must be over before it.
    pub(crate) after: u32,
}

/// How far such an op is in a frame.
#[derive(Debug)]
pub(crate) struct EagerState {
    pub(crate) op: u32,
    pub(crate) needed: Option<u32>,
    /// Ops that must be over before it.
    pub(crate) after: u32,
    /// For each input its place, until it has come.
    pub(crate) places: SmallVec<[u32; 4]>,
    /// Inputs that have neither come nor are known to be absent.
    pub(crate) open: u32,
    /// What came, with the index of the input, in order of arrival.
    pub(crate) taken: SmallVec<[(u32, Held); 2]>,
    /// Whether it was put into the frontier.
    pub(crate) is_queued: bool,
    /// Whether it ran; what comes from then on is dropped.
    pub(crate) is_over: bool,
    /// The wait that is its deadline.
    pub(crate) wait: Option<u64>,
}

/// What an eager op does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It has nothing to run on.
    Dead,
    Ready,
    Waits,
}

impl EagerState {
    pub(crate) fn of(op: EagerOp, places: &[u32]) -> Self {
        let EagerOp { op, needed, after } = op;
        Self {
            op,
            needed,
            after,
            places: places.into(),
            open: places.len() as u32,
            taken: SmallVec::new(),
            is_queued: false,
            is_over: false,
            wait: None,
        }
    }

    /// Takes the input that stands in `place`.
    pub(crate) fn arrive(&mut self, place: u32, value: Option<Held>) {
        let found = self.places.iter().position(|&held| held == place && held & CONSTANT == 0);
        if let Some(input) = found {
            self.take(input as u32, value);
        }
    }

    /// Takes an input.
    pub(crate) fn take(&mut self, input: u32, value: Option<Held>) {
        self.places[input as usize] = NO_SITE;
        self.open -= 1;
        if let Some(value) = value.filter(|_| !self.is_over) {
            self.taken.push((input, value));
        }
    }

    /// What it does next; says once that it is ready or dead.
    pub(crate) fn look(&mut self) -> Offered {
        let came = self.taken.len() as u32;
        let (is_ready, is_dead) = match self.needed {
            Some(needed) => (came >= needed, came + self.open < needed),
            None => (self.open == 0, false),
        };
        if self.is_queued || self.after > 0 || !(is_ready || is_dead) {
            return Offered::Waits;
        }
        self.is_queued = true;
        if is_ready { Offered::Ready } else { Offered::Dead }
    }

    /// Ends it; what it took.
    pub(crate) fn end(&mut self) -> SmallVec<[(u32, Held); 2]> {
        self.is_over = true;
        std::mem::take(&mut self.taken)
    }
}
