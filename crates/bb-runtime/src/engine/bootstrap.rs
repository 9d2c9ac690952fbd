//! Bootstraps: which run, which queue, and which ops wait for them meanwhile.
//!
//! A bootstrap is that of an installed target, which its module recorded, or that of a component. While it runs, ops of
//! other executions wait if they touch a component in its touch set: those that it reaches, and what these depend on.
//!
//! State: [`Bootstraps`] but for its `reach` and `regions`, which are made by the installation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bb_ir::program::RegionKind;

use super::Engine;
use super::dense::{Dispatch, Method, Op, Region, SendKind, Span, Target};
use super::frame::Held;
use crate::{EngineStep, Name};

/// Whose bootstrap it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The component in a slot.
    Component(u32),
    /// A target, by its place among those installed.
    Target(u32),
}

/// How far the bootstraps of a node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapStatus {
    /// None runs and none is queued.
    Idle,
    /// Some are under way.
    Running,
    /// All that run wait: for a component's answer, for peers, or for time.
    WaitingForInput,
}

/// The bootstraps of a node. Each is queued or runs at most once, so that there are no more than targets and slots.
#[derive(Debug)]
pub(crate) struct Bootstraps {
    pub(crate) done: BTreeSet<Unit>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) running: Vec<Running>,
    /// Ops that wait until bootstraps are over, by frame and op, in order.
    pub(crate) parked: VecDeque<(u32, u32)>,
    /// Slots whose ops wait, for the bootstraps that run now.
    blocked: BTreeSet<u32>,
    /// For each slot itself and what its component depends on.
    reach: Box<[BTreeSet<u32>]>,
    /// The bootstraps of components, by slot.
    pub(crate) regions: BTreeMap<u32, Arc<Region>>,
}

/// A bootstrap that waits for its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) unit: Unit,
    pub(crate) inputs: Vec<Held>,
}

/// A bootstrap that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) unit: Unit,
    /// Its execution's index.
    pub(crate) execution: u32,
    /// The waits that the host was told of.
    pub(crate) told: Vec<u64>,
}

impl Bootstraps {
    pub(crate) fn new(
        names: &[Name],
        targets: &[Arc<Target>],
        dependencies: &[Vec<u32>],
        with_bootstrap: &[u32],
    ) -> Self {
        let reach = (0..dependencies.len() as u32).map(|slot| reach(slot, dependencies)).collect();
        let program = targets.iter().flat_map(|target| &target.regions).map(|region| &region.program).next();
        let region =
            |slot: u32| Some((slot, Arc::new(component_region(program?, &names[slot as usize], slot))));
        Self {
            done: BTreeSet::new(),
            queue: VecDeque::new(),
            running: Vec::new(),
            parked: VecDeque::new(),
            blocked: BTreeSet::new(),
            reach,
            regions: with_bootstrap.iter().filter_map(|&slot| region(slot)).collect(),
        }
    }

    /// Whether a bootstrap waits or runs.
    pub(crate) fn is_under_way(&self, unit: Unit) -> bool {
        self.queue.iter().any(|queued| queued.unit == unit)
            || self.running.iter().any(|held| held.unit == unit)
    }

    /// Whether ops have to be asked whether they must wait.
    pub(crate) fn is_blocking(&self) -> bool {
        !self.running.is_empty()
    }

    /// The slots in the touch set of these.
    fn closure(&self, slots: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        slots.flat_map(|slot| self.reach[slot as usize].iter().copied()).collect()
    }
}

impl Engine {
    /// The slots that a bootstrap touches.
    pub(crate) fn touch_set(&self, unit: Unit) -> BTreeSet<u32> {
        match unit {
            Unit::Component(slot) => self.bootstraps.closure([slot].into_iter()),
            Unit::Target(target) => {
                let target = &self.targets[target as usize];
                let Some(region) = bootstrap_of(target) else { return BTreeSet::new() };
                let mut open = vec![region.index];
                let mut seen = BTreeSet::new();
                let mut slots = Vec::new();
                while let Some(region) = open.pop() {
                    if !seen.insert(region) {
                        continue;
                    }
                    let region = &target.regions[region as usize];
                    slots.extend((0..region.ops.len() as u32).flat_map(|op| slots_of(region, op)).flatten());
                    open.extend(region.sends.iter().filter_map(|send| match &send.kind {
                        SendKind::Request(request) => request.answer,
                        _ => None,
                    }));
                }
                self.bootstraps.closure(slots.into_iter())
            }
        }
    }

    /// The components with a bootstrap that a target reaches, dependencies first.
    pub(crate) fn components_of(&self, target: u32) -> Vec<u32> {
        let uses = self.targets[target as usize].uses.iter().map(|(slot, _)| *slot);
        let mut slots: Vec<u32> = self
            .bootstraps
            .closure(uses)
            .into_iter()
            .filter(|slot| self.bootstraps.regions.contains_key(slot))
            .collect();
        slots.sort_by_key(|&slot| (self.bootstraps.reach[slot as usize].len(), slot));
        slots
    }

    /// Starts the bootstraps in the queue whose touch sets meet neither those of running ones nor those before them.
    pub(crate) fn start_bootstraps(&mut self) {
        let mut taken: BTreeSet<u32> =
            self.bootstraps.running.iter().flat_map(|held| self.touch_set(held.unit)).collect();
        let mut at = 0;
        while let Some(queued) = self.bootstraps.queue.get(at) {
            let touches = self.touch_set(queued.unit);
            let is_free = touches.is_disjoint(&taken) && self.executions.len() < self.limits.executions;
            taken.extend(&touches);
            if !is_free {
                at += 1;
                continue;
            }
            let Some(Queued { unit, inputs }) = self.bootstraps.queue.remove(at) else { return };
            self.start_bootstrap(unit, inputs);
        }
    }

    fn start_bootstrap(&mut self, unit: Unit, inputs: Vec<Held>) {
        let (target, region) = match unit {
            Unit::Component(slot) => {
                let uses = |target: &Arc<Target>| target.uses.iter().any(|(used, _)| *used == slot);
                let target = self.targets.iter().position(uses).unwrap_or(0) as u32;
                (target, self.bootstraps.regions.get(&slot).cloned())
            }
            Unit::Target(target) => (target, bootstrap_of(&self.targets[target as usize]).cloned()),
        };
        let Some(region) = region else {
            self.bootstraps.done.insert(unit);
            let target = self.bootstrap_name(unit);
            self.steps.push(EngineStep::BootstrapComplete { target });
            return;
        };
        let (execution, _) =
            self.executions.begin(self.incarnation, target, None, self.now, !self.is_stepping);
        self.bootstraps.running.push(Running { unit, execution, told: Vec::new() });
        self.block();
        self.start_frame(execution, &region, None, None, inputs.into_iter().map(Some));
    }

    /// Notes the end of an execution that is a bootstrap: what waited for it goes on.
    pub(crate) fn end_bootstrap(&mut self, execution: u32, is_completed: bool) {
        let Some(at) = self.bootstraps.running.iter().position(|held| held.execution == execution) else {
            return;
        };
        let Running { unit, .. } = self.bootstraps.running.remove(at);
        if is_completed {
            self.bootstraps.done.insert(unit);
            let target = self.bootstrap_name(unit);
            self.steps.push(EngineStep::BootstrapComplete { target });
        }
        self.start_bootstraps();
        self.block();
        self.frontier.extend(self.bootstraps.parked.drain(..));
    }

    /// Whether an op waits until a bootstrap is over; it is kept in order if so.
    pub(crate) fn is_parked(&mut self, index: u32, op: u32, region: &Region) -> bool {
        let blocked = &self.bootstraps.blocked;
        if !slots_of(region, op).into_iter().flatten().any(|slot| blocked.contains(&slot)) {
            return false;
        }
        let execution = self.frames.frame(index).execution;
        if self.bootstraps.running.iter().any(|held| held.execution == execution) {
            return false;
        }
        self.frames.frame_mut(index).sites.queued += 1;
        self.bootstraps.parked.push_back((index, op));
        true
    }

    /// Tells the host of each bootstrap that has begun to wait.
    pub(crate) fn report_waiting_bootstraps(&mut self) {
        for at in 0..self.bootstraps.running.len() {
            let held = &self.bootstraps.running[at];
            let Some(waits) = self.awaited(held.execution).filter(|waits| held.told != *waits) else {
                continue;
            };
            let target = self.bootstrap_name(held.unit);
            self.bootstraps.running[at].told = waits;
            self.steps.push(EngineStep::WaitingOnBootstrap { target });
        }
    }

    /// How far the bootstraps are.
    pub(crate) fn bootstrap_status(&self) -> BootstrapStatus {
        let held = &self.bootstraps;
        if held.running.is_empty() {
            return if held.queue.is_empty() { BootstrapStatus::Idle } else { BootstrapStatus::Running };
        }
        if held.running.iter().all(|held| self.awaited(held.execution).is_some()) {
            BootstrapStatus::WaitingForInput
        } else {
            BootstrapStatus::Running
        }
    }

    /// The name by which the host knows a bootstrap.
    pub(crate) fn bootstrap_name(&self, unit: Unit) -> Name {
        match unit {
            Unit::Component(slot) => self.lowered.slots[slot as usize].name.clone(),
            Unit::Target(target) => self.targets[target as usize].name.clone(),
        }
    }

    /// What an execution waits for, if nothing of it is ready.
    fn awaited(&self, execution: u32) -> Option<Vec<u64>> {
        let held = self.executions.at(execution)?;
        let is_ready = held.frames.iter().any(|&frame| self.frames.frame(frame).sites.queued > 0);
        (!is_ready && !held.waits.is_empty()).then(|| held.waits.to_vec())
    }

    /// Works out which slots' ops wait.
    pub(crate) fn block(&mut self) {
        let touched: BTreeSet<u32> =
            self.bootstraps.running.iter().flat_map(|held| self.touch_set(held.unit)).collect();
        let reach = &self.bootstraps.reach;
        let meets = |slot: &u32| !reach[*slot as usize].is_disjoint(&touched);
        self.bootstraps.blocked = (0..reach.len() as u32).filter(meets).collect();
    }
}

/// The bootstrap region of a target.
pub(crate) fn bootstrap_of(target: &Target) -> Option<&Arc<Region>> {
    target.regions.iter().find(|region| region.kind == RegionKind::Bootstrap)
}

/// A slot and all that its component depends on.
fn reach(slot: u32, dependencies: &[Vec<u32>]) -> BTreeSet<u32> {
    let mut reached = BTreeSet::new();
    let mut open = vec![slot];
    while let Some(slot) = open.pop() {
        if reached.insert(slot) {
            open.extend(&dependencies[slot as usize]);
        }
    }
    reached
}

/// The slots whose components an op calls.
fn slots_of(region: &Region, op: u32) -> [Option<u32>; 2] {
    match region.ops[op as usize].dispatch {
        Dispatch::Method(Method::ModelEvaluate { data } | Method::ModelFit { data, .. }, slot) => {
            [Some(slot), Some(data)]
        }
        Dispatch::Method(_, slot) => [Some(slot), None],
        Dispatch::Run(run) => [Some(region.runs[run as usize].slot), None],
        _ => [None, None],
    }
}

/// A region of one op: the bootstrap of the component in `slot`.
fn component_region(program: &Arc<bb_ir::program::Program>, name: &Name, slot: u32) -> Region {
    let none = Span::default();
    let dispatch = Dispatch::Method(Method::ComponentBootstrap, slot);
    Region {
        program: Arc::clone(program),
        target: u32::MAX,
        index: slot,
        module: name.clone(),
        kind: RegionKind::Bootstrap,
        ops: Box::new([Op { dispatch, inputs: none, outputs: none, successors: none }]),
        nodes: Box::default(),
        inputs: Box::default(),
        outputs: Box::default(),
        consumers: Box::default(),
        missing: Box::new([0]),
        roots: Box::new([0]),
        place_count: 0,
        constants: Box::default(),
        arguments: Box::default(),
        given_count: 0,
        sends: Box::default(),
        runs: Box::default(),
        first_run: 0,
        emits: Box::default(),
        syscalls: Box::default(),
        eager: Box::default(),
        source: None,
        replies: false,
    }
}
