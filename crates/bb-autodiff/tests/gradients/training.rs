//! Whole steps: their numbers, and that they train.

use bb_autodiff::{Loss, TrainingGraph, TrainingOptions, TrainingPlan};
use bb_runtime::onnx::{GraphProto, ModelProto};
use bb_runtime::{DataType, Tensor};

use super::harness::{
    NEWEST, Rng, Shapes, float_tensor, floats, int, named, node, run, tensor, typed, untyped,
};

/// `y = relu(x·w1 + b1)·w2ᵀ + b2`: 4 features, 5 hidden, 3 classes, any number of rows; then the op `end`.
pub(crate) fn mlp(opset: i64, end: Option<&str>) -> GraphProto {
    let mut rng = Rng::new(11);
    let mut graph = GraphProto { name: Some("mlp".into()), ..Default::default() };
    graph.input.push(typed("x", DataType::F32, &[1, 4], Shapes::Symbolic));
    for (name, shape) in [("w1", vec![4, 5]), ("b1", vec![5]), ("w2", vec![3, 5]), ("b2", vec![3])] {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.float(-0.7, 0.7)).collect();
        graph.initializer.push(named(float_tensor(DataType::F32, &shape, &values), name));
    }
    let last = if end.is_some() { "scores" } else { "y" };
    graph.node.push(node("Gemm", &["x", "w1", "b1"], "hidden"));
    graph.node.push(node("Relu", &["hidden"], "active"));
    let mut second = node("Gemm", &["active", "w2", "b2"], last);
    second.attribute.push(int("transB", 1));
    graph.node.push(second);
    if let Some(end) = end {
        let mut softmax = node(end, &["scores"], "y");
        if opset < 13 {
            softmax.attribute.push(int("axis", 1));
        }
        graph.node.push(softmax);
    }
    graph.output.push(typed("y", DataType::F32, &[1, 3], Shapes::Unknown));
    graph
}

/// The values of the parameters of [`mlp`].
pub(crate) fn parameters(graph: &GraphProto) -> Vec<Tensor> {
    let tensors = graph.initializer.iter();
    tensors
        .map(|tensor| {
            let shape: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
            Tensor::from_slice(shape, &tensor.float_data).unwrap()
        })
        .collect()
}

/// Rows around one centre a class, with their classes.
pub(crate) fn batch(rng: &mut Rng, rows: usize) -> [Tensor; 2] {
    let labels: Vec<i64> = (0..rows).map(|row| row as i64 % 3).collect();
    let features = labels.iter().flat_map(|&label| (0..4).map(move |axis| f64::from(axis == label)));
    let features: Vec<f64> = features.map(|centre| centre + rng.float(-0.3, 0.3)).collect();
    [tensor(DataType::F32, &[rows, 4], &features), Tensor::from_slice([rows], &labels).unwrap()]
}

fn execute(made: &TrainingGraph, inputs: &[&[Tensor]]) -> Vec<Tensor> {
    run(&made.graph, made.opset, &inputs.concat())
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < 2e-6, "{got} is not {expected}");
    }
}

#[test]
fn a_step_is_the_parameters_less_rate_times_the_gradients() {
    let mut rng = Rng::new(701);
    for (opset, end) in
        [(NEWEST, None), (NEWEST, Some("Softmax")), (12, Some("LogSoftmax")), (11, None), (9, None)]
    {
        let graph = mlp(opset, end);
        let plan = TrainingPlan::new(&graph, opset, &TrainingOptions::default()).unwrap();
        let held = parameters(&graph);
        let rows = batch(&mut rng, 6);
        for size in [None, Some(6)] {
            let gradients = execute(&plan.gradients(size).unwrap(), &[&held, &rows]);
            let rate = [Tensor::scalar(0.25_f32)];
            let stepped = execute(&plan.step(size).unwrap(), &[&held, &rows, &rate]);
            close(&floats(&stepped[0]), &floats(&gradients[0]));
            for index in 0..4 {
                assert_eq!(stepped[index + 1].shape(), held[index].shape());
                let old = floats(&held[index]);
                let slopes = floats(&gradients[index + 1]);
                let expected: Vec<f64> =
                    old.iter().zip(slopes).map(|(old, slope)| old - 0.25 * slope).collect();
                close(&floats(&stepped[index + 1]), &expected);
            }
        }
    }
}

#[test]
fn a_final_softmax_changes_neither_loss_nor_gradients() {
    let mut rng = Rng::new(702);
    let rows = batch(&mut rng, 5);
    let mut all = Vec::new();
    for (opset, end) in
        [(NEWEST, None), (NEWEST, Some("Softmax")), (13, Some("LogSoftmax")), (11, Some("Softmax"))]
    {
        let graph = mlp(opset, end);
        let plan = TrainingPlan::new(&graph, opset, &TrainingOptions::default()).unwrap();
        all.push(execute(&plan.gradients(None).unwrap(), &[&parameters(&graph), &rows]));
    }
    for other in &all[1..] {
        for (a, b) in all[0].iter().zip(other) {
            close(&floats(b), &floats(a));
        }
    }
}

#[test]
fn steps_train() {
    let mut rng = Rng::new(703);
    let graph = mlp(NEWEST, None);
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    let step = plan.step(Some(30)).unwrap();
    let mut held = parameters(&graph);
    let rows = batch(&mut rng, 30);
    let mut losses = Vec::new();
    for _ in 0..60 {
        let mut outputs = execute(&step, &[&held, &rows, &[Tensor::scalar(0.5_f32)]]);
        losses.push(floats(&outputs[0])[0]);
        held = outputs.split_off(1);
    }
    assert!(losses[59] < 0.2 * losses[0], "{losses:?}");
    let evaluation = execute(&plan.evaluation(Some(30)).unwrap(), &[&held, &rows]);
    assert_eq!(evaluation[1].as_slice::<i64>().unwrap(), [30]);
}

#[test]
fn evaluation_counts_hits_and_gives_the_outputs_of_the_model() {
    let mut rng = Rng::new(704);
    let graph = mlp(NEWEST, Some("Softmax"));
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    let held = parameters(&graph);
    let [features, labels] = batch(&mut rng, 7);
    let outputs = execute(&plan.forward(None).unwrap(), &[&held, std::slice::from_ref(&features)]);
    let evaluation = execute(&plan.evaluation(None).unwrap(), &[&held, &[features, labels.clone()]]);
    assert_eq!(evaluation[2], outputs[0]);
    let probabilities = floats(&outputs[0]);
    let mut hits = 0;
    let mut loss = 0.0;
    for (row, &label) in labels.as_slice::<i64>().unwrap().iter().enumerate() {
        let scores = &probabilities[row * 3..][..3];
        let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
        hits += i64::from(best as i64 == label);
        loss -= scores[label as usize].ln() / 7.0;
    }
    assert_eq!(evaluation[1].as_slice::<i64>().unwrap(), [hits]);
    assert!((floats(&evaluation[0])[0] - loss).abs() < 1e-5);
}

#[test]
fn squared_error_is_half_the_mean_square_over_rows() {
    let mut rng = Rng::new(705);
    let graph = mlp(NEWEST, None);
    let options = TrainingOptions { loss: Loss::MeanSquaredError { output: None }, ..Default::default() };
    let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
    assert_eq!(plan.label(), Some("target"));
    let held = parameters(&graph);
    let [features, _] = batch(&mut rng, 6);
    let target = tensor(DataType::F32, &[6, 3], &[0.5; 18]);
    let outputs = execute(&plan.forward(None).unwrap(), &[&held, std::slice::from_ref(&features)]);
    let expected: f64 = floats(&outputs[0]).iter().map(|y| (y - 0.5) * (y - 0.5)).sum::<f64>() / 12.0;
    for size in [None, Some(6)] {
        let fed = [features.clone(), target.clone()];
        let made = execute(&plan.gradients(size).unwrap(), &[&held, &fed]);
        close(&floats(&made[0]), &[expected]);
        let bias: Vec<f64> = (0..3)
            .map(|axis| floats(&outputs[0]).iter().skip(axis).step_by(3).map(|y| (y - 0.5) / 6.0).sum())
            .collect();
        close(&floats(&made[4]), &bias);
    }
}

#[test]
fn a_loss_that_the_model_has_needs_no_label() {
    let mut graph = mlp(NEWEST, None);
    graph.input.push(typed("answer", DataType::I64, &[1], Shapes::Symbolic));
    graph.node.push(node("SoftmaxCrossEntropyLoss", &["y", "answer"], "own_loss"));
    graph.output.push(untyped("own_loss"));
    let options = TrainingOptions { loss: Loss::Output("own_loss".into()), ..Default::default() };
    let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
    assert_eq!(plan.label(), None);
    assert_eq!(plan.inputs(), ["x", "answer"]);
    let mut rng = Rng::new(706);
    let rows = batch(&mut rng, 4);
    let held = parameters(&graph);
    let own = execute(&plan.gradients(Some(4)).unwrap(), &[&held, &rows]);
    let plan = TrainingPlan::new(&mlp(NEWEST, None), NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!(own, execute(&plan.gradients(Some(4)).unwrap(), &[&held, &rows]));
}

#[test]
fn classes_on_the_last_axis_of_a_sequence_are_found() {
    let mut graph = GraphProto { name: Some("sequence".into()), ..Default::default() };
    graph.input.push(typed("x", DataType::F32, &[2, 3, 4], Shapes::Symbolic));
    let weights: Vec<f64> = (0..20).map(|index| f64::from(index % 7) * 0.1).collect();
    graph.initializer.push(named(float_tensor(DataType::F32, &[4, 5], &weights), "w"));
    graph.node.push(node("MatMul", &["x", "w"], "scores"));
    graph.node.push(node("Softmax", &["scores"], "y"));
    graph.output.push(untyped("y"));
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    let mut rng = Rng::new(707);
    let features: Vec<f64> = (0..24).map(|_| rng.float(-1.0, 1.0)).collect();
    let fed = [
        Tensor::from_slice([4, 5], &weights.iter().map(|&value| value as f32).collect::<Vec<_>>()).unwrap(),
        tensor(DataType::F32, &[2, 3, 4], &features),
        Tensor::from_slice([2, 3], &[0_i64, 1, 2, 3, 4, 0]).unwrap(),
    ];
    let outputs = execute(&plan.evaluation(Some(2)).unwrap(), &[&fed]);
    let probabilities = floats(&outputs[2]);
    let loss: f64 =
        [0, 1, 2, 3, 4, 0].iter().enumerate().map(|(at, label)| -probabilities[at * 5 + label].ln()).sum();
    assert!((floats(&outputs[0])[0] - loss / 6.0).abs() < 1e-5);
    let mut inputs = fed.to_vec();
    inputs.push(Tensor::scalar(0.1_f32));
    run(&plan.step(None).unwrap().graph, NEWEST, &inputs);
}

#[test]
fn the_graphs_are_models_for_other_tools() {
    let graph = mlp(NEWEST, None);
    let opset_import = vec![bb_runtime::onnx::OperatorSetIdProto { domain: None, version: Some(NEWEST) }];
    let model = ModelProto { graph: Some(graph), opset_import, ..Default::default() };
    let plan = TrainingPlan::of_model(&model, &TrainingOptions::default()).unwrap();
    assert_eq!(plan.opset(), NEWEST);
    let made = plan.step(Some(2)).unwrap().to_model();
    assert_eq!(made.opset_import, model.opset_import);
    assert!(made.graph.unwrap().output.iter().all(|output| output.r#type.is_some()));
    assert!(TrainingPlan::of_model(&ModelProto::default(), &TrainingOptions::default()).is_err());
}
