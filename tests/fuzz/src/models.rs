//! Models that others made: bytes, sound models with changes, graphs of random nodes. Each is a typed error or a result on
//! the embedded backend, computes no more than its limit, and holds no more memory than its limit and what its bytes justify;
//! so does what is derived from it to train it.
//!
//! An input that found something is committed as the model that it made, which `cargo run --example as_model` writes, so that
//! it stays what it is when the ways to make models change.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use bb_autodiff::{Layers, Loss, Precision, Recompute, TrainingOptions, TrainingPlan, peak_bytes};
use bb_cpu::{CpuBackend, CpuConfig, supported_ops};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_shape_proto::dimension, type_proto,
};
use bb_runtime::{Backend, BackendGraph, Component, DataType, OpId, Shape, Tensor};
use prost::Message;

use crate::sound::SOUND;
use crate::with_peak;

/// Bytes of tensors that a run may hold.
const MEMORY_LIMIT: usize = 4 << 20;

/// Elementary operations that a run may take: less than a second of the slowest.
const WORK_LIMIT: u64 = 1 << 24;

/// What a graph may hold beside that for each of its bytes: the decoded form, the prepared one, packed constants.
const BYTES_A_BYTE: usize = 512;

/// What deriving gradients may hold for each byte of the model.
const GRADIENT_BYTES_A_BYTE: usize = 8192;

/// What it may hold beside that for each `GridSample`, of which the gradient to the grid is some 700 nodes an axis.
const GRADIENT_BYTES_A_SAMPLE: usize = 24 << 20;

/// What any graph may hold beside that.
const SLACK: usize = 4 << 20;

/// Extents of an input beyond it are cut down to it.
const MOST_EXTENT: i64 = 6;

/// Ops of random graphs: all that there are.
static OPS: LazyLock<Vec<OpId>> = LazyLock::new(|| {
    let mut ops: Vec<OpId> = supported_ops().into_iter().map(|(op, _)| op).collect();
    ops.sort_unstable_by(|a, b| (a.name(), a.domain()).cmp(&(b.name(), b.domain())));
    ops.dedup();
    ops
});

/// What an attribute holds.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Int,
    Ints,
    /// One of these.
    Text(&'static [&'static str]),
}

/// Attributes that kernels look at.
const ATTRIBUTES: &[(&str, Kind)] = &[
    ("align_corners", Kind::Int),
    ("alpha", Kind::Float),
    ("antialias", Kind::Int),
    ("auto_pad", Kind::Text(&["SAME_LOWER", "SAME_UPPER", "VALID", "NOTSET"])),
    ("axes", Kind::Ints),
    ("axis", Kind::Int),
    ("batch_axis", Kind::Int),
    ("batch_dims", Kind::Int),
    ("beta", Kind::Float),
    ("block_size", Kind::Int),
    ("blocksize", Kind::Int),
    ("broadcast", Kind::Int),
    ("ceil_mode", Kind::Int),
    (
        "coordinate_transformation_mode",
        Kind::Text(&[
            "align_corners",
            "asymmetric",
            "half_pixel",
            "pytorch_half_pixel",
            "tf_crop_and_resize",
        ]),
    ),
    ("count_include_pad", Kind::Int),
    ("decay_factor", Kind::Float),
    ("dilations", Kind::Ints),
    ("direction", Kind::Text(&["bidirectional", "forward", "reverse", "LEFT", "RIGHT"])),
    (
        "equation",
        Kind::Text(&[
            "ij,jk->ik",
            "i,j->ij",
            "...i,...i->...",
            "ii->i",
            "ij,kl,mn->",
            "ij->",
            "a,b,c,d->abcd",
        ]),
    ),
    ("exclude_outside", Kind::Int),
    ("exclusive", Kind::Int),
    ("group", Kind::Int),
    ("hidden_size", Kind::Int),
    ("inverse", Kind::Int),
    ("is_causal", Kind::Int),
    ("keepdims", Kind::Int),
    ("kernel_shape", Kind::Ints),
    ("kv_num_heads", Kind::Int),
    ("largest", Kind::Int),
    ("layout", Kind::Int),
    ("linear_before_reset", Kind::Int),
    (
        "mode",
        Kind::Text(&[
            "cubic", "linear", "nearest", "constant", "edge", "reflect", "wrap", "CRD", "avg", "max",
            "standard", "nesterov",
        ]),
    ),
    ("new_axis", Kind::Int),
    ("norm_coefficient", Kind::Float),
    ("num_groups", Kind::Int),
    ("num_heads", Kind::Int),
    ("num_outputs", Kind::Int),
    ("offset_group", Kind::Int),
    ("onesided", Kind::Int),
    ("output_height", Kind::Int),
    ("output_padding", Kind::Ints),
    ("output_shape", Kind::Ints),
    ("output_width", Kind::Int),
    ("p", Kind::Int),
    ("padding_mode", Kind::Text(&["border", "reflection", "zeros"])),
    ("pads", Kind::Ints),
    ("perm", Kind::Ints),
    ("q_num_heads", Kind::Int),
    ("reduction", Kind::Text(&["add", "max", "mean", "min", "mul", "none", "sum"])),
    ("reverse", Kind::Int),
    ("sampling_ratio", Kind::Int),
    ("size", Kind::Int),
    ("sorted", Kind::Int),
    ("split", Kind::Ints),
    ("storage_order", Kind::Int),
    ("strides", Kind::Ints),
    ("time_axis", Kind::Int),
    ("to", Kind::Int),
    ("training_mode", Kind::Int),
    ("transA", Kind::Int),
    ("transB", Kind::Int),
    ("update_rule", Kind::Text(&["linear", "gated", "delta", "gated_delta"])),
    ("upper", Kind::Int),
    ("value_int", Kind::Int),
    ("value_ints", Kind::Ints),
];

const DTYPES: [DataType; 6] =
    [DataType::F32, DataType::F64, DataType::I64, DataType::I32, DataType::U8, DataType::Bool];

/// Plays one input of the fuzzer.
pub fn play(bytes: &[u8]) -> Result<()> {
    if let Some((model, byte_count)) = model(bytes)? {
        run(&model, byte_count);
        train(&model, byte_count);
    }
    Ok(())
}

/// The model that an input of the fuzzer makes, if it makes one, and the bytes that justify it.
pub fn model(bytes: &[u8]) -> Result<Option<(ModelProto, usize)>> {
    let mut u = Unstructured::new(bytes);
    Ok(match u.arbitrary::<u8>()? % 4 {
        // A model begins with the field 1 of numbers, which is such a byte.
        0 => ModelProto::decode(bytes).ok().map(|model| (model, bytes.len())),
        1 | 2 => {
            let sound = u.choose(SOUND)?;
            let mut model = ModelProto::decode(*sound).expect("a sound model");
            change(&mut model, &mut u)?;
            Some((model, sound.len() + bytes.len()))
        }
        _ => {
            let model = random(&mut u)?;
            let byte_count = model.encoded_len();
            Some((model, byte_count))
        }
    })
}

/// Prepares and runs a model, twice.
fn run(model: &ModelProto, byte_count: usize) {
    let config = CpuConfig { memory_limit: MEMORY_LIMIT, work_limit: WORK_LIMIT, ..CpuConfig::default() };
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

/// Derives the graphs that train a model, and runs them.
fn train(model: &ModelProto, byte_count: usize) {
    let precisions = [Precision::AsWritten, Precision::AsWritten, Precision::F16];
    let recomputations = [Recompute::Nothing, Recompute::SquareRoot, Recompute::Budget(64)];
    let options = TrainingOptions {
        layers: if byte_count.is_multiple_of(2) { Layers::AsWritten } else { Layers::ByPhase },
        loss: if byte_count.is_multiple_of(5) {
            Loss::default()
        } else {
            Loss::MeanSquaredError { output: None }
        },
        precision: precisions[byte_count % 3],
        recompute: recomputations[byte_count / 3 % 3],
        ..TrainingOptions::default()
    };
    let model = with_parameters(model);
    let (graphs, peak) = with_peak(|| {
        if let Some(graph) = &model.graph {
            let opset = model.opset_import.first().and_then(|set| set.version).unwrap_or(1);
            let _: std::result::Result<usize, _> = peak_bytes(graph, opset);
        }
        let Ok(plan) = TrainingPlan::of_model(&model, &options) else { return Vec::new() };
        let graphs = [plan.step(None), plan.gradients(Some(2)), plan.evaluation(None)];
        graphs.into_iter().flatten().map(|graph| graph.to_model()).collect()
    });
    let samples = model.graph.as_ref().map_or(0, samples);
    let most = SLACK + GRADIENT_BYTES_A_BYTE * byte_count + GRADIENT_BYTES_A_SAMPLE * samples;
    assert!(peak <= most, "{peak} bytes for the gradients of a model of {byte_count}, at most {most}");
    for graph in graphs {
        run(&graph, graph.encoded_len());
    }
}

/// How many nodes of a graph, and of those within its nodes, read an image between its pixels.
fn samples(graph: &GraphProto) -> usize {
    let within = |node: &NodeProto| -> usize {
        let graphs = node.attribute.iter().flat_map(|held| held.g.iter().chain(&held.graphs));
        graphs.map(samples).sum::<usize>() + usize::from(node.op_type() == "GridSample")
    };
    graph.node.iter().map(within).sum()
}

/// A model whose inputs of floats are parameters.
fn with_parameters(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        let fed = fed(graph).map(|input| input.name().to_owned()).collect::<Vec<_>>();
        for (name, tensor) in fed.iter().zip(inputs(graph)) {
            if matches!(tensor.dtype(), DataType::F32 | DataType::F64) {
                graph.initializer.push(tensor.to_onnx(name));
            }
        }
    }
    model
}

/// The inputs without an initializer.
fn fed(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    graph.input.iter().filter(|input| !graph.initializer.iter().any(|held| held.name() == input.name()))
}

/// A tensor for each input without an initializer, of its type and shape as far as it has them.
fn inputs(graph: &GraphProto) -> Vec<Tensor> {
    let tensors = fed(graph).map(|input| {
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
    });
    tensors.collect()
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
                2 => (node.op_type, node.domain) = named(u.choose(&OPS)?),
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
        let mut extents = many(u, 0, 4, |u| u.int_in_range(0..=4_usize))?;
        if u.ratio(1, 12)? {
            // No element, but an axis that is long all the same.
            extents.push(0);
            extents.insert(0, 1 << u.int_in_range(16..=36)?);
        }
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
        let (op_type, domain) = named(u.choose(&OPS)?);
        names.push(output[0].clone());
        graph.node.push(NodeProto { op_type, domain, input, output, attribute, ..NodeProto::default() });
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

/// How a node names its op.
fn named(op: &OpId) -> (Option<String>, Option<String>) {
    (Some(op.name().to_owned()), Some(op.domain().as_str().to_owned()))
}

fn attribute(u: &mut Unstructured<'_>) -> Result<AttributeProto> {
    let (name, kind) = *u.choose(ATTRIBUTES)?;
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let ty = match kind {
        Kind::Float => {
            attribute.f = Some(u.int_in_range(-8..=8)? as f32 / 4.0);
            AttributeType::Float
        }
        Kind::Int => {
            attribute.i = Some(number(u)?);
            AttributeType::Int
        }
        Kind::Ints => {
            attribute.ints = many(u, 0, 5, number)?;
            AttributeType::Ints
        }
        Kind::Text(texts) => {
            attribute.s = Some(u.choose(texts)?.as_bytes().to_vec());
            AttributeType::String
        }
    };
    attribute.r#type = Some(ty as i32);
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
