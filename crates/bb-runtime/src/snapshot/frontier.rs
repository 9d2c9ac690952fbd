//! Section 10: ops that are ready, in order.

use std::collections::BTreeSet;

use bb_ir::wire_codec::Cursor;

use super::SnapshotError;
use super::codec::{Bad, Read, fields, index32, put_numbers, set, unknown};
use super::permits::needed;
use super::save::Saving;
use crate::engine::frame::SavedFrame;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let number = |&(frame, op): &(u32, u32)| match cx.frame_number(frame) {
        Some(number) => (u64::from(number) + 1, u64::from(op)),
        None => (0, 0),
    };
    let (frames, ops): (Vec<u64>, Vec<u64>) = cx.engine.frontier.iter().map(number).unzip();
    put_numbers(out, 1, &frames);
    put_numbers(out, 2, &ops);
    let granted = &cx.engine.permits.granted;
    if !granted.is_empty() {
        let places = cx.engine.frontier.iter().zip(0..).filter(|(entry, _)| granted.contains(entry));
        put_numbers(out, 3, &places.map(|(_, place)| place).collect::<Vec<u64>>());
    }
    Ok(())
}

/// Frame and op of each entry, none for one of a frame that was cancelled; and those that have their permits.
pub(super) type Saved = (Vec<Option<(u32, u32)>>, BTreeSet<(u32, u32)>);

pub(super) fn load(section: &[u8], frames: &[SavedFrame]) -> Result<Saved, Bad> {
    let (mut numbers, mut ops, mut granted) = (None, None, None);
    fields(Cursor::new(section), |field| match field.number {
        1 => set(&mut numbers, &field, field.numbers()?),
        2 => set(&mut ops, &field, field.numbers()?),
        3 => set(&mut granted, &field, field.numbers()?),
        _ => Err(unknown(&field)),
    })?;
    let (numbers, ops) = (numbers.unwrap_or_default(), ops.unwrap_or_default());
    if numbers.len() != ops.len() {
        return Err(Bad::inconsistent("its lists differ in length"));
    }
    let entry = |(number, op): (u64, u64)| match number.checked_sub(1) {
        None => Ok(None),
        Some(frame) if frame < frames.len() as u64 => Ok(Some((frame as u32, index32(op)?))),
        Some(_) => Err(Bad::inconsistent("no such frame")),
    };
    let entries = numbers.into_iter().zip(ops).enumerate();
    let entries: Vec<Option<(u32, u32)>> = entries
        .map(|(index, held)| entry(held).map_err(|bad| bad.numbered(index).named("frames")))
        .collect::<Result<_, _>>()?;
    let mut has_permit = BTreeSet::new();
    for (index, place) in granted.unwrap_or_default().into_iter().enumerate() {
        let entry = usize::try_from(place).ok().and_then(|place| *entries.get(place)?);
        let entry = entry.filter(|&(frame, op)| needed(&frames[frame as usize].region, op).is_some());
        let entry = entry.filter(|&entry| has_permit.insert(entry));
        entry.ok_or_else(|| Bad::inconsistent("the op needs no permit").numbered(index).named("granted"))?;
    }
    Ok((entries, has_permit))
}
