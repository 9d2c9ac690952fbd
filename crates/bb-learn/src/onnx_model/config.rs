//! What an `OnnxModel` is made from: the model, its training plan, and the graphs that all its components share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bb_autodiff::{
    Clip, Layers, Loss, LossScale, Optimizer, Precision, Recompute, State, Trainable, TrainingOptions,
    TrainingPlan,
};
use bb_runtime::onnx::ModelProto;
use bb_runtime::onnx::type_proto::Value as TypeValue;
use bb_runtime::{DataType, Tensor, TensorMap};
use bytes::Bytes;
use prost::Message;

use super::external::{self, External};
use super::graphs::Graphs;
use super::spare::Spare;
use super::{OnnxModelError, Schedule};

/// How a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxModelOptions {
    /// The step size.
    pub learning_rate: f64,
    /// By what the step size is multiplied as steps go on.
    pub schedule: Schedule,
    /// How gradients change parameters. What an optimizer remembers stays with its component: it is saved with it, and
    /// neither sent nor changed by [`load_parameters`](bb_runtime::Model::load_parameters), so that in a federation each
    /// client goes on with its own.
    pub optimizer: Optimizer,
    /// How far gradients may go.
    pub clip: Option<Clip>,
    /// By what the loss is multiplied while gradients are made.
    pub loss_scale: LossScale,
    /// In what precision steps compute; parameters keep theirs.
    pub precision: Precision,
    /// What steps compute again to hold less at a time.
    pub recompute: Recompute,
    /// How batch normalization and dropout behave. Running means and variances are parameters like the trained ones:
    /// they are given out, loaded, averaged and exported with them.
    pub layers: Layers,
    /// What is minimised.
    pub loss: Loss,
    /// Which initializers are trained.
    pub trainable: Trainable,
    /// The name of the labels in a batch.
    pub label: String,
    /// The names in a batch of the model's inputs; an input that is not here goes by its own name, and the first
    /// one by `features` too.
    pub inputs: BTreeMap<String, String>,
}

impl Default for OnnxModelOptions {
    /// Plain stochastic gradient descent at learning rate 0.1, on the model's own loss or, if it has none, the softmax
    /// cross-entropy of the first output with `label`.
    fn default() -> Self {
        Self {
            learning_rate: 0.1,
            schedule: Schedule::default(),
            optimizer: Optimizer::default(),
            clip: None,
            loss_scale: LossScale::default(),
            precision: Precision::default(),
            recompute: Recompute::default(),
            layers: Layers::default(),
            loss: Loss::default(),
            trainable: Trainable::default(),
            label: "label".to_owned(),
            inputs: BTreeMap::new(),
        }
    }
}

impl OnnxModelOptions {
    /// What the training plan is made with.
    pub(super) fn training(&self) -> TrainingOptions {
        TrainingOptions {
            clip: self.clip,
            layers: self.layers,
            loss: self.loss.clone(),
            loss_scale: self.loss_scale,
            optimizer: self.optimizer,
            precision: self.precision,
            recompute: self.recompute,
            trainable: self.trainable.clone(),
        }
    }
}

/// An ONNX model and how it is trained; cheap to clone, all clones share one plan and its graphs.
///
/// ```
/// use bb_learn::models::reference_mlp;
/// use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions};
///
/// let options = OnnxModelOptions { learning_rate: 0.05, ..OnnxModelOptions::default() };
/// let config = OnnxModelConfig::new(reference_mlp()?, options)?;
/// let names: Vec<&str> = config.parameters().iter().map(|(name, _)| &**name).collect();
/// assert_eq!(names, ["w1", "b1", "w2", "b2"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OnnxModelConfig(pub(super) Arc<Source>);

#[derive(Debug)]
pub(super) struct Source {
    /// The model, tensors from files beside it read in.
    pub(super) model: ModelProto,
    /// The bytes that it was read from; none if it was given as a message.
    pub(super) bytes: Option<Bytes>,
    pub(super) external: External,
    pub(super) options: OnnxModelOptions,
    /// What is trained, then the buffers.
    pub(super) parameters: TensorMap,
    /// The state of the optimizer and the loss scale before the first step.
    pub(super) state: TensorMap,
    /// The learning rate, of the loss's type and without axes.
    pub(super) rate: Tensor,
    pub(super) graphs: Graphs,
    pub(super) spare: Spare,
}

impl OnnxModelConfig {
    /// Plans the training of `model`.
    ///
    /// # Errors
    /// A model without graph, output or float initializer; a gradient that cannot be made; a learning rate that is
    /// no positive number. (An op that a backend does not run is found when it is first prepared.)
    pub fn new(mut model: ModelProto, options: OnnxModelOptions) -> Result<Self, OnnxModelError> {
        external::read(&mut model, None)?;
        Self::plan(model, None, External::default(), options)
    }

    fn plan(
        model: ModelProto,
        bytes: Option<Bytes>,
        external: External,
        options: OnnxModelOptions,
    ) -> Result<Self, OnnxModelError> {
        let learning_rate = options.learning_rate;
        if !(learning_rate.is_finite() && learning_rate > 0.0) {
            return Err(OnnxModelError::LearningRate { learning_rate });
        }
        options.schedule.check()?;
        let graph = model.graph.as_ref().ok_or(OnnxModelError::NoGraph)?;
        if graph.output.is_empty() {
            return Err(OnnxModelError::NoOutput);
        }
        let types = || graph.initializer.iter().filter_map(|tensor| DataType::from_onnx(tensor.data_type?));
        if !types()
            .any(|dtype| matches!(dtype, DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64))
        {
            return Err(OnnxModelError::NoFloatInitializer);
        }
        let plan = TrainingPlan::of_model(&model, &options.training())?;
        let mut parameters = TensorMap::new();
        for parameter in plan.parameters().iter().chain(plan.buffers()) {
            if !matches!(parameter.dtype, DataType::F32 | DataType::F64) {
                return Err(OnnxModelError::Unsupported {
                    got: parameter.dtype,
                    value: parameter.name.clone(),
                });
            }
            let held = graph.initializer.iter().find(|tensor| tensor.name.as_ref() == Some(&parameter.name));
            if let Some(held) = held {
                parameters.insert(parameter.name.as_str(), Tensor::from_onnx(held)?);
            }
        }
        let rate = rate_tensor(learning_rate, loss_type(&plan)?)?;
        let state = plan.state().iter().map(|state| Ok((state.name.as_str(), initial(state)?)));
        let state = state.collect::<Result<TensorMap, OnnxModelError>>()?;
        let (graphs, spare) = (Graphs::new(plan), Spare::default());
        Ok(Self(Arc::new(Source { options, parameters, state, rate, graphs, spare, model, bytes, external })))
    }

    /// Plans the training of the model that these bytes are.
    ///
    /// # Errors
    /// Bytes that are no ONNX model, and those of [`OnnxModelConfig::new`].
    pub fn from_bytes(bytes: &[u8], options: OnnxModelOptions) -> Result<Self, OnnxModelError> {
        Self::read(Bytes::copy_from_slice(bytes), None, options)
    }

    fn read(bytes: Bytes, folder: Option<&Path>, options: OnnxModelOptions) -> Result<Self, OnnxModelError> {
        let mut model = ModelProto::decode(bytes.clone())?;
        let external = external::read(&mut model, folder)?;
        Self::plan(model, Some(bytes), external, options)
    }

    /// Plans the training of the model in a file; tensors that it keeps in other files are read from there, which must be in
    /// its folder or below.
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`OnnxModelConfig::from_bytes`].
    pub fn from_file(path: impl AsRef<Path>, options: OnnxModelOptions) -> Result<Self, OnnxModelError> {
        let path = path.as_ref();
        let bytes =
            std::fs::read(path).map_err(|source| OnnxModelError::Read { path: path.to_owned(), source })?;
        Self::read(Bytes::from(bytes), Some(path.parent().unwrap_or(Path::new(""))), options)
    }

    /// The parameters as the model has them: what is trained, then the running means and variances of batch
    /// normalization, each in the order of the model's initializers.
    pub fn parameters(&self) -> &TensorMap {
        &self.0.parameters
    }

    /// How it is trained.
    pub fn options(&self) -> &OnnxModelOptions {
        &self.0.options
    }

    /// The model as it was given, with what it keeps in other files.
    pub fn model(&self) -> &ModelProto {
        &self.0.model
    }

    /// Numbers in all parameters together.
    pub fn parameter_count(&self) -> usize {
        self.0.parameters.iter().map(|(_, tensor)| tensor.element_count()).sum()
    }
}

/// The type of the loss: that of the evaluation graph's first output.
fn loss_type(plan: &TrainingPlan) -> Result<DataType, OnnxModelError> {
    let graph = plan.evaluation(None)?.graph;
    let loss = graph.output.first().and_then(|output| output.r#type.as_ref()?.value.as_ref());
    let code = match loss {
        Some(TypeValue::TensorType(tensor)) => tensor.elem_type,
        _ => None,
    };
    Ok(code.and_then(DataType::from_onnx).unwrap_or(DataType::F32))
}

/// The number `rate` as a tensor without axes.
fn rate_tensor(rate: f64, dtype: DataType) -> Result<Tensor, OnnxModelError> {
    match dtype {
        DataType::F32 => Ok(Tensor::scalar(rate as f32)),
        DataType::F64 => Ok(Tensor::scalar(rate)),
        got => Err(OnnxModelError::Unsupported { got, value: "the loss".to_owned() }),
    }
}

/// The state before the first step.
fn initial(state: &State) -> Result<Tensor, OnnxModelError> {
    let mut tensor = Tensor::zeros(state.dtype, state.shape.clone())?;
    match state.dtype {
        DataType::F32 => tensor.make_mut::<f32>()?.fill(state.initial as f32),
        DataType::F64 => tensor.make_mut::<f64>()?.fill(state.initial),
        DataType::I64 => tensor.make_mut::<i64>()?.fill(state.initial as i64),
        got => return Err(OnnxModelError::Unsupported { got, value: state.name.clone() }),
    }
    Ok(tensor)
}
