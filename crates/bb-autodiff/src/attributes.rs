//! Attributes of ONNX nodes: made and read.

use bb_ir::DataType;
use bb_ir::onnx::attribute_proto::AttributeType;
use bb_ir::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::AutodiffError;

/// An integer attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..named(name, AttributeType::Int) }
}

/// A float attribute.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..named(name, AttributeType::Float) }
}

/// A list of integers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..named(name, AttributeType::Ints) }
}

/// A string attribute.
pub(crate) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..named(name, AttributeType::String) }
}

/// A tensor attribute.
pub(crate) fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..named(name, AttributeType::Tensor) }
}

/// A graph attribute.
pub(crate) fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(value), ..named(name, AttributeType::Graph) }
}

fn named(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

/// A one-dimensional `i64` tensor.
pub(crate) fn i64_tensor(values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(DataType::I64.to_onnx()),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    }
}

/// A tensor of this type and shape with these elements, rounded to the type; `None` for a type that has no
/// plain byte form here (half precision).
pub(crate) fn small_tensor(dtype: DataType, dims: &[i64], values: &[f64]) -> Option<TensorProto> {
    let bytes: Vec<u8> = match dtype {
        DataType::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        DataType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DataType::I64 => values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect(),
        DataType::I32 => values.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect(),
        DataType::Bool | DataType::U8 => values.iter().map(|&value| value as u8).collect(),
        _ => return None,
    };
    Some(TensorProto {
        dims: dims.to_vec(),
        data_type: Some(dtype.to_onnx()),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    })
}

/// How many elements a tensor says that it has.
pub(crate) fn element_count(tensor: &TensorProto) -> Option<i64> {
    tensor.dims.iter().try_fold(1_i64, |count, &dim| count.checked_mul(dim))
}

/// The elements of a small tensor as numbers; `None` when it is large, stored elsewhere or of another type.
pub(crate) fn numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    const LARGEST: i64 = 256;
    let count = element_count(tensor)?;
    if !(0..=LARGEST).contains(&count) || !tensor.external_data.is_empty() {
        return None;
    }
    let dtype = DataType::from_onnx(tensor.data_type?)?;
    let values: Vec<f64> = if let Some(raw) = &tensor.raw_data {
        match dtype {
            DataType::F32 => raw.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            DataType::F64 => raw.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            DataType::I32 => raw.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect(),
            DataType::I64 => raw.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
            DataType::U8 | DataType::Bool => raw.iter().map(|&b| f64::from(b)).collect(),
            _ => return None,
        }
    } else {
        match dtype {
            DataType::F32 => tensor.float_data.iter().map(|&value| f64::from(value)).collect(),
            DataType::F64 => tensor.double_data.clone(),
            DataType::I64 => tensor.int64_data.iter().map(|&value| value as f64).collect(),
            DataType::I32 | DataType::U8 | DataType::Bool => {
                tensor.int32_data.iter().map(|&value| f64::from(value)).collect()
            }
            _ => return None,
        }
    };
    (values.len() as i64 == count).then_some(values)
}

/// The attributes of a node, by name.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a NodeProto);

impl<'a> Attributes<'a> {
    pub(crate) fn find(self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn int(self, name: &str) -> Option<i64> {
        self.find(name).and_then(|attribute| attribute.i)
    }

    pub(crate) fn int_or(self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    pub(crate) fn flag(self, name: &str, default: bool) -> bool {
        self.int(name).map_or(default, |value| value != 0)
    }

    pub(crate) fn float_or(self, name: &str, default: f32) -> f32 {
        self.find(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    pub(crate) fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.find(name)
            .and_then(|attribute| attribute.s.as_deref())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A list of texts, which may be left out.
    pub(crate) fn texts(self, name: &str) -> Result<Vec<&'a str>, AutodiffError> {
        let texts = self.find(name).into_iter().flat_map(|attribute| &attribute.strings);
        texts.map(|text| std::str::from_utf8(text).map_err(|_| self.wrong(name, "is no UTF-8"))).collect()
    }

    pub(crate) fn tensor(self, name: &str) -> Option<&'a TensorProto> {
        self.find(name).and_then(|attribute| attribute.t.as_ref())
    }

    pub(crate) fn graph(self, name: &str) -> Result<&'a GraphProto, AutodiffError> {
        let found = self.find(name).and_then(|attribute| attribute.g.as_ref());
        found.ok_or_else(|| self.wrong(name, "is missing: it must be a graph"))
    }

    /// The error that blames attribute `name`.
    pub(crate) fn wrong(self, name: &str, reason: impl Into<String>) -> AutodiffError {
        AutodiffError::Attribute {
            attribute: name.to_owned(),
            node: label(self.0),
            op: op_name(self.0),
            reason: reason.into(),
        }
    }
}

/// How a node is called in errors: its name, or its first output.
pub(crate) fn label(node: &NodeProto) -> String {
    match node.name.as_deref() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => node.output.iter().find(|name| !name.is_empty()).cloned().unwrap_or_default(),
    }
}

/// An op's name, with its domain where that is not ONNX's own.
pub(crate) fn op_name(node: &NodeProto) -> String {
    let name = node.op_type.as_deref().unwrap_or_default();
    match node.domain.as_deref() {
        None | Some("" | "ai.onnx") => name.to_owned(),
        Some(domain) => format!("{domain}::{name}"),
    }
}

/// Whether a node is an op of ONNX's own domain.
pub(crate) fn is_onnx(node: &NodeProto) -> bool {
    matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"))
}
