//! Machine learning across many machines that do not share their data.
//!
//! A [`Module`](dsl::Module) is a program for many nodes, the compiler makes one ONNX artifact of it, `install` makes
//! a [`Node`](runtime::Node) of one of its targets, and a host feeds the node and ships what it emits.
//! `use bytesandbrains::prelude::*` has all that a first program needs; the crates behind it are re-exported whole.

pub use bb_autodiff as autodiff;
pub use bb_compiler as compiler;
pub use bb_cpu as cpu;
pub use bb_dsl as dsl;
pub use bb_framework as framework;
pub use bb_ir as ir;
pub use bb_learn as learn;
pub use bb_runtime as runtime;

pub use bb_ir::{Address, PeerId, Shape, Tensor, TensorMap, Time, Value};
pub use bb_runtime::{
    CompiledModel, Config, DeliveryError, EngineStep, ExecId, InstallError, Node, NodeConfig, Outcome,
    install,
};

/// What a first program needs.
pub mod prelude {
    pub use bb_ir::{Address, PeerId, Shape, Tensor, TensorMap, Time, Value};
    pub use bb_runtime::{
        CompiledModel, Config, EngineStep, ExecId, Node, NodeConfig, Outcome, install,
    };
}
