//! What a node carries besides its inputs.

use super::Graph;
use crate::{Tensor, Value, ValueType};

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A number without a fraction.
    Int(i64),
    /// A number.
    Float(f32),
    /// Text.
    Str(String),
    /// Numbers without a fraction.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
    /// Any other value.
    Value(Value),
    /// A nested graph.
    Graph(Graph),
}

macro_rules! from {
    ($($source:ty => $kind:ident),* $(,)?) => {$(
        impl From<$source> for Attribute {
            fn from(value: $source) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}

from!(i64 => Int, f32 => Float, &str => Str, String => Str, Vec<i64> => Ints, &[i64] => Ints, Vec<f32> => Floats,
      &[f32] => Floats, Vec<String> => Strs, Tensor => Tensor, Graph => Graph);

impl<const N: usize> From<[i64; N]> for Attribute {
    fn from(value: [i64; N]) -> Self {
        Self::Ints(value.to_vec())
    }
}

impl From<Value> for Attribute {
    /// A tensor becomes [`Attribute::Tensor`], so that ONNX tools see it.
    fn from(value: Value) -> Self {
        match value {
            Value::Tensor(tensor) => Self::Tensor(tensor),
            value => Self::Value(value),
        }
    }
}

impl Attribute {
    /// The type of the value that it is, if it is a value.
    pub fn value_type(&self) -> Option<ValueType> {
        match self {
            Self::Tensor(tensor) => Some(ValueType::of_tensor(tensor)),
            Self::Value(value) => Some(ValueType::of(value)),
            _ => None,
        }
    }

    /// The number, if it is [`Attribute::Int`].
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    /// The text, if it is [`Attribute::Str`].
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(value) = self { Some(value) } else { None }
    }

    /// The numbers, if it is [`Attribute::Ints`].
    pub fn as_ints(&self) -> Option<&[i64]> {
        if let Self::Ints(value) = self { Some(value) } else { None }
    }

    /// The graph, if it is [`Attribute::Graph`].
    pub fn as_graph(&self) -> Option<&Graph> {
        if let Self::Graph(value) = self { Some(value) } else { None }
    }
}
