//! Writes all tables of a node.

use std::collections::{BTreeMap, BTreeSet};

use bb_framework::Charge;
use bb_ir::Digest;

use super::format::{Identity, NodeSnapshot, Writer};
use super::{SnapshotError, TABLES, codec};
use crate::Time;
use crate::engine::Engine;
use crate::engine::frame::Held;
use crate::ingress::Ingress;
use crate::node::lines::Lines;

/// What is saved, and the numbers that things have in the snapshot: they do not depend on which memory is used again.
pub(crate) struct Saving<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ingress: &'a Ingress,
    pub(super) lines: &'a Lines,
    pub(super) now: Time,
    /// Only a digest is made: the clock, the incarnation and marks of redelivery are left out.
    pub(super) is_digest: bool,
    /// Indices of executions, in the order of their ids.
    pub(super) executions: Vec<u32>,
    /// Indices of frames, in the order of their executions.
    pub(super) frames: Vec<u32>,
    frame_numbers: BTreeMap<u32, u32>,
    /// What was refused on other threads and is yet to be said on the bus, as far as it has room.
    pub(super) untold: Vec<Box<str>>,
    /// What found no room on the bus.
    pub(super) bus_dropped: u64,
    /// Ops that are ready or wait, by frame.
    pub(super) open: BTreeSet<(u32, u32)>,
    charge_numbers: BTreeMap<usize, u64>,
    pub(super) charge_bytes: Vec<u64>,
}

/// The node's tables as a snapshot.
pub(crate) fn snapshot(
    engine: &Engine,
    ingress: &Ingress,
    lines: &Lines,
) -> Result<NodeSnapshot, SnapshotError> {
    let identity =
        Identity { program: engine.wire.program, peer: engine.peer_id, incarnation: engine.incarnation };
    Saving::new(engine, ingress, lines, false).write()?.finish(identity)
}

/// A digest of all that decides the node's future.
///
/// It leaves out what only counts, the reading of the clock (moments are distances from it), the incarnation and the
/// marks of envelopes that were queued before a restore.
pub(crate) fn digest(engine: &Engine, ingress: &Ingress, lines: &Lines) -> Result<Digest, SnapshotError> {
    Saving::new(engine, ingress, lines, true).write()?.digest()
}

impl<'a> Saving<'a> {
    fn new(engine: &'a Engine, ingress: &'a Ingress, lines: &'a Lines, is_digest: bool) -> Self {
        let mut executions: Vec<_> = engine.executions.iter().map(|(index, held)| (held.id, index)).collect();
        executions.sort_unstable();
        let executions: Vec<u32> = executions.into_iter().map(|(_, index)| index).collect();
        let frames: Vec<u32> = executions
            .iter()
            .filter_map(|&index| engine.executions.at(index))
            .flat_map(|held| held.frames.iter().copied())
            .collect();
        let frame_numbers = frames.iter().zip(0..).map(|(&index, number)| (index, number)).collect();
        let queued = engine.frontier.iter().chain(&engine.bootstraps.parked).copied();
        let mut open: BTreeSet<(u32, u32)> =
            queued.filter(|&(frame, _)| !engine.frames.frame(frame).cancelled).collect();
        open.extend(engine.waits.in_order().map(|(_, _, wait)| (wait.frame, wait.op)));
        let (mut untold, dropped) = ingress.untold();
        let room = engine.limits.bus.saturating_sub(engine.bus.events.len());
        let beyond = untold.len().saturating_sub(room);
        untold.truncate(room);
        Self {
            engine,
            ingress,
            lines,
            now: engine.now,
            is_digest,
            executions,
            frames,
            frame_numbers,
            untold,
            bus_dropped: engine.bus.dropped + dropped + beyond as u64,
            open,
            charge_numbers: BTreeMap::new(),
            charge_bytes: Vec::new(),
        }
    }

    fn write(mut self) -> Result<Writer, SnapshotError> {
        let mut writer = Writer::new(TABLES.len());
        for table in TABLES {
            if table.decides || !self.is_digest {
                (table.save)(&mut self, &mut writer.out)?;
            }
            writer.end(table.number);
        }
        Ok(writer)
    }

    /// The number of a frame.
    pub(super) fn frame_number(&self, index: u32) -> Option<u32> {
        self.frame_numbers.get(&index).copied()
    }

    /// The number of a charge, from 1.
    pub(super) fn charge_number(&mut self, charge: &Charge) -> u64 {
        let next = self.charge_bytes.len() as u64 + 1;
        let number = *self.charge_numbers.entry(charge.key()).or_insert(next);
        if number == next {
            self.charge_bytes.push(charge.byte_count() as u64);
        }
        number
    }

    /// Writes a value with its charge.
    pub(super) fn put_held(&mut self, out: &mut super::TryBytes, field: u32, held: &Held) {
        let charge = held.charge.as_ref().map_or(0, |charge| self.charge_number(charge));
        codec::put_held(out, field, &held.value, charge);
    }
}
