//! Sections 26 to 29: what is known of peers beside addresses and policy.

use std::collections::BTreeSet;
use std::time::Duration;

use bb_framework::address_proofs::Proof;
use bb_framework::backpressure::{self, Event, Pressing};
use bb_framework::{Remaining, Rtt, StateError};
use bb_ir::wire_codec::write::put_bytes;
use bb_ir::wire_codec::{Cursor, Field, ValueError};

use super::codec::{
    At, Bad, Read, fields, index32, list, message, put_flag, put_moment, put_number, put_peer, set, unknown,
};
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::peers::{Heard, Peers};
use crate::{Address, NodeConfig, PeerId, Time};

pub(super) fn save_proofs(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (peer, proof) in cx.engine.peers.proofs.iter() {
        message(out, 1, |out| {
            put_peer(out, 1, peer);
            put_number(out, 2, proof.received);
            put_number(out, 3, proof.sent);
            if let Some((address, is_lost)) = &proof.tried {
                put_bytes(out, 4, address.as_bytes());
                put_flag(out, 5, *is_lost);
            }
            for address in &proof.proved {
                put_bytes(out, 6, address.as_bytes());
            }
        });
    }
    Ok(())
}

pub(super) fn load_proofs(section: &[u8], limits: &NodeConfig, peers: &mut Peers) -> Result<(), Bad> {
    let mut known = Known::new("address_proofs", limits.health_entries);
    list(Cursor::new(section), "proofs", |entry| {
        let (mut peer, mut tried, mut is_lost) = (None, None, None);
        let (mut received, mut sent) = (None, None);
        let mut proof = Proof::default();
        fields(entry, |field| {
            match field.number {
                1 => set(&mut peer, &field, field.peer()?)?,
                2 => set(&mut received, &field, field.varint()?)?,
                3 => set(&mut sent, &field, field.varint()?)?,
                4 => set(&mut tried, &field, address(&field)?)?,
                5 => set(&mut is_lost, &field, field.flag()?)?,
                6 => proof.proved.push(address(&field).numbered(proof.proved.len()).named("proved")?),
                _ => return Err(unknown(&field)),
            }
            Ok(())
        })?;
        (proof.received, proof.sent) = (received.unwrap_or(0), sent.unwrap_or(0));
        proof.tried = tried.map(|address| (address, is_lost.unwrap_or(false)));
        let fits = |address: &Address| address.as_bytes().len() <= limits.address_bytes;
        let tried = proof.tried.iter().map(|(address, _)| address);
        if proof.proved.len() > limits.addresses_per_peer || !tried.chain(&proof.proved).all(fits) {
            return Err(Bad::inconsistent("it has more or longer addresses than a peer may have"));
        }
        let peer = known.add(peer)?;
        peers.proofs.set(peer, proof);
        Ok(())
    })
}

pub(super) fn save_rtt(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (peer, rtt) in cx.engine.peers.rtt.iter() {
        message(out, 1, |out| {
            put_peer(out, 1, peer);
            put_number(out, 2, nanos(rtt.smoothed));
            put_number(out, 3, nanos(rtt.variation));
        });
    }
    Ok(())
}

pub(super) fn load_rtt(section: &[u8], limits: &NodeConfig, peers: &mut Peers) -> Result<(), Bad> {
    let mut known = Known::new("rtt", limits.health_entries);
    list(Cursor::new(section), "peers", |entry| {
        let (mut peer, mut smoothed, mut variation) = (None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut peer, &field, field.peer()?),
            2 => set(&mut smoothed, &field, Duration::from_nanos(field.varint()?)),
            3 => set(&mut variation, &field, Duration::from_nanos(field.varint()?)),
            _ => Err(unknown(&field)),
        })?;
        let rtt = Rtt { smoothed: smoothed.unwrap_or_default(), variation: variation.unwrap_or_default() };
        peers.rtt.set(known.add(peer)?, rtt);
        Ok(())
    })
}

pub(super) fn save_pressure(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let now = cx.now;
    for (peer, held) in cx.engine.peers.backpressure.iter() {
        message(out, 1, |out| {
            put_peer(out, 1, peer);
            put_moment(out, 2, Remaining::of(held.noticed_at, now));
            put_number(out, 3, u64::from(held.ignored));
            put_number(out, 4, u64::from(held.mutes));
            // A peer that was never muted has no such moment.
            if held.mutes > 0 {
                put_moment(out, 5, Remaining::of(held.muted_until, now));
            }
            put_flag(out, 6, held.is_probed);
            put_flag(out, 7, held.is_only_told);
        });
    }
    for event in cx.engine.peers.backpressure.events() {
        let Event::Muted { peer, until } = event else {
            return Err(SnapshotError::Unsaveable { what: format!("the event {event:?}") });
        };
        message(out, 2, |out| {
            put_peer(out, 1, peer);
            put_moment(out, 2, Remaining::of(until, now));
        });
    }
    Ok(())
}

pub(super) fn load_pressure(
    section: &[u8],
    limits: &NodeConfig,
    peers: &mut Peers,
    counters: backpressure::Counters,
    now: Time,
) -> Result<(), Bad> {
    let mut known = Known::new("backpressure", limits.health_entries);
    let mut events = Vec::new();
    let mut count = 0;
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => {
                let read = field.bytes().map_err(Bad::from).and_then(|entry| pressing(entry, now));
                let added = read.and_then(|(peer, held)| Ok((known.add(Some(peer))?, held)));
                let (peer, held) = added.numbered(count).named("pressing")?;
                count += 1;
                peers.backpressure.set(peer, held);
            }
            2 => {
                let (mut peer, mut until) = (None, None);
                fields(field.bytes()?, |field| match field.number {
                    1 => set(&mut peer, &field, field.peer()?),
                    2 => set(&mut until, &field, field.moment()?),
                    _ => Err(unknown(&field)),
                })
                .numbered(events.len())
                .named("muted")?;
                let peer = peer.ok_or_else(|| Bad::missing("peer"))?;
                events.push(Event::Muted { peer, until: until.unwrap_or_default().at(now) });
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let (count, cap) = (events.len(), limits.bus);
    if count > cap {
        return Err(StateError::TooMany { list: "muted", count, cap }.into());
    }
    peers.backpressure.resume(events, counters);
    Ok(())
}

fn pressing(entry: Cursor<'_>, now: Time) -> Result<(PeerId, Pressing), Bad> {
    let (mut peer, mut noticed, mut ignored, mut mutes) = (None, None, None, None);
    let (mut muted_until, mut is_probed, mut is_only_told) = (None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut peer, &field, field.peer()?),
        2 => set(&mut noticed, &field, field.moment()?),
        3 => set(&mut ignored, &field, index32(field.varint()?)?),
        4 => set(&mut mutes, &field, index32(field.varint()?)?),
        5 => set(&mut muted_until, &field, field.moment()?),
        6 => set(&mut is_probed, &field, field.flag()?),
        7 => set(&mut is_only_told, &field, field.flag()?),
        _ => Err(unknown(&field)),
    })?;
    let mutes = mutes.unwrap_or(0);
    if mutes == 0 && muted_until.is_some() {
        return Err(Bad::inconsistent("it was never muted, and is muted"));
    }
    let pressing = Pressing {
        noticed_at: noticed.unwrap_or_default().at(now),
        ignored: ignored.unwrap_or(0),
        mutes,
        muted_until: if mutes > 0 { muted_until.unwrap_or_default().at(now) } else { Time::ZERO },
        is_probed: is_probed.unwrap_or(false),
        is_only_told: is_only_told.unwrap_or(false),
    };
    Ok((peer.ok_or_else(|| Bad::missing("peer"))?, pressing))
}

const ANSWERED: u64 = 1;
const NOTICE: u64 = 2;

pub(super) fn save_heard(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (peer, heard) in &cx.engine.peers.heard {
        message(out, 1, |out| {
            put_peer(out, 1, *peer);
            match heard {
                Heard::Answered(asked_at) => {
                    put_number(out, 2, ANSWERED);
                    put_moment(out, 3, Remaining::of(*asked_at, cx.now));
                }
                Heard::Notice(retry_after) => {
                    put_number(out, 2, NOTICE);
                    put_number(out, 4, nanos(*retry_after));
                }
            }
        });
    }
    Ok(())
}

pub(super) fn load_heard(
    section: &[u8],
    limits: &NodeConfig,
    peers: &mut Peers,
    now: Time,
) -> Result<(), Bad> {
    let cap = limits.health_entries;
    list(Cursor::new(section), "words", |entry| {
        let (mut peer, mut kind, mut asked, mut retry_after) = (None, None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut peer, &field, field.peer()?),
            2 => set(&mut kind, &field, field.varint()?),
            3 => set(&mut asked, &field, field.moment()?),
            4 => set(&mut retry_after, &field, Duration::from_nanos(field.varint()?)),
            _ => Err(unknown(&field)),
        })?;
        let heard = match kind {
            Some(ANSWERED) => Heard::Answered(asked.unwrap_or_default().at(now)),
            Some(NOTICE) => Heard::Notice(retry_after.unwrap_or_default()),
            number => return Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) }).named("kind")),
        };
        let count = peers.heard.len() + 1;
        if count > cap {
            return Err(StateError::TooMany { list: "heard", count, cap }.into());
        }
        peers.heard.push((peer.ok_or_else(|| Bad::missing("peer"))?, heard));
        Ok(())
    })
}

/// Peers of a table, each once and not too many.
struct Known {
    list: &'static str,
    cap: usize,
    peers: BTreeSet<PeerId>,
}

impl Known {
    fn new(list: &'static str, cap: usize) -> Self {
        Self { list, cap, peers: BTreeSet::new() }
    }

    fn add(&mut self, peer: Option<PeerId>) -> Result<PeerId, Bad> {
        let peer = peer.ok_or_else(|| Bad::missing("peer"))?;
        let (list, index) = (self.list, self.peers.len());
        if !self.peers.insert(peer) {
            return Err(StateError::Duplicate { list, index }.into());
        }
        if index + 1 > self.cap {
            return Err(StateError::TooMany { list, count: index + 1, cap: self.cap }.into());
        }
        Ok(peer)
    }
}

fn address(field: &Field<'_>) -> Result<Address, Bad> {
    let bytes = field.bytes()?;
    let read = Address::from_bytes(bytes.rest());
    Ok(read.map_err(|source| ValueError::Address { at: bytes.at(), source })?)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
