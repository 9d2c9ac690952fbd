//! Section 5: whom the node deals with, and who rests.

use bb_framework::governor::{Event, FailingState, State};
use bb_framework::{PeerGovernor, backoff, governor};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_fixed64;

use super::codec::{
    At, Bad, Read, fields, index32, message, push_named, put_flag, put_moment, put_number, put_peer, set,
    unknown,
};
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::peers::Peers;
use crate::{NodeConfig, Time};

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let state = cx.engine.peers.governor.state(cx.now);
    for peer in state.blocklist {
        put_peer(out, 1, peer);
    }
    put_flag(out, 2, state.allowlist.is_some());
    for peer in state.allowlist.unwrap_or_default() {
        put_peer(out, 3, peer);
    }
    for failing in state.failing {
        message(out, 4, |out| {
            put_peer(out, 1, failing.peer);
            put_number(out, 2, u64::from(failing.consecutive_failures));
            put_flag(out, 3, failing.is_down);
            put_moment(out, 4, failing.last);
        });
    }
    for event in state.events {
        let (kind, peer) = match event {
            Event::PeerDown(peer) => (1, peer),
            Event::PeerUp(peer) => (2, peer),
            _ => return Err(SnapshotError::Unsaveable { what: format!("the event {event:?}") }),
        };
        message(out, 5, |out| {
            put_number(out, 1, kind);
            put_peer(out, 2, peer);
        });
    }
    put_fixed64(out, 6, state.backoff.seed);
    for resting in state.backoff.entries {
        message(out, 7, |out| {
            put_peer(out, 1, resting.peer);
            put_number(out, 2, u64::from(resting.failures));
            put_moment(out, 3, resting.retry);
            put_moment(out, 4, resting.expires);
        });
    }
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    counted: (governor::Counters, u64),
    limits: &NodeConfig,
    now: Time,
) -> Result<PeerGovernor, Bad> {
    let mut state = State { counters: counted.0, ..State::default() };
    state.backoff.evicted = counted.1;
    let (mut has_allowlist, mut seed) = (None, None);
    let mut allowed = Vec::new();
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => push_named(&mut state.blocklist, field.peer(), "blocked")?,
            2 => set(&mut has_allowlist, &field, field.flag()?)?,
            3 => push_named(&mut allowed, field.peer(), "allowed")?,
            4 => {
                let entry = field.bytes().map_err(Bad::from).and_then(failing);
                push_named(&mut state.failing, entry, "failing")?;
            }
            5 => {
                let entry = field.bytes().map_err(Bad::from).and_then(event);
                state.events.push(entry.numbered(state.events.len()).named("events")?);
            }
            6 => set(&mut seed, &field, field.fixed64()?)?,
            7 => {
                let entry = field.bytes().map_err(Bad::from).and_then(resting);
                let entries = &mut state.backoff.entries;
                push_named(entries, entry, "resting")?;
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let has_allowlist = has_allowlist.unwrap_or(false);
    if !has_allowlist && !allowed.is_empty() {
        return Err(Bad::inconsistent("peers are allowed, but there is no allowlist").named("allowed"));
    }
    state.allowlist = has_allowlist.then_some(allowed);
    state.backoff.seed = seed.ok_or_else(|| Bad::missing("backoff_seed"))?;
    Ok(PeerGovernor::from_state(&state, Peers::configs(limits).1, now)?)
}

fn failing(entry: Cursor<'_>) -> Result<FailingState, Bad> {
    let (mut peer, mut count, mut is_down, mut last) = (None, None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut peer, &field, field.peer()?),
        2 => set(&mut count, &field, index32(field.varint()?)?),
        3 => set(&mut is_down, &field, field.flag()?),
        4 => set(&mut last, &field, field.moment()?),
        _ => Err(unknown(&field)),
    })?;
    Ok(FailingState {
        peer: peer.ok_or_else(|| Bad::missing("peer"))?,
        consecutive_failures: count.unwrap_or(0),
        is_down: is_down.unwrap_or(false),
        last: last.unwrap_or_default(),
    })
}

fn event(entry: Cursor<'_>) -> Result<Event, Bad> {
    let (mut kind, mut peer) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut kind, &field, field.varint()?),
        2 => set(&mut peer, &field, field.peer()?),
        _ => Err(unknown(&field)),
    })?;
    let peer = peer.ok_or_else(|| Bad::missing("peer"))?;
    match kind {
        Some(1) => Ok(Event::PeerDown(peer)),
        Some(2) => Ok(Event::PeerUp(peer)),
        number => Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) })),
    }
}

fn resting(entry: Cursor<'_>) -> Result<backoff::EntryState, Bad> {
    let (mut peer, mut failures, mut retry, mut expires) = (None, None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut peer, &field, field.peer()?),
        2 => set(&mut failures, &field, index32(field.varint()?)?),
        3 => set(&mut retry, &field, field.moment()?),
        4 => set(&mut expires, &field, field.moment()?),
        _ => Err(unknown(&field)),
    })?;
    Ok(backoff::EntryState {
        peer: peer.ok_or_else(|| Bad::missing("peer"))?,
        failures: failures.unwrap_or(0),
        retry: retry.unwrap_or_default(),
        expires: expires.unwrap_or_default(),
    })
}
