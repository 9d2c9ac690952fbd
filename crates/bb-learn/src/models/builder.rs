//! Parts of ONNX models.

use bb_runtime::onnx::type_proto::{Tensor as TensorTypeProto, Value as TypeValue};
use bb_runtime::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value as DimensionValue},
};
use bb_runtime::{DataType, Dim};

/// The operator set that the models are written in.
const OPSET: i64 = 21;
/// The version of the file format that goes with it.
const IR_VERSION: i64 = 10;

pub(super) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("{op}_{output}")),
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A graph input or output of f32.
pub(super) fn port(name: &str, dims: &[Dim]) -> ValueInfoProto {
    let dims = dims.iter().map(|dim| Dimension {
        denotation: None,
        value: match dim {
            Dim::Known(extent) => Some(DimensionValue::DimValue(*extent as i64)),
            Dim::Named(name) => Some(DimensionValue::DimParam(name.clone())),
            Dim::Any => None,
        },
    });
    let tensor = TensorTypeProto {
        elem_type: Some(DataType::F32.to_onnx()),
        shape: Some(TensorShapeProto { dim: dims.collect() }),
    };
    let r#type = Some(TypeProto { denotation: None, value: Some(TypeValue::TensorType(tensor)) });
    ValueInfoProto { name: Some(name.to_owned()), r#type, ..ValueInfoProto::default() }
}

pub(super) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some("bytesandbrains".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph),
        ..ModelProto::default()
    }
}
