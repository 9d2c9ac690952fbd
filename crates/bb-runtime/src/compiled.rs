//! A compiled program with the factories of its components.

use std::collections::BTreeMap;
use std::sync::Arc;

use bb_ir::program::Program;

use crate::ComponentFactory;

/// A compiled program: what `install` takes.
///
/// Made by the compiler it carries the factories of the components bound to it; decoded from bytes it carries
/// none, and the host registers them with `Config::register`.
#[derive(Clone, Debug)]
pub struct CompiledModel {
    program: Arc<Program>,
    factories: BTreeMap<&'static str, ComponentFactory>,
}

impl CompiledModel {
    /// A compiled program with the factories of its components.
    pub fn new(program: Program, factories: BTreeMap<&'static str, ComponentFactory>) -> Self {
        Self { program: Arc::new(program), factories }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The factories, by type name.
    pub fn factories(&self) -> &BTreeMap<&'static str, ComponentFactory> {
        &self.factories
    }
}
