//! Section 9: frames with the values that they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bb_framework::Charge;
use bb_ir::wire_codec::write::put_bytes;
use bb_ir::wire_codec::{Cursor, DecodeLimits, scan};

use super::SnapshotError;
use super::codec::{
    At, Bad, Read, close, copy, fields, index32, list, message, open, put_number, put_peer, set, unknown,
};
use super::save::Saving;
use crate::engine::dense::{Region, Target};
use crate::engine::execution::Execution;
use crate::engine::frame::{Held, SavedFrame};
use crate::engine::inbound::held;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    let mut number = 0;
    for (execution, index) in cx.executions.clone().into_iter().zip(0..) {
        let Some(execution) = engine.executions.at(execution) else { continue };
        for &frame_index in &execution.frames {
            let frame = engine.frames.frame(frame_index);
            let entry = open(out, 1);
            put_number(out, 1, index);
            match &frame.region {
                Some(region) if region.target == u32::MAX => put_number(out, 9, u64::from(region.index) + 1),
                region => put_number(out, 2, region.as_ref().map_or(0, |region| u64::from(region.index))),
            }
            if let Some(source) = frame.source {
                put_peer(out, 3, source);
            }
            if let Some((wait, asked)) = frame.answers {
                message(out, 4, |out| {
                    put_number(out, 1, wait);
                    put_number(out, 2, u64::from(asked));
                });
            }
            put_bytes(out, 5, &frame.resolved(|op| cx.open.contains(&(frame_index, op))));
            put_number(out, 6, frame.fired);
            for (place, held) in frame.values() {
                let entry = open(out, 7);
                put_number(out, 1, u64::from(place));
                cx.put_held(out, 2, held);
                close(out, entry);
            }
            for state in frame.eager() {
                let entry = open(out, 8);
                put_number(out, 1, u64::from(state.op));
                for (input, held) in &state.taken {
                    let entry = open(out, 2);
                    put_number(out, 1, u64::from(*input));
                    cx.put_held(out, 2, held);
                    close(out, entry);
                }
                close(out, entry);
            }
            close(out, entry);
            number += 1;
        }
    }
    debug_assert_eq!(number, cx.frames.len());
    Ok(())
}

/// The frames, given to their executions; `first` answers a request that it does not see.
pub(super) fn load(
    section: &[u8],
    (targets, bootstraps): (&[Arc<Target>], &BTreeMap<u32, Arc<Region>>),
    charges: &[Charge],
    executions: &mut [Execution],
) -> Result<Vec<SavedFrame>, Bad> {
    let mut all: Vec<SavedFrame> = Vec::new();
    list(Cursor::new(section), "frames", |entry| {
        let saved = frame(entry, (targets, bootstraps), charges, executions)?;
        if all.last().is_some_and(|before| before.execution > saved.execution) {
            return Err(Bad::inconsistent("it stands behind the frames of a later execution"));
        }
        executions[saved.execution as usize].frames.push(all.len() as u32);
        all.push(saved);
        Ok(())
    })?;
    for (index, execution) in executions.iter().enumerate() {
        let of_own = execution.frames.iter().filter(|&&frame| all[frame as usize].answers.is_none());
        if of_own.count() != 1 {
            return Err(Bad::inconsistent("it must have one frame that it began with")
                .numbered(index)
                .named("executions"));
        }
    }
    Ok(all)
}

fn frame(
    entry: Cursor<'_>,
    (targets, bootstraps): (&[Arc<Target>], &BTreeMap<u32, Arc<Region>>),
    charges: &[Charge],
    executions: &[Execution],
) -> Result<SavedFrame, Bad> {
    let (mut execution, mut region, mut source, mut answers) = (None, None, None, None);
    let (mut resolved, mut fired, mut component) = (None, None, None);
    let (mut values, mut eager) = (Vec::new(), Vec::new());
    fields(entry, |field| {
        match field.number {
            1 => set(&mut execution, &field, index32(field.varint()?)?)?,
            2 => set(&mut region, &field, index32(field.varint()?)?)?,
            3 => set(&mut source, &field, field.peer()?)?,
            4 => set(&mut answers, &field, answer(field.bytes()?).named("answers")?)?,
            5 => set(&mut resolved, &field, copy(field.bytes()?.rest())?)?,
            9 => set(&mut component, &field, index32(field.varint()?)?)?,
            6 => set(&mut fired, &field, field.varint()?)?,
            7 => {
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| place(entry, charges));
                values.push(entry.numbered(values.len()).named("values")?);
            }
            8 => {
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| taken(entry, charges));
                eager.push(entry.numbered(eager.len()).named("eager")?);
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let execution = execution.unwrap_or(0);
    let held = executions.get(execution as usize);
    let held = held.ok_or_else(|| Bad::inconsistent("no such execution").named("execution"))?;
    let region = match component.unwrap_or(0_u32).checked_sub(1) {
        Some(slot) => bootstraps.get(&slot),
        None => targets[held.target as usize].regions.get(region.unwrap_or(0) as usize),
    };
    let region = region.ok_or_else(|| Bad::inconsistent("no such region").named("region"))?;
    let fired = fired.unwrap_or(0);
    if fired > region.ops.len() as u64 {
        return Err(Bad::inconsistent("more of its ops ran than it has").named("fired"));
    }
    Ok(SavedFrame {
        region: Arc::clone(region),
        execution,
        source,
        answers,
        fired,
        resolved: resolved.unwrap_or_default(),
        values,
        eager,
    })
}

fn answer(entry: Cursor<'_>) -> Result<(u64, u32), Bad> {
    let (mut wait, mut asked) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut wait, &field, field.varint()?),
        2 => set(&mut asked, &field, index32(field.varint()?)?),
        _ => Err(unknown(&field)),
    })?;
    Ok((wait.unwrap_or(0), asked.unwrap_or(0)))
}

/// What an eager op has taken.
fn taken(entry: Cursor<'_>, charges: &[Charge]) -> Result<(u32, Vec<(u32, Held)>), Bad> {
    let mut op = None;
    let mut taken = Vec::new();
    fields(entry, |field| {
        match field.number {
            1 => set(&mut op, &field, index32(field.varint()?)?)?,
            2 => {
                let entry = field.bytes().map_err(Bad::from).and_then(|entry| place(entry, charges));
                taken.push(entry.numbered(taken.len()).named("taken")?);
            }
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    Ok((op.unwrap_or(0), taken))
}

fn place(entry: Cursor<'_>, charges: &[Charge]) -> Result<(u32, Held), Bad> {
    let (mut place, mut held) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut place, &field, index32(field.varint()?)?),
        2 => set(&mut held, &field, load_held(field.bytes()?, charges)?),
        _ => Err(unknown(&field)),
    })?;
    Ok((place.unwrap_or(0), held.ok_or_else(|| Bad::missing("held"))?))
}

/// A value with its charge.
pub(super) fn load_held(entry: Cursor<'_>, charges: &[Charge]) -> Result<Held, Bad> {
    let (mut value, mut charge) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut value, &field, scan(field.bytes()?.rest(), &DecodeLimits::LOCAL)?.decode()?),
        2 => set(&mut charge, &field, field.varint()?),
        _ => Err(unknown(&field)),
    })?;
    let value = value.ok_or_else(|| Bad::missing("value"))?;
    Ok(match charge_of(charge.unwrap_or(0), charges)? {
        Some(charge) => held(value, charge),
        None => Held::own(value),
    })
}

/// The charge of that number, from 1.
pub(super) fn charge_of(number: u64, charges: &[Charge]) -> Result<Option<&Charge>, Bad> {
    match number.checked_sub(1) {
        None => Ok(None),
        Some(index) => {
            let charge = usize::try_from(index).ok().and_then(|index| charges.get(index));
            charge.map(Some).ok_or_else(|| Bad::inconsistent("no such charge").named("charge"))
        }
    }
}
