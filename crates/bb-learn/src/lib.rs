//! Learning: models, aggregators, peer selectors and data sources, ready to be bound to a program's slots.
//!
//! - [`onnx_model::OnnxModel`]: any ONNX model as a trainable one; [`models`] builds some to start from.
//! - [`aggregators::FedAvg`]: federated averaging.
//! - [`programs::FedAvgRound`]: a round of it, as a module.
//! - [`selectors::AllPeers`], [`selectors::ConstantPeers`]: who takes part.
//! - [`data::InMemoryData`]: batches from memory; [`data::digits`]: real data to try things on.
//!
//! Nothing here opens a socket, reads a clock or draws a random number that a seed does not decide.

pub mod aggregators;
pub mod data;
pub mod models;
pub mod onnx_model;
pub mod programs;
mod random;
pub mod selectors;
