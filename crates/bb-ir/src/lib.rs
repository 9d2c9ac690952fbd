//! The vocabulary of bytesandbrains: ONNX protos, values, ids and the typed program.
//!
//! Start at [`value`] for what flows along an edge, at [`program`] for what is recorded, compiled and
//! installed. Nothing here reads a clock, does I/O, draws random numbers or decides a policy.

pub mod address;
pub mod diagnostic;
pub mod dtype;
mod generated;
pub mod list;
pub mod metadata;
pub mod passport;
pub mod peer_id;
pub mod program;
pub mod shape;
pub mod tensor;
pub mod tensor_map;
pub mod time;
pub mod value;
pub mod value_type;
pub mod wire_codec;

pub use generated::{onnx, snapshot, wire};

/// Shared text; cloning shares it, and memory for it can be asked for without a risk to the process.
pub use arcstr::ArcStr as Text;

pub use address::{Address, AddressError};
pub use diagnostic::Diagnostic;
pub use dtype::{DataType, Element};
pub use list::List;
pub use passport::Digest;
pub use peer_id::{PeerId, PeerIdError};
pub use shape::Shape;
pub use tensor::{Buffer, Charge, OnnxTensorError, Tensor, TensorError};
pub use tensor_map::TensorMap;
pub use time::Time;
pub use value::{CustomPayload, CustomValue, Value};
pub use value_type::{Dim, ValueType};
