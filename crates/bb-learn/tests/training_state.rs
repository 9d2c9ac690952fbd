//! What a model remembers beside its parameters: the optimizer's state, the count of steps, what Dropout drops.

#![cfg(test)]

use std::path::Path;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::models::{Activation, Init, Mlp};
use bb_learn::onnx_model::{LossScale, OnnxModel, OnnxModelConfig, OnnxModelOptions, Optimizer, Schedule};
use bb_runtime::contracts::Detached;
use bb_runtime::onnx::{ModelProto, NodeProto};
use bb_runtime::{Batch, Component, Fit, Model, StateReader, StateWriter, Tensor, TensorMap};

/// 4 features, 5 hidden with half of them dropped, 3 classes.
fn dropping() -> ModelProto {
    let mut model =
        Mlp::new([4, 5, 3]).activation(Activation::Tanh).init(Init::Glorot).seed(2).build().unwrap();
    let graph = model.graph.as_mut().unwrap();
    let hidden = graph.node[1].output[0].clone();
    graph.node[2].input[0] = "kept".to_owned();
    let drop = NodeProto {
        op_type: Some("Dropout".to_owned()),
        input: vec![hidden],
        output: vec!["kept".to_owned()],
        ..NodeProto::default()
    };
    graph.node.insert(2, drop);
    model
}

fn adam() -> OnnxModelOptions {
    OnnxModelOptions {
        learning_rate: 0.01,
        optimizer: Optimizer::adam_w(0.1),
        loss_scale: LossScale::Dynamic { initial: 2.0, interval: 2 },
        schedule: Schedule::Steps { every: 2, factor: 0.5 },
        ..OnnxModelOptions::default()
    }
}

fn node(seed: u64) -> Detached {
    Detached::new(seed).with("compute", CpuBackend::new(&CpuConfig::default()).unwrap())
}

fn batch() -> Batch {
    let numbers: Vec<f32> = (0..24).map(|index| (index as f32 * 0.7).sin()).collect();
    let features = Tensor::from_slice([6, 4], &numbers).unwrap();
    let labels = Tensor::from_slice([6], &[0_i64, 1, 2, 0, 1, 2]).unwrap();
    Batch { tensors: [("features", features), ("label", labels)].into_iter().collect(), rows: 6 }
}

fn step(model: &mut OnnxModel, node: &mut Detached) -> f64 {
    model.train_step(&mut node.context(), &batch()).unwrap().into_now().unwrap()
}

fn parameters(model: &mut OnnxModel) -> TensorMap {
    model.parameters(&mut node(0).context()).unwrap().into_now().unwrap()
}

fn saved(model: &OnnxModel) -> Vec<u8> {
    let mut state = StateWriter::default();
    model.save(&mut state).unwrap();
    state.into_bytes().unwrap()
}

#[test]
fn a_restored_model_takes_the_steps_that_the_other_takes() {
    let config = OnnxModelConfig::new(dropping(), adam()).unwrap();
    let (mut model, mut here) = (OnnxModel::new(&config).unwrap(), node(1));
    for _ in 0..3 {
        step(&mut model, &mut here);
    }
    let state = saved(&model);
    let mut restored = OnnxModel::new(&config).unwrap();
    let mut reader = StateReader::new(&state);
    restored.load(&mut reader).unwrap();
    reader.finish().unwrap();
    // In a node with other random numbers: what is dropped follows from what was saved.
    let mut elsewhere = node(2);
    for _ in 0..3 {
        assert_eq!(step(&mut restored, &mut elsewhere), step(&mut model, &mut here));
    }
    assert_eq!(saved(&restored), saved(&model));
}

#[test]
fn what_is_dropped_follows_from_the_nodes_seed_and_changes_with_the_step() {
    let still = OnnxModelOptions { learning_rate: 1e-30, ..OnnxModelOptions::default() };
    let config = OnnxModelConfig::new(dropping(), still).unwrap();
    let losses = |seed| {
        let (mut model, mut node) = (OnnxModel::new(&config).unwrap(), node(seed));
        [(); 4].map(|()| step(&mut model, &mut node))
    };
    let first = losses(1);
    assert_eq!(first, losses(1));
    assert_ne!(first, losses(2));
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{first:?}");
    // In use nothing is dropped.
    let mut model = OnnxModel::new(&config).unwrap();
    let mut loss = || model.loss(&mut node(0).context(), &batch()).unwrap().into_now().unwrap();
    assert_eq!(loss(), loss());
}

#[test]
fn loading_parameters_leaves_the_optimizers_memory_alone() {
    let optimizer = Optimizer::Momentum { momentum: 0.9, nesterov: false };
    let options = OnnxModelOptions { optimizer, ..OnnxModelOptions::default() };
    let config = OnnxModelConfig::new(Mlp::new([4, 3]).init(Init::Zeros).build().unwrap(), options).unwrap();
    let mut node = node(0);
    let change = |model: &mut OnnxModel, node: &mut Detached| {
        model.load_parameters(&mut node.context(), config.parameters()).unwrap().into_now().unwrap();
        step(model, node);
        parameters(model).find("w1").unwrap().as_slice::<f32>().unwrap()[0]
    };
    let mut model = OnnxModel::new(&config).unwrap();
    let (first, second) = (change(&mut model, &mut node), change(&mut model, &mut node));
    // The same gradient again, on top of 0.9 of the velocity.
    assert!((second - 1.9 * first).abs() < 1e-6 && first != 0.0, "{first} {second}");
}

#[test]
fn state_that_was_saved_under_other_options_is_refused() {
    let config = OnnxModelConfig::new(dropping(), adam()).unwrap();
    let state = saved(&OnnxModel::new(&config).unwrap());
    let plain = OnnxModelConfig::new(dropping(), OnnxModelOptions::default()).unwrap();
    let mut other = OnnxModel::new(&plain).unwrap();
    let before = saved(&other);
    let refused = other.load(&mut StateReader::new(&state)).unwrap_err().to_string();
    assert!(refused.contains("optimizer's state"), "{refused}");
    assert_eq!(saved(&other), before);
}

#[test]
fn the_schedule_goes_on_with_the_steps() {
    let options = OnnxModelOptions {
        schedule: Schedule::Steps { every: 1, factor: 0.5 },
        ..OnnxModelOptions::default()
    };
    let config = OnnxModelConfig::new(Mlp::new([4, 3]).init(Init::Zeros).build().unwrap(), options).unwrap();
    let (mut model, mut node) = (OnnxModel::new(&config).unwrap(), node(0));
    let mut moved = Vec::new();
    for _ in 0..3 {
        model.load_parameters(&mut node.context(), config.parameters()).unwrap().into_now().unwrap();
        step(&mut model, &mut node);
        moved.push(parameters(&mut model).find("w1").unwrap().as_slice::<f32>().unwrap()[0]);
    }
    assert!(
        (moved[1] - moved[0] / 2.0).abs() < 1e-7 && (moved[2] - moved[0] / 4.0).abs() < 1e-7,
        "{moved:?}"
    );
    for schedule in [
        Schedule::Cosine { warmup: 5, steps: 5, floor: 0.0 },
        Schedule::Cosine { warmup: 0, steps: 5, floor: 2.0 },
        Schedule::Steps { every: 0, factor: 0.5 },
        Schedule::Steps { every: 1, factor: 0.0 },
    ] {
        let options = OnnxModelOptions { schedule, ..OnnxModelOptions::default() };
        assert!(OnnxModelConfig::new(dropping(), options).is_err(), "{schedule:?}");
    }
}

#[test]
fn running_moments_are_parameters_that_steps_change_and_gradients_do_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/curves/cnn.onnx");
    let config = OnnxModelConfig::from_file(path, OnnxModelOptions::default()).unwrap();
    let names: Vec<&str> = config.parameters().iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names[8..],
        ["norm1.running_mean", "norm1.running_var", "norm2.running_mean", "norm2.running_var"]
    );
    let (mut model, mut node) = (OnnxModel::new(&config).unwrap(), node(0));
    let mut data = InMemoryData::new(&InMemoryConfig::new(digits::load().unwrap().test)).unwrap();
    let fit = Fit { epochs: 1, batch: 100 };
    model.fit(&mut node.context(), &mut data, fit).unwrap().into_now().unwrap();
    let trained = parameters(&mut model);
    for name in &names {
        assert_ne!(trained.find(name), config.parameters().find(name), "{name}");
    }
    bb_runtime::DataSource::reset(&mut data, &mut node.context()).unwrap().into_now().unwrap();
    let batch = bb_runtime::DataSource::next_batch(&mut data, &mut node.context(), 50).unwrap();
    let batch = batch.into_now().unwrap().unwrap();
    let gradients = model.backward(&mut node.context(), &batch).unwrap().into_now().unwrap();
    for (name, gradient) in gradients.iter() {
        let is_zero = gradient.as_slice::<f32>().unwrap().iter().all(|slope| *slope == 0.0);
        assert_eq!(is_zero, name.contains("running"), "{name}");
    }
}
