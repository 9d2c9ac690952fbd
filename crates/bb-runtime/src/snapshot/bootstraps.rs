//! Section 30: which bootstraps are done, run and queue, and which ops wait for them.

use std::collections::BTreeSet;

use bb_framework::Charge;
use bb_ir::wire_codec::Cursor;

use super::codec::{
    At, Bad, Read, close, fields, index32, message, open, put_number, put_numbers, set, unknown,
};
use super::frames::load_held;
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::Engine;
use crate::engine::bootstrap::{Queued, Running, Unit, bootstrap_of};
use crate::engine::execution::Execution;
use crate::engine::frame::Held;

const TARGET: u64 = 1;
const COMPONENT: u64 = 2;

/// What the section says; parked ops by frame and op, none for one of a frame that was cancelled.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) done: BTreeSet<Unit>,
    pub(crate) queue: Vec<Queued>,
    pub(crate) running: Vec<Running>,
    pub(crate) parked: Vec<Option<(u32, u32)>>,
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let held = &cx.engine.bootstraps;
    for unit in &held.done {
        message(out, 1, |out| put_unit(out, *unit));
    }
    for queued in &held.queue {
        let entry = open(out, 2);
        put_unit(out, queued.unit);
        for input in &queued.inputs {
            cx.put_held(out, 3, input);
        }
        close(out, entry);
    }
    for running in &held.running {
        let number = cx.executions.iter().position(|index| *index == running.execution).unwrap_or(0);
        message(out, 3, |out| {
            put_unit(out, running.unit);
            put_number(out, 4, number as u64);
            put_numbers(out, 5, &running.told);
        });
    }
    let number = |&(frame, op): &(u32, u32)| match cx.frame_number(frame) {
        Some(number) => (u64::from(number) + 1, u64::from(op)),
        None => (0, 0),
    };
    let (frames, ops): (Vec<u64>, Vec<u64>) = held.parked.iter().map(number).unzip();
    put_numbers(out, 4, &frames);
    put_numbers(out, 5, &ops);
    Ok(())
}

fn put_unit(out: &mut super::TryBytes, unit: Unit) {
    let (kind, index) = match unit {
        Unit::Target(target) => (TARGET, target),
        Unit::Component(slot) => (COMPONENT, slot),
    };
    put_number(out, 1, kind);
    put_number(out, 2, u64::from(index));
}

/// Whose bootstrap, its inputs, its execution and what was told of it.
type Entry = (Unit, Vec<Held>, u32, Vec<u64>);

fn entry(entry: Cursor<'_>, engine: &Engine, charges: &[Charge]) -> Result<Entry, Bad> {
    let (mut kind, mut index, mut execution, mut told) = (None, None, None, None);
    let mut inputs = Vec::new();
    fields(entry, |field| {
        match field.number {
            1 => set(&mut kind, &field, field.varint()?)?,
            2 => set(&mut index, &field, index32(field.varint()?)?)?,
            3 => inputs.push(load_held(field.bytes()?, charges).numbered(inputs.len()).named("inputs")?),
            4 => set(&mut execution, &field, index32(field.varint()?)?)?,
            5 => set(&mut told, &field, field.numbers()?)?,
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let index = index.unwrap_or(0);
    let (unit, is_there) = match kind {
        Some(TARGET) => (Unit::Target(index), (index as usize) < engine.targets.len()),
        Some(COMPONENT) => (Unit::Component(index), engine.bootstraps.regions.contains_key(&index)),
        number => return Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) }).named("kind")),
    };
    if !is_there {
        return Err(Bad::inconsistent("there is no such bootstrap"));
    }
    Ok((unit, inputs, execution.unwrap_or(0), told.unwrap_or_default()))
}

pub(super) fn load(
    section: &[u8],
    engine: &Engine,
    charges: &[Charge],
    executions: &[Execution],
    frames: usize,
) -> Result<Saved, Bad> {
    let mut saved = Saved::default();
    let (mut numbers, mut ops) = (None, None);
    let mut under_way = BTreeSet::new();
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => {
                let read = field.bytes().map_err(Bad::from).and_then(|held| entry(held, engine, charges));
                let (unit, ..) = read.numbered(saved.done.len()).named("done")?;
                if saved.done.last().is_some_and(|before| *before >= unit) {
                    return Err(Bad::inconsistent("it is there twice, or out of order").named("done"));
                }
                saved.done.insert(unit);
            }
            2 => {
                let read = field.bytes().map_err(Bad::from).and_then(|held| entry(held, engine, charges));
                let (unit, inputs, ..) = read.numbered(saved.queue.len()).named("queue")?;
                let wanted = match unit {
                    Unit::Component(_) => 0,
                    Unit::Target(target) => bootstrap_of(&engine.targets[target as usize])
                        .map_or(0, |region| region.arguments.len()),
                };
                if inputs.len() != wanted || !under_way.insert(unit) {
                    let bad = Bad::inconsistent("it is under way twice, or has other inputs than it takes");
                    return Err(bad.numbered(saved.queue.len()).named("queue"));
                }
                saved.queue.push(Queued { unit, inputs });
            }
            3 => {
                let read = field.bytes().map_err(Bad::from).and_then(|held| entry(held, engine, charges));
                let (unit, _, execution, told) = read.numbered(saved.running.len()).named("running")?;
                let is_taken = saved.running.iter().any(|held| held.execution == execution);
                if execution as usize >= executions.len() || is_taken || !under_way.insert(unit) {
                    let bad = Bad::inconsistent("it is under way twice, or has no execution of its own");
                    return Err(bad.numbered(saved.running.len()).named("running"));
                }
                saved.running.push(Running { unit, execution, told });
            }
            4 => set(&mut numbers, &field, field.numbers()?)?,
            5 => set(&mut ops, &field, field.numbers()?)?,
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let (numbers, ops) = (numbers.unwrap_or_default(), ops.unwrap_or_default());
    if numbers.len() != ops.len() || (saved.running.is_empty() && !numbers.is_empty()) {
        return Err(Bad::inconsistent("ops wait for a bootstrap, and none runs").named("parked"));
    }
    for (index, (number, op)) in numbers.into_iter().zip(ops).enumerate() {
        let parked = match number.checked_sub(1) {
            None => None,
            Some(frame) if frame < frames as u64 => Some((frame as u32, index32(op)?)),
            Some(_) => return Err(Bad::inconsistent("no such frame").numbered(index).named("parked")),
        };
        saved.parked.push(parked);
    }
    Ok(saved)
}
