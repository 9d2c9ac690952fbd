//! Section 21: when source regions start of their own accord.

use bb_framework::Scheduler;
use bb_framework::scheduler::State;
use bb_ir::wire_codec::Cursor;

use super::SnapshotError;
use super::codec::{
    Bad, Read, fields, index32, message, push_named, put_flag, put_moment, put_number, set, unknown,
};
use super::save::Saving;
use crate::Time;
use crate::engine::dense::Target;
use crate::engine::syscall::Source;
use std::sync::Arc;

/// Whether the node has been stepped, and the timers.
pub(super) type Saved = (bool, Scheduler<(u32, u32)>);

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let timers = &cx.engine.timers;
    put_flag(out, 1, timers.is_started);
    for (due, (target, region)) in timers.due.state(cx.now).timers {
        message(out, 2, |out| {
            put_moment(out, 1, due);
            put_number(out, 2, u64::from(target));
            put_number(out, 3, u64::from(region));
        });
    }
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    targets: &[Arc<Target>],
    (refused, capacity): (u64, usize),
    now: Time,
) -> Result<Saved, Bad> {
    let mut is_started = None;
    let mut state = State { timers: Vec::new(), refused };
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => set(&mut is_started, &field, field.flag()?)?,
            2 => {
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| timer(entry, targets));
                push_named(&mut state.timers, entry, "timers")?;
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    Ok((is_started.unwrap_or(false), Scheduler::from_state(state, capacity, now)?))
}

fn timer(entry: Cursor<'_>, targets: &[Arc<Target>]) -> Result<(bb_framework::Remaining, (u32, u32)), Bad> {
    let (mut due, mut target, mut region) = (None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut due, &field, field.moment()?),
        2 => set(&mut target, &field, index32(field.varint()?)?),
        3 => set(&mut region, &field, index32(field.varint()?)?),
        _ => Err(unknown(&field)),
    })?;
    let (target, region) = (target.unwrap_or(0), region.unwrap_or(0));
    let held = targets.get(target as usize).and_then(|target| target.regions.get(region as usize));
    match held.and_then(|region| region.source.as_ref()) {
        Some(Source::Interval { .. } | Source::Pulse { .. }) => {
            Ok((due.unwrap_or_default(), (target, region)))
        }
        _ => Err(Bad::inconsistent("no such region starts by a timer")),
    }
}
