//! What a node holds, and what it has counted.

use super::Node;
use crate::{Refusals, Role};

/// Names a component within its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentRef(pub(super) u32);

/// A component and the slot it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedComponent<'a> {
    /// What names it within its node.
    pub component: ComponentRef,
    /// The slot: the name of this instance.
    pub slot: &'a str,
    /// Its type.
    pub type_name: &'static str,
    /// The package of its type: what stands before the first `::` of its name.
    pub package: &'static str,
    /// Its roles.
    pub roles: &'static [Role],
}

/// What a node holds, and a counter for each reason to drop or deny something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Ops that are ready.
    pub frontier: usize,
    /// Executions that are not over.
    pub executions: usize,
    /// Regions that run.
    pub frames: usize,
    /// Values that frames hold.
    pub values_held: usize,
    /// Ops that wait.
    pub pending_async: usize,
    /// Requests to peers without an answer.
    pub requests_in_flight: usize,
    /// Inputs of other threads that wait.
    pub ingress: usize,
    /// Their bytes.
    pub ingress_bytes: usize,
    /// Values of event streams that wait for others.
    pub events_waiting: usize,
    /// Messages that wait to be sent.
    pub outbound: usize,
    /// Their bytes.
    pub outbound_bytes: usize,
    /// Timers that are set: of sources, of ops that sleep, and deadlines.
    pub timers: usize,
    /// Source regions that listen to the bus.
    pub subscriptions: usize,
    /// Events that wait on the bus.
    pub bus: usize,
    /// Values that programs hold for later executions.
    pub holds: usize,
    /// Names under which programs record values: [`Node::records`] has the values.
    pub records: usize,
    /// Names under which programs count: [`Node::metrics`] has the counts.
    pub metrics: usize,
    /// Components.
    pub components: usize,
    /// Installed targets.
    pub programs: usize,
    /// Bytes from outside that are alive.
    pub bytes_in_flight: usize,
    /// Peers in the address book, the node itself included.
    pub peers_known: usize,

    /// Ops that ran, those of running frames aside.
    pub ops_fired: u64,
    /// Executions that ended well.
    pub executions_completed: u64,
    /// Executions that failed.
    pub executions_failed: u64,
    /// Executions that were cancelled.
    pub executions_cancelled: u64,
    /// Messages queued to be sent.
    pub messages_sent: u64,
    /// Messages taken.
    pub messages_received: u64,
    /// Messages of peers on the blocklist.
    pub denied_inbound: u64,
    /// Messages to peers on the blocklist.
    pub denied_outbound: u64,
    /// Messages of peers that the allowlist leaves out.
    pub not_allowlisted_inbound: u64,
    /// Messages to peers that the allowlist leaves out.
    pub not_allowlisted_outbound: u64,
    /// Messages to peers that are down.
    pub down_outbound: u64,
    /// Messages to peers that rest: they failed, or asked for it.
    pub resting_outbound: u64,
    /// Messages that came before.
    pub duplicates: u64,
    /// Answers that nobody waited for: late, repeated, or never asked for.
    pub late_answers: u64,
    /// Deferred answers that came when their op no longer waited.
    pub late_completions: u64,
    /// Messages of peers that are muted because they did not heed notices.
    pub muted_inbound: u64,
    /// Messages of denied peers that pressed all the same, and found no place in the queue.
    pub turned_away: u64,
    /// Of these, messages of peers that are muted.
    pub turned_away_muted: u64,
    /// How often a peer was muted.
    pub mutes: u64,
    /// Notices to peers that they should send less.
    pub notices_sent: u64,
    /// Notices of peers.
    pub notices_received: u64,
    /// Messages that went out without the address that their receiver claims, because it has not proved itself.
    pub addresses_withheld: u64,
    /// Fills of envelopes that could not be taken.
    pub fills_refused: u64,
    /// Inputs that were refused, by reason.
    pub refused: Refusals,
    /// Messages that found no room in the outbound queue.
    pub outbound_dropped: u64,
    /// Inputs that the byte budget had no room for.
    pub budget_refused: u64,
    /// Inputs of other threads that were refused; messages that were turned away are not among them.
    pub ingress_refused: u64,
    /// The same, by reason.
    pub ingress_refusals: Refusals,
    /// Events that found no room on the bus.
    pub bus_dropped: u64,
    /// Executions of timers, topics and phases that did not begin: too many under way, or an event of another type.
    pub sources_skipped: u64,
    /// Records and counters beyond the cap of names.
    pub records_refused: u64,
    /// Addresses of peers evicted to make room for others.
    pub addresses_evicted: u64,
    /// Claims of addresses that were refused.
    pub addresses_refused: u64,
    /// Message ids that were forgotten to make room for others.
    pub dedup_evicted: u64,
    /// Failing peers that were forgotten to make room for others.
    pub health_evicted: u64,
    /// Peers whose rest was forgotten to make room for that of others.
    pub resting_evicted: u64,
    /// Peers whose answer times were forgotten to make room for those of others.
    pub rtt_evicted: u64,
    /// Peers of whom was forgotten which of their addresses had proved themselves, to make room for others.
    pub proofs_evicted: u64,
    /// Peers of whom was forgotten that they had sent too much, to make room for others.
    pub pressing_evicted: u64,
    /// Timers, sleeps and deadlines for which there was no room.
    pub timers_refused: u64,
    /// Peers evicted from the address book to make room for others.
    pub peers_evicted: u64,
    /// News of peers that were dropped because more came in than may wait.
    pub peer_events_dropped: u64,
    /// Requests that could not begin because too many were in flight.
    pub requests_refused: u64,
    /// Panics of the telemetry tap.
    pub tap_panics: u64,
}

impl Node {
    /// What the node holds, and what it has counted.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn watch(node: &Node) {
    /// let stats = node.engine_stats();
    /// println!("{} run, {} bytes from outside, {} refused", stats.executions, stats.bytes_in_flight, stats.refused.budget);
    /// # }
    /// ```
    pub fn engine_stats(&self) -> EngineStats {
        let engine = &self.engine;
        let governor = engine.peers.governor.counters();
        let book = engine.peers.book.counters();
        let backpressure = engine.peers.backpressure.counters();
        EngineStats {
            frontier: engine.frontier.len(),
            executions: engine.executions.len(),
            frames: engine.frames.len(),
            values_held: engine.frames.values_held(),
            pending_async: engine.waits.len(),
            requests_in_flight: engine.wire.requests.len(),
            ingress: self.ingress.depth().0,
            ingress_bytes: self.ingress.byte_count(),
            events_waiting: self.lines.len(),
            outbound: engine.wire.outbound.len(),
            outbound_bytes: engine.wire.outbound.byte_count(),
            timers: engine.waits.len() + engine.timers.due.len(),
            subscriptions: engine.bus.subscriptions(),
            bus: engine.bus.events.len() + self.ingress.untold_count(),
            holds: engine.holds.count,
            records: engine.records.last.len(),
            metrics: engine.records.counters.len(),
            components: engine.components.len(),
            programs: engine.targets.len(),
            bytes_in_flight: engine.budget.in_flight(),
            peers_known: engine.peers.book.len(),
            ops_fired: engine.counters.ops_fired,
            executions_completed: engine.counters.executions_completed,
            executions_failed: engine.counters.executions_failed,
            executions_cancelled: engine.counters.executions_cancelled,
            messages_sent: engine.wire.sent,
            messages_received: engine.wire.received,
            denied_inbound: governor.denied_inbound,
            denied_outbound: governor.denied_outbound,
            not_allowlisted_inbound: governor.not_allowlisted_inbound,
            not_allowlisted_outbound: governor.not_allowlisted_outbound,
            down_outbound: governor.down_outbound,
            resting_outbound: governor.resting_outbound,
            duplicates: engine.wire.duplicates,
            late_answers: engine.wire.requests.unsolicited() + engine.counters.late_answers,
            late_completions: engine.counters.late_completions + self.ingress.late_completions(),
            muted_inbound: backpressure.dropped,
            turned_away: self.ingress.turned_away().0,
            turned_away_muted: self.ingress.turned_away().1,
            mutes: backpressure.mutes,
            notices_sent: engine.wire.notices_sent,
            notices_received: engine.wire.notices_received,
            addresses_withheld: engine.peers.proofs.withheld(),
            fills_refused: engine.counters.fills_refused,
            refused: engine.counters.refused,
            outbound_dropped: engine.wire.outbound.dropped().count,
            budget_refused: engine.budget.refused(),
            ingress_refused: self.ingress.door().refused,
            ingress_refusals: self.ingress.door().reasons,
            bus_dropped: engine.bus.dropped,
            sources_skipped: engine.timers.skipped,
            records_refused: engine.records.refused,
            addresses_evicted: book.addresses_evicted,
            addresses_refused: book.refused,
            dedup_evicted: engine.wire.seen.evicted(),
            health_evicted: governor.evicted,
            resting_evicted: engine.peers.governor.backoff().evicted(),
            rtt_evicted: engine.peers.rtt.evicted(),
            proofs_evicted: engine.peers.proofs.evicted(),
            pressing_evicted: backpressure.evicted,
            timers_refused: engine.waits.refused().0 + engine.waits.refused().1 + engine.timers.due.refused(),
            peers_evicted: book.peers_evicted,
            peer_events_dropped: governor.events_dropped
                + backpressure.events_dropped
                + engine.peers.heard_dropped,
            requests_refused: engine.wire.requests.refused(),
            tap_panics: self.tap.panics,
        }
    }
}
