//! Sections 22 and 23: what was said on topics and not heard yet, and the phases of the node's life.

use std::collections::{BTreeMap, VecDeque};

use bb_framework::{Charge, StateError};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::SnapshotError;
use super::codec::{At, Bad, Read, close, fields, list, message, open, put_number, set, unknown};
use super::frames::load_held;
use super::save::Saving;
use crate::engine::bus::{Bus, DELIVERY_REFUSED};
use crate::engine::frame::Held;
use crate::engine::lifecycle::Phases;
use crate::{Name, Value};

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    for (topic, held) in &engine.bus.events {
        let entry = open(out, 1);
        put_bytes(out, 1, topic.as_bytes());
        cx.put_held(out, 2, held);
        close(out, entry);
    }
    // What was refused on other threads comes next, as the next step would have said it.
    for text in std::mem::take(&mut cx.untold) {
        let entry = open(out, 1);
        put_bytes(out, 1, DELIVERY_REFUSED.as_bytes());
        cx.put_held(out, 2, &Held::own(Value::Str((*text).into())));
        close(out, entry);
    }
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    bus: &Bus,
    charges: &[Charge],
    capacity: usize,
) -> Result<VecDeque<(Name, Held)>, Bad> {
    let mut events = VecDeque::new();
    list(Cursor::new(section), "events", |entry| {
        let (topic, held) = load_named(entry, charges)?;
        if !bus.is_heard(&topic) {
            return Err(Bad::inconsistent("nobody listens to its topic"));
        }
        events.push_back((topic, held));
        Ok(())
    })?;
    let count = events.len();
    if count > capacity {
        return Err(StateError::TooMany { list: "bus", count, cap: capacity }.into());
    }
    Ok(events)
}

/// A name, field 1, and a value, field 2.
pub(super) fn load_named(entry: Cursor<'_>, charges: &[Charge]) -> Result<(Name, Held), Bad> {
    let (mut name, mut held) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut name, &field, Name::from(field.text()?)),
        2 => set(&mut held, &field, load_held(field.bytes()?, charges)?),
        _ => Err(unknown(&field)),
    })?;
    Ok((name.ok_or_else(|| Bad::missing("name"))?, held.ok_or_else(|| Bad::missing("held"))?))
}

/// Writes a name, field 1, and a count, field 2.
pub(super) fn put_count(out: &mut super::TryBytes, field: u32, name: &Name, count: u64) {
    message(out, field, |out| {
        put_bytes(out, 1, name.as_bytes());
        put_number(out, 2, count);
    });
}

/// Reads what [`put_count`] wrote into counts that are in the order of their names.
pub(super) fn load_count(entry: Cursor<'_>, counts: &mut BTreeMap<Name, u64>) -> Result<(), Bad> {
    let (mut name, mut count) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut name, &field, Name::from(field.text()?)),
        2 => set(&mut count, &field, field.count()?),
        _ => Err(unknown(&field)),
    })?;
    let name = name.ok_or_else(|| Bad::missing("name"))?;
    if counts.last_key_value().is_some_and(|(before, _)| *before >= name) {
        return Err(Bad::inconsistent("it is there twice, or out of order"));
    }
    counts.insert(name, count.unwrap_or(0));
    Ok(())
}

pub(super) fn save_phases(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for name in cx.engine.phases.waiting() {
        put_bytes(out, 1, name.as_bytes());
    }
    for (name, count) in &cx.engine.phases.fired {
        put_count(out, 2, name, *count);
    }
    Ok(())
}

/// Phases that were entered, and how often each was fired.
pub(super) type SavedPhases = (VecDeque<Name>, BTreeMap<Name, u64>);

pub(super) fn load_phases(section: &[u8], phases: &Phases) -> Result<SavedPhases, Bad> {
    let (mut entered, mut fired) = (VecDeque::new(), BTreeMap::new());
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => {
                let name = Name::from(field.text()?);
                if !phases.is_heard(&name) || entered.contains(&name) {
                    let bad = Bad::inconsistent("nobody listens to it, or it is there twice");
                    return Err(bad.numbered(entered.len()).named("entered"));
                }
                entered.push_back(name);
            }
            2 => {
                let number = fired.len();
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| load_count(entry, &mut fired));
                entry.numbered(number).named("fired")?;
                if !fired.keys().all(|name| phases.is_heard(name)) {
                    return Err(Bad::inconsistent("nobody listens to it").numbered(number).named("fired"));
                }
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    Ok((entered, fired))
}
