//! A model that the `onnx` Python package wrote (`data/make_model.py`) is read, trained and written back.

#![cfg(test)]

use std::path::Path;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
use bb_runtime::contracts::Detached;
use bb_runtime::{Component, Evaluation, Fit, Model};

fn read() -> OnnxModelConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/digits_tanh.onnx");
    OnnxModelConfig::from_file(path, OnnxModelOptions::default()).unwrap()
}

fn node() -> Detached {
    Detached::new(0).with("compute", CpuBackend::new(&CpuConfig::default()).unwrap())
}

fn evaluate(model: &mut OnnxModel) -> Evaluation {
    let mut test = InMemoryData::new(&InMemoryConfig::new(digits::load().unwrap().test)).unwrap();
    model.evaluate(&mut node().context(), &mut test).unwrap().into_now().unwrap()
}

#[test]
fn its_parameters_are_its_float_initializers_with_axes() {
    let config = read();
    let parameters: Vec<String> = config
        .parameters()
        .iter()
        .map(|(name, tensor)| format!("{name} {}{}", tensor.dtype(), tensor.shape()))
        .collect();
    assert_eq!(
        parameters,
        ["encoder.weight f32[64,32]", "encoder.bias f32[32]", "head.weight f32[32,10]", "head.bias f32[10]"]
    );
}

#[test]
fn training_brings_its_loss_below_a_quarter_and_the_exported_model_has_learned_it() {
    let config = read();
    let mut model = OnnxModel::new(&config).unwrap();
    let before = evaluate(&mut model);
    assert!(before.loss > 2.0, "untrained: {before:?}");

    let mut train =
        InMemoryData::new(&InMemoryConfig::new(digits::load().unwrap().train).shuffled(1)).unwrap();
    let fit = Fit { epochs: 20, batch: 32 };
    let report = model.fit(&mut node().context(), &mut train, fit).unwrap().into_now().unwrap();
    assert_eq!(report.rows, 1_437);
    let after = evaluate(&mut model);
    assert!(after.loss < 0.25 && after.accuracy > 0.92, "trained: {after:?}");

    let parameters = model.parameters(&mut node().context()).unwrap().into_now().unwrap();
    let bytes = config.export_bytes(&parameters).unwrap();
    let exported = OnnxModelConfig::from_bytes(&bytes, OnnxModelOptions::default()).unwrap();
    assert_eq!(exported.parameters(), &parameters);
    assert_eq!(evaluate(&mut OnnxModel::new(&exported).unwrap()), after);
    assert_eq!(exported.export(config.parameters()).unwrap(), *config.model());
}
