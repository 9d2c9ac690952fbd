//! Frames as a snapshot sees them: which ops are resolved and which values are held. All counts follow from that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::dense::{CONSTANT, DEAD, EAGER, NO_SITE, Region, Site};
use super::super::eager::{EagerState, Offered};
use super::{Frame, Frames, Held, Place, Sites};
use crate::PeerId;

/// A frame as it was saved.
#[derive(Debug)]
pub(crate) struct SavedFrame {
    pub(crate) region: Arc<Region>,
    pub(crate) execution: u32,
    pub(crate) source: Option<PeerId>,
    pub(crate) answers: Option<(u64, u32)>,
    pub(crate) fired: u64,
    /// A bit an op.
    pub(crate) resolved: Vec<u8>,
    /// In the order of their places.
    pub(crate) values: Vec<(u32, Held)>,
    /// Eager ops with what they have taken, in the order of arrival.
    pub(crate) eager: Vec<(u32, Vec<(u32, Held)>)>,
}

/// An op of a frame that is neither resolved nor short of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Open {
    /// In the frontier.
    Queued,
    /// It waits, and its inputs are where they were.
    Waiting,
    /// It waits, and has taken its inputs.
    Taken,
    /// It takes each input as it comes, and has a deadline: the wait.
    Quorum(u64),
}

impl Frame {
    /// The values that are held, with their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = (u32, &Held)> {
        let places = self.sites.places.iter().enumerate();
        places.filter_map(|(index, place)| Some((index as u32, place.held.as_ref()?)))
    }

    /// Eager ops that have taken some inputs, in the order of their ops.
    pub(crate) fn eager(&self) -> impl Iterator<Item = &EagerState> {
        self.sites.eager.iter().filter(|state| !state.taken.is_empty())
    }

    /// A bit for each op that is resolved; `is_open` tells those that are ready or wait.
    pub(crate) fn resolved(&self, is_open: impl Fn(u32) -> bool) -> Vec<u8> {
        let mut bits = vec![0; self.sites.missing.len().div_ceil(8)];
        for (op, missing) in self.sites.missing.iter().enumerate() {
            let is_complete = match missing & EAGER {
                0 => missing & !DEAD == 0,
                _ => self.sites.eager.iter().any(|state| state.op == op as u32 && state.is_queued),
            };
            if is_complete && !is_open(op as u32) {
                bits[op / 8] |= 1 << (op % 8);
            }
        }
        bits
    }

    /// Drops all values of a frame of which nothing runs any more.
    pub(crate) fn drop_values(&mut self) {
        self.sites.places = Vec::new();
        self.sites.eager = Vec::new();
    }

    /// Stands for all frames that were cancelled and still have entries in the frontier.
    pub(crate) fn cancelled(queued: u32) -> Self {
        Self { cancelled: true, sites: Sites { queued, ..Sites::default() }, ..Self::default() }
    }
}

impl Frames {
    /// These frames, by index.
    pub(crate) fn from_saved(frames: Vec<Frame>) -> Self {
        Self { frames, free: Vec::new() }
    }
}

impl SavedFrame {
    /// The frame, with all counts made anew.
    ///
    /// # Errors
    /// What cannot be.
    pub(crate) fn rebuild(self, open: &BTreeSet<(u32, Open)>) -> Result<Frame, &'static str> {
        let Self { region, execution, source, answers, fired, resolved, values, eager } = self;
        let op_count = region.ops.len();
        if resolved.len() != op_count.div_ceil(8) {
            return Err("it has a bit for more or fewer ops than the region has");
        }
        let is_resolved = |op: u32| resolved[op as usize / 8] & 1 << (op % 8) != 0;
        let resolved_count: u32 = resolved.iter().map(|bits| bits.count_ones()).sum();
        if resolved_count > (0..op_count as u32).map(|op| u32::from(is_resolved(op))).sum() {
            return Err("an op is resolved that the region does not have");
        }
        let remaining = op_count as u32 - resolved_count;
        if remaining == 0 || fired > u64::from(resolved_count) {
            return Err("it is over, or more ops ran than are resolved");
        }
        let mut places = Vec::new();
        places.resize_with(region.place_count as usize, Place::default);
        let mut before = None;
        for (place, held) in values {
            let target = places.get_mut(place as usize).ok_or("a value has a place that is not there")?;
            if before.replace(place).is_some_and(|before| before >= place) {
                return Err("its values are out of order");
            }
            target.held = Some(held);
        }
        let mut sites = Sites { places, missing: region.missing.to_vec(), ..Sites::default() };
        #[cfg(debug_assertions)]
        sites.resolved.extend((0..op_count as u32).map(&is_resolved));
        sites.eager = begin_eager(&region, eager, &is_resolved, open)?;
        let has_taken = |op: u32| open.contains(&(op, Open::Taken));
        for argument in &region.arguments {
            sites.settle(argument.site, &region, &is_resolved, &has_taken)?;
        }
        for op in (0..op_count as u32).filter(|&op| is_resolved(op)) {
            let held = region.ops[op as usize];
            for &site in &region.outputs[held.outputs.range()] {
                sites.settle(site, &region, &is_resolved, &has_taken)?;
            }
            for &next in &region.consumers[held.successors.range()] {
                sites.count_down(next)?;
            }
        }
        for op in 0..op_count as u32 {
            let missing = sites.missing[op as usize];
            if missing & EAGER != 0 {
                let has_wait = open.iter().any(|(held, kind)| *held == op && *kind != Open::Queued);
                let is_queued = open.contains(&(op, Open::Queued));
                sites.check_eager(op, is_resolved(op), is_queued, has_wait)?;
                continue;
            }
            let count = [Open::Queued, Open::Waiting, Open::Taken]
                .into_iter()
                .filter(|&kind| open.contains(&(op, kind)))
                .count();
            let is_complete = missing & !DEAD == 0;
            if count + usize::from(is_resolved(op)) != usize::from(is_complete) {
                return Err("an op is ready, waits or is resolved too early, twice, or not at all");
            }
            if missing & DEAD != 0 && (open.contains(&(op, Open::Waiting)) || has_taken(op)) {
                return Err("an op waits that had nothing to run on");
            }
        }
        if sites.places.iter().any(|place| place.reads == 0 && place.held.is_some()) {
            return Err("a value is held that nobody will read");
        }
        sites.queued = open.iter().filter(|(_, kind)| *kind == Open::Queued).count() as u32;
        let region = Some(region);
        Ok(Frame { region, execution, source, answers, cancelled: false, remaining, fired, sites })
    }
}

impl Sites {
    /// Counts a site that was written: who still reads it, and who will never get it.
    fn settle(
        &mut self,
        site: Site,
        region: &Region,
        is_resolved: &impl Fn(u32) -> bool,
        has_taken: &impl Fn(u32) -> bool,
    ) -> Result<(), &'static str> {
        if site.reads == 0 {
            return Ok(());
        }
        let is_absent = self.places[site.place as usize].held.is_none();
        for &op in &region.consumers[site.consumers.range()] {
            if self.is_eager(op) {
                let state = self.eager.iter_mut().find(|state| state.op == op);
                let state = state.ok_or("an op is not there that takes each input as it comes")?;
                state.arrive(site.place, None);
                continue;
            }
            self.count_down(op)?;
            if !is_resolved(op) && !has_taken(op) {
                self.places[site.place as usize].reads += 1;
                if is_absent {
                    self.missing[op as usize] |= DEAD;
                }
            }
        }
        Ok(())
    }

    fn count_down(&mut self, op: u32) -> Result<(), &'static str> {
        if self.is_eager(op) {
            let state = self.eager.iter_mut().find(|state| state.op == op);
            let after = state.map(|state| &mut state.after).filter(|after| **after > 0);
            *after.ok_or("an op is released more often than it waits")? -= 1;
            return Ok(());
        }
        let missing = &mut self.missing[op as usize];
        if *missing & !DEAD == 0 {
            return Err("an op is released more often than it waits");
        }
        *missing -= 1;
        Ok(())
    }

    /// Checks an eager op that has all its counts, and marks it as queued, dead or over.
    fn check_eager(
        &mut self,
        op: u32,
        is_resolved: bool,
        is_queued: bool,
        has_wait: bool,
    ) -> Result<(), &'static str> {
        let state = self.eager.iter_mut().find(|state| state.op == op);
        let state = state.ok_or("an op is not there that takes each input as it comes")?;
        if state.taken.iter().any(|(input, _)| state.places.get(*input as usize) != Some(&NO_SITE)) {
            return Err("an op has taken an input that has not come");
        }
        if is_resolved {
            state.is_queued = true;
            state.is_over = true;
            let is_clean = state.after == 0 && state.taken.is_empty() && !has_wait && !is_queued;
            return if is_clean { Ok(()) } else { Err("an op is over, and still waits or holds inputs") };
        }
        let offered = state.look();
        if (offered != Offered::Waits) != is_queued {
            return Err("an op that takes each input as it comes is ready too early, or not at all");
        }
        if offered == Offered::Dead {
            self.missing[op as usize] |= DEAD;
        }
        Ok(())
    }
}

/// The eager ops of a region with what they had taken; what has come otherwise is still to be told.
fn begin_eager(
    region: &Region,
    saved: Vec<(u32, Vec<(u32, Held)>)>,
    is_resolved: &impl Fn(u32) -> bool,
    open: &BTreeSet<(u32, Open)>,
) -> Result<Vec<EagerState>, &'static str> {
    let mut states = Vec::with_capacity(region.eager.len());
    for held in &region.eager {
        let inputs = &region.inputs[region.ops[held.op as usize].inputs.range()];
        let mut state = EagerState::of(*held, inputs);
        for (input, &place) in inputs.iter().enumerate() {
            if place & CONSTANT != 0 {
                state.take(input as u32, None);
            }
        }
        state.wait = open.iter().find_map(|(op, kind)| match kind {
            Open::Quorum(wait) if *op == held.op && !is_resolved(*op) => Some(*wait),
            _ => None,
        });
        states.push(state);
    }
    let mut before = None;
    for (op, taken) in saved {
        if before.replace(op).is_some_and(|before| before >= op) {
            return Err("its ops that take each input as it comes are out of order");
        }
        let state = states.iter_mut().find(|state| state.op == op);
        let state = state.ok_or("no such op takes each input as it comes")?;
        let mut inputs = BTreeSet::new();
        if !taken.iter().all(|(input, _)| inputs.insert(*input)) {
            return Err("an op has taken an input twice");
        }
        state.taken = taken.into();
    }
    Ok(states)
}
