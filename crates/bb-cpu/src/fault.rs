//! What goes wrong inside a kernel; the interpreter adds which node it was.

use bb_runtime::{BackendError, DataType, OpId, Shape, TensorError};

/// What goes wrong inside a kernel.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Attribute {
        attribute: &'static str,
        reason: String,
    },
    /// An error of a nested graph, which names its own node.
    Inner(BackendError),
    Memory {
        byte_count: usize,
        limit: usize,
    },
    Shape(String),
    Tensor(TensorError),
    Type(DataType),
    UnknownOp,
    Unsupported(String),
    Work {
        limit: u64,
    },
}

pub(crate) type Outcome<T = ()> = Result<T, Fault>;

impl Fault {
    pub(crate) fn shape(reason: impl Into<String>) -> Self {
        Self::Shape(reason.into())
    }

    pub(crate) fn attribute(attribute: &'static str, reason: impl Into<String>) -> Self {
        Self::Attribute { attribute, reason: reason.into() }
    }

    pub(crate) fn at(
        self,
        op: &OpId,
        node: &str,
        opset: i64,
        shapes: impl FnOnce() -> Vec<Shape>,
    ) -> BackendError {
        let (op, node) = (op.clone(), node.to_owned());
        match self {
            Self::Attribute { attribute, reason } => {
                BackendError::Attribute { attribute: attribute.to_owned(), node, op, reason }
            }
            Self::Inner(error) => error,
            Self::Memory { byte_count, limit } => BackendError::Memory { byte_count, limit, node, op },
            Self::Shape(reason) => BackendError::Shape { node, op, reason, shapes: shapes() },
            Self::Tensor(error) => BackendError::Tensor(error),
            Self::Type(dtype) => BackendError::Type { dtype, node, op },
            Self::UnknownOp => BackendError::Unsupported { node, op, opset },
            Self::Unsupported(what) => {
                let op = OpId::new(op.domain().as_str().to_owned(), format!("{} with {what}", op.name()));
                BackendError::Unsupported { node, op, opset }
            }
            Self::Work { limit } => BackendError::Work { limit, node, op },
        }
    }
}

impl From<TensorError> for Fault {
    fn from(error: TensorError) -> Self {
        Self::Tensor(error)
    }
}

impl From<BackendError> for Fault {
    fn from(error: BackendError) -> Self {
        Self::Inner(error)
    }
}
