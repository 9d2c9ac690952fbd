//! Section 20: who waits for permits of limits and turns in queues. Who has them is said of the executions.

use std::collections::{BTreeMap, VecDeque};

use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::codec::{Bad, Read, fields, list, message, put_number, put_numbers, set, unknown};
use super::restore::Waits;
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::Name;
use crate::engine::dense::{Dispatch, Region};
use crate::engine::execution::Execution;
use crate::engine::permits::{Permit, PermitKey, Permits};
use crate::engine::wait::WaitsFor;

const LIMIT: u64 = 1;
const QUEUE: u64 = 2;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (key, permit) in &cx.engine.permits.held {
        if permit.waiting.is_empty() {
            continue;
        }
        let waiting: Vec<u64> = permit.waiting.iter().map(|(wait, _)| *wait).collect();
        message(out, 1, |out| {
            put_key(out, key);
            put_numbers(out, 3, &waiting);
        });
    }
    Ok(())
}

/// Writes the two fields of a key.
pub(super) fn put_key(out: &mut super::TryBytes, key: &PermitKey) {
    let (kind, name) = match key {
        PermitKey::Limit(name) => (LIMIT, name),
        PermitKey::Queue(name) => (QUEUE, name),
    };
    put_number(out, 1, kind);
    put_bytes(out, 2, name.as_bytes());
}

/// A key and the waits for it.
pub(super) fn load_key(entry: Cursor<'_>) -> Result<(PermitKey, Vec<u64>), Bad> {
    let (mut kind, mut name, mut waiting) = (None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut kind, &field, field.varint()?),
        2 => set(&mut name, &field, Name::from(field.text()?)),
        3 => set(&mut waiting, &field, field.numbers()?),
        _ => Err(unknown(&field)),
    })?;
    let name = name.ok_or_else(|| Bad::missing("name"))?;
    let key = match kind {
        Some(LIMIT) => PermitKey::Limit(name),
        Some(QUEUE) => PermitKey::Queue(name),
        number => return Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) }).named("kind")),
    };
    Ok((key, waiting.unwrap_or_default()))
}

/// The permit that an op needs, and how many there are as it says.
pub(super) fn needed(region: &Region, op: u32) -> Option<(PermitKey, u32)> {
    match region.ops.get(op as usize)?.dispatch {
        Dispatch::Syscall(syscall) => region.syscalls[syscall as usize].permit(),
        _ => None,
    }
}

pub(super) fn load(
    section: &[u8],
    executions: &[Execution],
    waits: &Waits,
    permits_of: impl Fn(u32, u32) -> Option<(PermitKey, u32)>,
) -> Result<Permits, Bad> {
    let mut permits = Permits::default();
    for key in executions.iter().flat_map(|execution| &execution.permits) {
        permits.held.entry(key.clone()).or_default().given += 1;
    }
    let mut wanted: BTreeMap<u64, (&PermitKey, u32)> = BTreeMap::new();
    for (_, id, wait) in waits {
        if let WaitsFor::Permit(key) = &wait.on {
            let (_, permits) = permits_of(wait.frame, wait.op).unwrap_or((key.clone(), 0));
            wanted.insert(*id, (key, permits));
        }
    }
    let mut before: Option<PermitKey> = None;
    list(Cursor::new(section), "lines", |entry| {
        let (key, ids) = load_key(entry)?;
        if before.as_ref().is_some_and(|before| *before >= key) {
            return Err(Bad::inconsistent("it is there twice, or out of order"));
        }
        let mut waiting = VecDeque::new();
        for id in ids {
            match wanted.remove(&id) {
                Some((held, permits)) if *held == key => waiting.push_back((id, permits)),
                _ => return Err(Bad::inconsistent("an op waits in it twice, or for something else")),
            }
        }
        let permit: &mut Permit = permits.held.entry(key.clone()).or_default();
        permit.waiting = waiting;
        before = Some(key);
        Ok(())
    })?;
    match wanted.is_empty() {
        true => Ok(permits),
        false => Err(Bad::inconsistent("an op waits for a permit and stands in no line")),
    }
}
