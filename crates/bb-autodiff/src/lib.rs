//! Reverse-mode gradients of an ONNX graph, as an ONNX graph.

mod activity;
mod attributes;
mod builder;
mod emit;
mod error;
mod facts;
mod objective;
mod reverse;
mod rules;
mod training;

pub use error::AutodiffError;
pub use objective::Loss;
pub use reverse::Gradients;
pub use rules::differentiable_ops;
pub use training::{Parameter, Trainable, TrainingGraph, TrainingOptions, TrainingPlan};
