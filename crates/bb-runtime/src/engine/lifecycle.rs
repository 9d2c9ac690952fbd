//! Phases in the life of a node, and the regions that they start.
//!
//! State: [`Phases`]: what was entered and has not been fired, and how often each was fired.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::dense::Target;
use super::frame::Held;
use super::syscall::Source;
use crate::{EngineStep, Name, Value};

/// Phases by name. As many can wait as there are regions that listen, at least the node's own two; one that waits
/// already does not wait twice.
#[derive(Debug)]
pub(crate) struct Phases {
    pub(crate) entered: VecDeque<Name>,
    pub(crate) fired: BTreeMap<Name, u64>,
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
        Self { entered: VecDeque::new(), fired: BTreeMap::new(), listeners }
    }

    /// Whether any region listens to a phase.
    pub(crate) fn is_heard(&self, phase: &str) -> bool {
        self.listeners.contains_key(phase)
    }

    /// Notes that a phase was entered; `false` if nothing listens to it.
    pub(crate) fn enter(&mut self, phase: &str) -> bool {
        let Some((name, _)) = self.listeners.get_key_value(phase) else { return false };
        if !self.entered.contains(name) {
            self.entered.push_back(name.clone());
        }
        true
    }
}

impl Engine {
    /// Starts the regions of the phases that were entered.
    pub(crate) fn run_lifecycle(&mut self) {
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
