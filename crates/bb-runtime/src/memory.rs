//! How much a node can come to hold, from its limits.

use bb_framework::{
    AddressBook, AddressProofs, Backpressure, DedupWindow, FairQueue, OutboundQueue, PeerGovernor,
    RequestTracker, RttTable, Scheduler, outbound,
};

use crate::NodeConfig;
use crate::engine::execution::Execution;
use crate::engine::frame::{Frame, Held};
use crate::engine::holds::Stashed;
use crate::engine::peers::{
    Heard, backpressure_config, book_config, governor_config, proofs_config, rtt_config,
};
use crate::engine::wait::Wait;
use crate::engine::wire::Outgoing;
use crate::ingress::{Input, Sender};
use crate::{EngineStep, Name, PeerId};

/// What an allocation takes beside its bytes, and its place in a list.
const ALLOCATION: usize = 64;

/// What an event on the bus holds beside itself: the text of a refusal. As many refusals of other threads may be yet to be told.
const BUS_TEXT: usize = 1_024;

impl NodeConfig {
    /// The most bytes that a node with these limits holds, beside the installed model, what components hold, the values
    /// that running programs made themselves, and the places of their regions in frames.
    ///
    /// It is the ingress budget and the outbound queue's bytes, and the worst case of each table at its cap: so much is
    /// held only by a node that everybody presses at once. An idle node holds a few kilobytes.
    ///
    /// ```
    /// use bb_runtime::NodeConfig;
    /// assert!(NodeConfig::edge().memory_bound() < 32 << 20);
    /// assert!(NodeConfig::default().memory_bound() < 2 << 30);
    /// ```
    pub const fn memory_bound(&self) -> usize {
        let outbound = outbound::Config { messages: self.outbound_count, bytes: self.outbound_bytes };
        let bytes = self.ingress_bytes + OutboundQueue::<Outgoing>::worst_case_bytes(outbound);
        let peers = AddressBook::worst_case_bytes(book_config(self))
            + PeerGovernor::worst_case_bytes(governor_config(self))
            + AddressProofs::worst_case_bytes(proofs_config(self), self.address_bytes)
            + Backpressure::worst_case_bytes(backpressure_config(self))
            + RttTable::worst_case_bytes(rtt_config(self).entries)
            + 2 * self.health_entries * size_of::<(PeerId, Heard)>();
        let tables = DedupWindow::worst_case_bytes(self.dedup_window)
            + RequestTracker::<(u64, u32)>::worst_case_bytes(self.pending_async)
            + 3 * Scheduler::<u64>::worst_case_bytes(self.timers)
            + self.pending_async * (2 * size_of::<Wait>() + ALLOCATION);
        let queues = FairQueue::<Sender, Input>::worst_case_bytes(self.ingress_queue)
            + self.ingress_queue * ALLOCATION
            + self.bus * (2 * size_of::<EngineStep>() + 2 * BUS_TEXT);
        let executions = self.executions * 2 * (size_of::<Execution>() + size_of::<Frame>() + ALLOCATION);
        let kept = self.holds * (2 * size_of::<Stashed>() + 2 * ALLOCATION)
            + self.records * (4 * size_of::<(Name, Held)>() + 2 * ALLOCATION);
        bytes + peers + tables + queues + executions + kept
    }
}
