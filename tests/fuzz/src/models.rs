//! Models that others made: bytes, sound models with changes, graphs of random nodes. Each is a typed error or a result on
//! the embedded backend, and holds no more memory than its limit and what its bytes justify.
//!
//! The sound models are cases of the ONNX project (Apache-2.0), which are seeds of the corpus as well.

use arbitrary::{Result, Unstructured};
use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_shape_proto::dimension, type_proto,
};
use bb_runtime::{Backend, BackendGraph, Component, DataType, Shape, Tensor};
use prost::Message;

use crate::with_peak;

/// Bytes of tensors that a run may hold.
const MEMORY_LIMIT: usize = 4 << 20;

/// What a graph may hold beside that for each of its bytes: the decoded form, the prepared one, packed constants.
const BYTES_A_BYTE: usize = 512;

/// What any graph may hold beside that.
const SLACK: usize = 4 << 20;

/// Extents of an input beyond it are cut down to it.
const MOST_EXTENT: i64 = 6;

/// Models to change.
const SOUND: &[&[u8]] = &[
    include_bytes!("../corpus/model/lstm_defaults.onnx"),
    include_bytes!("../corpus/model/loop11.onnx"),
    include_bytes!("../corpus/model/if.onnx"),
    include_bytes!("../corpus/model/gemm_all_attributes.onnx"),
    include_bytes!("../corpus/model/basic_conv_with_padding.onnx"),
    include_bytes!("../corpus/model/slice.onnx"),
    include_bytes!("../corpus/model/resize_upsample_scales_nearest.onnx"),
    include_bytes!("../corpus/model/batchnorm_example_training_mode.onnx"),
    include_bytes!("../corpus/model/maxpool_2d_pads.onnx"),
    include_bytes!("../corpus/model/top_k.onnx"),
];

/// Ops of random graphs.
const OPS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Einsum",
    "Equal",
    "Exp",
    "Expand",
    "Flatten",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "OneHot",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "RNN",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SoftmaxCrossEntropyLoss",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// Their attributes of integers, and whether each is a list.
const ATTRIBUTES: &[(&str, bool)] = &[
    ("axis", false),
    ("axes", true),
    ("batch_dims", false),
    ("blocksize", false),
    ("ceil_mode", false),
    ("dilations", true),
    ("exclusive", false),
    ("group", false),
    ("hidden_size", false),
    ("keepdims", false),
    ("kernel_shape", true),
    ("largest", false),
    ("layout", false),
    ("num_outputs", false),
    ("output_padding", true),
    ("output_shape", true),
    ("pads", true),
    ("perm", true),
    ("reverse", false),
    ("split", true),
    ("strides", true),
    ("to", false),
    ("training_mode", false),
    ("transA", false),
    ("transB", false),
    ("upper", false),
];

const DTYPES: [DataType; 6] =
    [DataType::F32, DataType::F64, DataType::I64, DataType::I32, DataType::U8, DataType::Bool];

/// Plays one input of the fuzzer.
pub fn play(bytes: &[u8]) -> Result<()> {
    let mut u = Unstructured::new(bytes);
    match u.arbitrary::<u8>()? % 4 {
        0 => {
            // A model begins with the field 1 of numbers, which is such a byte.
            if let Ok(model) = ModelProto::decode(bytes) {
                run(&model, bytes.len());
            }
        }
        1 | 2 => {
            let sound = u.choose(SOUND)?;
            let mut model = ModelProto::decode(*sound).expect("a sound model");
            change(&mut model, &mut u)?;
            run(&model, sound.len() + bytes.len());
        }
        _ => {
            let model = random(&mut u)?;
            run(&model, model.encoded_len());
        }
    }
    Ok(())
}

/// Prepares and runs a model, twice.
fn run(model: &ModelProto, byte_count: usize) {
    let config = CpuConfig { memory_limit: MEMORY_LIMIT, ..CpuConfig::default() };
    let backend = CpuBackend::new(&config).expect("a backend");
    let (_, peak) = with_peak(|| {
        let graph = BackendGraph::from_model(model).ok()?;
        let mut ready = backend.prepare(&graph).ok()?;
        let inputs = inputs(graph.graph());
        let mut outputs = ready.run(&inputs).ok()?;
        // The same again into its outputs: what was right once is right twice.
        let before = outputs.clone();
        ready.run_into(&inputs, &mut outputs).expect("a graph that ran runs again");
        assert_eq!(before.len(), outputs.len());
        Some(())
    });
    let most = 2 * MEMORY_LIMIT + SLACK + BYTES_A_BYTE * byte_count;
    assert!(peak <= most, "{peak} bytes for a model of {byte_count}, at most {most}");
}

/// A tensor for each input without an initializer, of its type and shape as far as it has them.
fn inputs(graph: &GraphProto) -> Vec<Tensor> {
    let fed =
        graph.input.iter().filter(|input| !graph.initializer.iter().any(|held| held.name() == input.name()));
    fed.map(|input| {
        let ty = input.r#type.as_ref().and_then(|ty| ty.value.as_ref());
        let Some(type_proto::Value::TensorType(ty)) = ty else { return ramp(DataType::F32, &[2, 3]) };
        let dtype = DataType::from_onnx(ty.elem_type()).unwrap_or(DataType::F32);
        let extents: Vec<usize> = ty
            .shape
            .iter()
            .flat_map(|shape| &shape.dim)
            .take(6)
            .map(|dim| match dim.value {
                Some(dimension::Value::DimValue(extent)) => extent.clamp(0, MOST_EXTENT) as usize,
                _ => 2,
            })
            .collect();
        ramp(dtype, &extents)
    })
    .collect()
}

fn ramp(dtype: DataType, extents: &[usize]) -> Tensor {
    let mut tensor = Tensor::zeros(dtype, Shape::from(extents)).expect("a small tensor");
    for (at, element) in tensor.buffer_mut().make_mut().chunks_exact_mut(dtype.size()).enumerate() {
        match dtype {
            DataType::F32 => element.copy_from_slice(&(at as f32 * 0.25 - 1.0).to_ne_bytes()),
            DataType::F64 => element.copy_from_slice(&(at as f64 * 0.25 - 1.0).to_ne_bytes()),
            DataType::Bool => element[0] = at as u8 & 1,
            _ => element[0] = at as u8 % 3,
        }
    }
    tensor
}

/// A few changes to a sound model.
fn change(model: &mut ModelProto, u: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..u.int_in_range(1..=4)? {
        if u.ratio(1, 8)?
            && let Some(opset) = model.opset_import.first_mut()
        {
            opset.version = Some(u.int_in_range(1..=30)?);
        }
        let Some(graph) = &mut model.graph else { return Ok(()) };
        change_graph(graph, u, 0)?;
    }
    Ok(())
}

fn change_graph(graph: &mut GraphProto, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
    let names: Vec<String> =
        graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).cloned().collect();
    match u.int_in_range(0..=6_u8)? {
        0 => {
            let count = graph.initializer.len();
            if count > 0 {
                change_tensor(&mut graph.initializer[u.choose_index(count)?], u)?;
            }
        }
        1 => {
            let count = graph.input.len();
            if count > 0 {
                change_type(&mut graph.input[u.choose_index(count)?], u)?;
            }
        }
        choice => {
            let count = graph.node.len();
            if count == 0 {
                return Ok(());
            }
            let node = &mut graph.node[u.choose_index(count)?];
            match choice {
                2 => node.op_type = Some((*u.choose(OPS)?).to_owned()),
                3 if !node.input.is_empty() && !names.is_empty() => {
                    let at = u.choose_index(node.input.len())?;
                    node.input[at] = if u.ratio(1, 4)? { String::new() } else { u.choose(&names)?.clone() };
                }
                4 => node.attribute.push(attribute(u)?),
                5 => {
                    node.input.truncate(u.int_in_range(0..=node.input.len())?);
                }
                _ if !node.attribute.is_empty() => {
                    let at = u.choose_index(node.attribute.len())?;
                    let attribute = &mut node.attribute[at];
                    if let (Some(inner), true) = (&mut attribute.g, depth < 3) {
                        return change_graph(inner, u, depth + 1);
                    }
                    if let Some(tensor) = &mut attribute.t {
                        return change_tensor(tensor, u);
                    }
                    attribute.i = attribute.i.map(|_| number(u)).transpose()?;
                    for held in &mut attribute.ints {
                        *held = number(u)?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn change_tensor(tensor: &mut TensorProto, u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=3_u8)? {
        0 => tensor.data_type = Some(u.int_in_range(0..=26)?),
        1 => tensor.dims.push(number(u)?),
        2 => tensor.dims.truncate(1),
        _ => {
            if let Some(raw) = &tensor.raw_data {
                let mut raw = raw.to_vec();
                for byte in raw.iter_mut().take(16) {
                    *byte = u.arbitrary()?;
                }
                tensor.raw_data = Some(raw.into());
            }
        }
    }
    Ok(())
}

fn change_type(value: &mut ValueInfoProto, u: &mut Unstructured<'_>) -> Result<()> {
    let ty = value.r#type.as_mut().and_then(|ty| ty.value.as_mut());
    if let Some(type_proto::Value::TensorType(ty)) = ty {
        if u.arbitrary()? {
            ty.elem_type = Some(u.choose(&DTYPES)?.to_onnx());
        } else {
            for dim in ty.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                dim.value = Some(dimension::Value::DimValue(u.int_in_range(0..=MOST_EXTENT)?));
            }
        }
    }
    Ok(())
}

/// A graph of random nodes over random inputs and constants.
fn random(u: &mut Unstructured<'_>) -> Result<ModelProto> {
    let mut graph = GraphProto::default();
    let mut names: Vec<String> = Vec::new();
    for at in 0..u.int_in_range(1..=4_usize)? {
        let name = format!("x{at}");
        let extents = many(u, 0, 4, |u| u.int_in_range(0..=4_usize))?;
        let mut tensor = ramp(*u.choose(&DTYPES)?, &extents);
        if tensor.dtype() == DataType::I64 {
            for element in tensor.make_mut::<i64>().expect("integers") {
                *element = number(u)?;
            }
        }
        graph.initializer.push(tensor.to_onnx(&name));
        names.push(name);
    }
    for at in 0..u.int_in_range(1..=6_usize)? {
        let input =
            many(u, 0, 5, |u| Ok(if u.ratio(1, 12)? { String::new() } else { u.choose(&names)?.clone() }))?;
        let output: Vec<String> =
            (0..u.int_in_range(1..=3_usize)?).map(|place| format!("y{at}/{place}")).collect();
        let attribute = many(u, 0, 3, attribute)?;
        let op_type = Some((*u.choose(OPS)?).to_owned());
        names.push(output[0].clone());
        graph.node.push(NodeProto { op_type, input, output, attribute, ..NodeProto::default() });
    }
    let outputs = names.iter().rev().take(3);
    graph.output = outputs
        .map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() })
        .collect();
    let version = Some(u.int_in_range(7..=25_i64)?);
    Ok(ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: None, version }],
        graph: Some(graph),
        ..ModelProto::default()
    })
}

fn attribute(u: &mut Unstructured<'_>) -> Result<AttributeProto> {
    let (name, is_list) = *u.choose(ATTRIBUTES)?;
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    if is_list {
        attribute.r#type = Some(AttributeType::Ints as i32);
        attribute.ints = many(u, 0, 5, number)?;
    } else {
        attribute.r#type = Some(AttributeType::Int as i32);
        attribute.i = Some(number(u)?);
    }
    Ok(attribute)
}

/// Between `least` and `most` of what `make` makes.
fn many<T>(
    u: &mut Unstructured<'_>,
    least: usize,
    most: usize,
    mut make: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = u.int_in_range(least..=most)?;
    (0..count).map(|_| make(u)).collect()
}

/// Mostly small; now and then one that no extent can be.
fn number(u: &mut Unstructured<'_>) -> Result<i64> {
    const ODD: [i64; 8] = [i64::MIN, i64::MAX, -1, 1 << 31, 1 << 20, -(1 << 33), i64::MAX / 2, 255];
    if u.ratio(1, 6)? { u.choose(&ODD).copied() } else { u.int_in_range(-3..=5) }
}
