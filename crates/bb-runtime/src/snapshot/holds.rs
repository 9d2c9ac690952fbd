//! Sections 24 and 25: values that executions left for later ones, and what the host may look at.

use std::collections::{BTreeMap, BTreeSet};

use bb_framework::{Charge, StateError};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::SnapshotError;
use super::bus::{load_count, load_named, put_count};
use super::codec::{At, Bad, Read, close, fields, list, open, put_number, put_value, set, unknown};
use super::frames::{charge_of, load_held};
use super::save::Saving;
use crate::engine::holds::{Holds, Records, Stashed};
use crate::{Name, Value};

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    for (name, held) in &engine.holds.held {
        for stashed in held.values() {
            let entry = open(out, 1);
            put_bytes(out, 1, name.as_bytes());
            put_value(out, 2, &stashed.key);
            cx.put_held(out, 3, &stashed.value);
            put_number(out, 4, cx.charge_number(&stashed.charge));
            close(out, entry);
        }
    }
    Ok(())
}

pub(super) fn load(section: &[u8], charges: &[Charge], capacity: usize) -> Result<Holds, Bad> {
    let mut holds = Holds::default();
    let mut before: Option<(Name, Vec<u8>)> = None;
    list(Cursor::new(section), "stashed", |entry| {
        let (mut name, mut key, mut held, mut charge) = (None, None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut name, &field, Name::from(field.text()?)),
            2 => set(&mut key, &field, field.value()?),
            3 => set(&mut held, &field, load_held(field.bytes()?, charges)?),
            4 => set(&mut charge, &field, field.varint()?),
            _ => Err(unknown(&field)),
        })?;
        let name = name.ok_or_else(|| Bad::missing("name"))?;
        let key: Value = key.ok_or_else(|| Bad::missing("key"))?;
        let value = held.ok_or_else(|| Bad::missing("held"))?;
        let charge = charge_of(charge.unwrap_or(0), charges)?.ok_or_else(|| Bad::missing("charge"))?.clone();
        let place = (name.clone(), key.encode());
        if before.as_ref().is_some_and(|before| *before >= place) {
            return Err(Bad::inconsistent("it is there twice, or out of order"));
        }
        holds.held.entry(name).or_default().insert(place.1.clone(), Stashed { key, value, charge });
        holds.count += 1;
        before = Some(place);
        Ok(())
    })?;
    let count = holds.count;
    if count > capacity {
        return Err(StateError::TooMany { list: "holds", count, cap: capacity }.into());
    }
    Ok(holds)
}

pub(super) fn save_records(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    for (name, held) in &engine.records.last {
        let entry = open(out, 1);
        put_bytes(out, 1, name.as_bytes());
        cx.put_held(out, 2, held);
        close(out, entry);
    }
    for (name, count) in &engine.records.counters {
        put_count(out, 2, name, *count);
    }
    for name in &engine.records.changed {
        put_bytes(out, 3, name.as_bytes());
    }
    Ok(())
}

pub(super) fn load_records(
    section: &[u8],
    charges: &[Charge],
    capacity: usize,
    refused: u64,
) -> Result<Records, Bad> {
    let mut last = BTreeMap::new();
    let mut counters = BTreeMap::new();
    let mut changed = BTreeSet::new();
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => {
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| load_named(entry, charges));
                let (name, held) = entry.numbered(last.len()).named("last")?;
                if last.last_key_value().is_some_and(|(before, _)| *before >= name) {
                    return Err(Bad::inconsistent("it is there twice, or out of order").named("last"));
                }
                last.insert(name, held);
            }
            2 => {
                let number = counters.len();
                let entry =
                    field.bytes().map_err(Bad::from).and_then(|entry| load_count(entry, &mut counters));
                entry.numbered(number).named("counters")?;
            }
            3 => {
                let name = Name::from(field.text()?);
                let is_known = last.contains_key(&name) || counters.contains_key(&name);
                if !is_known || changed.last().is_some_and(|before| *before >= name) {
                    return Err(Bad::inconsistent("it is of no record, or out of order").named("changed"));
                }
                changed.insert(name);
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    for (list, count) in [("records", last.len()), ("records", counters.len())] {
        if count > capacity {
            return Err(StateError::TooMany { list, count, cap: capacity }.into());
        }
    }
    Ok(Records { last, counters, changed, capacity, refused })
}
