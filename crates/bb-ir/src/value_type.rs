//! What a value may be: the type of an edge.

use std::fmt;

use crate::{DataType, Tensor, Value};

/// One extent of a tensor type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Exactly this many.
    Known(usize),
    /// Any number; equal names within one graph are the same number.
    Named(String),
    /// Any number.
    Any,
}

/// What a value may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// Anything: nothing is known.
    #[default]
    Any,
    /// [`Value::Trigger`].
    Trigger,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::I64`].
    I64,
    /// [`Value::U64`].
    U64,
    /// [`Value::F64`].
    F64,
    /// [`Value::Str`].
    Str,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Tensor`]; what is `None` may be anything.
    Tensor {
        /// The element type.
        dtype: Option<DataType>,
        /// The extents.
        shape: Option<Vec<Dim>>,
    },
    /// [`Value::Tensors`].
    Tensors,
    /// [`Value::Peer`].
    Peer,
    /// [`Value::Peers`].
    Peers,
    /// [`Value::Addresses`].
    Addresses,
    /// [`Value::Tuple`] with these items.
    Tuple(Vec<Self>),
    /// [`Value::Custom`] of this schema.
    Custom(String),
}

impl ValueType {
    /// A tensor of which nothing more is known.
    pub const ANY_TENSOR: Self = Self::Tensor { dtype: None, shape: None };

    /// The type of a value: all that it says of itself.
    ///
    /// ```
    /// use bb_ir::{Tensor, Value, ValueType};
    /// let ty = ValueType::of(&Value::from(Tensor::from_rows([[1.0_f32, 2.0]])));
    /// assert_eq!(ty.to_string(), "f32[1,2]");
    /// ```
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Trigger => Self::Trigger,
            Value::Bool(_) => Self::Bool,
            Value::I64(_) => Self::I64,
            Value::U64(_) => Self::U64,
            Value::F64(_) => Self::F64,
            Value::Str(_) => Self::Str,
            Value::Bytes(_) => Self::Bytes,
            Value::Tensor(tensor) => Self::of_tensor(tensor),
            Value::Tensors(_) => Self::Tensors,
            Value::Peer(_) => Self::Peer,
            Value::Peers(_) => Self::Peers,
            Value::Addresses(_) => Self::Addresses,
            Value::Tuple(items) => Self::Tuple(items.iter().map(Self::of).collect()),
            Value::Custom(custom) => Self::Custom(custom.schema().to_owned()),
        }
    }

    /// The type of a tensor: its element type and all extents.
    pub fn of_tensor(tensor: &Tensor) -> Self {
        Self::Tensor {
            dtype: Some(tensor.dtype()),
            shape: Some(tensor.shape().iter().map(|extent| Dim::Known(*extent)).collect()),
        }
    }

    /// Whether `value` is of this type.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Trigger, Value::Trigger)
            | (Self::Bool, Value::Bool(_))
            | (Self::I64, Value::I64(_))
            | (Self::U64, Value::U64(_))
            | (Self::F64, Value::F64(_))
            | (Self::Str, Value::Str(_))
            | (Self::Bytes, Value::Bytes(_))
            | (Self::Tensors, Value::Tensors(_))
            | (Self::Peer, Value::Peer(_))
            | (Self::Peers, Value::Peers(_))
            | (Self::Addresses, Value::Addresses(_)) => true,
            (Self::Tensor { dtype, shape }, Value::Tensor(tensor)) => {
                dtype.is_none_or(|dtype| dtype == tensor.dtype())
                    && shape.as_ref().is_none_or(|dims| {
                        dims.len() == tensor.shape().len()
                            && dims.iter().zip(tensor.shape().iter()).all(|(dim, &extent)| match dim {
                                Dim::Known(known) => *known == extent,
                                Dim::Named(_) | Dim::Any => true,
                            })
                    })
            }
            (Self::Tuple(types), Value::Tuple(items)) => {
                types.len() == items.len() && types.iter().zip(items.iter()).all(|(t, item)| t.admits(item))
            }
            (Self::Custom(schema), Value::Custom(custom)) => schema == custom.schema(),
            _ => false,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Trigger => f.write_str("trigger"),
            Self::Bool => f.write_str("bool"),
            Self::I64 => f.write_str("i64"),
            Self::U64 => f.write_str("u64"),
            Self::F64 => f.write_str("f64"),
            Self::Str => f.write_str("str"),
            Self::Bytes => f.write_str("bytes"),
            Self::Tensor { dtype, shape } => {
                match dtype {
                    Some(dtype) => write!(f, "{dtype}")?,
                    None => f.write_str("tensor")?,
                }
                let Some(dims) = shape else { return Ok(()) };
                f.write_str("[")?;
                for (axis, dim) in dims.iter().enumerate() {
                    f.write_str(if axis > 0 { "," } else { "" })?;
                    match dim {
                        Dim::Known(extent) => write!(f, "{extent}")?,
                        Dim::Named(name) => f.write_str(name)?,
                        Dim::Any => f.write_str("?")?,
                    }
                }
                f.write_str("]")
            }
            Self::Tensors => f.write_str("tensors"),
            Self::Peer => f.write_str("peer"),
            Self::Peers => f.write_str("peers"),
            Self::Addresses => f.write_str("addresses"),
            Self::Tuple(items) => {
                f.write_str("(")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str(")")
            }
            Self::Custom(schema) => f.write_str(schema),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_admitted_by_type_rank_and_known_extents() {
        let value = Value::from(Tensor::from_rows([[1.0_f32, 2.0]]));
        let ty = |dtype, dims: &[Dim]| ValueType::Tensor { dtype, shape: Some(dims.to_vec()) };
        assert!(ValueType::ANY_TENSOR.admits(&value));
        assert!(ty(None, &[Dim::Named("N".into()), Dim::Known(2)]).admits(&value));
        assert!(ty(Some(DataType::F32), &[Dim::Any, Dim::Any]).admits(&value));
        assert!(!ty(Some(DataType::F64), &[Dim::Any, Dim::Any]).admits(&value));
        assert!(!ty(None, &[Dim::Any]).admits(&value));
        assert!(!ty(None, &[Dim::Known(2), Dim::Known(2)]).admits(&value));
    }

    #[test]
    fn a_tuple_is_admitted_item_by_item() {
        let value = Value::Tuple([Value::Trigger, Value::I64(1)].into());
        assert!(ValueType::Tuple(vec![ValueType::Any, ValueType::I64]).admits(&value));
        assert!(!ValueType::Tuple(vec![ValueType::Any, ValueType::U64]).admits(&value));
        assert!(!ValueType::Tuple(vec![ValueType::Any]).admits(&value));
    }

    #[test]
    fn kinds_do_not_stand_for_one_another() {
        assert!(!ValueType::I64.admits(&Value::U64(1)));
        assert!(!ValueType::Tensors.admits(&Tensor::scalar(1.0_f32).into()));
        assert!(ValueType::Any.admits(&Value::Trigger));
    }

    #[test]
    fn the_text_says_what_is_known() {
        let shape = Some(vec![Dim::Known(3), Dim::Named("N".into()), Dim::Any]);
        let tensor = ValueType::Tensor { dtype: Some(DataType::F32), shape };
        assert_eq!(ValueType::Tuple(vec![tensor, ValueType::ANY_TENSOR]).to_string(), "(f32[3,N,?], tensor)");
    }
}
