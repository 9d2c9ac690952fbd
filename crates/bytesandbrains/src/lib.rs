//! Machine learning across many machines that do not share their data.
//!
//! A [`Module`] is a program for many nodes, the [`Compiler`] makes one ONNX artifact of it, [`install`] makes a
//! [`Node`] of one of its targets, and a host feeds the node and ships what it emits.
//! `use bytesandbrains::prelude::*` has all that a first program needs; the crates behind it are re-exported whole.

pub use bb_autodiff as autodiff;
pub use bb_compiler as compiler;
pub use bb_cpu as cpu;
pub use bb_dsl as dsl;
pub use bb_framework as framework;
pub use bb_ir as ir;
pub use bb_learn as learn;
#[cfg(feature = "ort")]
pub use bb_ort as ort;
pub use bb_runtime as runtime;

pub use bb_compiler::Compiler;
pub use bb_dsl::{Graph, Module};
pub use bb_ir::{Address, PeerId, Shape, Tensor, TensorMap, Time, Value};
pub use bb_runtime::{
    BootstrapError, BootstrapRequest, BootstrapStatus, BootstrapTarget, CompiledModel, Config, Decision,
    DeliveryError, DenyReason, EngineStats, EngineStep, ExecId, IngressHandle, InstallError, Node,
    NodeConfig, NodeSnapshot, Outcome, PeerHealth, RestoreError, SendResult, SnapshotError, SnapshotMode,
    component, install,
    snapshot::{SnapshotStore, StoreError},
};

/// What a first program needs.
pub mod prelude {
    pub use bb_compiler::Compiler;
    pub use bb_cpu::CpuBackend;
    pub use bb_dsl::{
        AggregatorSlot, BackendSlot, DataSourceSlot, Fit, Graph, Hold, Limit, ModelSlot, Module,
        PeerSelectorSlot, Phase, Quorum, Serialize, millis, secs,
    };
    pub use bb_ir::{Address, PeerId, Shape, Tensor, TensorMap, Time, Value};
    pub use bb_learn::aggregators::FedAvg;
    pub use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
    pub use bb_learn::models::Mlp;
    pub use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
    pub use bb_learn::programs::FedAvgRound;
    pub use bb_learn::selectors::{AllPeers, ConstantPeers};
    pub use bb_runtime::{
        BootstrapTarget, CompiledModel, Config, EngineStep, ExecId, Node, NodeConfig, NodeSnapshot, Outcome,
        install, snapshot::SnapshotStore,
    };
}
