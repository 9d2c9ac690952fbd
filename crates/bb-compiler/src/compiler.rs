//! The compiler's front: what is bound to the slots, and `compile`.

use std::any::TypeId;
use std::time::Duration;

use bb_ir::program::{Program, Role};
use bb_runtime::factory::Roles;
use bb_runtime::{
    Aggregator, Backend, CompiledModel, Component, ComponentFactory, DataSource, Model, PeerSelector,
};

use crate::Diagnostics;
use crate::context::{Bound, Context};
use crate::lower::{Point, UserPass, lower};

/// Compiles recorded programs.
///
/// Bind a component to each slot that the program uses, then [`Compiler::compile`]. The result carries the
/// factories of the components, so that `install` in this process needs nothing registered.
#[derive(Debug)]
#[must_use]
pub struct Compiler {
    context: Context,
    passes: Vec<UserPass>,
}

impl Compiler {
    /// A compiler with nothing bound.
    pub const fn new() -> Self {
        Self { context: Context::new(), passes: Vec::new() }
    }

    /// Binds a backend to a slot.
    pub fn bind_backend<C: Component + Roles + Backend>(self, slot: &str) -> Self {
        self.bind::<C>(slot, Role::Backend)
    }

    /// Binds a model to a slot.
    pub fn bind_model<C: Component + Roles + Model>(self, slot: &str) -> Self {
        self.bind::<C>(slot, Role::Model)
    }

    /// Binds a data source to a slot.
    pub fn bind_data_source<C: Component + Roles + DataSource>(self, slot: &str) -> Self {
        self.bind::<C>(slot, Role::DataSource)
    }

    /// Binds an aggregator to a slot.
    pub fn bind_aggregator<C: Component + Roles + Aggregator>(self, slot: &str) -> Self {
        self.bind::<C>(slot, Role::Aggregator)
    }

    /// Binds a peer selector to a slot.
    pub fn bind_peer_selector<C: Component + Roles + PeerSelector>(self, slot: &str) -> Self {
        self.bind::<C>(slot, Role::PeerSelector)
    }

    /// Says which slot stands for a dependency of the component in `slot`; without it, the slot of the
    /// dependency's own name does.
    pub fn with_dependency(mut self, slot: &str, dependency: &str, other_slot: &str) -> Self {
        let key = (slot.to_owned(), dependency.to_owned());
        self.context.dependencies.insert(key, other_slot.to_owned());
        self
    }

    /// How long a call waits where its program does not say; [`DEFAULT_DEADLINE`](crate::DEFAULT_DEADLINE)
    /// unless set. Zero is taken as one nanosecond.
    pub fn default_deadline(mut self, time: Duration) -> Self {
        self.context.default_deadline = time.max(Duration::from_nanos(1));
        self
    }

    /// Runs a pass of your own at a point; the program is verified after it.
    ///
    /// Passes at one point run in the order in which they were added.
    ///
    /// ```
    /// use bb_compiler::{Compiler, Point};
    /// let compiler = Compiler::new().pass_at(Point::Typed, "count", |program, _| {
    ///     assert_eq!(program.modules.len(), 1);
    ///     Ok(())
    /// });
    /// # drop(compiler);
    /// ```
    pub fn pass_at(
        mut self,
        point: Point,
        name: impl Into<String>,
        run: impl Fn(&mut Program, &Context) -> Result<(), Diagnostics> + 'static,
    ) -> Self {
        self.passes.push(UserPass { point, name: name.into(), run: Box::new(run) });
        self
    }

    /// Compiles a recorded program.
    ///
    /// # Errors
    /// [`Diagnostics`] of the first pass that finds a mistake: all that it finds.
    pub fn compile(self, program: Program) -> Result<CompiledModel, Diagnostics> {
        let mut program = program;
        self.lower(&mut program).map_err(|mut diagnostics| {
            diagnostics.attach_sources();
            diagnostics
        })?;
        let bound = program.bindings.keys().filter_map(|slot| self.context.bound(slot));
        let factories = bound.map(|bound| (bound.factory.type_name, bound.factory)).collect();
        Ok(CompiledModel::new(program, factories))
    }

    /// What the passes know besides the program.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    fn lower(&self, program: &mut Program) -> Result<(), Diagnostics> {
        lower(program, &self.context, &self.passes)
    }

    fn bind<C: Component + Roles>(mut self, slot: &str, role: Role) -> Self {
        let bound = Bound { role, factory: ComponentFactory::of::<C>(), type_id: TypeId::of::<C>() };
        self.context.bound.entry(slot.to_owned()).or_default().push(bound);
        self
    }
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}
