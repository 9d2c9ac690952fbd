//! Attributes as ONNX's, all but nested graphs, which need the names around them.

use thiserror::Error;

use super::super::Attribute;
use crate::onnx::AttributeProto;
use crate::onnx::attribute_proto::AttributeType;
use crate::{OnnxTensorError, Tensor};

/// Why an ONNX attribute is none of a program's.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AttributeError {
    /// A kind that programs do not have, or that needs more than the attribute to be read.
    #[error("it is of the kind {kind:?}, which does not stand for itself")]
    Kind {
        /// The kind.
        kind: AttributeType,
    },
    /// A tensor that cannot be read.
    #[error(transparent)]
    Tensor(#[from] OnnxTensorError),
    /// A kind without what it announces.
    #[error("it announces a tensor and has none")]
    TensorMissing,
    /// Bytes that are no text.
    #[error("its text is not UTF-8")]
    Text,
}

impl Attribute {
    /// The attribute under a name in ONNX's form; `None` for a graph, which is written with the graph around it.
    ///
    /// ```
    /// use bb_ir::program::Attribute;
    /// let axis = Attribute::Int(-1).to_onnx("axis");
    /// assert_eq!(Attribute::from_onnx(&axis.unwrap_or_default()), Ok(Attribute::Int(-1)));
    /// ```
    pub fn to_onnx(&self, name: &str) -> Option<AttributeProto> {
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        let kind = match self {
            Self::Int(number) => {
                proto.i = Some(*number);
                AttributeType::Int
            }
            Self::Float(number) => {
                proto.f = Some(*number);
                AttributeType::Float
            }
            Self::Str(text) => {
                proto.s = Some(text.clone().into_bytes());
                AttributeType::String
            }
            Self::Ints(numbers) => {
                proto.ints.clone_from(numbers);
                AttributeType::Ints
            }
            Self::Floats(numbers) => {
                proto.floats.clone_from(numbers);
                AttributeType::Floats
            }
            Self::Strs(texts) => {
                proto.strings = texts.iter().map(|text| text.clone().into_bytes()).collect();
                AttributeType::Strings
            }
            Self::Tensor(tensor) => {
                proto.t = Some(tensor.to_onnx(""));
                AttributeType::Tensor
            }
            Self::Value(value) => {
                proto.s = Some(value.encode());
                AttributeType::String
            }
            Self::Graph(_) => return None,
        };
        proto.r#type = Some(kind.into());
        Some(proto)
    }

    /// Reads an ONNX attribute that stands for itself; text is taken as text.
    ///
    /// # Errors
    /// [`AttributeError`].
    pub fn from_onnx(proto: &AttributeProto) -> Result<Self, AttributeError> {
        let text = |bytes: &[u8]| str::from_utf8(bytes).map(str::to_owned).map_err(|_| AttributeError::Text);
        Ok(match proto.r#type() {
            AttributeType::Int => Self::Int(proto.i()),
            AttributeType::Float => Self::Float(proto.f()),
            AttributeType::String => Self::Str(text(proto.s())?),
            AttributeType::Ints => Self::Ints(proto.ints.clone()),
            AttributeType::Floats => Self::Floats(proto.floats.clone()),
            AttributeType::Strings => {
                Self::Strs(proto.strings.iter().map(|bytes| text(bytes)).collect::<Result<_, _>>()?)
            }
            AttributeType::Tensor => {
                Self::Tensor(Tensor::from_onnx(proto.t.as_ref().ok_or(AttributeError::TensorMissing)?)?)
            }
            kind => return Err(AttributeError::Kind { kind }),
        })
    }
}
