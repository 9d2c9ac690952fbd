//! What the graphs look like: nothing computed twice, nothing that is not needed.

use std::collections::BTreeSet;

use bb_autodiff::{Gradients, Trainable, TrainingOptions, TrainingPlan, constant_ops, differentiable_ops};
use bb_runtime::DataType;
use bb_runtime::onnx::GraphProto;

use super::harness::{NEWEST, Shapes, listing, node, typed, untyped};
use super::training::mlp;

fn ops(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().filter_map(|node| node.op_type.as_deref()).filter(|op| *op != "Constant").collect()
}

/// Every value made once, before it is read, and every output made.
fn assert_well_formed(graph: &GraphProto) {
    let mut made: BTreeSet<&str> = graph.input.iter().filter_map(|input| input.name.as_deref()).collect();
    made.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()));
    for node in &graph.node {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            assert!(made.contains(name.as_str()), "`{name}` is read too early: {}", listing(graph));
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            assert!(made.insert(name), "`{name}` is made twice: {}", listing(graph));
        }
    }
    for output in &graph.output {
        assert!(made.contains(output.name.as_deref().unwrap()), "{output:?}");
    }
    let names: BTreeSet<_> = graph.output.iter().map(|output| &output.name).collect();
    assert_eq!(names.len(), graph.output.len(), "an output twice");
}

#[test]
fn a_training_step_of_an_mlp_is_as_short_as_by_hand() {
    let plan = TrainingPlan::new(&mlp(NEWEST, None), NEWEST, &TrainingOptions::default()).unwrap();
    let step = plan.step(Some(32)).unwrap();
    assert_well_formed(&step.graph);
    assert_eq!(
        ops(&step.graph),
        [
            "Gemm",
            "Relu",
            "Gemm",
            "SoftmaxCrossEntropyLoss",
            "Neg", // the seed: -rate
            "Exp",
            "Div", // -rate / rows
            "OneHot",
            "Sub",
            "Mul",       // the scores' gradient
            "MatMul",    // to the hidden layer
            "ReduceSum", // second bias
            "Greater",
            "Where",     // Relu
            "ReduceSum", // first bias
            "Gemm",      // w1 + xᵀ·g
            "Add",
            "Gemm",
            "Add",
        ],
        "{}",
        listing(&step.graph)
    );
}

#[test]
fn all_graphs_of_a_plan_are_well_formed_and_have_the_stated_interface() {
    for (opset, end) in [(NEWEST, None), (13, Some("Softmax")), (11, Some("LogSoftmax"))] {
        let plan = TrainingPlan::new(&mlp(opset, end), opset, &TrainingOptions::default()).unwrap();
        for batch in [None, Some(3)] {
            let parameters = ["w1", "b1", "w2", "b2"];
            let step = plan.step(batch).unwrap();
            assert_well_formed(&step.graph);
            assert_eq!(step.inputs, [&parameters[..], &["x", "label", "rate"]].concat());
            assert_eq!(step.outputs.len(), 5);
            let gradients = plan.gradients(batch).unwrap();
            assert_well_formed(&gradients.graph);
            assert_eq!(gradients.inputs, [&parameters[..], &["x", "label"]].concat());
            let evaluation = plan.evaluation(batch).unwrap();
            assert_well_formed(&evaluation.graph);
            assert_eq!(evaluation.inputs, gradients.inputs);
            assert_eq!(evaluation.outputs.len(), 3);
            let forward = plan.forward(batch).unwrap();
            assert_well_formed(&forward.graph);
            assert_eq!(forward.inputs, [&parameters[..], &["x"]].concat());
            assert_eq!(forward.outputs, ["y"]);
            assert_eq!(plan.label(), Some("label"));
        }
    }
}

#[test]
fn forward_nodes_stay_as_they_are() {
    let graph = mlp(NEWEST, Some("Softmax"));
    let made = Gradients::of(&graph, NEWEST, "y", &["w1", "x"]).unwrap();
    assert_eq!(made.graph.node[..graph.node.len()], graph.node[..]);
    assert_eq!(made.graph.output, graph.output);
    assert_well_formed(&made.graph);
}

#[test]
fn a_frozen_layer_costs_nothing() {
    let trainable = Trainable::Named(vec!["*2".into()]);
    let options = TrainingOptions { trainable, ..Default::default() };
    let plan = TrainingPlan::new(&mlp(NEWEST, None), NEWEST, &options).unwrap();
    let names: Vec<&str> = plan.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["w2", "b2"]);
    let step = plan.step(Some(4)).unwrap();
    let count = |op: &str| ops(&step.graph).iter().filter(|other| **other == op).count();
    assert_eq!((count("Gemm"), count("Where"), count("ReduceSum")), (3, 0, 1), "{}", listing(&step.graph));
    let held: Vec<_> = step.graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
    assert_eq!(held, ["w1", "b1"]);
}

#[test]
fn what_the_forward_pass_computes_is_not_computed_again() {
    let mut graph =
        GraphProto { input: vec![typed("x", DataType::F32, &[2], Shapes::Declared)], ..Default::default() };
    graph.node.push(node("Exp", &["x"], "e"));
    graph.node.push(node("Mul", &["e", "x"], "y"));
    graph.node.push(node("Exp", &["y"], "z"));
    graph.output.push(untyped("z"));
    let made = Gradients::of(&graph, NEWEST, "z", &["x"]).unwrap();
    let exponentials = ops(&made.graph).iter().filter(|op| **op == "Exp").count();
    assert_eq!(exponentials, 2, "{}", listing(&made.graph));
}

#[test]
fn scalars_of_formulas_are_not_parameters() {
    let mut graph = mlp(NEWEST, None);
    graph.node.push(node("Mul", &["y", "temperature"], "scaled"));
    graph.output = vec![untyped("scaled")];
    graph.initializer.push(bb_runtime::onnx::TensorProto {
        name: Some("temperature".into()),
        data_type: Some(1),
        float_data: vec![0.5],
        ..Default::default()
    });
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!(plan.parameters().len(), 4);
    let trainable = Trainable::Named(vec!["temperature".into()]);
    let options = TrainingOptions { trainable, ..Default::default() };
    let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
    assert_eq!(plan.parameters().len(), 1);
    plan.step(None).unwrap();
}

#[test]
fn generated_names_keep_away_from_those_of_the_graph() {
    let mut graph = mlp(NEWEST, None);
    graph.node.push(node("Identity", &["x"], "label"));
    graph.node.push(node("Identity", &["x"], "grad/Exp_1"));
    graph.node.push(node("Identity", &["x"], "w1/next"));
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!(plan.label(), Some("label_1"));
    assert_well_formed(&plan.step(None).unwrap().graph);
}

#[test]
fn the_list_of_differentiable_ops_has_what_models_are_made_of() {
    let all = differentiable_ops();
    for op in ["Add", "Gemm", "MatMul", "Relu", "Softmax", "SoftmaxCrossEntropyLoss"] {
        assert!(all.contains(&op), "{op}");
    }
}

/// Ops that end a training step, and so lie between no loss and no parameter; those of what is no tensor; attention with graphs
/// inside.
const WITHOUT_A_GRADIENT: &[&str] = &[
    "Adagrad",
    "Adam",
    "ConcatFromSequence",
    "FlexAttention",
    "Momentum",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
];

#[test]
fn every_op_that_the_embedded_backend_runs_has_a_gradient_or_needs_none() {
    let known = [&differentiable_ops(), &constant_ops(), WITHOUT_A_GRADIENT].concat();
    let run = bb_cpu::supported_ops();
    let forgotten: BTreeSet<&str> =
        run.iter().map(|(op, _)| op.name()).filter(|op| !known.contains(op)).collect();
    assert!(forgotten.is_empty(), "no rule, and not among the ops without a gradient: {forgotten:?}");
}

#[test]
fn an_op_without_a_gradient_is_named_where_it_is_on_the_path() {
    for op in WITHOUT_A_GRADIENT {
        let graph = GraphProto {
            input: vec![typed("x", DataType::F32, &[2], Shapes::Declared)],
            node: vec![node(op, &["x"], "y")],
            output: vec![untyped("y")],
            ..Default::default()
        };
        let error = Gradients::of(&graph, NEWEST, "y", &["x"]).err().unwrap();
        assert!(error.to_string().contains(op), "{error}");
    }
}

#[test]
fn an_op_that_needs_no_gradient_is_no_obstacle_and_passes_none() {
    for op in constant_ops() {
        let mut graph = GraphProto {
            input: vec![typed("x", DataType::F32, &[2], Shapes::Declared)],
            ..Default::default()
        };
        graph.node.push(node(op, &["x"], "c"));
        graph.node.push(node("Mul", &["x", "x"], "square"));
        graph.node.push(node("Mul", &["square", "c"], "y"));
        graph.output.push(untyped("y"));
        let made = Gradients::of(&graph, NEWEST, "y", &["x"]);
        assert!(made.is_ok(), "{op}: {made:?}");
    }
}
