//! Section 8: executions, in the order of their ids, with the aggregators lent to them.

use std::collections::VecDeque;
use std::time::Duration;

use bb_framework::{Remaining, RequestId};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::{put_bytes, put_varint_field};
use smallvec::SmallVec;

use super::SnapshotError;
use super::codec::{
    At, Bad, Read, fields, index32, list, message, put_flag, put_moment, put_number, put_numbers, put_peer,
    set, unknown,
};
use super::permits::{load_key, put_key};
use super::save::Saving;
use crate::engine::execution::{Execution, Origin};
use crate::{ExecId, Time};

/// An execution and the leases that it has, each with the waits for it.
pub(super) struct Saved {
    pub(super) execution: Execution,
    pub(super) leases: Vec<(u32, VecDeque<u64>)>,
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    for held in cx.executions.iter().filter_map(|&index| engine.executions.at(index)) {
        message(out, 1, |out| {
            put_number(out, 1, held.id.incarnation);
            put_number(out, 2, held.id.counter);
            put_number(out, 3, u64::from(held.target));
            for &slot in &held.leases {
                let waiting: Vec<u64> = engine.leases.waiting(slot).collect();
                message(out, 4, |out| {
                    put_number(out, 1, u64::from(slot));
                    put_numbers(out, 2, &waiting);
                });
            }
            put_numbers(out, 5, &held.waits);
            if let Some(origin) = &held.origin {
                put_peer(out, 6, origin.peer);
                if let Some(request) = &origin.unanswered {
                    put_bytes(out, 7, &request.0);
                }
            }
            put_number(out, 8, held.ops_fired);
            put_number(out, 9, held.outputs_written);
            for key in &held.permits {
                message(out, 10, |out| put_key(out, key));
            }
            put_flag(out, 11, held.is_fresh);
            put_moment(out, 12, Remaining::of(held.began, cx.now));
            if let Some(given) = held.given {
                put_varint_field(out, 13, nanos(given));
            }
            if let Some(deadline) = held.origin.as_ref().and_then(|origin| origin.deadline) {
                put_varint_field(out, 14, nanos(deadline));
            }
        });
    }
    Ok(())
}

/// The executions without their frames, checked in themselves.
pub(super) fn load(
    section: &[u8],
    incarnation: u64,
    begun: u64,
    targets: usize,
    now: Time,
) -> Result<Vec<Saved>, Bad> {
    let mut all: Vec<Saved> = Vec::new();
    list(Cursor::new(section), "executions", |entry| {
        let saved = execution(entry, now)?;
        let id = saved.execution.id;
        if id.incarnation > incarnation || id.counter >= begun {
            return Err(Bad::inconsistent("it has an id that was not given yet"));
        }
        if all.last().is_some_and(|before| before.execution.id >= id) {
            return Err(Bad::inconsistent("it is there twice, or out of order"));
        }
        if saved.execution.target as usize >= targets {
            return Err(Bad::inconsistent("no such target is installed").named("target"));
        }
        all.push(saved);
        Ok(())
    })?;
    Ok(all)
}

fn execution(entry: Cursor<'_>, now: Time) -> Result<Saved, Bad> {
    let mut numbers = [None; 9];
    let (mut origin, mut unanswered, mut waits) = (None, None, None);
    let (mut is_fresh, mut began, mut given, mut deadline) = (None, None, None, None);
    let (mut leases, mut permits) = (Vec::new(), Vec::new());
    fields(entry, |field| {
        match field.number {
            number @ 1..=3 => set(&mut numbers[number as usize - 1], &field, field.varint()?)?,
            number @ (8 | 9) => set(&mut numbers[number as usize - 1], &field, field.count()?)?,
            4 => {
                leases.push(lease(field.bytes()?).map_err(|bad| bad.numbered(leases.len()).named("leases"))?)
            }
            5 => set(&mut waits, &field, field.numbers()?)?,
            6 => set(&mut origin, &field, field.peer()?)?,
            7 => set(&mut unanswered, &field, RequestId(field.array()?))?,
            10 => {
                let read = field.bytes().map_err(Bad::from).and_then(load_key);
                permits.push(read.numbered(permits.len()).named("permits")?.0);
            }
            11 => set(&mut is_fresh, &field, field.flag()?)?,
            12 => set(&mut began, &field, field.moment()?)?,
            13 => set(&mut given, &field, Duration::from_nanos(field.varint()?))?,
            14 => set(&mut deadline, &field, Duration::from_nanos(field.varint()?))?,
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let number = |field: usize| numbers[field - 1].unwrap_or(0);
    if origin.is_none() && (unanswered.is_some() || deadline.is_some()) {
        return Err(Bad::missing("origin"));
    }
    let execution = Execution {
        id: ExecId { incarnation: number(1), counter: number(2) },
        target: index32(number(3))?,
        frames: SmallVec::new(),
        waits: waits.unwrap_or_default().into_iter().collect(),
        leases: leases.iter().map(|(slot, _)| *slot).collect(),
        permits,
        is_fresh: is_fresh.unwrap_or(false),
        began: began.unwrap_or_default().at(now),
        given,
        origin: origin.map(|peer| Origin { peer, unanswered, deadline }),
        ops_fired: number(8),
        outputs_written: number(9),
    };
    Ok(Saved { execution, leases })
}

fn lease(entry: Cursor<'_>) -> Result<(u32, VecDeque<u64>), Bad> {
    let (mut slot, mut waiting) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut slot, &field, index32(field.varint()?)?),
        2 => set(&mut waiting, &field, VecDeque::from(field.numbers()?)),
        _ => Err(unknown(&field)),
    })?;
    Ok((slot.unwrap_or(0), waiting.unwrap_or_default()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
