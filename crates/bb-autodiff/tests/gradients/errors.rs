//! What is refused, and what the refusal says.

use bb_autodiff::{AutodiffError, Gradients, Loss, Trainable, TrainingOptions, TrainingPlan};
use bb_runtime::DataType;
use bb_runtime::onnx::GraphProto;

use super::harness::{NEWEST, Shapes, node, typed, untyped};
use super::training::mlp;

fn chain(ops: &[&str]) -> GraphProto {
    let mut graph =
        GraphProto { input: vec![typed("x", DataType::F32, &[2], Shapes::Declared)], ..Default::default() };
    let mut last = "x".to_owned();
    for (index, op) in ops.iter().enumerate() {
        let name = format!("v{index}");
        graph.node.push(node(op, &[&last], &name));
        last = name;
    }
    graph.output.push(untyped(&last));
    graph
}

#[test]
fn an_op_without_a_gradient_is_named_with_its_path() {
    let graph = chain(&["Tanh", "MaxRoiPool", "Exp"]);
    let error = Gradients::of(&graph, NEWEST, "v2", &["x"]).unwrap_err();
    assert_eq!(
        error,
        AutodiffError::NoGradient {
            node: "v1".into(),
            op: "MaxRoiPool".into(),
            path: ["v2", "v1", "v0", "x"].map(String::from).to_vec(),
        }
    );
    assert_eq!(
        error.to_string(),
        "MaxRoiPool (node `v1`) has no gradient; it is on the path v2 <- v1 <- v0 <- x"
    );
}

#[test]
fn an_op_of_another_domain_is_named_with_its_domain() {
    let mut graph = chain(&["Tanh", "Magic"]);
    graph.node[1].domain = Some("com.example".into());
    let error = Gradients::of(&graph, NEWEST, "v1", &["x"]).unwrap_err();
    assert!(error.to_string().starts_with("com.example::Magic (node `v1`)"), "{error}");
}

#[test]
fn an_op_without_a_gradient_off_the_path_is_no_error() {
    let mut graph = chain(&["Tanh"]);
    graph.node.push(node("MaxRoiPool", &["x"], "unused"));
    graph.node.push(node("MaxRoiPool", &["other"], "constant"));
    graph.node.push(node("Mul", &["v0", "constant"], "y"));
    graph.input.push(typed("other", DataType::F32, &[2], Shapes::Declared));
    Gradients::of(&graph, NEWEST, "y", &["x"]).unwrap();
}

#[test]
fn a_name_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let graph = chain(&["Tanh"]);
    let error = Gradients::of(&graph, NEWEST, "v0", &["w"]).unwrap_err();
    let known = vec!["x".to_owned(), "v0".to_owned()];
    assert_eq!(error, AutodiffError::Unknown { known, name: "w".into(), what: "value" });
}

#[test]
fn a_value_read_before_it_is_made_is_an_error() {
    let mut graph = chain(&["Tanh", "Exp"]);
    graph.node.reverse();
    let error = Gradients::of(&graph, NEWEST, "v1", &["x"]).unwrap_err();
    assert!(matches!(error, AutodiffError::Order { ref value, .. } if value == "v0"), "{error}");
    let mut graph = chain(&["Tanh", "Exp"]);
    graph.node[1].output[0] = "v0".into();
    let error = Gradients::of(&graph, NEWEST, "v0", &["x"]).unwrap_err();
    assert!(matches!(error, AutodiffError::Order { ref value, .. } if value == "v0"), "{error}");
}

#[test]
fn an_operator_set_without_where_and_expand_is_refused() {
    let error = Gradients::of(&chain(&["Tanh"]), 8, "v0", &["x"]).unwrap_err();
    assert_eq!(error, AutodiffError::Opset { needed: 9, opset: 8 });
}

#[test]
fn an_element_type_that_is_needed_and_unknown_is_asked_for() {
    let mut graph = chain(&["Tanh"]);
    graph.input[0] = untyped("x");
    let error = Gradients::of(&graph, NEWEST, "v0", &["x"]).unwrap_err();
    assert!(matches!(error, AutodiffError::Undetermined { what: "element type", .. }), "{error}");
}

#[test]
fn a_pattern_that_matches_nothing_lists_the_initializers() {
    let model = mlp(NEWEST, None);
    let trainable = Trainable::Named(vec!["head.*".into()]);
    let error =
        TrainingPlan::new(&model, NEWEST, &TrainingOptions { trainable, ..Default::default() }).unwrap_err();
    let known = ["w1", "b1", "w2", "b2"].map(String::from).to_vec();
    assert_eq!(error, AutodiffError::Unknown { known, name: "head.*".into(), what: "float initializer" });
}

#[test]
fn a_loss_that_depends_on_no_initializer_is_an_error() {
    let mut graph = chain(&["Tanh"]);
    graph.input[0] = typed("x", DataType::F32, &[2, 3], Shapes::Declared);
    let error = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap_err();
    assert!(matches!(error, AutodiffError::Constant { .. }), "{error}");
}

#[test]
fn a_model_without_an_output_has_no_loss() {
    let mut graph = chain(&["Tanh"]);
    graph.output.clear();
    let error = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap_err();
    assert!(matches!(error, AutodiffError::NoLoss { .. }), "{error}");
    let loss = Loss::Output("elsewhere".into());
    let error = TrainingPlan::new(&chain(&["Tanh"]), NEWEST, &TrainingOptions { loss, ..Default::default() });
    assert!(matches!(error, Err(AutodiffError::Unknown { what: "output", .. })), "{error:?}");
}

#[test]
fn a_model_of_one_batch_size_refuses_another() {
    let mut model = mlp(NEWEST, None);
    model.input[0] = typed("x", DataType::F32, &[1, 4], Shapes::Declared);
    let plan = TrainingPlan::new(&model, NEWEST, &TrainingOptions::default()).unwrap();
    plan.step(Some(1)).unwrap();
    let error = plan.step(Some(8)).unwrap_err();
    assert_eq!(error, AutodiffError::FixedBatch { input: "x".into(), fixed: 1, asked: 8 });
}
