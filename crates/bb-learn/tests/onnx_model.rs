//! What a model made from ONNX does beside fitting.

#![cfg(test)]

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::models::{Activation, Init, Mlp};
use bb_learn::onnx_model::{Loss, OnnxModel, OnnxModelConfig, OnnxModelError, OnnxModelOptions};
use bb_runtime::contracts::Detached;
use bb_runtime::onnx::ModelProto;
use bb_runtime::{
    Batch, Component, ComponentError, DataSource, Fit, Model, StateReader, StateWriter, Tensor, TensorMap,
};
use proptest::prelude::*;

fn small() -> ModelProto {
    Mlp::new([4, 5, 3]).activation(Activation::Tanh).init(Init::Glorot).seed(2).build().unwrap()
}

fn config(model: ModelProto) -> OnnxModelConfig {
    OnnxModelConfig::new(model, OnnxModelOptions::default()).unwrap()
}

fn node() -> Detached {
    Detached::new(0).with("compute", CpuBackend::new(&CpuConfig::default()).unwrap())
}

fn batch(rows: usize) -> Batch {
    let numbers: Vec<f32> = (0..rows * 4).map(|index| (index as f32 * 0.7).sin()).collect();
    let labels: Vec<i64> = (0..rows as i64).map(|row| row % 3).collect();
    let features = Tensor::from_slice([rows, 4], &numbers).unwrap();
    let labels = Tensor::from_slice([rows], &labels).unwrap();
    Batch { tensors: [("features", features), ("label", labels)].into_iter().collect(), rows }
}

fn parameters(model: &mut OnnxModel) -> TensorMap {
    model.parameters(&mut node().context()).unwrap().into_now().unwrap()
}

fn load(model: &mut OnnxModel, parameters: &TensorMap) -> Result<(), ComponentError> {
    model.load_parameters(&mut node().context(), parameters).map(|answer| answer.into_now().unwrap())
}

fn loss(model: &mut OnnxModel, batch: &Batch) -> f64 {
    model.loss(&mut node().context(), batch).unwrap().into_now().unwrap()
}

fn saved(model: &OnnxModel) -> Vec<u8> {
    let mut state = StateWriter::default();
    model.save(&mut state).unwrap();
    state.into_bytes().unwrap()
}

#[test]
fn a_step_moves_the_parameters_against_the_gradient() {
    let config = config(small());
    let mut model = OnnxModel::new(&config).unwrap();
    let mut node = node();
    let batch = batch(6);
    let gradients = model.backward(&mut node.context(), &batch).unwrap().into_now().unwrap();
    let before = loss(&mut model, &batch);
    let told = model.train_step(&mut node.context(), &batch).unwrap().into_now().unwrap();
    assert!((told - before).abs() < 1e-6);
    assert!(loss(&mut model, &batch) < before);

    let mut by_hand = OnnxModel::new(&config).unwrap();
    by_hand.apply_delta(&mut node.context(), &gradients, -0.1).unwrap().into_now().unwrap();
    for ((_, stepped), (_, moved)) in parameters(&mut model).iter().zip(parameters(&mut by_hand).iter()) {
        let pairs = stepped.as_slice::<f32>().unwrap().iter().zip(moved.as_slice::<f32>().unwrap());
        assert!(pairs.clone().all(|(stepped, moved)| (stepped - moved).abs() < 1e-6), "{stepped} {moved}");
    }
}

#[test]
fn forward_gives_the_models_outputs_by_name() {
    let mut model = OnnxModel::new(&config(small())).unwrap();
    for rows in [1, 7] {
        let outputs = model.forward(&mut node().context(), &batch(rows).tensors).unwrap().into_now().unwrap();
        assert_eq!(outputs.find("logits").map(|logits| logits.shape().to_vec()), Some(vec![rows, 3]));
    }
}

#[test]
fn parameters_that_were_given_out_do_not_change_when_the_model_does() {
    let config = config(small());
    let mut model = OnnxModel::new(&config).unwrap();
    let begin = parameters(&mut model);
    let memory = |map: &TensorMap| map.find("w1").unwrap().as_bytes().as_ptr();
    assert_eq!(memory(&begin), memory(config.parameters()), "given out without a copy");
    let mut node = node();
    for _ in 0..3 {
        model.train_step(&mut node.context(), &batch(6)).unwrap().into_now().unwrap();
    }
    assert_eq!(&begin, config.parameters());
    let trained = parameters(&mut model);
    model.apply_delta(&mut node.context(), &trained, 1.0).unwrap().into_now().unwrap();
    model.train_step(&mut node.context(), &batch(6)).unwrap().into_now().unwrap();
    let mut other = OnnxModel::new(&config).unwrap();
    load(&mut other, &trained).unwrap();
    assert_eq!(memory(&parameters(&mut other)), memory(&trained), "taken up without a copy");
    assert_eq!(parameters(&mut other), trained);
}

#[test]
fn parameters_that_do_not_fit_are_refused_and_change_nothing() {
    let config = config(small());
    let mut model = OnnxModel::new(&config).unwrap();
    let with = |name: &str, tensor: Tensor| {
        let mut map = config.parameters().clone();
        map.insert(name, tensor);
        map
    };
    let mut renamed = TensorMap::new();
    for (name, tensor) in config.parameters().iter() {
        renamed.insert(format!("my_{name}"), tensor.clone());
    }
    let refused = [
        (TensorMap::new(), "the model has 4 parameters, got 0 tensors"),
        (renamed, "parameter 0 is called `w1`, got `my_w1`"),
        (
            with("b2", Tensor::from_slice([1, 3], &[0.0_f32; 3]).unwrap()),
            "parameter `b2` has shape [3], got [1,3]",
        ),
        (with("b2", Tensor::from_slice([3], &[0.0_f64; 3]).unwrap()), "parameter `b2` is f32, got f64"),
    ];
    for (wrong, message) in refused {
        assert_eq!(load(&mut model, &wrong).unwrap_err().to_string(), message);
        let refused = model.apply_delta(&mut node().context(), &wrong, 1.0);
        assert_eq!(refused.err().map(|error| error.to_string()).as_deref(), Some(message));
        assert_eq!(config.export(&wrong).unwrap_err().to_string(), message);
        assert_eq!(&parameters(&mut model), config.parameters());
    }
}

#[test]
fn a_restored_model_goes_on_where_it_was() {
    let config = config(small());
    let mut model = OnnxModel::new(&config).unwrap();
    let mut node = node();
    model.train_step(&mut node.context(), &batch(6)).unwrap().into_now().unwrap();
    let state = saved(&model);
    let mut restored = OnnxModel::new(&config).unwrap();
    let mut reader = StateReader::new(&state);
    restored.load(&mut reader).unwrap();
    reader.finish().unwrap();
    for model in [&mut model, &mut restored] {
        model.train_step(&mut node.context(), &batch(6)).unwrap().into_now().unwrap();
    }
    assert_eq!(saved(&restored), saved(&model));
}

#[test]
fn a_batch_that_does_not_fit_says_what_is_missing_and_leaves_the_model_alone() {
    let mut model = OnnxModel::new(&config(small())).unwrap();
    let before = saved(&model);
    let mut step = |batch: &Batch| {
        let refused = model.train_step(&mut node().context(), batch);
        assert_eq!(saved(&model), before);
        refused.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let Batch { tensors, rows } = batch(6);
    let only = |name: &str| Batch {
        tensors: [(name, tensors.find(name).unwrap().clone())].into_iter().collect(),
        rows,
    };
    assert_eq!(
        step(&only("features")),
        "the model's input `label` needs a tensor called [\"label\"]; there are [\"features\"]"
    );
    assert_eq!(
        step(&only("label")),
        "the model's input `features` needs a tensor called [\"features\"]; there are [\"label\"]"
    );
    assert_eq!(
        step(&Batch { tensors: tensors.clone(), rows: 5 }),
        "the batch has 5 rows, its tensor `label` has shape [6]"
    );
    let mut wide = tensors.clone();
    wide.insert("features", Tensor::from_slice([6, 5], &[0.0_f32; 30]).unwrap());
    assert_ne!(step(&Batch { tensors: wide, rows }), "");
    let mut unknown_class = tensors;
    unknown_class.insert("label", Tensor::from_slice([6], &[0_i64, 1, 2, 3, 4, 5]).unwrap());
    assert_ne!(step(&Batch { tensors: unknown_class, rows }), "");
}

#[test]
fn training_that_diverges_is_an_error() {
    let options = OnnxModelOptions { learning_rate: 1e30, ..OnnxModelOptions::default() };
    let mut model = OnnxModel::new(&OnnxModelConfig::new(small(), options).unwrap()).unwrap();
    let mut node = node();
    let refused = (0..20).find_map(|_| model.train_step(&mut node.context(), &batch(6)).err());
    let message = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("training diverged at learning rate 1"), "{message}");
}

#[test]
fn a_fit_without_epochs_or_rows_a_batch_is_refused() {
    let mut model = OnnxModel::new(&config(small())).unwrap();
    let mut data = InMemoryData::new(&InMemoryConfig::new(digits::load().unwrap().test)).unwrap();
    for fit in [Fit { epochs: 0, batch: 1 }, Fit { epochs: 1, batch: 0 }] {
        assert!(model.fit(&mut node().context(), &mut data, fit).is_err());
    }
}

#[test]
fn an_evaluation_in_several_batches_is_that_of_all_rows() {
    let mut model = OnnxModel::new(&config(Mlp::new([64, 10]).build().unwrap())).unwrap();
    let mut data = InMemoryData::new(&InMemoryConfig::new(digits::load().unwrap().train)).unwrap();
    let evaluation = model.evaluate(&mut node().context(), &mut data).unwrap().into_now().unwrap();

    data.reset(&mut node().context()).unwrap().into_now().unwrap();
    let all = data.next_batch(&mut node().context(), 1_437).unwrap().into_now().unwrap().unwrap();
    assert!((loss(&mut model, &all) - evaluation.loss).abs() < 1e-5);
    let logits = model.forward(&mut node().context(), &all.tensors).unwrap().into_now().unwrap();
    let labels = all.tensors.find("label").unwrap().as_slice::<i64>().unwrap();
    let hits = logits.find("logits").unwrap().as_slice::<f32>().unwrap().chunks(10).zip(labels).filter(
        |(row, label)| {
            row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class as i64)
                == Some(**label)
        },
    );
    assert!((evaluation.accuracy - hits.count() as f64 / 1_437.0).abs() < 1e-12);
}

#[test]
fn a_squared_error_is_trained_on_targets() {
    let options = OnnxModelOptions {
        loss: Loss::MeanSquaredError { output: None },
        label: "target".to_owned(),
        ..OnnxModelOptions::default()
    };
    let mut model = OnnxModel::new(&OnnxModelConfig::new(small(), options).unwrap()).unwrap();
    let Batch { mut tensors, rows } = batch(6);
    tensors.insert("target", Tensor::from_slice([6, 3], &[0.5_f32; 18]).unwrap());
    let batch = Batch { tensors, rows };
    let mut node = node();
    let before = loss(&mut model, &batch);
    for _ in 0..100 {
        model.train_step(&mut node.context(), &batch).unwrap().into_now().unwrap();
    }
    assert!(loss(&mut model, &batch) < before / 10.0);
}

#[test]
fn what_is_no_trainable_model_is_refused_with_its_reason() {
    let refused = |model: ModelProto| OnnxModelConfig::new(model, OnnxModelOptions::default()).unwrap_err();
    let with_graph = |change: fn(&mut bb_runtime::onnx::GraphProto)| {
        let mut model = small();
        model.graph.iter_mut().for_each(change);
        model
    };
    assert!(matches!(refused(ModelProto::default()), OnnxModelError::NoGraph));
    assert!(matches!(refused(with_graph(|graph| graph.output.clear())), OnnxModelError::NoOutput));
    assert!(matches!(
        refused(with_graph(|graph| graph.initializer.clear())),
        OnnxModelError::NoFloatInitializer
    ));
    let unknown = refused(with_graph(|graph| graph.node[1].op_type = Some("Quux".to_owned())));
    assert!(matches!(unknown, OnnxModelError::Autodiff(_)), "{unknown}");
    let options = |learning_rate| OnnxModelOptions { learning_rate, ..OnnxModelOptions::default() };
    for rate in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            OnnxModelConfig::new(small(), options(rate)),
            Err(OnnxModelError::LearningRate { .. })
        ));
    }
    let missing = OnnxModelConfig::from_file("no/such/file.onnx", OnnxModelOptions::default());
    assert!(missing.unwrap_err().to_string().starts_with("no/such/file.onnx: "));
}

#[test]
fn a_model_without_its_backend_says_which_dependency_is_missing() {
    let mut model = OnnxModel::new(&config(small())).unwrap();
    let refused = model.train_step(&mut Detached::new(0).context(), &batch(6));
    assert_eq!(
        refused.err().map(|error| error.to_string()).as_deref(),
        Some("no dependency `compute` with role Backend; declared: []")
    );
}

proptest! {
    #[test]
    fn bytes_that_are_no_model_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(OnnxModelConfig::from_bytes(&bytes, OnnxModelOptions::default()).is_err());
    }

    #[test]
    fn a_truncated_or_mutated_model_never_panics(cut in 0_usize..700, at in 0_usize..700, with: u8) {
        use prost::Message;
        let mut bytes = small().encode_to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        bytes.truncate(bytes.len().saturating_sub(cut).max(1));
        if let Ok(config) = OnnxModelConfig::from_bytes(&bytes, OnnxModelOptions::default()) {
            let mut model = OnnxModel::new(&config).unwrap();
            if let Ok(answer) = model.train_step(&mut node().context(), &batch(6)) {
                prop_assert!(answer.into_now().unwrap().is_finite());
            }
        }
    }
}
