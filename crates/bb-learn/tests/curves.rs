//! Loss by loss against JAX on the same models, rows, order and optimizers: `data/curves/reference.py` made the other side.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::onnx_model::{Clip, OnnxModel, OnnxModelConfig, OnnxModelOptions, Optimizer, Schedule};
use bb_runtime::contracts::Detached;
use bb_runtime::{Component, DataSource, Model};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/curves")
}

/// Trains a model and compares; `within` is the largest relative difference of a step's loss.
fn compare(name: &str, options: OnnxModelOptions, within: f64) {
    let reference: serde_json::Value =
        serde_json::from_slice(&fs::read(folder().join("losses.json")).unwrap()).unwrap();
    let reference = &reference[name];
    let config = OnnxModelConfig::from_file(folder().join(format!("{name}.onnx")), options).unwrap();
    let mut model = OnnxModel::new(&config).unwrap();
    let mut node = Detached::new(0).with("compute", CpuBackend::new(&CpuConfig::default()).unwrap());
    let data = digits::load().unwrap();
    let mut train = InMemoryData::new(&InMemoryConfig::new(data.train)).unwrap();
    let mut losses = Vec::new();
    for _ in 0..2 {
        train.reset(&mut node.context()).unwrap().into_now().unwrap();
        while let Some(batch) = train.next_batch(&mut node.context(), 32).unwrap().into_now().unwrap() {
            losses.push(model.train_step(&mut node.context(), &batch).unwrap().into_now().unwrap());
        }
    }
    let expected: Vec<f64> =
        reference["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    assert_eq!((losses.len(), expected.len()), (90, 90));
    let difference = |got: f64, expected: f64| (got - expected).abs() / expected;
    let (step, largest) = losses
        .iter()
        .zip(&expected)
        .map(|(got, expected)| difference(*got, *expected))
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    let mut test = InMemoryData::new(&InMemoryConfig::new(data.test)).unwrap();
    let evaluation = model.evaluate(&mut node.context(), &mut test).unwrap().into_now().unwrap();
    let test = difference(evaluation.loss, reference["test_loss"].as_f64().unwrap());
    println!(
        "{name}: loss {:.4} -> {:.4}; largest relative difference {largest:.1e}, in step {step}; on the test rows {test:.1e}",
        losses[0], losses[89]
    );
    assert!(
        largest < within && test < within,
        "largest relative difference {largest:e} in step {step}, test {test:e}"
    );
    let accuracy = reference["test_accuracy"].as_f64().unwrap();
    assert!(
        (evaluation.accuracy - accuracy).abs() <= 1.0 / 360.0 + 1e-9,
        "{evaluation:?}, reference {accuracy}"
    );
}

#[test]
fn a_perceptron_with_nesterov_momentum() {
    let optimizer = Optimizer::Momentum { momentum: 0.9, nesterov: true };
    compare("mlp", OnnxModelOptions { learning_rate: 0.05, optimizer, ..Default::default() }, 1e-5);
}

#[test]
fn a_convolutional_network_with_batch_normalization_and_adam() {
    let optimizer = Optimizer::adam();
    compare("cnn", OnnxModelOptions { learning_rate: 0.01, optimizer, ..Default::default() }, 1e-5);
}

#[test]
fn a_transformer_with_adam_w_and_a_schedule() {
    let options = OnnxModelOptions {
        learning_rate: 0.01,
        optimizer: Optimizer::adam_w(0.01),
        schedule: Schedule::Cosine { warmup: 10, steps: 90, floor: 0.1 },
        ..Default::default()
    };
    compare("transformer", options, 1e-5);
}

#[test]
fn a_recurrent_network_with_clipped_gradients() {
    let options = OnnxModelOptions {
        learning_rate: 0.01,
        optimizer: Optimizer::adam_w(0.01),
        clip: Some(Clip::Norm(0.5)),
        ..Default::default()
    };
    compare("lstm", options, 1e-5);
}
