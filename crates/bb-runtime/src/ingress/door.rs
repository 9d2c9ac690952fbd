//! Refusals on other threads: counted, and told to the node's bus with its next step.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{DeliveryError, Refusals};

/// What was refused before it came to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) refused: u64,
    pub(crate) reasons: Refusals,
}

/// Counts refusals, and keeps their texts for the bus if anybody listens: at most as many as wait on the bus.
pub(super) struct Desk {
    held: Mutex<Held>,
    /// Texts that wait, to be read without the lock.
    waiting: AtomicUsize,
    is_heard: bool,
}

#[derive(Default)]
struct Held {
    door: Door,
    untold: VecDeque<Box<str>>,
    capacity: usize,
    dropped: u64,
}

/// Why a refusal is counted: by its error, or because the sender had its share of the queue, which callers are told as a
/// full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Error,
    SenderShare,
}

impl Desk {
    /// A desk at which nothing was refused; `is_heard` says whether anybody listens to refusals.
    pub(super) fn new(is_heard: bool) -> Self {
        Self { held: Mutex::default(), waiting: AtomicUsize::new(0), is_heard }
    }

    /// How many texts may wait.
    pub(super) fn set_capacity(&self, capacity: usize) {
        self.lock().capacity = capacity;
    }

    /// Counts a refusal; whether the node has something to tell now.
    pub(super) fn refuse(&self, error: &DeliveryError, reason: Reason) -> bool {
        let mut held = self.lock();
        held.door.refused += 1;
        match reason {
            Reason::Error => held.door.reasons.note(error),
            Reason::SenderShare => held.door.reasons.sender_share += 1,
        }
        if !self.is_heard {
            return false;
        }
        if held.untold.len() >= held.capacity {
            held.dropped += 1;
            return false;
        }
        held.untold.push_back(error.to_string().into());
        self.waiting.store(held.untold.len(), Ordering::Release);
        true
    }

    /// Texts that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes the texts that wait, oldest first, and how many found no room.
    pub(super) fn take(&self) -> (VecDeque<Box<str>>, u64) {
        let mut held = self.lock();
        self.waiting.store(0, Ordering::Release);
        (std::mem::take(&mut held.untold), std::mem::take(&mut held.dropped))
    }

    /// The texts that wait, oldest first, and how many found no room.
    pub(super) fn look(&self) -> (Vec<Box<str>>, u64) {
        let held = self.lock();
        (held.untold.iter().cloned().collect(), held.dropped)
    }

    pub(super) fn door(&self) -> Door {
        self.lock().door
    }

    /// Sets what was counted; texts that wait are forgotten, as a bus forgets its events.
    pub(super) fn set_door(&self, door: Door) {
        drop(self.take());
        self.lock().door = door;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
