//! Section 1: the clock, what ids are counted from, and which targets are installed.

use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::SnapshotError;
use super::codec::{Bad, Read, fields, put_number, set, unknown};
use super::save::Saving;
use crate::Time;

/// What the section says.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) now: Time,
    pub(super) executions_begun: u64,
    pub(super) waits_reserved: u64,
    pub(super) messages_sent: u64,
    pub(super) targets: Vec<String>,
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    if !cx.is_digest {
        put_number(out, 1, cx.now.as_nanos());
    }
    put_number(out, 2, cx.engine.executions.begun());
    put_number(out, 3, cx.engine.waits.next);
    put_number(out, 4, cx.engine.wire.sent);
    for target in &*cx.engine.targets {
        put_bytes(out, 5, target.name.as_bytes());
    }
    Ok(())
}

pub(super) fn load(section: &[u8]) -> Result<Identity, Bad> {
    let mut numbers = [None; 4];
    let mut targets = Vec::new();
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => set(&mut numbers[0], &field, field.varint()?)?,
            number @ 2..=4 => set(&mut numbers[number as usize - 1], &field, field.count()?)?,
            5 => targets.push(field.string()?),
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let [now, executions_begun, waits_reserved, messages_sent] = numbers.map(Option::unwrap_or_default);
    Ok(Identity { now: Time::from_nanos(now), executions_begun, waits_reserved, messages_sent, targets })
}
