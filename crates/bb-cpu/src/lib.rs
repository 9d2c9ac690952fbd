//! The embedded CPU backend: an interpreter of prepared ONNX graphs.
//!
//! [`CpuBackend`] is what a program binds. A graph is parsed once ([`Backend::prepare`]): attributes are decoded, each
//! node becomes a kernel, each value a dense slot with the step at which it dies. A run then calls the kernels in
//! order; buffers of values that died are used again, so that a run with shapes seen before allocates nothing, and a
//! kernel writes over an input that dies in it where nobody else holds the memory. [`SharedGraphs`] lets the backends
//! of many nodes in one process share what is prepared.
//!
//! `ops` has one file a family of ops and one table; start there to add one.

mod compound;
mod fault;
mod fixed;
mod fuse;
mod interpreter;
mod io;
mod layers;
mod math;
mod names;
mod node;
mod ops;
mod pool;
mod product;
mod shape;
mod shared;
mod simd;
mod tiles;
mod typing;

pub use shared::SharedGraphs;

use bb_runtime::{
    Backend, BackendError, BackendGraph, Component, ComponentError, Executable, OpId, StateReader,
    StateWriter,
};

/// The ops that [`CpuBackend`] runs, each with a version of its operator set from which on it has the meaning that is
/// built in; an op whose meaning changed is there once for each meaning.
pub fn supported_ops() -> Vec<(OpId, i64)> {
    ops::all().collect()
}

/// How a [`CpuBackend`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuConfig {
    /// Threads that one run may use; results do not depend on it.
    pub threads: usize,
    /// Bytes of intermediate and output tensors that one run may hold at a time.
    pub memory_limit: usize,
    /// Elementary operations that one run may take, of which a core does about a billion a second: an element read or
    /// written, a comparison of a sort, a tap of a window, sixteen multiplications in a product of `f32`. Loops count
    /// their iterations. Counted before the work is done, so that a graph that would keep its node busy for long ends with
    /// [`BackendError::Work`] instead. [`u64::MAX`] for models that are trusted.
    pub work_limit: u64,
    /// What backends made from clones of this configuration share.
    pub shared: SharedGraphs,
}

impl Default for CpuConfig {
    /// One thread, 4 GiB (on targets that have them), 2³⁸ operations: minutes of a core, a thousand images through
    /// resnet50.
    fn default() -> Self {
        Self {
            threads: 1,
            memory_limit: usize::try_from(4_u64 << 30).unwrap_or(usize::MAX / 2),
            work_limit: 1 << 38,
            shared: SharedGraphs::default(),
        }
    }
}

/// Runs ONNX graphs on the CPU.
///
/// ```
/// use bb_cpu::{CpuBackend, CpuConfig};
/// use bb_runtime::onnx::{GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
/// use bb_runtime::{Backend, BackendGraph, Component, Tensor};
///
/// let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
/// let graph = GraphProto {
///     node: vec![NodeProto {
///         op_type: Some("Add".into()),
///         input: vec!["a".into(), "b".into()],
///         output: vec!["c".into()],
///         ..Default::default()
///     }],
///     input: vec![value("a"), value("b")],
///     output: vec![value("c")],
///     ..Default::default()
/// };
/// let opset = OperatorSetIdProto { domain: None, version: Some(21) };
/// let backend = CpuBackend::new(&CpuConfig::default())?;
/// let mut sum = backend.prepare(&BackendGraph::new(graph, &[opset]))?;
/// let outputs = sum.run(&[Tensor::from_rows([[1.0_f32, 2.0]]), Tensor::scalar(0.5_f32)])?;
/// assert_eq!(outputs[0], Tensor::from_rows([[1.5_f32, 2.5]]));
/// # Ok::<(), bb_runtime::ComponentError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CpuBackend {
    config: CpuConfig,
}

bb_runtime::component!(CpuBackend: Backend);

impl Backend for CpuBackend {
    fn supports(&self, op: &OpId) -> bool {
        ops::is_known(op)
    }

    /// Makes a graph ready to run.
    ///
    /// Inputs that have an initializer are constants of the graph; a run takes one tensor for each of the others.
    /// Backends made from clones of one configuration prepare a graph once, and its runs take turns.
    fn prepare(&self, graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
        self.config.shared.prepare(graph, &self.config)
    }
}

impl Component for CpuBackend {
    const TYPE_NAME: &'static str = "bb_cpu::CpuBackend";

    type Config = CpuConfig;

    fn default_config() -> Option<CpuConfig> {
        Some(CpuConfig::default())
    }

    fn new(config: &CpuConfig) -> Result<Self, ComponentError> {
        if config.threads == 0 {
            let reason = "is 0; give 1 for the calling thread alone".to_owned();
            return Err(ComponentError::InvalidConfig { field: "threads", reason });
        }
        Ok(Self { config: config.clone() })
    }

    /// Nothing: a backend's future depends on its configuration alone.
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(state.finish()?)
    }
}
