//! Models to start from, as ONNX: softmax regression and multi-layer perceptrons.

mod builder;
mod mlp;

pub use mlp::{Activation, Init, Mlp, ModelError, reference_logreg, reference_mlp};
