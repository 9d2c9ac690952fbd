//! Types of values as ONNX's `ValueInfoProto`, or as JSON where ONNX does not have them.

use serde_json::{Value as Json, json};

use crate::metadata;
use crate::onnx::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use crate::{DataType, Dim, ValueType};

/// How deep tuple types may be nested in a file.
const MAX_TYPE_DEPTH: usize = 64;

impl ValueType {
    /// A value of the type in ONNX's form; a type that ONNX does not have is in its metadata.
    pub fn to_onnx(&self, name: &str) -> ValueInfoProto {
        let mut info = ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
        match self {
            Self::Any => {}
            Self::Tensor { dtype: Some(dtype), shape } => {
                let shape =
                    shape.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dim_to).collect() });
                let tensor = type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape };
                info.r#type = Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(tensor)),
                    ..TypeProto::default()
                });
            }
            other => metadata::TYPE.write(&mut info.metadata_props, &to_json(other)),
        }
        info
    }
}

/// The type of a value; `None` if values do not have it.
pub(super) fn from_info(info: &ValueInfoProto) -> Option<ValueType> {
    if let Some(json) = metadata::TYPE.read(&info.metadata_props).ok()? {
        return from_json(&json);
    }
    match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        None => Some(ValueType::Any),
        Some(type_proto::Value::TensorType(tensor)) => {
            let dtype = Some(DataType::from_onnx(tensor.elem_type?)?);
            let dims = |shape: &TensorShapeProto| shape.dim.iter().map(dim_from).collect::<Option<_>>();
            let shape = match &tensor.shape {
                Some(shape) => Some(dims(shape)?),
                None => None,
            };
            Some(ValueType::Tensor { dtype, shape })
        }
        Some(_) => None,
    }
}

fn dim_to(dim: &Dim) -> Dimension {
    let value = match dim {
        Dim::Known(extent) => Some(dimension::Value::DimValue(i64::try_from(*extent).unwrap_or(i64::MAX))),
        Dim::Named(name) => Some(dimension::Value::DimParam(name.clone())),
        Dim::Any => None,
    };
    Dimension { value, ..Dimension::default() }
}

fn dim_from(dim: &Dimension) -> Option<Dim> {
    Some(match &dim.value {
        Some(dimension::Value::DimValue(extent)) => Dim::Known(usize::try_from(*extent).ok()?),
        Some(dimension::Value::DimParam(name)) => Dim::Named(name.clone()),
        None => Dim::Any,
    })
}

/// A type as JSON.
pub(super) fn to_json(ty: &ValueType) -> Json {
    match ty {
        ValueType::Tensor { dtype, shape } => {
            let dims = shape.as_ref().map(|dims| {
                let dims = dims.iter().map(|dim| match dim {
                    Dim::Known(extent) => json!(extent),
                    Dim::Named(name) => json!(name),
                    Dim::Any => Json::Null,
                });
                dims.collect::<Vec<_>>()
            });
            json!({ "tensor": [dtype.map(DataType::to_onnx), dims] })
        }
        ValueType::Tuple(items) => json!({ "tuple": items.iter().map(to_json).collect::<Vec<_>>() }),
        ValueType::Custom(schema) => json!({ "custom": schema }),
        simple => Json::String(simple.to_string()),
    }
}

/// The type that stands in JSON.
pub(super) fn from_json(json: &Json) -> Option<ValueType> {
    read_json(json, 0)
}

fn read_json(json: &Json, depth: usize) -> Option<ValueType> {
    const SIMPLE: [ValueType; 11] = [
        ValueType::Any,
        ValueType::Trigger,
        ValueType::Bool,
        ValueType::I64,
        ValueType::U64,
        ValueType::F64,
        ValueType::Str,
        ValueType::Bytes,
        ValueType::Tensors,
        ValueType::Peer,
        ValueType::Peers,
    ];
    if depth > MAX_TYPE_DEPTH {
        return None;
    }
    if let Some(name) = json.as_str() {
        let simple = SIMPLE.into_iter().chain([ValueType::Addresses]);
        return simple.into_iter().find(|ty| ty.to_string() == name);
    }
    let (key, held) = json.as_object().filter(|map| map.len() == 1)?.iter().next()?;
    match key.as_str() {
        "custom" => Some(ValueType::Custom(held.as_str()?.to_owned())),
        "tuple" => {
            let items = held.as_array()?.iter().map(|item| read_json(item, depth + 1));
            Some(ValueType::Tuple(items.collect::<Option<_>>()?))
        }
        "tensor" => {
            let [dtype, dims] = held.as_array()?.as_slice() else { return None };
            let dtype = match dtype {
                Json::Null => None,
                code => Some(DataType::from_onnx(i32::try_from(code.as_i64()?).ok()?)?),
            };
            let shape = match dims {
                Json::Null => None,
                dims => Some(dims.as_array()?.iter().map(json_dim).collect::<Option<_>>()?),
            };
            Some(ValueType::Tensor { dtype, shape })
        }
        _ => None,
    }
}

fn json_dim(json: &Json) -> Option<Dim> {
    match json {
        Json::Null => Some(Dim::Any),
        Json::String(name) => Some(Dim::Named(name.clone())),
        extent => Some(Dim::Known(usize::try_from(extent.as_u64()?).ok()?)),
    }
}
