//! What flows along an edge of a program.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{Address, List, PeerId, Tensor, TensorMap, Text};

/// What one slot of a running program holds; cheap to clone.
///
/// ```
/// use bb_ir::{Tensor, Value};
/// let value = Value::from(Tensor::from_rows([[2.0_f32, 3.0]]));
/// assert_eq!(value.to_string(), "f32[1,2] [[2, 3]]");
/// assert_eq!(Value::decode(&value.encode())?, value);
/// # Ok::<(), bb_ir::wire_codec::ValueError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Only says "now".
    Trigger,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A number.
    F64(f64),
    /// Text.
    Str(Text),
    /// Bytes.
    Bytes(Bytes),
    /// A tensor.
    Tensor(Tensor),
    /// Named tensors, in order: a model's parameters.
    Tensors(TensorMap),
    /// A peer.
    Peer(PeerId),
    /// Peers, in order.
    Peers(List<PeerId>),
    /// Addresses, in order.
    Addresses(List<Address>),
    /// Several values.
    Tuple(List<Self>),
    /// A value whose form only its users know.
    Custom(CustomValue),
}

/// A user's own value: the name of its schema, and the value or its bytes.
#[derive(Clone)]
pub struct CustomValue {
    schema: Text,
    payload: Payload,
}

#[derive(Clone)]
enum Payload {
    Live(Arc<Live>),
    Encoded(Bytes),
}

struct Live {
    payload: Arc<dyn CustomPayload>,
    encoded: OnceLock<Bytes>,
}

/// What a type implements to travel as a [`Value::Custom`].
pub trait CustomPayload: Any + fmt::Debug + Send + Sync {
    /// The bytes that stand for it in messages and snapshots; asked for at most once a value.
    fn encode(&self) -> Vec<u8>;
}

impl CustomValue {
    /// A value made here.
    pub fn new(schema: impl Into<Text>, payload: Arc<dyn CustomPayload>) -> Self {
        let payload = Payload::Live(Arc::new(Live { payload, encoded: OnceLock::new() }));
        Self { schema: schema.into(), payload }
    }

    /// A value that arrived as bytes.
    pub fn from_encoded(schema: impl Into<Text>, bytes: Bytes) -> Self {
        Self { schema: schema.into(), payload: Payload::Encoded(bytes) }
    }

    /// The name of its schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The value itself, if it was made in this process and is a `T`.
    pub fn live<T: CustomPayload>(&self) -> Option<&T> {
        match &self.payload {
            Payload::Live(live) => (live.payload.as_ref() as &dyn Any).downcast_ref(),
            Payload::Encoded(_) => None,
        }
    }

    /// The bytes that stand for it.
    pub fn encoded(&self) -> Bytes {
        match &self.payload {
            Payload::Live(live) => live.encoded.get_or_init(|| live.payload.encode().into()).clone(),
            Payload::Encoded(bytes) => bytes.clone(),
        }
    }
}

impl PartialEq for CustomValue {
    /// Same schema and same bytes.
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.encoded() == other.encoded()
    }
}

impl fmt::Debug for CustomValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            Payload::Live(live) => write!(f, "{} {:?}", self.schema, live.payload),
            Payload::Encoded(bytes) => write!(f, "{} ({} bytes)", self.schema, bytes.len()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger => f.write_str("trigger"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::I64(value) => write!(f, "{value}"),
            Self::U64(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
            Self::Str(value) => write!(f, "{value:?}"),
            Self::Bytes(value) => write!(f, "bytes[{}]", value.len()),
            Self::Tensor(value) => write!(f, "{value}"),
            Self::Tensors(value) => {
                f.write_str("{")?;
                for (index, (name, tensor)) in value.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{name}: {tensor}")?;
                }
                f.write_str("}")
            }
            Self::Peer(value) => write!(f, "{value}"),
            Self::Peers(value) => write!(f, "peers[{}]", value.len()),
            Self::Addresses(value) => write!(f, "addresses[{}]", value.len()),
            Self::Tuple(value) => {
                f.write_str("(")?;
                for (index, item) in value.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str(")")
            }
            Self::Custom(value) => write!(f, "{value:?}"),
        }
    }
}

macro_rules! from {
    ($($source:ty => $kind:ident),*) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$kind(value)
            }
        }
    )*};
}

from!(bool => Bool, i64 => I64, u64 => U64, f64 => F64, Text => Str, Bytes => Bytes, Tensor => Tensor,
      TensorMap => Tensors, PeerId => Peer, List<PeerId> => Peers, List<Address> => Addresses, CustomValue => Custom);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.into())
    }
}

impl From<Arc<[PeerId]>> for Value {
    fn from(value: Arc<[PeerId]>) -> Self {
        Self::Peers(value.into())
    }
}

impl From<Arc<[Address]>> for Value {
    fn from(value: Arc<[Address]>) -> Self {
        Self::Addresses(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::Str(value.into())
    }
}
