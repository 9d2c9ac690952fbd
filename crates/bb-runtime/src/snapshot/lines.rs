//! Section 15: values of event streams that wait for the others of their execution.

use std::sync::Arc;

use bb_framework::Charge;
use bb_ir::wire_codec::Cursor;

use super::SnapshotError;
use super::codec::{Bad, close, fields, index32, list, open, push_named, put_number, set, unknown};
use super::frames::load_held;
use super::save::Saving;
use crate::engine::dense::Target;
use crate::node::lines::Lines;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let lines = cx.lines;
    for ((target, input), values) in lines.iter() {
        let entry = open(out, 1);
        put_number(out, 1, u64::from(target));
        put_number(out, 2, u64::from(input));
        for held in values {
            cx.put_held(out, 3, held);
        }
        close(out, entry);
    }
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    targets: &[Arc<Target>],
    charges: &[Charge],
    capacity: usize,
) -> Result<Lines, Bad> {
    let mut lines = Lines::default();
    let mut before = None;
    list(Cursor::new(section), "lines", |entry| {
        let (mut target, mut input) = (None, None);
        let mut values = Vec::new();
        fields(entry, |field| {
            match field.number {
                1 => set(&mut target, &field, index32(field.varint()?)?)?,
                2 => set(&mut input, &field, index32(field.varint()?)?)?,
                3 => push_named(&mut values, load_held(field.bytes()?, charges), "values")?,
                _ => return Err(unknown(&field)),
            }
            Ok(())
        })?;
        let (target, input) = (target.unwrap_or(0), input.unwrap_or(0));
        if before.replace((target, input)).is_some_and(|before| before >= (target, input)) {
            return Err(Bad::inconsistent("it is there twice, or out of order"));
        }
        let held = targets.get(target as usize);
        let region = held.and_then(|held| held.regions.get(held.entry? as usize));
        let region = region.filter(|region| input < region.given_count);
        let region = region.ok_or_else(|| Bad::inconsistent("there is no such input"))?;
        let ty = &region.arguments[input as usize].ty;
        if values.is_empty() || values.iter().any(|held| !ty.admits(&held.value)) {
            return Err(Bad::inconsistent("it has no values, or some that the input does not take"));
        }
        for held in values {
            lines.push(target, input, held);
        }
        Ok(())
    })?;
    let count = lines.len();
    if count > capacity {
        let list = "ingress_queue";
        return Err(bb_framework::StateError::TooMany { list, count, cap: capacity }.into());
    }
    Ok(lines)
}
