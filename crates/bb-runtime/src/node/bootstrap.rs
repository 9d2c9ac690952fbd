//! Running what modules and components do once, before they are used.

use std::collections::BTreeSet;

use bb_ir::wire_codec::{DecodeLimits, ValueError};

use super::Node;
use super::feed::given;
use crate::engine::bootstrap::{BootstrapStatus, Queued, Unit, bootstrap_of};
use crate::engine::frame::Held;
use crate::engine::inbound::held;
use crate::engine::methods::kind;
use crate::error::{BootstrapError, ValueFault};
use crate::{EngineStep, Value};

/// Which bootstraps are to run.
#[derive(Clone, Copy, Debug)]
pub enum BootstrapTarget<'a> {
    /// Those of all installed targets that are not done, in the order of installation.
    All,
    /// Those of these targets, done or not.
    ModuleNames(&'a [&'a str]),
    /// Those of these targets, done or not, with their inputs.
    ModuleRequests(&'a [BootstrapRequest<'a>]),
    /// Those of the components in these slots, done or not.
    Slots(&'a [&'a str]),
}

/// A bootstrap with its inputs.
#[derive(Clone, Copy, Debug)]
pub struct BootstrapRequest<'a> {
    /// The installed target.
    pub target: &'a str,
    /// Its inputs by name, each in its wire form ([`Value::encode`]).
    pub inputs: &'a [(&'a str, &'a [u8])],
}

impl Node {
    /// Runs bootstraps: what modules recorded beside their bodies, and what components do once.
    ///
    /// The batch is checked whole before anything is taken. The bootstrap of a target is preceded by those of the
    /// components that it reaches, as far as they are not done. Those that touch other components than the ones that
    /// run begin at once, the others when it is their turn; what is left when this returns goes on in
    /// [`step`](Node::step). A bootstrap that fails is reported as every execution is, and is not done.
    ///
    /// # Errors
    /// [`BootstrapError`]; the node is as it was before.
    ///
    /// ```
    /// # use bb_runtime::{BootstrapError, BootstrapRequest, BootstrapTarget, EngineStep, Node, Value};
    /// # fn prepare(node: &mut Node) -> Result<(), BootstrapError> {
    /// for step in node.run_bootstrap(BootstrapTarget::All)? {
    ///     if let EngineStep::BootstrapComplete { target } = step {
    ///         println!("{target} is ready");
    ///     }
    /// }
    /// let seed = Value::U64(7).encode();
    /// let inputs: &[(&str, &[u8])] = &[("seed", &seed)];
    /// node.run_bootstrap(BootstrapTarget::ModuleRequests(&[BootstrapRequest { target: "P", inputs }]))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_bootstrap(&mut self, target: BootstrapTarget<'_>) -> Result<Vec<EngineStep>, BootstrapError> {
        let span = tracing::debug_span!("run_bootstrap", ?target);
        let _entered = span.enter();
        let staged = self.stage(target)?;
        if staged.is_empty() {
            return Ok(Vec::new());
        }
        let engine = &mut self.engine;
        engine.bootstraps.queue.extend(staged);
        engine.start_bootstraps();
        let mut budget = engine.limits.cycle_op_budget;
        engine.run_frontier(&mut budget);
        engine.report_waiting_bootstraps();
        engine.flush_outbound();
        Ok(self.hand_out())
    }

    /// How far the bootstraps are.
    pub fn bootstrap_status(&self) -> BootstrapStatus {
        self.engine.bootstrap_status()
    }

    /// Checks a batch; what it adds to the queue.
    fn stage(&self, target: BootstrapTarget<'_>) -> Result<Vec<Queued>, BootstrapError> {
        let mut batch = Batch { node: self, units: BTreeSet::new(), staged: Vec::new() };
        match target {
            BootstrapTarget::All => {
                for index in 0..self.engine.targets.len() as u32 {
                    let unit = Unit::Target(index);
                    let is_new = !self.engine.bootstraps.done.contains(&unit)
                        && !self.engine.bootstraps.is_under_way(unit);
                    if is_new && bootstrap_of(&self.engine.targets[index as usize]).is_some() {
                        batch.target(index, &[])?;
                    } else {
                        batch.components(index);
                    }
                }
            }
            BootstrapTarget::ModuleNames(names) => {
                for name in names {
                    let index = batch.find(name)?;
                    batch.target(index, &[])?;
                }
            }
            BootstrapTarget::ModuleRequests(requests) => {
                for request in requests {
                    let index = batch.find(request.target)?;
                    batch.target(index, request.inputs)?;
                }
            }
            BootstrapTarget::Slots(names) => {
                for name in names {
                    batch.slot(name)?;
                }
            }
        }
        Ok(batch.staged)
    }
}

/// A batch that is being checked.
struct Batch<'n> {
    node: &'n Node,
    units: BTreeSet<Unit>,
    staged: Vec<Queued>,
}

impl Batch<'_> {
    fn find(&self, name: &str) -> Result<u32, BootstrapError> {
        let targets = &self.node.engine.targets;
        match targets.iter().position(|target| target.name == *name) {
            Some(index) => Ok(index as u32),
            None => Err(BootstrapError::UnknownTarget {
                target_name: name.to_owned(),
                available: targets.iter().map(|target| target.name.to_string()).collect(),
            }),
        }
    }

    /// Adds a bootstrap that is named.
    fn add(&mut self, unit: Unit, inputs: Vec<Held>) -> Result<(), BootstrapError> {
        if self.node.engine.bootstraps.is_under_way(unit) || !self.units.insert(unit) {
            let target_name = self.node.engine.bootstrap_name(unit).to_string();
            return Err(BootstrapError::AlreadyTransitivelyQueued { target_name });
        }
        self.staged.push(Queued { unit, inputs });
        Ok(())
    }

    /// Adds the bootstraps of the components that a target reaches, but for those that are done or under way.
    fn components(&mut self, target: u32) {
        for slot in self.node.engine.components_of(target) {
            let unit = Unit::Component(slot);
            let held = &self.node.engine.bootstraps;
            if !held.done.contains(&unit) && !held.is_under_way(unit) && self.units.insert(unit) {
                self.staged.push(Queued { unit, inputs: Vec::new() });
            }
        }
    }

    fn slot(&mut self, name: &str) -> Result<(), BootstrapError> {
        let engine = &self.node.engine;
        let name_of = |slot: &u32| engine.lowered.slots[*slot as usize].name.clone();
        let found = engine.bootstraps.regions.keys().copied().find(|slot| name_of(slot) == *name);
        let Some(slot) = found else {
            return Err(BootstrapError::UnknownTarget {
                target_name: name.to_owned(),
                available: engine.bootstraps.regions.keys().map(|slot| name_of(slot).to_string()).collect(),
            });
        };
        self.add(Unit::Component(slot), Vec::new())
    }

    fn target(&mut self, index: u32, inputs: &[(&str, &[u8])]) -> Result<(), BootstrapError> {
        let engine = &self.node.engine;
        let target = &engine.targets[index as usize];
        let target_name = || target.name.to_string();
        let arguments = bootstrap_of(target).map(|region| given(region)).unwrap_or_default();
        let byte_count: usize = inputs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut values: Vec<Option<&[u8]>> = vec![None; arguments.len()];
        for (name, value) in inputs {
            let Some(at) = arguments.iter().position(|argument| argument.name == **name) else {
                return Err(BootstrapError::UnknownInput {
                    target_name: target_name(),
                    input_name: (*name).to_owned(),
                    declared: arguments.iter().map(|argument| argument.name.to_string()).collect(),
                });
            };
            if values[at].replace(value).is_some() {
                let input_name = (*name).to_owned();
                return Err(BootstrapError::DuplicateInput { target_name: target_name(), input_name });
            }
        }
        if let Some(missing) = values.iter().position(Option::is_none) {
            let input_name = arguments[missing].name.to_string();
            return Err(BootstrapError::MissingInput { target_name: target_name(), input_name });
        }
        let cap = engine.limits.invoke_bytes;
        if byte_count > cap {
            let target_name = target_name();
            return Err(BootstrapError::AllocationFailed { target_name, byte_count, budget_remaining: cap });
        }
        let charge =
            engine.budget.try_charge(byte_count).map_err(|error| BootstrapError::AllocationFailed {
                target_name: target_name(),
                byte_count,
                budget_remaining: error.budget_remaining,
            })?;
        let mut decoded = Vec::with_capacity(values.len());
        for (argument, bytes) in arguments.iter().zip(values.into_iter().flatten()) {
            let invalid = |fault| BootstrapError::InvalidInput {
                target_name: target_name(),
                input_name: argument.name.to_string(),
                fault,
            };
            let value = Value::decode_with(bytes, &DecodeLimits::HOST).map_err(|error| match error {
                ValueError::AllocationFailed { byte_count } => BootstrapError::AllocationFailed {
                    target_name: target_name(),
                    byte_count,
                    budget_remaining: engine.budget.capacity() - engine.budget.in_flight(),
                },
                error => invalid(ValueFault::Malformed(error)),
            })?;
            if !argument.ty.admits(&value) {
                let fault = ValueFault::WrongType { expected: argument.ty.clone(), got: kind(&value) };
                return Err(invalid(fault));
            }
            decoded.push(held(value, &charge));
        }
        self.components(index);
        self.add(Unit::Target(index), decoded)
    }
}
