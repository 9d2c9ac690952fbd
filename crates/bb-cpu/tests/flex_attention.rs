//! `FlexAttention` against the ops that it is made of, and what its graphs may not do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use bb_runtime::{BackendError, BackendGraph, Tensor};
use common::{graph, node, prepare, single, with_constants, with_float, with_int, with_ints};

fn with_graph(mut of: NodeProto, name: &str, nodes: Vec<NodeProto>) -> NodeProto {
    let named = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
    let graph = GraphProto {
        node: nodes,
        input: vec![named("in")],
        output: vec![named("out")],
        ..Default::default()
    };
    of.attribute.push(AttributeProto { name: Some(name.to_owned()), g: Some(graph), ..Default::default() });
    of
}

/// A graph of one such node, over the newest operator sets.
fn flex(change: impl Fn(NodeProto) -> NodeProto) -> BackendGraph {
    let mut attention = change(node("FlexAttention", &["q", "k", "v"], &["y"]));
    attention.domain = Some("ai.onnx.preview".to_owned());
    let made = graph(vec![attention], &["q", "k", "v", "bias"], &["y"], 22);
    let set = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    BackendGraph::new(made.graph().clone(), &[set("", 22), set("ai.onnx.preview", 1)])
}

#[test]
fn graphs_change_scores_before_the_softmax_and_weights_after_it() {
    for seed in 0..30 {
        let (batch, kv_heads, share) = (1 + seed % 2, 1 + seed % 3, 1 + seed / 3 % 3);
        let (rows, columns, size, value_size) = (1 + seed % 4, 1 + seed % 5, 1 + seed % 3, 1 + seed % 2);
        let heads = kv_heads * share;
        let q = single(&[batch, heads, rows, size], seed);
        let k = single(&[batch, kv_heads, columns, size], seed + 1);
        let v = single(&[batch, kv_heads, columns, value_size], seed + 2);
        let bias = single(&[rows, columns], seed + 3);
        let made = flex(|attention| {
            let attention = with_graph(attention, "score_mod", vec![node("Add", &["in", "bias"], &["out"])]);
            let attention = with_graph(attention, "prob_mod", vec![node("Mul", &["in", "in"], &["out"])]);
            with_float(attention, "scale", 0.3)
        });
        let inputs = [q, k, v, bias];
        let mut ready = prepare(&made).unwrap();
        let got = ready.run(&inputs).unwrap();
        assert_eq!(got, ready.run(&inputs).unwrap(), "seed {seed}");
        // Heads that share keys and values stand on an axis of their own.
        let nodes = vec![
            node("Reshape", &["q", "apart"], &["q5"]),
            node("Unsqueeze", &["k", "two"], &["k5"]),
            with_ints(node("Transpose", &["k5"], &["kt"]), "perm", &[0, 1, 2, 4, 3]),
            node("Unsqueeze", &["v", "two"], &["v5"]),
            node("MatMul", &["q5", "kt"], &["products"]),
            node("Mul", &["products", "scale"], &["scaled"]),
            node("Add", &["scaled", "bias"], &["scores"]),
            with_int(node("Softmax", &["scores"], &["weights"]), "axis", -1),
            node("Mul", &["weights", "weights"], &["squares"]),
            node("MatMul", &["squares", "v5"], &["y5"]),
            node("Reshape", &["y5", "together"], &["y"]),
        ];
        let whole = |extents: &[usize]| {
            let extents: Vec<i64> = extents.iter().map(|&extent| extent as i64).collect();
            Tensor::from_slice([extents.len()], &extents).unwrap()
        };
        let constants = [
            ("apart", whole(&[batch, kv_heads, share, rows, size])),
            ("together", whole(&[batch, heads, rows, value_size])),
            ("two", whole(&[2])),
            ("scale", Tensor::scalar(0.3_f32)),
        ];
        let plain = with_constants(graph(nodes, &["q", "k", "v", "bias"], &["y"], 22), &constants);
        let want = prepare(&plain).unwrap().run(&inputs).unwrap();
        assert_eq!(got[0].shape(), want[0].shape(), "seed {seed}");
        let (got, want) = (got[0].as_slice::<f32>().unwrap(), want[0].as_slice::<f32>().unwrap());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "seed {seed}: {got}, not {want}");
        }
    }
}

#[test]
fn a_graph_that_changes_the_shape_of_scores_and_heads_that_cannot_be_shared_are_errors() {
    let made =
        flex(|attention| with_graph(attention, "score_mod", vec![node("Concat", &["in", "in"], &["out"])]));
    let error = prepare(&made).err().unwrap();
    assert!(matches!(error, BackendError::Attribute { .. }), "{error}");
    let wider = |attention| {
        with_graph(
            attention,
            "score_mod",
            vec![with_int(node("Concat", &["in", "in"], &["out"]), "axis", -1)],
        )
    };
    let inputs = |heads: usize| {
        let q = single(&[1, heads, 2, 2], 1);
        [q, single(&[1, 2, 2, 2], 2), single(&[1, 2, 2, 2], 3), single(&[2, 2], 4)]
    };
    let error = prepare(&flex(wider)).unwrap().run(&inputs(2)).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { op, .. } if op.name() == "FlexAttention"), "{error}");
    let error = prepare(&flex(|attention| attention)).unwrap().run(&inputs(3)).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { op, .. } if op.name() == "FlexAttention"), "{error}");
}
