//! Phases in the life of a node, and the regions that they start.
//!
//! State: [`Phases`]: what was entered and has not been fired, and how often each was fired.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::dense::Target;
use super::frame::Held;
use super::syscall::Source;
use crate::{EngineStep, Name, Value};

/// The phase that a node enters when it is saved.
const SAVED: &str = "Snapshot";

/// Phases by name. As many can wait as there are regions that listen, at least the node's own two; one that waits
/// already does not wait twice.
#[derive(Debug)]
pub(crate) struct Phases {
    pub(crate) entered: VecDeque<Name>,
    pub(crate) fired: BTreeMap<Name, u64>,
    /// Whether the node was saved since the last step, for programs that listen to that.
    is_saved: Cell<bool>,
    listeners: BTreeMap<Name, Vec<(u32, u32)>>,
}

impl Phases {
    pub(crate) fn new(targets: &[Arc<Target>]) -> Self {
        let mut listeners: BTreeMap<Name, Vec<(u32, u32)>> = BTreeMap::new();
        for (target, held) in targets.iter().enumerate() {
            for region in &held.regions {
                if let Some(Source::Phase { name }) = &region.source {
                    listeners.entry(name.clone()).or_default().push((target as u32, region.index));
                }
            }
        }
        Self { entered: VecDeque::new(), fired: BTreeMap::new(), is_saved: Cell::new(false), listeners }
    }

    /// Whether any region listens to a phase.
    pub(crate) fn is_heard(&self, phase: &str) -> bool {
        self.listeners.contains_key(phase)
    }

    /// Notes that the node is being saved, if anything listens to that; whether that is news. What is saved has it too, so
    /// that both go on alike.
    pub(crate) fn enter_saved(&self) -> bool {
        let is_news = self.is_heard(SAVED) && !self.entered.iter().any(|name| name == SAVED);
        is_news && !self.is_saved.replace(true)
    }

    /// Takes back that the node was saved.
    pub(crate) fn leave_saved(&self) {
        self.is_saved.set(false);
    }

    /// That the node was saved waits like any other phase.
    fn take_saved(&mut self) {
        if self.is_saved.take()
            && let Some((name, _)) = self.listeners.get_key_value(SAVED)
        {
            self.entered.push_back(name.clone());
        }
    }

    /// What was entered and has not been fired, in order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Name> {
        let saved = self.listeners.get_key_value(SAVED).filter(|_| self.is_saved.get());
        self.entered.iter().chain(saved.map(|(name, _)| name))
    }

    /// Puts what was entered and what was fired in the place of what is held.
    pub(crate) fn restore(&mut self, (entered, fired): (VecDeque<Name>, BTreeMap<Name, u64>)) {
        (self.entered, self.fired) = (entered, fired);
        self.leave_saved();
    }

    /// Notes that a phase was entered; `false` if nothing listens to it.
    pub(crate) fn enter(&mut self, phase: &str) -> bool {
        let Some((name, _)) = self.listeners.get_key_value(phase) else { return false };
        let waits = self.entered.contains(name) || (name == SAVED && self.is_saved.get());
        if !waits {
            self.entered.push_back(name.clone());
        }
        true
    }
}

impl Engine {
    /// Starts the regions of the phases that were entered.
    pub(crate) fn run_lifecycle(&mut self) {
        self.phases.take_saved();
        for _ in 0..self.phases.entered.len() {
            let Some(phase) = self.phases.entered.pop_front() else { return };
            let listeners = self.phases.listeners.get(&phase).cloned().unwrap_or_default();
            *self.phases.fired.entry(phase.clone()).or_default() += 1;
            self.steps.push(EngineStep::LifecycleFired { phase });
            for (target, region) in listeners {
                self.start_source(target, region, Held::own(Value::Trigger));
            }
        }
    }
}
