//! Steps in mixed precision.

use bb_autodiff::{AutodiffError, LossScale, Precision, TrainingOptions, TrainingPlan, peak_bytes};
use bb_runtime::onnx::GraphProto;
use bb_runtime::{DataType, Tensor};

use super::harness::{NEWEST, Rng, floats, int, listing, run, tensor};
use super::training::mlp;

fn fed(graph: &GraphProto, rng: &mut Rng) -> Vec<Tensor> {
    let mut fed: Vec<Tensor> =
        graph.initializer.iter().map(|held| Tensor::from_onnx(held).unwrap()).collect();
    let values: Vec<f64> = (0..8 * 4).map(|_| rng.float(-1.0, 1.0)).collect();
    fed.push(tensor(DataType::F32, &[8, 4], &values));
    let labels: Vec<i64> = (0..8).map(|_| rng.below(0, 3) as i64).collect();
    fed.push(Tensor::from_slice([8], &labels).unwrap());
    fed
}

#[test]
fn gradients_in_half_precision_are_near_those_in_full_and_arrive_in_full() {
    let mut rng = Rng::new(2101);
    let graph = mlp(NEWEST, Some("Softmax"));
    let fed = fed(&graph, &mut rng);
    let full =
        TrainingPlan::new(&graph, NEWEST, &TrainingOptions::default()).unwrap().gradients(Some(8)).unwrap();
    let expected = run(&full.graph, NEWEST, &fed);
    for (precision, tolerance) in [(Precision::F16, 4e-3), (Precision::Bf16, 4e-2)] {
        let options = TrainingOptions { precision, ..Default::default() };
        let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
        let mixed = plan.gradients(Some(8)).unwrap();
        let got = run(&mixed.graph, NEWEST, &fed);
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.dtype(), DataType::F32);
            let scale = floats(expected).iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
            for (got, expected) in floats(got).iter().zip(floats(expected)) {
                let far = (got - expected).abs();
                assert!(
                    far <= tolerance * scale.max(0.1),
                    "{got} instead of {expected}: {}",
                    listing(&mixed.graph)
                );
            }
        }
        assert_ne!(got, expected, "nothing was rounded");
    }
}

#[test]
fn a_step_in_half_precision_holds_less_and_keeps_its_parameters_in_full() {
    let graph = mlp(NEWEST, Some("Softmax"));
    let plan = |options: &TrainingOptions| {
        TrainingPlan::new(&graph, NEWEST, options).unwrap().step(Some(512)).unwrap()
    };
    let full = plan(&TrainingOptions::default());
    let mixed = plan(&TrainingOptions { precision: Precision::F16, ..Default::default() });
    let peaks = [&full, &mixed].map(|step| peak_bytes(&step.graph, NEWEST).unwrap());
    println!("a step holds {} bytes in full precision, {} in mixed", peaks[0], peaks[1]);
    assert!(peaks[1] < peaks[0], "{peaks:?}");
    for info in &mixed.graph.input[..4] {
        assert_eq!(info, full.graph.input.iter().find(|other| other.name == info.name).unwrap());
    }
}

#[test]
fn training_in_half_precision_with_a_scaled_loss_gets_where_full_precision_gets() {
    let mut rng = Rng::new(2102);
    let graph = mlp(NEWEST, Some("Softmax"));
    let first = fed(&graph, &mut rng);
    let mut losses = Vec::new();
    for precision in [Precision::AsWritten, Precision::F16] {
        let loss_scale = if precision == Precision::F16 { LossScale::Static(128.0) } else { LossScale::None };
        let options = TrainingOptions { precision, loss_scale, ..Default::default() };
        let step = TrainingPlan::new(&graph, NEWEST, &options).unwrap().step(Some(8)).unwrap();
        let mut fed = first.clone();
        fed.push(Tensor::scalar(0.5_f32));
        let mut loss = f64::NAN;
        for _ in 0..100 {
            let outputs = run(&step.graph, NEWEST, &fed);
            loss = floats(&outputs[0])[0];
            fed[..4].clone_from_slice(&outputs[1..5]);
        }
        losses.push(loss);
    }
    println!("losses after 100 steps: {losses:?}");
    assert!((losses[0] - losses[1]).abs() <= 0.02 * losses[0].max(0.05), "{losses:?}");
}

#[test]
fn an_operator_set_without_bf16_is_refused() {
    let options = TrainingOptions { precision: Precision::Bf16, ..Default::default() };
    let plan = TrainingPlan::new(&mlp(11, None), 11, &options).unwrap();
    assert_eq!(plan.step(None).unwrap_err(), AutodiffError::Opset { needed: 13, opset: 11 });
}

#[test]
fn sums_and_exponentials_stay_in_full_precision() {
    let mut graph = mlp(NEWEST, Some("Softmax"));
    for node in &mut graph.node {
        if node.op_type.as_deref() == Some("Softmax") {
            node.attribute.push(int("axis", -1));
        }
    }
    let options = TrainingOptions { precision: Precision::F16, ..Default::default() };
    let mixed = TrainingPlan::new(&graph, NEWEST, &options).unwrap().gradients(Some(8)).unwrap();
    let loss =
        mixed.graph.node.iter().find(|node| node.op_type.as_deref() == Some("SoftmaxCrossEntropyLoss"));
    assert_eq!(loss.unwrap().input[0], "scores");
    let made =
        |name: &str| mixed.graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
    assert_eq!(made("scores").unwrap().op_type.as_deref(), Some("Cast"));
    assert_eq!(made("active/half").unwrap().op_type.as_deref(), Some("Relu"));
}
