//! Why an ONNX model cannot be read, trained or written.

use std::path::PathBuf;

use bb_autodiff::AutodiffError;
use bb_runtime::{ComponentError, DataType, OnnxTensorError, Shape};
use thiserror::Error;

use super::ExternalDataError;

/// Why an ONNX model cannot be read, trained or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxModelError {
    /// Its gradients cannot be made.
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
    /// The backend does not prepare a graph.
    #[error(transparent)]
    Backend(#[from] bb_runtime::BackendError),
    /// A data source that answers later; a model reads its batches at once.
    #[error("the data source answers later: fit and evaluate need one that answers at once")]
    DataLater,
    /// The loss is no longer a number.
    #[error("the loss is {loss}: training diverged at learning rate {learning_rate}; lower it")]
    Diverged {
        /// The learning rate.
        learning_rate: f64,
        /// The loss.
        loss: f64,
    },
    /// A passage over the data or a batch without rows.
    #[error("`{argument}` is 0: it must be at least 1")]
    Empty {
        /// What is zero.
        argument: &'static str,
    },
    /// A tensor that is kept in a file beside the model and cannot be read from there.
    #[error("tensor `{tensor}` is kept in the file {location:?}: {reason}")]
    ExternalData {
        /// The tensor.
        tensor: String,
        /// The file, as the model names it.
        location: String,
        /// Why.
        reason: Box<ExternalDataError>,
    },
    /// An initializer that cannot be read.
    #[error(transparent)]
    Initializer(#[from] OnnxTensorError),
    /// A learning rate that is no positive number.
    #[error("the learning rate must be a positive number, got {learning_rate}")]
    LearningRate {
        /// The learning rate.
        learning_rate: f64,
    },
    /// A batch or the inputs lack a tensor.
    #[error("the model's input `{input}` needs a tensor called {accepted:?}; there are {given:?}")]
    MissingInput {
        /// Names that would do.
        accepted: Vec<String>,
        /// The tensors' names.
        given: Vec<String>,
        /// The model's input.
        input: String,
    },
    /// No initializer of a float type: there is nothing to train.
    #[error(
        "the model has no float initializer: there is nothing to train; export it with its weights as initializers"
    )]
    NoFloatInitializer,
    /// The model has no graph.
    #[error("the model has no graph: this is not an ONNX model, or an empty one")]
    NoGraph,
    /// The model puts nothing out.
    #[error("the model has no output: there is nothing to put a loss on")]
    NoOutput,
    /// Bytes that are no ONNX model.
    #[error("this is not an ONNX model: {0}")]
    NotOnnx(#[from] prost::DecodeError),
    /// A parameter whose numbers are stored in a form that cannot be written over.
    #[error(
        "the numbers of parameter `{parameter}` are not stored one after the other: export it with `export`"
    )]
    NotInPlace {
        /// The parameter.
        parameter: String,
    },
    /// Another number of tensors than parameters.
    #[error("the model has {expected} parameters, got {got} tensors")]
    ParameterCount {
        /// Parameters of the model.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// Another name than the parameter's at this place.
    #[error("parameter {index} is called `{expected}`, got `{got}`")]
    ParameterName {
        /// The parameter.
        expected: String,
        /// The tensor's name.
        got: String,
        /// Which parameter.
        index: usize,
    },
    /// Another shape than the parameter's.
    #[error("parameter `{parameter}` has shape {expected}, got {got}")]
    ParameterShape {
        /// The parameter's shape.
        expected: Shape,
        /// The tensor's shape.
        got: Shape,
        /// The parameter.
        parameter: String,
    },
    /// Another type than the parameter's.
    #[error("parameter `{parameter}` is {expected}, got {got}")]
    ParameterType {
        /// The parameter's type.
        expected: DataType,
        /// The tensor's type.
        got: DataType,
        /// The parameter.
        parameter: String,
    },
    /// The model's file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tensor whose rows are not the batch's.
    #[error("the batch has {expected} rows, its tensor `{tensor}` has shape {got}")]
    Rows {
        /// Rows of the batch.
        expected: usize,
        /// The tensor's shape.
        got: Shape,
        /// The tensor.
        tensor: String,
    },
    /// A schedule whose numbers make none.
    #[error("the schedule of the learning rate: {reason}")]
    Schedule {
        /// What they must be.
        reason: &'static str,
    },
    /// Saved state that is not this model's.
    #[error(
        "the saved optimizer's state is not that of this configuration: {0}; restore with the options it was saved under"
    )]
    State(Box<Self>),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] bb_runtime::TensorError),
    /// Parameters of a type that is not trained here.
    #[error("`{value}` is {got}: only f32 and f64 are trained")]
    Unsupported {
        /// Its type.
        got: DataType,
        /// The value.
        value: String,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<OnnxModelError> for ComponentError {
    fn from(error: OnnxModelError) -> Self {
        Self::other(error)
    }
}
