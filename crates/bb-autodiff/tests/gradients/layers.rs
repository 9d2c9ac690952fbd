//! Batch normalization and dropout: one thing in a step, another in use.

use bb_autodiff::{AutodiffError, Layers, TrainingGraph, TrainingOptions, TrainingPlan};
use bb_runtime::onnx::GraphProto;
use bb_runtime::{DataType, Tensor};

use super::harness::{
    NEWEST, Rng, Shapes, float_tensor, floats, int, named, node, real, run, tensor, typed, untyped,
};

/// `y = norm(x·w)·v`, 4 features, 3 hidden, 2 classes; the moments start at 0.5 and 2.
fn normalized() -> GraphProto {
    let mut rng = Rng::new(821);
    let mut graph = GraphProto { name: Some("normalized".into()), ..Default::default() };
    graph.input.push(typed("x", DataType::F32, &[1, 4], Shapes::Symbolic));
    let mut hold = |name: &str, shape: &[usize], fixed: Option<f64>| {
        let values: Vec<f64> =
            (0..shape.iter().product()).map(|_| fixed.unwrap_or_else(|| rng.float(-1.0, 1.0))).collect();
        graph.initializer.push(named(float_tensor(DataType::F32, shape, &values), name));
    };
    hold("w", &[4, 3], None);
    hold("scale", &[3], Some(1.5));
    hold("bias", &[3], Some(0.25));
    hold("mean", &[3], Some(0.5));
    hold("var", &[3], Some(2.0));
    hold("v", &[3, 2], None);
    graph.node.push(node("MatMul", &["x", "w"], "hidden"));
    let mut norm = node("BatchNormalization", &["hidden", "scale", "bias", "mean", "var"], "unit");
    norm.attribute.push(real("momentum", 0.75));
    graph.node.push(norm);
    graph.node.push(node("MatMul", &["unit", "v"], "y"));
    graph.output.push(typed("y", DataType::F32, &[1, 2], Shapes::Unknown));
    graph
}

/// The initializers called so.
fn held(graph: &GraphProto, names: &[&str]) -> Vec<Tensor> {
    let find = |name: &&str| {
        let tensor = graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(*name)).unwrap();
        let shape: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
        Tensor::from_slice(shape, &tensor.float_data).unwrap()
    };
    names.iter().map(find).collect()
}

fn rows() -> Vec<Tensor> {
    let mut rng = Rng::new(822);
    let numbers: Vec<f64> = (0..20).map(|_| rng.float(-2.0, 2.0)).collect();
    vec![tensor(DataType::F32, &[5, 4], &numbers), Tensor::from_slice([5], &[0_i64, 1, 1, 0, 1]).unwrap()]
}

fn execute(made: &TrainingGraph, inputs: &[&[Tensor]]) -> Vec<Tensor> {
    run(&made.graph, made.opset, &inputs.concat())
}

const TRAINED: [&str; 4] = ["w", "scale", "bias", "v"];

#[test]
fn a_step_makes_new_running_moments_and_normalizes_by_the_batch() {
    let mut losses = Vec::new();
    for (opset, training_mode) in
        [(NEWEST, None), (NEWEST, Some(1)), (NEWEST, Some(0)), (13, None), (9, None)]
    {
        let mut graph = normalized();
        graph.node[1].attribute.extend(training_mode.map(|flag| int("training_mode", flag)));
        let plan = TrainingPlan::new(&graph, opset, &TrainingOptions::default()).unwrap();
        let names =
            |all: &[bb_autodiff::Parameter]| all.iter().map(|held| held.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(plan.parameters()), TRAINED);
        assert_eq!(names(plan.buffers()), ["mean", "var"]);
        let (trained, moments) = (held(&graph, &TRAINED), held(&graph, &["mean", "var"]));
        let hidden = {
            let (x, w) = (floats(&rows()[0]), floats(&trained[0]));
            let at =
                |row: usize, column: usize| (0..4).map(|k| x[row * 4 + k] * w[k * 3 + column]).sum::<f64>();
            (0..3).map(|column| (0..5).map(|row| at(row, column)).collect::<Vec<f64>>()).collect::<Vec<_>>()
        };
        for size in [None, Some(5)] {
            let rate = [Tensor::scalar(0.1_f32)];
            let stepped = execute(&plan.step(size).unwrap(), &[&trained, &moments, &rows(), &rate]);
            let gradients = execute(&plan.gradients(size).unwrap(), &[&trained, &moments, &rows()]);
            assert_eq!((stepped.len(), gradients.len()), (7, 5));
            for (index, before) in trained.iter().enumerate() {
                let slopes = floats(&gradients[index + 1]);
                for ((new, old), slope) in floats(&stepped[index + 1]).iter().zip(floats(before)).zip(slopes)
                {
                    assert!((new - (old - 0.1 * slope)).abs() < 1e-5);
                }
            }
            for (column, column_values) in hidden.iter().enumerate() {
                let mean = column_values.iter().sum::<f64>() / 5.0;
                let variance = column_values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 5.0;
                assert!((floats(&stepped[5])[column] - (0.75 * 0.5 + 0.25 * mean)).abs() < 1e-5);
                assert!((floats(&stepped[6])[column] - (0.75 * 2.0 + 0.25 * variance)).abs() < 1e-5);
            }
            losses.push(floats(&stepped[0])[0]);
        }
        // In use it normalizes by the running moments.
        let outputs = execute(&plan.forward(None).unwrap(), &[&trained, &moments, &rows()[..1]]);
        let v = floats(&trained[3]);
        for (place, got) in floats(&outputs[0]).iter().enumerate() {
            let (row, class) = (place / 2, place % 2);
            let unit = |column: usize| (hidden[column][row] - 0.5) / (2.0_f64 + 1e-5).sqrt() * 1.5 + 0.25;
            let expected: f64 = (0..3).map(|column| unit(column) * v[column * 2 + class]).sum();
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
        let evaluation = execute(&plan.evaluation(Some(5)).unwrap(), &[&trained, &moments, &rows()]);
        for (a, b) in floats(&evaluation[2]).iter().zip(floats(&outputs[0])) {
            assert!((a - b).abs() < 1e-6);
        }
    }
    assert!(losses.iter().all(|loss| (loss - losses[0]).abs() < 1e-5), "{losses:?}");
}

#[test]
fn two_layers_that_share_moments_change_them_one_after_the_other() {
    let mut graph = normalized();
    graph.node[2].input[0] = "again".into();
    let mut second = graph.node[1].clone();
    second.input[0] = "unit".into();
    second.output[0] = "again".into();
    second.name = Some("second".into());
    graph.node.insert(2, second);
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!(plan.buffers().len(), 2);
    let (trained, moments) = (held(&graph, &TRAINED), held(&graph, &["mean", "var"]));
    let rate = [Tensor::scalar(0.1_f32)];
    let stepped = execute(&plan.step(None).unwrap(), &[&trained, &moments, &rows(), &rate]);
    let one = TrainingPlan::new(&normalized(), NEWEST, &TrainingOptions::default()).unwrap();
    let first = execute(&one.step(None).unwrap(), &[&trained, &moments, &rows(), &rate]);
    // What the second layer reads has mean 0.25 (its bias) in every channel.
    for (after, once) in floats(&stepped[5]).iter().zip(floats(&first[5])) {
        assert!((after - (0.75 * once + 0.25 * 0.25)).abs() < 1e-5, "{after} after {once}");
    }
}

#[test]
fn a_batch_normalization_without_moments_is_left_to_whoever_runs_it() {
    for kept in [1, 3, 4] {
        let mut graph = normalized();
        graph.node[1].input.truncate(kept);
        let options = TrainingOptions {
            trainable: bb_autodiff::Trainable::Named(vec!["v".into()]),
            ..Default::default()
        };
        let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
        assert!(plan.step(None).unwrap().graph.node.iter().any(|node| node.input.len() == kept));
    }
}

#[test]
fn layers_as_written_leave_the_moments_alone() {
    let options = TrainingOptions { layers: Layers::AsWritten, ..Default::default() };
    let plan = TrainingPlan::new(&normalized(), NEWEST, &options).unwrap();
    assert!(plan.buffers().is_empty());
    assert_eq!(plan.step(None).unwrap().outputs.len(), 5);
}

/// `y = drop(x·w)·v`.
fn dropping(ratio: Option<f32>) -> GraphProto {
    let mut graph = normalized();
    let mut drop = node("Dropout", &["hidden"], "unit");
    if let Some(ratio) = ratio {
        graph.initializer.push(bb_runtime::onnx::TensorProto {
            name: Some("ratio".into()),
            data_type: Some(1),
            float_data: vec![ratio],
            ..Default::default()
        });
        drop.input.push("ratio".into());
    }
    graph.node[1] = drop;
    graph
}

#[test]
fn a_dropout_keeps_what_its_mask_says_and_everything_in_use() {
    for (ratio, keep) in [(None, 0.5), (Some(0.25), 0.75)] {
        let graph = dropping(ratio);
        let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
        let trained = held(&graph, &["w", "v"]);
        let step = plan.gradients(Some(5)).unwrap();
        let [mask] = &step.masks[..] else { panic!("{:?}", step.masks) };
        assert_eq!((mask.dtype, &mask.shape[..], mask.keep), (DataType::F32, &[5, 3][..], keep));
        assert_eq!(step.inputs.last(), Some(&mask.input));
        // Nothing of the middle unit is kept: it gets no gradient.
        let kept: Vec<f64> = (0..15).map(|place| if place % 3 == 1 { 0.0 } else { 1.0 / keep }).collect();
        let kept = [tensor(DataType::F32, &[5, 3], &kept)];
        let gradients = execute(&step, &[&trained, &rows(), &kept]);
        for (place, slope) in floats(&gradients[1]).iter().enumerate() {
            assert_eq!(*slope == 0.0, place % 3 == 1, "{gradients:?}");
        }
        let forward = plan.forward(None).unwrap();
        assert!(forward.masks.is_empty());
        let mut plain = graph.clone();
        plain.node[1] = node("Identity", &["hidden"], "unit");
        let same = TrainingPlan::new(&plain, NEWEST, &TrainingOptions::default()).unwrap();
        assert_eq!(
            execute(&forward, &[&trained, &rows()[..1]]),
            execute(&same.forward(None).unwrap(), &[&trained, &rows()[..1]])
        );
    }
}

#[test]
fn a_dropout_of_unknown_shape_or_ratio_is_named() {
    let plan = TrainingPlan::new(&dropping(None), NEWEST, &TrainingOptions::default()).unwrap();
    let error = plan.step(None).unwrap_err();
    assert!(
        matches!(&error, AutodiffError::Undetermined { op, value, .. } if op == "Dropout" && value == "hidden"),
        "{error}"
    );
    let mut graph = dropping(Some(0.5));
    graph.initializer.pop();
    graph.input.push(untyped("ratio"));
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    let error = plan.step(Some(5)).unwrap_err();
    assert!(matches!(&error, AutodiffError::Undetermined { value, .. } if value == "ratio"), "{error}");
    let plan = TrainingPlan::new(&dropping(Some(1.0)), NEWEST, &TrainingOptions::default()).unwrap();
    assert!(matches!(plan.step(Some(5)), Err(AutodiffError::Attribute { .. })));
}

#[test]
fn a_loss_in_the_model_is_found() {
    let mut graph = normalized();
    graph.input.push(typed("answer", DataType::I64, &[1], Shapes::Symbolic));
    graph.node.push(node("SoftmaxCrossEntropyLoss", &["y", "answer"], "own_loss"));
    graph.output.push(untyped("own_loss"));
    let plan = TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!((plan.label(), plan.inputs().len()), (None, 2));
    let (trained, moments) = (held(&graph, &TRAINED), held(&graph, &["mean", "var"]));
    let own = execute(&plan.gradients(None).unwrap(), &[&trained, &moments, &rows()]);
    let plan = TrainingPlan::new(&normalized(), NEWEST, &TrainingOptions::default()).unwrap();
    assert_eq!(own, execute(&plan.gradients(None).unwrap(), &[&trained, &moments, &rows()]));
}
