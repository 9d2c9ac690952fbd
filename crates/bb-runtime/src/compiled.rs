//! A compiled program with the factories of its components.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bb_ir::Digest;
use bb_ir::program::Program;

use crate::ComponentFactory;
use crate::engine::dense::Lowered;
use crate::engine::lower::lower;

/// A compiled program: what `install` takes.
///
/// Made by the compiler it carries the factories of the components bound to it; decoded from bytes it carries
/// none, and the host registers them with `Config::register`. A clone is the same program: all nodes of a process
/// that install it share one copy.
#[derive(Clone)]
pub struct CompiledModel(Arc<Shared>);

struct Shared {
    program: Arc<Program>,
    factories: BTreeMap<&'static str, ComponentFactory>,
    lowered: OnceLock<Arc<Lowered>>,
    digest: OnceLock<Digest>,
}

impl CompiledModel {
    /// A compiled program with the factories of its components.
    pub fn new(program: Program, factories: BTreeMap<&'static str, ComponentFactory>) -> Self {
        let shared = Shared {
            program: Arc::new(program),
            factories,
            lowered: OnceLock::new(),
            digest: OnceLock::new(),
        };
        Self(Arc::new(shared))
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.0.program
    }

    /// The factories, by type name.
    pub fn factories(&self) -> &BTreeMap<&'static str, ComponentFactory> {
        &self.0.factories
    }

    /// The digest of the program, by which messages name it.
    pub fn digest(&self) -> Digest {
        *self.0.digest.get_or_init(|| Digest::of(format!("{:?}", self.0.program).as_bytes()))
    }

    /// The program in dense form, made once.
    pub(crate) fn lowered(&self) -> &Arc<Lowered> {
        self.0.lowered.get_or_init(|| Arc::new(lower(&self.0.program)))
    }
}

impl fmt::Debug for CompiledModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledModel")
            .field("name", &self.0.program.name)
            .field("targets", &self.0.program.targets.iter().map(|target| &target.name).collect::<Vec<_>>())
            .field("factories", &self.0.factories.keys())
            .finish_non_exhaustive()
    }
}
