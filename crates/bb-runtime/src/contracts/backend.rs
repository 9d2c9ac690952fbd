//! What runs tensor ops.

use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use crate::onnx::{GraphProto, ModelProto, OperatorSetIdProto};
use crate::{DataType, OpId, Shape, Tensor};

/// Runs tensor ops: prepares a graph once and runs it many times.
pub trait Backend {
    /// Whether it can run `op`.
    fn supports(&self, op: &OpId) -> bool;

    /// Makes a graph ready to run.
    ///
    /// # Errors
    /// An op it does not support, or a graph that is not well-formed.
    fn prepare(&self, graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError>;
}

/// A graph made ready to run.
pub trait Executable: Send {
    /// Runs it: one tensor an input of the graph, in order; one an output, in order.
    ///
    /// # Errors
    /// Inputs whose number, type or shape the graph cannot take.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError>;

    /// Runs it as [`Executable::run`] does, into `outputs`.
    ///
    /// What `outputs` holds from an earlier run may be overwritten in place where nobody else shares it, so that a
    /// loop that hands the same `outputs` back allocates nothing. On an error its content is unspecified.
    ///
    /// # Errors
    /// Those of [`Executable::run`].
    fn run_into(&mut self, inputs: &[Tensor], outputs: &mut Outputs) -> Result<(), BackendError> {
        *outputs = self.run(inputs)?;
        Ok(())
    }
}

/// The outputs of a graph, in order.
pub type Outputs = SmallVec<[Tensor; 4]>;

/// An ONNX graph with the operator sets it is written in; cheap to clone.
#[derive(Clone, Debug)]
pub struct BackendGraph {
    graph: Arc<GraphProto>,
    opsets: Arc<[(String, i64)]>,
}

impl BackendGraph {
    /// The graph `graph` over these operator sets.
    pub fn new(graph: GraphProto, opsets: &[OperatorSetIdProto]) -> Self {
        let opsets = opsets
            .iter()
            .map(|set| {
                let domain = set.domain.clone().unwrap_or_default();
                (if domain == "ai.onnx" { String::new() } else { domain }, set.version.unwrap_or(1))
            })
            .collect();
        Self { graph: Arc::new(graph), opsets }
    }

    /// The main graph of a model.
    ///
    /// # Errors
    /// [`BackendError::NoGraph`].
    pub fn from_model(model: &ModelProto) -> Result<Self, BackendError> {
        let graph = model.graph.clone().ok_or(BackendError::NoGraph)?;
        Ok(Self::new(graph, &model.opset_import))
    }

    /// The graph.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// Whether both are clones of one graph.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.graph, &other.graph) && Arc::ptr_eq(&self.opsets, &other.opsets)
    }

    /// The version of the operator set of `domain` (ONNX's own: the empty name), if the graph names one.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.iter().find(|(held, _)| held == domain).map(|(_, version)| *version)
    }

    /// All operator sets.
    pub fn opsets(&self) -> &[(String, i64)] {
        &self.opsets
    }
}

/// Why a backend cannot prepare or run a graph.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// An attribute that is missing or not as the op defines it.
    #[error("node `{node}` ({op}): attribute `{attribute}`: {reason}")]
    Attribute {
        /// The attribute.
        attribute: String,
        /// The node.
        node: String,
        /// The op.
        op: OpId,
        /// What is wrong.
        reason: String,
    },
    /// The library that the backend runs on refused.
    #[error("{engine}: {source}")]
    Engine {
        /// The library.
        engine: &'static str,
        /// What it said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The graph is not well-formed.
    #[error("the graph is not well-formed: {reason}")]
    Graph {
        /// What is wrong, with names.
        reason: String,
    },
    /// Not one tensor an input.
    #[error("the graph takes {expected} inputs, got {got}")]
    InputCount {
        /// Inputs the graph takes.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// The backend's limit on memory for intermediate and output tensors.
    #[error("node `{node}` ({op}) needs {byte_count} more bytes; the backend holds at most {limit}")]
    Memory {
        /// Bytes asked for.
        byte_count: usize,
        /// The limit.
        limit: usize,
        /// The node.
        node: String,
        /// The op.
        op: OpId,
    },
    /// The model has no graph.
    #[error("the model has no graph")]
    NoGraph,
    /// Shapes that do not go together.
    #[error("node `{node}` ({op}): {reason}; shapes {shapes:?}")]
    Shape {
        /// The node.
        node: String,
        /// The op.
        op: OpId,
        /// What is wrong.
        reason: String,
        /// The shapes of its inputs.
        shapes: Vec<Shape>,
    },
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] crate::TensorError),
    /// The op does not take this element type.
    #[error("node `{node}` ({op}) does not take {dtype}")]
    Type {
        /// The element type.
        dtype: DataType,
        /// The node.
        node: String,
        /// The op.
        op: OpId,
    },
    /// An op that the backend does not run.
    #[error("op {op} (opset {opset}, node `{node}`) is not supported by this backend")]
    Unsupported {
        /// The node.
        node: String,
        /// The op.
        op: OpId,
        /// The operator set's version.
        opset: i64,
    },
    /// The backend's limit on what one run computes.
    #[error(
        "node `{node}` ({op}) goes past the {limit} elementary operations that a run may take; \
         raise the backend's work limit if the model is trusted"
    )]
    Work {
        /// The limit.
        limit: u64,
        /// The node.
        node: String,
        /// The op.
        op: OpId,
    },
}
