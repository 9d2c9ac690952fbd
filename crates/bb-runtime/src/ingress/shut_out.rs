//! Who is turned away before the queue: denied peers that press all the same would fill it for everybody else.
//!
//! State: its counters. Who presses is not saved; a node that goes on elsewhere finds it out anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bb_framework::DenyReason;

use crate::PeerId;

/// Peers that are turned away at one time; more of them find their way into the queue.
pub(crate) const SHUT_OUT: usize = 64;

/// Peers that are turned away, with the reasons; told by the node, asked on any thread.
#[derive(Debug, Default)]
pub(super) struct ShutOut {
    has_any: AtomicBool,
    peers: RwLock<Vec<(PeerId, DenyReason)>>,
    turned_away: AtomicU64,
    muted: AtomicU64,
}

impl ShutOut {
    /// Why a message of `peer` is turned away, if it is; counted.
    pub(super) fn reason(&self, peer: PeerId) -> Option<DenyReason> {
        if !self.has_any.load(Ordering::Acquire) {
            return None;
        }
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let (_, reason) = peers.iter().find(|(shut_out, _)| *shut_out == peer)?;
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        if matches!(reason, DenyReason::Muted { .. }) {
            self.muted.fetch_add(1, Ordering::Relaxed);
        }
        Some(*reason)
    }

    pub(super) fn set(&self, shut_out: Vec<(PeerId, DenyReason)>) {
        self.has_any.store(!shut_out.is_empty(), Ordering::Release);
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = shut_out;
    }

    /// Sets how many were turned away, as it was saved.
    pub(super) fn set_turned_away(&self, (turned_away, muted): (u64, u64)) {
        self.turned_away.store(turned_away, Ordering::Relaxed);
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// How many messages were turned away, and how many of them because their peer is muted.
    pub(super) fn turned_away(&self) -> (u64, u64) {
        (self.turned_away.load(Ordering::Relaxed), self.muted.load(Ordering::Relaxed))
    }
}
