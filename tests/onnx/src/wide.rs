//! Graphs of `f32` and half precision, made to compute in `f64`.

use std::collections::BTreeSet;

use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use bb_runtime::onnx::type_proto::{self, Value as TypeValue};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use bb_runtime::{DataType, Tensor};
use half::{bf16, f16};

/// Inputs that an op takes in `f32` whatever it computes in: the region and the scales of `Resize` and `Upsample`.
pub(crate) fn kept_inputs(graph: &GraphProto) -> BTreeSet<String> {
    let resampling = graph.node.iter().filter(|node| matches!(node.op_type(), "Resize" | "Upsample"));
    resampling.flat_map(|node| node.input.iter().skip(1).cloned()).collect()
}

/// Inputs that are state or choice, to which no gradient flows by definition and which stay as they are: the running moments
/// of batch normalization, the share that is dropped out.
pub(crate) fn states(graph: &GraphProto) -> BTreeSet<String> {
    let from = |node: &NodeProto| match node.op_type() {
        "BatchNormalization" => 3,
        "Dropout" => 1,
        _ => usize::MAX,
    };
    graph.node.iter().flat_map(|node| node.input.iter().skip(from(node)).cloned()).collect()
}

/// Whether a value is a tensor as far as its type tells.
pub(crate) fn may_be_tensor(info: &ValueInfoProto) -> bool {
    let ty = info.r#type.as_ref().and_then(|held| held.value.as_ref());
    matches!(ty, None | Some(TypeValue::TensorType(_)))
}

/// Whether a value is a tensor of `f64`, or nothing says what it is.
pub(crate) fn may_be_float(info: &ValueInfoProto) -> bool {
    match info.r#type.as_ref().and_then(|held| held.value.as_ref()) {
        Some(TypeValue::TensorType(tensor)) => tensor.elem_type() == DataType::F64.to_onnx(),
        Some(_) => false,
        None => true,
    }
}

fn is_narrow(code: i32) -> bool {
    let narrow = [DataType::F32, DataType::F16, DataType::Bf16];
    DataType::from_onnx(code).is_some_and(|dtype| narrow.contains(&dtype))
}

/// Makes every float of a graph `f64`, but the values called `kept`.
pub(crate) fn widen(graph: &mut GraphProto, kept: &BTreeSet<String>) {
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        if kept.contains(info.name()) {
            continue;
        }
        if let Some(TypeValue::TensorType(tensor)) = info.r#type.as_mut().and_then(|held| held.value.as_mut())
            && is_narrow(tensor.elem_type())
        {
            tensor.elem_type = Some(DataType::F64.to_onnx());
        }
    }
    for tensor in &mut graph.initializer {
        if !kept.contains(tensor.name()) {
            widen_tensor(tensor);
        }
    }
    for node in &mut graph.node {
        let keeps = node.output.iter().any(|name| kept.contains(name));
        for attribute in &mut node.attribute {
            if let Some(inner) = &mut attribute.g {
                widen(inner, kept);
            }
            if keeps {
                continue;
            }
            if let Some(tensor) = &mut attribute.t {
                widen_tensor(tensor);
            }
            if matches!(attribute.name(), "to" | "dtype")
                && attribute.i.is_some_and(|code| is_narrow(code as i32))
            {
                attribute.i = Some(i64::from(DataType::F64.to_onnx()));
            }
            widen_numbers(attribute);
        }
        if !keeps && node.op_type() == "ConstantOfShape" && node.attribute.is_empty() {
            node.attribute.push(AttributeProto {
                name: Some("value".to_owned()),
                r#type: Some(AttributeType::Tensor as i32),
                t: Some(zero()),
                ..AttributeProto::default()
            });
        }
    }
}

/// What `ConstantOfShape` makes where nothing is said.
pub(crate) fn zero() -> TensorProto {
    TensorProto {
        dims: vec![1],
        data_type: Some(DataType::F64.to_onnx()),
        double_data: vec![0.0],
        ..TensorProto::default()
    }
}

/// Numbers that a `Constant` has as attributes, which are `f32` by definition, as a tensor.
fn widen_numbers(attribute: &mut AttributeProto) {
    let (dims, values) = match attribute.name() {
        "value_float" => (vec![], vec![attribute.f()]),
        "value_floats" => (vec![attribute.floats.len() as i64], attribute.floats.clone()),
        _ => return,
    };
    *attribute = AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(TensorProto {
            dims,
            data_type: Some(DataType::F64.to_onnx()),
            double_data: values.into_iter().map(f64::from).collect(),
            ..TensorProto::default()
        }),
        ..AttributeProto::default()
    };
}

fn widen_tensor(proto: &mut TensorProto) {
    if !is_narrow(proto.data_type()) {
        return;
    }
    let Ok(tensor) = Tensor::from_onnx(proto) else { return };
    if let Some(numbers) = numbers(&tensor) {
        *proto = TensorProto {
            name: proto.name.clone(),
            dims: proto.dims.clone(),
            data_type: Some(DataType::F64.to_onnx()),
            double_data: numbers,
            ..TensorProto::default()
        };
    }
}

/// The elements of a float tensor.
pub(crate) fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DataType::F64 => tensor.as_slice::<f64>().ok().map(<[f64]>::to_vec),
        DataType::F32 => {
            tensor.as_slice::<f32>().ok().map(|list| list.iter().map(|&x| f64::from(x)).collect())
        }
        DataType::F16 => tensor
            .as_slice::<u16>()
            .ok()
            .map(|list| list.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect()),
        DataType::Bf16 => tensor
            .as_slice::<u16>()
            .ok()
            .map(|list| list.iter().map(|&bits| bf16::from_bits(bits).to_f64()).collect()),
        _ => None,
    }
}

/// Declares the type and the shape of `tensor`.
pub(crate) fn declare(info: &mut ValueInfoProto, tensor: &Tensor) {
    let dim = tensor
        .shape()
        .iter()
        .map(|&extent| Dimension { value: Some(DimValue::DimValue(extent as i64)), ..Dimension::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let held = type_proto::Tensor { elem_type: Some(tensor.dtype().to_onnx()), shape };
    info.r#type = Some(TypeProto { value: Some(TypeValue::TensorType(held)), ..TypeProto::default() });
}

pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(output.to_owned()),
        ..NodeProto::default()
    }
}

pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}
