//! Any ONNX model as a trainable one.
//!
//! [`OnnxModelConfig`] reads a model and plans its training; [`OnnxModel`] is the component. The graphs that train
//! it are made once a configuration, however many components a process makes from it, and prepared on the
//! bound backend by each.

mod config;
mod error;
mod export;
mod external;
mod feed;
mod graphs;
mod inspection;
mod model;
mod parameters;
mod patch;
mod prepared;
mod schedule;
mod spare;

pub use bb_autodiff::{
    AutodiffError, Clip, Layers, Loss, LossScale, Optimizer, Precision, Recompute, Trainable,
};
pub use config::{OnnxModelConfig, OnnxModelOptions};
pub use error::OnnxModelError;
pub use external::ExternalDataError;
pub use inspection::{Described, Inspection, read_model};
pub use model::OnnxModel;
pub use schedule::Schedule;
