//! Section 16: what other threads handed in and was not taken yet.

use std::sync::Arc;

use bb_framework::{Charge, StateError};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::codec::{
    Bad, Read, close, copy, fields, index32, list, open, put_flag, put_number, put_peer, set, unknown,
};
use super::frames::charge_of;
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::dense::Target;
use crate::ingress::{EventInput, Input, SavedInputs, SendResult};

const ENVELOPE: u64 = 1;
const EVENT: u64 = 2;
const SEND_RESULT: u64 = 3;

/// More than the longest input costs, in whose turn a line collects it.
const MAX_CREDIT: u32 = 1 << 20;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let ingress = cx.ingress;
    ingress.look_at_inputs(|inputs| {
        for (_, credit, input) in inputs {
            let entry = open(out, 1);
            match input {
                Input::Envelope { source, bytes, charge } => {
                    put_number(out, 1, ENVELOPE);
                    put_peer(out, 2, *source);
                    put_bytes(out, 3, bytes);
                    put_number(out, 4, cx.charge_number(charge));
                }
                Input::Event { input, value, charge } => {
                    put_number(out, 1, EVENT);
                    put_bytes(out, 3, value);
                    put_number(out, 4, cx.charge_number(charge));
                    put_number(out, 5, u64::from(input.target));
                    put_number(out, 6, u64::from(input.input));
                }
                Input::SendResult { peer, result } => {
                    put_number(out, 1, SEND_RESULT);
                    put_peer(out, 2, *peer);
                    put_flag(out, 7, *result == SendResult::Delivered);
                }
            }
            put_number(out, 8, credit as u64);
            close(out, entry);
        }
    });
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    targets: &[Arc<Target>],
    charges: &[Charge],
    capacity: usize,
) -> Result<SavedInputs, Bad> {
    let mut inputs = Vec::new();
    list(Cursor::new(section), "inputs", |entry| {
        inputs.push(input(entry, targets, charges)?);
        Ok(())
    })?;
    let count = inputs.len();
    if count > capacity {
        return Err(StateError::TooMany { list: "ingress_queue", count, cap: capacity }.into());
    }
    Ok(inputs)
}

fn input(entry: Cursor<'_>, targets: &[Arc<Target>], charges: &[Charge]) -> Result<(Input, usize), Bad> {
    let (mut kind, mut peer, mut payload, mut charge) = (None, None, None, None);
    let (mut target, mut place, mut delivered, mut credit) = (None, None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut kind, &field, field.varint()?),
        2 => set(&mut peer, &field, field.peer()?),
        3 => set(&mut payload, &field, copy(field.bytes()?.rest())?),
        4 => set(&mut charge, &field, field.varint()?),
        5 => set(&mut target, &field, index32(field.varint()?)?),
        6 => set(&mut place, &field, index32(field.varint()?)?),
        7 => set(&mut delivered, &field, field.flag()?),
        8 => set(&mut credit, &field, index32(field.varint()?)?),
        _ => Err(unknown(&field)),
    })?;
    let peer = || peer.ok_or_else(|| Bad::missing("peer"));
    let charge = || Ok::<_, Bad>(charge_of(charge.unwrap_or(0), charges)?.cloned());
    let charge = || charge()?.ok_or_else(|| Bad::missing("charge"));
    let credit = credit.unwrap_or(0);
    if credit > MAX_CREDIT {
        return Err(Bad::inconsistent("no line can have collected so much credit"));
    }
    let input = match kind {
        Some(ENVELOPE) => {
            let bytes = payload.ok_or_else(|| Bad::missing("payload"))?;
            Input::Envelope { source: peer()?, bytes, charge: charge()? }
        }
        Some(EVENT) => {
            let (target, input) = (target.unwrap_or(0), place.unwrap_or(0));
            let held = targets.get(target as usize);
            let region = held.and_then(|held| held.regions.get(held.entry? as usize));
            if region.is_none_or(|region| input >= region.given_count) {
                return Err(Bad::inconsistent("there is no such input"));
            }
            let value = payload.ok_or_else(|| Bad::missing("payload"))?;
            Input::Event { input: EventInput { target, input }, value, charge: charge()? }
        }
        Some(SEND_RESULT) => {
            let delivered = delivered.unwrap_or(false);
            let result = if delivered { SendResult::Delivered } else { SendResult::Failed };
            Input::SendResult { peer: peer()?, result }
        }
        number => return Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) }).named("kind")),
    };
    Ok((input, credit as usize))
}
