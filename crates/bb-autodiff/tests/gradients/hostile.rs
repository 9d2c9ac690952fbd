//! Graphs that claim what no tensor can have: an error or a gradient, and no more than their bytes justify.

use bb_autodiff::{Gradients, peak_bytes};
use bb_runtime::DataType;
use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::graphs::{nested, several, with_graph};
use super::harness::{NEWEST, Shapes, node, typed, untyped};

fn graph(input: Vec<ValueInfoProto>, node: Vec<NodeProto>, output: &str) -> GraphProto {
    GraphProto { input, node, output: vec![untyped(output)], ..Default::default() }
}

fn with_tensor(mut node: NodeProto, dims: &[i64]) -> NodeProto {
    let tensor = TensorProto { dims: dims.to_vec(), data_type: Some(7), ..Default::default() };
    node.attribute.push(AttributeProto { name: Some("value".into()), t: Some(tensor), ..Default::default() });
    node
}

fn with_ints(mut node: NodeProto, name: &str, values: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        ints: values.to_vec(),
        ..Default::default()
    });
    node
}

fn x(extents: &[usize]) -> ValueInfoProto {
    typed("x", DataType::F32, extents, Shapes::Declared)
}

#[test]
fn extents_whose_product_is_no_number_are_not_known() {
    let constant = with_tensor(several("Constant", &[], &["c"]), &[1 << 40, 1 << 40]);
    Gradients::of(&graph(vec![x(&[2])], vec![constant, node("Tanh", &["x"], "y")], "y"), NEWEST, "y", &["x"])
        .unwrap();
    let vast = [1 << 32, 1 << 32, 1 << 32];
    let nodes = || vec![node("Tanh", &["x"], "a"), node("ReduceMean", &["a"], "y")];
    Gradients::of(&graph(vec![x(&vast)], nodes(), "y"), NEWEST, "y", &["x"]).unwrap();
    assert!(peak_bytes(&graph(vec![x(&vast)], nodes(), "y"), NEWEST).is_ok());
    let size = vec![node("Size", &["x"], "s"), node("Flatten", &["x"], "f"), node("Neg", &["f"], "y")];
    Gradients::of(&graph(vec![x(&vast)], size, "y"), NEWEST, "y", &["x"]).unwrap();
}

#[test]
fn windows_beyond_all_memory_are_refused() {
    let far = i64::MAX / 2;
    for (name, values) in [("kernel_shape", [far, far]), ("strides", [far, far]), ("dilations", [far, far])] {
        let pool = with_ints(node("AveragePool", &["x"], "y"), name, &values);
        let pool = if name == "kernel_shape" { pool } else { with_ints(pool, "kernel_shape", &[2, 2]) };
        let pool = with_ints(pool, "pads", &[far; 4]);
        let refused = Gradients::of(&graph(vec![x(&[1, 1, 4, 4])], vec![pool], "y"), NEWEST, "y", &["x"]);
        assert!(refused.is_err(), "{name}");
    }
}

#[test]
fn lists_and_ranks_that_double_from_node_to_node_cost_nothing() {
    let name = |at: usize| format!("v{at}");
    for op in ["Concat", "Gather"] {
        let mut nodes = vec![node("Shape", &["x"], "v0")];
        if op == "Gather" {
            nodes.push(node("Unsqueeze", &["v0", "axis"], "v1"));
        } else {
            nodes.push(node("Identity", &["v0"], "v1"));
        }
        for at in 1..60 {
            nodes.push(node(op, &[&name(at), &name(at)], &name(at + 1)));
        }
        nodes.push(node("Tanh", &["x"], "y"));
        let inputs = vec![x(&[2, 2]), typed("axis", DataType::I64, &[1], Shapes::Declared)];
        Gradients::of(&graph(inputs, nodes, "y"), NEWEST, "y", &["x"]).unwrap();
    }
}

#[test]
fn a_shape_of_as_many_axes_as_there_are_bytes_is_not_known() {
    let axes = typed("s", DataType::I64, &[1 << 40], Shapes::Declared);
    let made = vec![node("ConstantOfShape", &["s"], "c"), node("Add", &["x", "c"], "y")];
    Gradients::of(&graph(vec![x(&[2]), axes], made, "y"), NEWEST, "y", &["x"]).unwrap();
}

#[test]
fn numbers_at_the_ends_of_their_type_do_not_overflow() {
    for far in [i64::MAX, i64::MIN, 1 << 40] {
        let norm = |op: &str| {
            let mut pool = node(op, &["x"], "y");
            pool.attribute.push(AttributeProto {
                name: Some("p".into()),
                i: Some(far),
                ..Default::default()
            });
            with_ints(pool, "kernel_shape", &[2, 2])
        };
        for op in ["GlobalLpPool", "LpPool"] {
            let pool = graph(vec![x(&[1, 1, 4, 4])], vec![norm(op)], "y");
            Gradients::of(&pool, NEWEST, "y", &["x"]).unwrap();
        }
        let weights = ["w", "r"].map(|name| typed(name, DataType::F32, &[1, 3, 1], Shapes::Declared));
        let mut gru = node("GRU", &["x", "w", "r"], "y");
        let size = AttributeProto { name: Some("hidden_size".into()), i: Some(far), ..Default::default() };
        gru.attribute.push(size);
        let inputs = [x(&[1, 1, 1])].into_iter().chain(weights).collect();
        assert!(Gradients::of(&graph(inputs, vec![gru], "y"), NEWEST, "y", &["x"]).is_err());
    }
}

#[test]
fn a_normalization_over_channels_that_are_not_there_is_refused() {
    let mut norm = node("LRN", &["x"], "y");
    norm.attribute.push(AttributeProto { name: Some("size".into()), i: Some(3), ..Default::default() });
    assert!(Gradients::of(&graph(vec![x(&[4])], vec![norm], "y"), NEWEST, "y", &["x"]).is_err());
}

#[test]
fn a_scan_of_more_inputs_than_it_has_is_refused() {
    let body = nested(
        &["sum", "next"],
        &["added", "put_out"],
        vec![node("Add", &["sum", "next"], "added"), node("Tanh", &["added"], "put_out")],
    );
    for (count, is_fine) in [(-1, false), (1, true), (3, false), (1 << 20, false), (i64::MAX / 2, false)] {
        let mut scan = with_graph(several("Scan", &["start", "x"], &["last", "y"]), "body", body.clone());
        scan.attribute.push(numbered("num_scan_inputs", count));
        let start = typed("start", DataType::F32, &[2], Shapes::Declared);
        let model = graph(vec![start, x(&[3, 2])], vec![scan], "y");
        let made = Gradients::of(&model, NEWEST, "y", &["x"]);
        assert_eq!(made.is_ok(), is_fine, "{count}: {made:?}");
        for name in ["scan_input_directions", "scan_output_directions"] {
            let mut far = model.clone();
            far.node[0].attribute.push(listed(name, vec![i64::MIN]));
            assert_eq!(Gradients::of(&far, NEWEST, "y", &["x"]).is_ok(), is_fine, "{count}, {name}");
        }
    }
}

#[test]
fn a_recurrent_layer_over_a_sequence_without_three_axes_is_refused() {
    for (op, gates) in [("GRU", 3), ("LSTM", 4), ("RNN", 1)] {
        for rank in [0, 1, 2, 4] {
            let typed = |name, extents: &[usize]| typed(name, DataType::F32, extents, Shapes::Declared);
            let inputs =
                vec![x(&vec![2; rank]), typed("w", &[1, gates * 2, 2]), typed("r", &[1, gates * 2, 2])];
            let mut layer = node(op, &["x", "w", "r"], "y");
            layer.attribute.push(numbered("hidden_size", 2));
            let model =
                GraphProto { output: vec![typed("y", &[2, 1, 2, 2])], ..graph(inputs, vec![layer], "y") };
            let refused = Gradients::of(&model, NEWEST, "y", &["w"]).unwrap_err();
            let told = format!("{rank} axes instead of 3");
            assert!(refused.to_string().contains(&told), "{op} {rank}: {refused}");
        }
    }
}

#[test]
fn a_graph_that_gradients_would_make_some_hundred_times_larger_is_refused() {
    let sampled = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("grid{at}")).collect();
        let typed = |name: &str, extents: &[usize]| typed(name, DataType::F32, extents, Shapes::Declared);
        let mut inputs: Vec<_> = names.iter().map(|name| typed(name, &[1, 2, 2, 2, 3])).collect();
        inputs.push(typed("v0", &[1, 1, 2, 2, 2]));
        let mut nodes = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let mut sample = node("GridSample", &[&format!("v{at}"), name], &format!("v{}", at + 1));
            let cubic = AttributeProto { s: Some("cubic".into()), r#type: Some(3), ..Default::default() };
            sample.attribute.push(AttributeProto { name: Some("mode".into()), ..cubic });
            nodes.push(sample);
        }
        let last = format!("v{count}");
        let wrt: Vec<&str> = names.iter().map(String::as_str).collect();
        Gradients::of(&graph(inputs, nodes, &last), NEWEST, &last, &wrt)
    };
    assert!(sampled(2).is_ok());
    let refused = sampled(40).unwrap_err();
    assert!(
        refused.to_string().contains("GridSample") && refused.to_string().contains("more than the"),
        "{refused}"
    );
}

/// Numbers that attributes of windows, axes and sizes are given.
const NUMBERS: [i64; 3] = [0, -1, i64::MAX];

/// Attributes that some op reads as one number, and as a list of them.
const NUMBERED: [&str; 22] = [
    "axis",
    "batch_axis",
    "batch_dims",
    "block_size",
    "blocksize",
    "broadcast",
    "group",
    "hidden_size",
    "kv_num_heads",
    "num_groups",
    "num_heads",
    "num_outputs",
    "offset_group",
    "output_height",
    "output_width",
    "p",
    "q_num_heads",
    "sampling_ratio",
    "size",
    "stash_type",
    "time_axis",
    "to",
];
const LISTED: [&str; 9] = [
    "axes",
    "dilations",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "pads",
    "perm",
    "split",
    "strides",
];

/// The op as `y` (and as many more results as `outputs` says) of six tensors of these extents.
fn alone(op: &str, extents: &[usize], inputs: usize, attributes: Vec<AttributeProto>) -> GraphProto {
    let names = ["x", "b", "c", "d", "e", "f"];
    let typed = names.map(|name| typed(name, DataType::F32, extents, Shapes::Declared));
    let mut op = several(op, &names[..inputs], &["y", "z"]);
    op.attribute = attributes;
    graph(typed.into_iter().collect(), vec![op], "y")
}

fn numbered(name: &str, number: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(number), r#type: Some(2), ..Default::default() }
}

fn listed(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ints: values, r#type: Some(7), ..Default::default() }
}

#[test]
fn no_op_panics_on_ranks_extents_and_attributes_that_make_no_sense() {
    let mut broken = std::collections::BTreeSet::new();
    let mut asked = 0;
    for op in bb_autodiff::differentiable_ops() {
        let mut attributes = vec![Vec::new()];
        for number in NUMBERS {
            attributes.push(NUMBERED.map(|name| numbered(name, number)).to_vec());
            for length in [2, 4] {
                attributes.push(LISTED.map(|name| listed(name, vec![number; length])).to_vec());
            }
        }
        for rank in 0..6 {
            for extent in [0, 3, 1 << 40] {
                for inputs in [1, 2, 3, 6] {
                    for attributes in &attributes {
                        let model = alone(op, &vec![extent; rank], inputs, attributes.clone());
                        let opset = [NEWEST, 13][asked % 2];
                        asked += 1;
                        let tried = std::panic::catch_unwind(|| {
                            drop(Gradients::of(&model, opset, "y", &["x"]));
                        });
                        if tried.is_err() {
                            broken.insert(format!("{op}, rank {rank} of {extent}, {inputs} inputs"));
                        }
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "{} of {asked}: {broken:#?}", broken.len());
}
