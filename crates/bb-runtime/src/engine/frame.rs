//! Frames: the values and counts of one region that runs.

mod state;

use std::collections::VecDeque;
use std::sync::Arc;

use bb_framework::Charge;

pub(crate) use self::state::{Open, SavedFrame};
use super::dense::{CONSTANT, DEAD, EAGER, NO_SITE, Op, Region, Site, Span};
pub(crate) use super::eager::EagerOp;
use super::eager::{EagerState, Offered};
use crate::{PeerId, Value};

/// Frames that are over and keep their memory for the next ones, however much it is.
const SPARE_FRAMES: usize = 16;
/// Small frames that do, and frames that stay in the table at all when none is in use.
const SPARE_SMALL_FRAMES: usize = 1_024;
/// Places of a small frame, at most.
const SMALL_FRAME: usize = 8;

/// A value with the charge of the bytes that it came from, if it came from outside.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) value: Value,
    /// The bytes are given back with the last clone.
    pub(crate) charge: Option<Charge>,
}

impl Held {
    pub(crate) fn own(value: Value) -> Self {
        Self { value, charge: None }
    }
}

/// Ops that are ready, in the order in which they became so.
pub(crate) type Frontier = VecDeque<(u32, u32)>;

/// One region that runs, in one execution.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) region: Option<Arc<Region>>,
    /// The execution's index.
    pub(crate) execution: u32,
    /// Who sent the message that the region works on.
    pub(crate) source: Option<PeerId>,
    /// The request whose answer the region works on: its wait, and which peer.
    pub(crate) answers: Option<(u64, u32)>,
    /// Nothing of it runs any more; it is freed when nothing of it is queued.
    pub(crate) cancelled: bool,
    /// Ops that neither ran nor were found to have nothing to run on.
    pub(crate) remaining: u32,
    /// Ops that ran.
    pub(crate) fired: u64,
    pub(crate) sites: Sites,
}

/// The values of a frame, and what its ops still wait for.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    places: Vec<Place>,
    missing: Vec<u32>,
    /// For each eager op of the region what it has taken so far.
    pub(crate) eager: Vec<EagerState>,
    /// Entries of the frame in the frontier.
    pub(crate) queued: u32,
    /// Which ops are resolved, to notice one that is resolved twice.
    #[cfg(debug_assertions)]
    resolved: Vec<bool>,
}

#[derive(Debug, Default)]
struct Place {
    held: Option<Held>,
    reads: u32,
}

/// All frames, by index; memory of those that are over is used again.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    frames: Vec<Frame>,
    free: Vec<u32>,
}

impl Frames {
    /// A frame for `region` in which nothing is filled; ops that wait for nothing are ready.
    pub(crate) fn start(
        &mut self,
        region: &Arc<Region>,
        execution: u32,
        source: Option<PeerId>,
        answers: Option<(u64, u32)>,
        frontier: &mut Frontier,
    ) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Frame::default());
            self.frames.len() as u32 - 1
        });
        let frame = &mut self.frames[index as usize];
        frame.region = Some(Arc::clone(region));
        frame.execution = execution;
        frame.source = source;
        frame.answers = answers;
        frame.cancelled = false;
        frame.remaining = region.ops.len() as u32;
        frame.fired = 0;
        frame.sites.places.resize_with(region.place_count as usize, Place::default);
        frame.sites.missing.extend_from_slice(&region.missing);
        frame.sites.queued = region.roots.len() as u32;
        #[cfg(debug_assertions)]
        frame.sites.resolved.resize(region.ops.len(), false);
        frontier.extend(region.roots.iter().map(|&op| (index, op)));
        if !region.eager.is_empty() {
            frame.sites.start_eager(index, region, frontier);
        }
        index
    }

    /// Gives a frame's memory back; whatever it holds is dropped.
    pub(crate) fn free(&mut self, index: u32) {
        let frame = &mut self.frames[index as usize];
        let is_small =
            frame.sites.places.capacity() <= SMALL_FRAME && frame.sites.missing.capacity() <= 4 * SMALL_FRAME;
        let keep = self.free.len() < if is_small { SPARE_SMALL_FRAMES } else { SPARE_FRAMES };
        if keep {
            frame.region = None;
            frame.sites.places.clear();
            frame.sites.missing.clear();
            frame.sites.eager.clear();
            #[cfg(debug_assertions)]
            frame.sites.resolved.clear();
        } else {
            *frame = Frame::default();
        }
        self.free.push(index);
        if self.free.len() == self.frames.len() && self.frames.len() > SPARE_SMALL_FRAMES {
            self.frames = Vec::new();
            self.free = Vec::new();
        }
    }

    pub(crate) fn frame(&self, index: u32) -> &Frame {
        &self.frames[index as usize]
    }

    pub(crate) fn frame_mut(&mut self, index: u32) -> &mut Frame {
        &mut self.frames[index as usize]
    }

    /// Frames in use.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() - self.free.len()
    }

    /// Values held by all frames.
    pub(crate) fn values_held(&self) -> usize {
        let held = |frame: &Frame| frame.sites.places.iter().filter(|place| place.held.is_some()).count();
        self.frames.iter().map(held).sum()
    }
}

impl Frame {
    /// Counts an op that ran. An op runs once, and with all its inputs.
    pub(crate) fn note_ran(&mut self, op: u32) {
        debug_assert!(!self.sites.is_dead(op), "op {op} ran without an input");
        self.fired += 1;
        self.note_resolved(op);
    }

    /// Counts an op that ran, or was found to have nothing to run on.
    pub(crate) fn note_resolved(&mut self, op: u32) {
        #[cfg(debug_assertions)]
        {
            let is_resolved = &mut self.sites.resolved[op as usize];
            debug_assert!(!*is_resolved, "op {op} is resolved twice");
            *is_resolved = true;
        }
        #[cfg(not(debug_assertions))]
        let _ = op;
        self.remaining -= 1;
    }
}

impl Sites {
    /// Whether an input of `op` will never come.
    pub(crate) fn is_dead(&self, op: u32) -> bool {
        self.missing[op as usize] & DEAD != 0
    }

    /// Whether `op` takes each input as it comes.
    pub(crate) fn is_eager(&self, op: u32) -> bool {
        self.missing[op as usize] & EAGER != 0
    }

    /// Reads one input; the last reader takes it out.
    pub(crate) fn take(&mut self, input: u32, constants: &[Value]) -> Option<Held> {
        if input & CONSTANT != 0 {
            if input == NO_SITE {
                return None;
            }
            return constants.get((input & !CONSTANT) as usize).cloned().map(Held::own);
        }
        let place = &mut self.places[input as usize];
        debug_assert!(place.held.is_some(), "an op runs when its inputs are there");
        place.reads -= 1;
        if place.reads == 0 { place.held.take() } else { place.held.clone() }
    }

    /// Drops the inputs of an op that does not run.
    pub(crate) fn release_inputs(&mut self, inputs: &[u32]) {
        for &input in inputs {
            if input & CONSTANT == 0 {
                let place = &mut self.places[input as usize];
                place.reads -= 1;
                if place.reads == 0 {
                    place.held = None;
                }
            }
        }
    }

    /// Writes a site, or says that it will never be written, and makes ready the ops that waited for it last.
    pub(crate) fn write(
        &mut self,
        index: u32,
        site: Site,
        value: Option<Held>,
        consumers: &[u32],
        frontier: &mut Frontier,
    ) {
        let mark = if value.is_none() { DEAD } else { 0 };
        if site.reads == 0 {
            return;
        }
        let place = &mut self.places[site.place as usize];
        place.reads = site.reads;
        place.held = value;
        for &op in &consumers[site.consumers.range()] {
            let missing = &mut self.missing[op as usize];
            if *missing & EAGER != 0 {
                self.offer(index, op, site.place, frontier);
                continue;
            }
            *missing = (*missing | mark) - 1;
            if *missing & !DEAD == 0 {
                self.queued += 1;
                frontier.push_back((index, op));
            }
        }
    }

    /// Makes ready the ops that waited for the end of another, whether it ran or not.
    pub(crate) fn release(
        &mut self,
        index: u32,
        successors: Span,
        consumers: &[u32],
        frontier: &mut Frontier,
    ) {
        for &op in &consumers[successors.range()] {
            let missing = &mut self.missing[op as usize];
            if *missing & EAGER != 0 {
                self.release_eager(index, op, frontier);
                continue;
            }
            *missing -= 1;
            if *missing & !DEAD == 0 {
                self.queued += 1;
                frontier.push_back((index, op));
            }
        }
    }

    /// Fills in what an eager op waits for: its constants are there from the start.
    fn start_eager(&mut self, index: u32, region: &Region, frontier: &mut Frontier) {
        for held in &region.eager {
            let inputs = &region.inputs[region.ops[held.op as usize].inputs.range()];
            let mut state = EagerState::of(*held, inputs);
            for (input, &place) in inputs.iter().enumerate() {
                if place & CONSTANT != 0 {
                    let value = if place == NO_SITE {
                        None
                    } else {
                        region.constants.get((place & !CONSTANT) as usize).cloned().map(Held::own)
                    };
                    state.take(input as u32, value);
                }
            }
            let offered = state.look();
            self.eager.push(state);
            self.note(index, held.op, offered, frontier);
        }
    }

    /// Lets an eager op have the value that was just written, or that will never be.
    #[cold]
    fn offer(&mut self, index: u32, op: u32, place: u32, frontier: &mut Frontier) {
        let held = &mut self.places[place as usize];
        held.reads -= 1;
        let value = if held.reads == 0 { held.held.take() } else { held.held.clone() };
        let Some(state) = self.eager.iter_mut().find(|state| state.op == op) else { return };
        state.arrive(place, value);
        let offered = state.look();
        self.note(index, op, offered, frontier);
    }

    #[cold]
    fn release_eager(&mut self, index: u32, op: u32, frontier: &mut Frontier) {
        let Some(state) = self.eager.iter_mut().find(|state| state.op == op) else { return };
        state.after -= 1;
        let offered = state.look();
        self.note(index, op, offered, frontier);
    }

    fn note(&mut self, index: u32, op: u32, offered: Offered, frontier: &mut Frontier) {
        match offered {
            Offered::Waits => return,
            Offered::Ready => {}
            Offered::Dead => self.missing[op as usize] |= DEAD,
        }
        self.queued += 1;
        frontier.push_back((index, op));
    }

    /// What an eager op has taken, when it is its turn.
    pub(crate) fn eager_mut(&mut self, op: u32) -> Option<&mut EagerState> {
        self.eager.iter_mut().find(|state| state.op == op)
    }

    /// Says that none of an op's outputs will be written.
    pub(crate) fn write_none(&mut self, index: u32, op: &Op, region: &Region, frontier: &mut Frontier) {
        for site in &region.outputs[op.outputs.range()] {
            self.write(index, *site, None, &region.consumers, frontier);
        }
    }
}
