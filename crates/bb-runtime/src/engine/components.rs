//! The components of a node, and how one is called: taken out, lent its context, put back.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;

use bb_framework::Rng;

use super::dense::{Lowered, Slot, Target};
use super::peers::Peers;
use super::wait::Waits;
use crate::config::SlotConfig;
use crate::contracts::{
    Answer, Backend, Batch, CompletionSink, DataSource, Executable, OpContext, OpOutput, Outputs, Pending,
    Services,
};
use crate::error::OpError;
use crate::{ComponentError, ComponentFactory, DynComponent, ExecId, PeerId, Role, Tensor, Time, Value};

/// The results of an op, in order.
pub(crate) type Results = SmallVec<[Value; 2]>;

/// The prepared graphs of a target, by the number of their run.
pub(crate) type Executables = Box<[Box<dyn Executable>]>;

/// What a call gave.
#[derive(Debug)]
pub(crate) enum Called {
    Later(u64),
    Now(Results),
}

/// The components of a node by slot, and the graphs that its backends prepared.
pub(crate) struct Components {
    held: Box<[Option<Box<dyn DynComponent>>]>,
    /// For each slot, what its component declared.
    dependencies: Box<[Box<[ResolvedDependency]>]>,
    /// For each installed target, the graphs of its regions.
    executables: Box<[Executables]>,
    recipe: Arc<Recipe>,
}

/// How a component is made, and from which configuration.
pub(crate) type RecipeSlot = (ComponentFactory, Option<SlotConfig>);

/// Components by slot, and the graphs that backends prepared for each target.
pub(crate) type Made = (Box<[Option<Box<dyn DynComponent>>]>, Box<[Executables]>);

/// What the components were made from.
pub(crate) struct Recipe {
    /// For each slot that has a component: how it is made, and from which configuration.
    pub(crate) slots: Box<[Option<RecipeSlot>]>,
    pub(crate) targets: Box<[Arc<Target>]>,
}

/// A dependency that a component declared, and the slot that stands for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedDependency {
    pub(crate) name: &'static str,
    pub(crate) slot: u32,
}

/// What a call is made with besides its component.
pub(crate) struct CallContext<'a> {
    pub(crate) lowered: &'a Lowered,
    pub(crate) now: Time,
    pub(crate) execution: ExecId,
    pub(crate) local_peer: PeerId,
    pub(crate) source: Option<PeerId>,
    pub(crate) peers: &'a Peers,
    pub(crate) rng: &'a mut Rng,
    pub(crate) waits: &'a mut Waits,
    pub(crate) sink: &'a Arc<dyn CompletionSink>,
}

struct Lent<'a> {
    held: &'a mut [Option<Box<dyn DynComponent>>],
    dependencies: &'a [Box<[ResolvedDependency]>],
    /// The slots whose components run, the innermost one last: its dependencies are what names mean.
    running: SmallVec<[u32; 2]>,
    peers: &'a Peers,
    local_peer: PeerId,
    rng: &'a mut Rng,
    waits: &'a mut Waits,
    sink: &'a Arc<dyn CompletionSink>,
    deferred: SmallVec<[u64; 1]>,
}

impl Components {
    pub(crate) fn new(
        held: Box<[Option<Box<dyn DynComponent>>]>,
        dependencies: Box<[Box<[ResolvedDependency]>]>,
        executables: Box<[Executables]>,
        recipe: Arc<Recipe>,
    ) -> Self {
        Self { held, dependencies, executables, recipe }
    }

    /// The same components made anew, each shown to `load` before any graph is prepared.
    ///
    /// # Errors
    /// Slot, type and error of the first that fails.
    pub(crate) fn make_again(
        &self,
        lowered: &Lowered,
        load: impl FnMut(&mut dyn DynComponent) -> Result<(), ComponentError>,
    ) -> Result<Self, (String, String, ComponentError)> {
        let (held, executables) = crate::install::construct_again(&self.recipe, lowered, load)?;
        let recipe = Arc::clone(&self.recipe);
        Ok(Self::new(held, self.dependencies.clone(), executables, recipe))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.iter().flatten().count()
    }

    /// Slot by slot, those there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &dyn DynComponent)> {
        self.held.iter().enumerate().filter_map(|(slot, held)| Some((slot as u32, held.as_deref()?)))
    }

    /// For each slot those that its component depends on.
    pub(crate) fn dependencies(&self) -> Vec<Vec<u32>> {
        self.dependencies.iter().map(|held| held.iter().map(|held| held.slot).collect()).collect()
    }

    /// Calls a method of the component in `slot`.
    pub(crate) fn call<T: OpOutput>(
        &mut self,
        slot: u32,
        cx: CallContext<'_>,
        method: impl FnOnce(
            &mut dyn DynComponent,
            &mut OpContext<'_>,
        ) -> Option<Result<Answer<T>, ComponentError>>,
        role: Role,
    ) -> Result<Called, OpError> {
        let names = &cx.lowered.slots[slot as usize];
        let Some(mut component) = self.held[slot as usize].take() else {
            return Err(busy(names));
        };
        let (now, execution, local_peer, source) = (cx.now, cx.execution, cx.local_peer, cx.source);
        let mut lent = Lent {
            held: &mut self.held,
            dependencies: &self.dependencies,
            running: SmallVec::from_elem(slot, 1),
            peers: cx.peers,
            local_peer,
            rng: cx.rng,
            waits: cx.waits,
            sink: cx.sink,
            deferred: SmallVec::new(),
        };
        let called = catch_unwind(AssertUnwindSafe(|| {
            let mut context =
                OpContext { now, execution, local_peer, source_peer: source, services: &mut lent };
            method(component.as_mut(), &mut context)
        }));
        let deferred = std::mem::take(&mut lent.deferred);
        self.held[slot as usize] = Some(component);
        match called {
            Err(panic) => Err(panicked(names, &*panic)),
            Ok(None) => Err(OpError::MissingRole { slot: names.name.to_string(), role }),
            Ok(Some(Err(error))) => Err(failed(names, error)),
            Ok(Some(Ok(answer))) => match answer.into_parts() {
                Ok(result) => {
                    let mut results = Results::new();
                    result.into_values(&mut results);
                    Ok(Called::Now(results))
                }
                Err(Pending(id)) if deferred.contains(&id) => Ok(Called::Later(id)),
                Err(_) => Err(OpError::WrongAnswer { slot: names.name.to_string() }),
            },
        }
    }

    /// Calls a method of a model that also gets the data source in the slot `data`.
    pub(crate) fn call_with_data<T: OpOutput>(
        &mut self,
        slot: u32,
        data: u32,
        cx: CallContext<'_>,
        method: impl FnOnce(
            &mut dyn DynComponent,
            &mut OpContext<'_>,
            &mut dyn DataSource,
        ) -> Option<Result<Answer<T>, ComponentError>>,
    ) -> Result<Called, OpError> {
        let names = &cx.lowered.slots[data as usize];
        let Some(mut source) = self.held[data as usize].take() else {
            return Err(busy(names));
        };
        let called = match source.as_data_source() {
            None => Err(OpError::MissingRole { slot: names.name.to_string(), role: Role::DataSource }),
            Some(rows) => {
                let mut rows = WithOwnNames { source: rows, slot: data };
                self.call(slot, cx, |component, context| method(component, context, &mut rows), Role::Model)
            }
        };
        self.held[data as usize] = Some(source);
        called
    }

    /// Runs a prepared graph of an installed target.
    pub(crate) fn run(
        &mut self,
        names: &Slot,
        target: u32,
        run: u32,
        inputs: &[Tensor],
    ) -> Result<Outputs, OpError> {
        let executable = &mut self.executables[target as usize][run as usize];
        match catch_unwind(AssertUnwindSafe(|| executable.run(inputs))) {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(error)) => Err(OpError::Backend { slot: names.name.to_string(), error }),
            Err(panic) => Err(panicked(names, &*panic)),
        }
    }
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, component)| component.type_name())).finish()
    }
}

impl Lent<'_> {
    /// The slot that stands for a dependency of the running component, which has `role`.
    fn dependency(&self, name: &str, role: Role) -> Result<u32, ComponentError> {
        let running = self.running.last().and_then(|slot| self.dependencies.get(*slot as usize));
        let declared = running.map_or(&[][..], |declared| declared);
        let missing = || {
            let declared = declared.iter().map(|held| held.name.to_owned()).collect();
            OpContext::no_dependency(name, role, declared)
        };
        let slot = declared.iter().find(|held| held.name == name).ok_or_else(missing)?.slot;
        match &self.held[slot as usize] {
            Some(component) if component.roles().contains(&role) => Ok(slot),
            Some(_) => Err(missing()),
            None => Err(ComponentError::Busy { name: name.to_owned() }),
        }
    }
}

/// A data source that a model calls: the context that it gets has its own dependencies, not the model's.
struct WithOwnNames<'a> {
    source: &'a mut dyn DataSource,
    slot: u32,
}

impl WithOwnNames<'_> {
    fn with<T>(
        &mut self,
        cx: &mut OpContext<'_>,
        call: impl FnOnce(&mut dyn DataSource, &mut OpContext<'_>) -> T,
    ) -> T {
        cx.services.enter(self.slot);
        // A panic ends the model's call too, and its context with it.
        let called = call(self.source, cx);
        cx.services.leave();
        called
    }
}

impl DataSource for WithOwnNames<'_> {
    fn next_batch(
        &mut self,
        cx: &mut OpContext<'_>,
        rows: usize,
    ) -> Result<Answer<Option<Batch>>, ComponentError> {
        self.with(cx, |source, cx| source.next_batch(cx, rows))
    }

    fn reset(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        self.with(cx, |source, cx| source.reset(cx))
    }

    fn len(&self) -> usize {
        self.source.len()
    }

    fn is_empty(&self) -> bool {
        self.source.is_empty()
    }
}

impl Services for Lent<'_> {
    fn backend(&mut self, name: &str) -> Result<&mut dyn Backend, ComponentError> {
        let slot = self.dependency(name, Role::Backend)?;
        let component = self.held[slot as usize].as_mut();
        component
            .and_then(|component| component.as_backend())
            .ok_or_else(|| OpContext::no_dependency(name, Role::Backend, Vec::new()))
    }

    fn lend(&mut self, name: &str, role: Role) -> Result<Box<dyn DynComponent>, ComponentError> {
        let slot = self.dependency(name, role)?;
        let component = self.held[slot as usize].take();
        let component = component.ok_or_else(|| ComponentError::Busy { name: name.to_owned() })?;
        self.running.push(slot);
        Ok(component)
    }

    fn give_back(&mut self, component: Box<dyn DynComponent>) {
        if let Some(slot) = self.running.pop() {
            self.held[slot as usize] = Some(component);
        }
    }

    fn enter(&mut self, slot: u32) {
        self.running.push(slot);
    }

    fn leave(&mut self) {
        self.running.pop();
    }

    fn random(&mut self) -> u64 {
        self.rng.u64()
    }

    fn known_peers(&self) -> Vec<PeerId> {
        self.peers.known(self.local_peer)
    }

    fn defer(&mut self) -> (Pending, Arc<dyn CompletionSink>) {
        let id = self.waits.reserve();
        self.deferred.push(id);
        (Pending(id), Arc::clone(self.sink))
    }
}

fn busy(names: &Slot) -> OpError {
    failed(names, ComponentError::Busy { name: names.name.to_string() })
}

pub(crate) fn failed(names: &Slot, error: ComponentError) -> OpError {
    OpError::Component { slot: names.name.to_string(), type_name: names.type_name.to_string(), error }
}

fn panicked(names: &Slot, panic: &(dyn Any + Send)) -> OpError {
    OpError::ComponentPanicked {
        slot: names.name.to_string(),
        type_name: names.type_name.to_string(),
        message: panic_message(panic),
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
