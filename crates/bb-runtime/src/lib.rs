//! The sans-IO node: roles, component factories, engine, envelopes and `install`.
//!
//! A backend or component author needs this crate and no other of the project: [`contracts`] has the role
//! traits, and what they speak of is re-exported here. A host starts at `install`.
//!
//! Nothing here opens a socket, starts a thread or reads a clock that was not injected.

pub mod clock;
pub mod compiled;
mod config;
pub mod contracts;
mod engine;
pub mod envelope;
pub mod error;
pub mod factory;
mod ingress;
mod install;
pub mod limits;
mod memory;
mod name;
pub mod node;
mod op_ref;
mod refusals;
pub mod snapshot;
mod step;

pub use bb_framework::governor::ListFull;
pub use bb_framework::{AddressBookError, Decision, DenyReason, Rtt};
pub use bb_ir::program::{OpId, Role};
pub use bb_ir::{
    Address, Buffer, CustomPayload, CustomValue, DataType, Dim, Element, List, OnnxTensorError, PeerId,
    Shape, Tensor, TensorError, TensorMap, Text, Time, Value, ValueType, onnx,
};
pub use clock::{Clock, SystemClock};
pub use compiled::{ArtifactError, COMPILER_VERSION, CompiledModel};
pub use config::Config;
pub use contracts::{
    Aggregator, Answer, Backend, BackendError, BackendGraph, Batch, Completion, Component, ComponentError,
    DataSource, Dependency, Evaluation, ExecId, Executable, Fit, FitReport, Meta, Model, OpContext, Outputs,
    PeerSelector, StateReader, StateWriter,
};
pub use engine::bootstrap::BootstrapStatus;
pub use engine::execution::ExecutionState;
pub use error::{BootstrapError, DeliveryError, InstallError, OpError};
pub use factory::{ComponentFactory, DynComponent, Roles};
pub use ingress::{IngressHandle, SendResult};
pub use install::install;
pub use limits::NodeConfig;
pub use name::Name;
pub use node::{
    BootstrapRequest, BootstrapTarget, ComponentRef, EngineStats, LinkedComponent, Node, PeerHealth,
    TelemetryTap,
};
pub use op_ref::OpRef;
pub use refusals::Refusals;
pub use snapshot::{NodeSnapshot, RestoreError, SnapshotError, SnapshotMode};
pub use step::{EngineStep, Outcome};
