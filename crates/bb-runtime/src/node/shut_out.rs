//! Denied peers that press are turned away before they take places in the queue.

use bb_framework::{Decision, DenyReason};

use super::Node;
use crate::ingress::SHUT_OUT;
use crate::{PeerId, Time};

impl Node {
    /// Looks anew who is turned away: whoever is denied of those that were, and of `pressing`.
    pub(super) fn shut_out(&mut self, pressing: impl IntoIterator<Item = PeerId>) {
        let mut shut_out = std::mem::take(&mut self.shut_out);
        shut_out.extend(pressing);
        shut_out.sort_unstable();
        shut_out.dedup();
        shut_out.retain(|&peer| self.denied(peer).is_some());
        shut_out.truncate(SHUT_OUT);
        let told = shut_out.iter().filter_map(|&peer| Some((peer, self.denied(peer)?))).collect();
        self.ingress.shut_out(told);
        self.shut_out = shut_out;
    }

    /// When the first of them is heard again.
    pub(super) fn next_hearing(&self) -> Option<Time> {
        let (backpressure, now) = (&self.engine.peers.backpressure, self.engine.now);
        self.shut_out.iter().filter_map(|&peer| backpressure.is_muted(peer, now)).min()
    }

    fn denied(&self, peer: PeerId) -> Option<DenyReason> {
        let peers = &self.engine.peers;
        match peers.governor.policy(peer) {
            Decision::Deny(reason) => Some(reason),
            Decision::Allow => {
                let until = peers.backpressure.is_muted(peer, self.engine.now)?;
                Some(DenyReason::Muted { until })
            }
        }
    }
}
