//! The wide backend: ONNX graphs run by onnxruntime, a shared library that is loaded when a backend is made.
//!
//! [`OrtBackend`] is what a program binds, [`OrtConfig`] says where the library is and what it may use. Nothing is
//! downloaded or linked at build time, so this crate builds where onnxruntime is not. `library` finds and loads it,
//! `model` writes the ONNX file that it reads, `support` asks it which ops it knows, `session` runs, `exchange` carries
//! tensors over, `fault` tells its refusals apart.
//!
//! The library is C++ with access to the whole process: bind it for models whose makers are trusted.

mod config;
mod exchange;
mod fault;
mod library;
mod model;
mod session;
mod support;

pub use config::{ExecutionProvider, LIBRARY_VARIABLE, OrtConfig};
pub use library::LoadError;

use std::sync::Arc;

use bb_runtime::{
    Backend, BackendError, BackendGraph, Component, ComponentError, Executable, OpId, StateReader,
    StateWriter,
};

use ort::environment::Environment;

use crate::session::{OrtExecutable, Sessions};
use crate::support::Support;

/// Runs ONNX graphs with onnxruntime.
///
/// A run lends each input to the library without a copy and copies each output once, into the tensor of the run before
/// where that has the same type and size and nobody else holds it.
///
/// ```no_run
/// use bb_ort::{OrtBackend, OrtConfig};
/// use bb_runtime::{Backend, Component, OpId};
///
/// // The folder of the Python package `onnxruntime` has the library.
/// let config = OrtConfig { library: Some("site-packages/onnxruntime/capi".into()), ..OrtConfig::default() };
/// let backend = OrtBackend::new(&config)?;
/// assert!(backend.supports(&OpId::new("", "Conv")));
/// # Ok::<(), bb_runtime::ComponentError>(())
/// ```
#[derive(Clone, Debug)]
pub struct OrtBackend {
    config: OrtConfig,
    environment: Environment,
    support: Arc<Support>,
}

bb_runtime::component!(OrtBackend: Backend);

impl OrtBackend {
    fn sessions(&self) -> Sessions {
        Sessions { config: self.config.clone(), environment: self.environment.clone() }
    }
}

impl Backend for OrtBackend {
    /// Whether the library has a definition of the op, of any version.
    ///
    /// Whether it runs a node of it depends on the operator set and on types; [`Backend::prepare`] decides that.
    fn supports(&self, op: &OpId) -> bool {
        self.support.knows(op)
    }

    /// Makes a graph ready to run.
    ///
    /// Inputs that have an initializer are constants of the graph; a run takes one tensor for each of the others. A
    /// graph that does not declare the element types of all its inputs is handed to the library at its first run,
    /// when they are known; an op that the library does not know at all is refused here in any case.
    fn prepare(&self, graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
        Ok(Box::new(OrtExecutable::new(graph.clone(), self.sessions(), &self.support)?))
    }
}

impl Component for OrtBackend {
    const TYPE_NAME: &'static str = "bb_ort::OrtBackend";

    type Config = OrtConfig;

    fn default_config() -> Option<OrtConfig> {
        Some(OrtConfig::default())
    }

    /// Loads the library, which stays loaded for the rest of the process.
    ///
    /// # Errors
    /// [`ComponentError::InvalidConfig`], and [`ComponentError::Other`] with a [`LoadError`].
    fn new(config: &OrtConfig) -> Result<Self, ComponentError> {
        config.check()?;
        let environment = library::load(config).map_err(ComponentError::other)?;
        let support = Arc::new(Support::new(environment.clone()));
        Ok(Self { config: config.clone(), environment, support })
    }

    /// Nothing: a backend's future depends on its configuration alone.
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(state.finish()?)
    }
}
