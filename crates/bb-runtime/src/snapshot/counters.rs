//! Section 19: what was counted, and decides nothing.

use bb_framework::outbound::Dropped;
use bb_framework::{address_book, backpressure, governor};
use bb_ir::wire_codec::Cursor;

use super::SnapshotError;
use super::codec::{Bad, Read as _, fields, put_number, set, unknown};
use super::save::Saving;
use crate::Refusals;
use crate::engine::Counters;
use crate::ingress::Door;

/// How many fields the section has.
const COUNT: usize = 69;

/// What the section says.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) engine: Counters,
    pub(super) messages_received: u64,
    pub(super) duplicates: u64,
    /// Received, sent.
    pub(super) notices: (u64, u64),
    pub(super) heard_dropped: u64,
    /// Addresses withheld, peers evicted.
    pub(super) proofs: (u64, u64),
    pub(super) rtt_evicted: u64,
    /// All, and those because their peer is muted.
    pub(super) turned_away: (u64, u64),
    pub(super) pressure: backpressure::Counters,
    /// Unsolicited, refused.
    pub(super) requests: (u64, u64),
    /// Deadlines, sleeps.
    pub(super) timers_refused: (u64, u64),
    pub(super) source_timers_refused: u64,
    pub(super) bus_dropped: u64,
    pub(super) sources_skipped: u64,
    pub(super) records_refused: u64,
    pub(super) seen_evicted: u64,
    pub(super) outbound: Dropped,
    pub(super) budget_refused: u64,
    pub(super) door: Door,
    pub(super) book: address_book::Counters,
    /// With how many peers that rested were forgotten.
    pub(super) governor: (governor::Counters, u64),
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    let (book, governor) = (engine.peers.book.counters(), engine.peers.governor.counters());
    let dropped = engine.wire.outbound.dropped();
    let (pressure, refused) = (engine.peers.backpressure.counters(), engine.counters.refused);
    let (door, turned_away) = (cx.ingress.door(), cx.ingress.turned_away());
    let counters: [u64; COUNT] = [
        engine.counters.executions_completed,
        engine.counters.executions_failed,
        engine.counters.late_answers,
        engine.counters.late_completions,
        engine.counters.ops_fired,
        engine.wire.received,
        engine.wire.duplicates,
        0,
        engine.wire.requests.unsolicited(),
        engine.wire.requests.refused(),
        engine.waits.refused().0,
        engine.wire.seen.evicted(),
        dropped.count,
        dropped.bytes,
        engine.budget.refused(),
        door.refused,
        book.addresses_evicted,
        book.peers_evicted,
        book.refused,
        governor.denied_inbound,
        governor.denied_outbound,
        governor.evicted,
        governor.events_dropped,
        engine.peers.governor.backoff().evicted(),
        cx.bus_dropped,
        engine.timers.skipped,
        engine.records.refused,
        engine.waits.refused().1,
        engine.timers.due.refused(),
        engine.wire.notices_received,
        engine.wire.notices_sent,
        engine.counters.executions_cancelled,
        engine.counters.fills_refused,
        engine.peers.heard_dropped,
        engine.peers.proofs.withheld(),
        pressure.dropped,
        pressure.events_dropped,
        pressure.notices,
        pressure.mutes,
        refused.allocation,
        refused.budget,
        refused.closed,
        refused.inputs,
        refused.invalid_envelope,
        refused.invalid_value,
        refused.oversize,
        refused.queue_full,
        refused.unknown_module,
        refused.unknown_program,
        door.reasons.allocation,
        door.reasons.budget,
        door.reasons.closed,
        door.reasons.inputs,
        door.reasons.invalid_envelope,
        door.reasons.invalid_value,
        door.reasons.oversize,
        door.reasons.queue_full,
        door.reasons.sender_share,
        door.reasons.unknown_module,
        door.reasons.unknown_program,
        governor.not_allowlisted_inbound,
        governor.not_allowlisted_outbound,
        governor.down_outbound,
        governor.resting_outbound,
        pressure.evicted,
        engine.peers.proofs.evicted(),
        engine.peers.rtt.evicted(),
        turned_away.0,
        turned_away.1,
    ];
    for (count, field) in counters.into_iter().zip(1..) {
        put_number(out, field, count);
    }
    Ok(())
}

pub(super) fn load(section: &[u8]) -> Result<Counted, Bad> {
    let mut held = [None; COUNT];
    fields(Cursor::new(section), |field| match held.get_mut((field.number as usize).wrapping_sub(1)) {
        Some(slot) => set(slot, &field, field.count()?),
        None => Err(unknown(&field)),
    })?;
    let count = |field: usize| held[field - 1].unwrap_or(0);
    Ok(Counted {
        engine: Counters {
            executions_completed: count(1),
            executions_failed: count(2),
            late_answers: count(3),
            late_completions: count(4),
            ops_fired: count(5),
            executions_cancelled: count(32),
            fills_refused: count(33),
            refused: Refusals {
                allocation: count(40),
                budget: count(41),
                closed: count(42),
                inputs: count(43),
                invalid_envelope: count(44),
                invalid_value: count(45),
                oversize: count(46),
                queue_full: count(47),
                sender_share: 0,
                unknown_module: count(48),
                unknown_program: count(49),
            },
        },
        messages_received: count(6),
        duplicates: count(7),
        notices: (count(30), count(31)),
        heard_dropped: count(34),
        proofs: (count(35), count(66)),
        rtt_evicted: count(67),
        turned_away: (count(68), count(69)),
        pressure: backpressure::Counters {
            dropped: count(36),
            events_dropped: count(37),
            evicted: count(65),
            notices: count(38),
            mutes: count(39),
        },
        requests: (count(9), count(10)),
        timers_refused: (count(11), count(28)),
        source_timers_refused: count(29),
        bus_dropped: count(25),
        sources_skipped: count(26),
        records_refused: count(27),
        seen_evicted: count(12),
        outbound: Dropped { count: count(13), bytes: count(14) },
        budget_refused: count(15),
        door: Door {
            refused: count(16),
            reasons: Refusals {
                allocation: count(50),
                budget: count(51),
                closed: count(52),
                inputs: count(53),
                invalid_envelope: count(54),
                invalid_value: count(55),
                oversize: count(56),
                queue_full: count(57),
                sender_share: count(58),
                unknown_module: count(59),
                unknown_program: count(60),
            },
        },
        book: address_book::Counters {
            addresses_evicted: count(17),
            peers_evicted: count(18),
            refused: count(19),
        },
        governor: (
            governor::Counters {
                denied_inbound: count(20),
                denied_outbound: count(21),
                not_allowlisted_inbound: count(61),
                not_allowlisted_outbound: count(62),
                down_outbound: count(63),
                resting_outbound: count(64),
                evicted: count(22),
                events_dropped: count(23),
            },
            count(24),
        ),
    })
}
