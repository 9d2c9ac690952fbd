//! Reverse-mode gradients of an ONNX graph, as an ONNX graph.

mod activity;
mod attributes;
mod builder;
mod emit;
mod error;
mod facts;
mod reverse;
mod rules;

pub use error::AutodiffError;
pub use reverse::Gradients;
pub use rules::differentiable_ops;
