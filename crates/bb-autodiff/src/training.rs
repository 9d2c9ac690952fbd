//! Whole training steps as graphs: parameters and a batch in, loss and new parameters out.

mod choose;
mod finish;
mod layers;
mod update;

use std::collections::BTreeSet;

use bb_ir::onnx::{GraphProto, ModelProto, OperatorSetIdProto, ValueInfoProto};
use bb_ir::{DataType, Shape};
pub use layers::{Layers, Mask};
pub use update::State;

use crate::AutodiffError;
use crate::builder::{Builder, Val};
use crate::expand::{expand_gradients, opset_of};
use crate::facts::Fact;
use crate::objective::{Loss, Objective, attach, correct};
use crate::optimizer::{Clip, LossScale, Optimizer};
use crate::precision::{Precision, mixed};
use crate::recompute::Recompute;
use crate::reverse::{differentiate, lookup};
use choose::{choose, parameter};
use finish::{add_in_place, as_inputs};
use update::Update;

/// What is trained, towards what, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// How far gradients may go.
    pub clip: Option<Clip>,
    /// How batch normalization and dropout behave.
    pub layers: Layers,
    /// What is minimised.
    pub loss: Loss,
    /// By what the loss is multiplied while gradients are made.
    pub loss_scale: LossScale,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// In what precision steps compute.
    pub precision: Precision,
    /// What steps compute again to hold less at a time.
    pub recompute: Recompute,
    /// Which initializers are parameters.
    pub trainable: Trainable,
}

/// Which initializers are parameters; all others keep their values, and cost no backward work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trainable {
    /// Those whose name is one of these; `*` stands for any characters.
    Named(Vec<String>),
    /// All of a float type and of rank 1 or more that a gradient of the loss reaches. (Exporters write the
    /// numbers of formulas — an epsilon, an exponent, a scale — as initializers of rank 0.)
    #[default]
    Reached,
}

/// An initializer that training changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DataType,
    /// Its shape.
    pub shape: Shape,
}

/// A model, what of it is trained, and the graphs that train it.
///
/// Look: [`parameters`](Self::parameters), [`buffers`](Self::buffers), [`state`](Self::state), [`inputs`](Self::inputs),
/// [`label`](Self::label), [`opset`](Self::opset).
/// Make graphs, for any batch size or for one (`batch`, the extent of axis 0, which makes them cheaper to run):
///
/// | graph | inputs | outputs |
/// |---|---|---|
/// | [`step`](Self::step) | parameters, buffers, inputs, label, masks, learning rate (rank 0), state | loss before the step, new parameters, buffers and state |
/// | [`gradients`](Self::gradients) | parameters, buffers, inputs, label, masks | loss, gradients |
/// | [`evaluation`](Self::evaluation) | parameters, buffers, inputs, label | loss, labels hit (`i64`; class labels only), the model's outputs |
/// | [`forward`](Self::forward) | parameters, buffers, inputs | the model's outputs |
///
/// Buffers are the running moments of batch normalization, masks what Dropout keeps (see [`Layers`]), the state is the
/// optimizer's and the loss scale's; a model may have none of them. There is no label where the loss is an output
/// of the model.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// The model, its parameters and buffers being inputs.
    graph: GraphProto,
    opsets: Vec<OperatorSetIdProto>,
    opset: i64,
    options: TrainingOptions,
    parameters: Vec<Parameter>,
    buffers: Vec<Parameter>,
    state: Vec<State>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    label: Option<String>,
}

/// A graph with its interface: what to feed and what comes out, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingGraph {
    /// The graph.
    pub graph: GraphProto,
    /// The version of ONNX's operator set that it is written in.
    pub opset: i64,
    /// The names of its inputs.
    pub inputs: Vec<String>,
    /// The names of its outputs.
    pub outputs: Vec<String>,
    /// What stands in those of its inputs that are masks, in their order.
    pub masks: Vec<Mask>,
    opsets: Vec<OperatorSetIdProto>,
}

/// A graph under construction, with a loss.
struct Open {
    b: Builder,
    objective: Objective,
    masks: Vec<Mask>,
    /// The values of the buffers after a step.
    next_buffers: Vec<Val>,
}

/// What a graph is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Training,
    Use,
}

impl TrainingPlan {
    /// A plan for the main graph of `model`, whose `Gradient` ops are written out: see [`expand_gradients`].
    ///
    /// # Errors
    /// [`AutodiffError::NoGraph`], and those of [`TrainingPlan::new`] and of [`expand_gradients`].
    pub fn of_model(model: &ModelProto, options: &TrainingOptions) -> Result<Self, AutodiffError> {
        let model = expand_gradients(model)?;
        let graph = model.graph.as_ref().ok_or(AutodiffError::NoGraph)?;
        let plan = Self::new(graph, opset_of(&model), options)?;
        Ok(Self { opsets: model.opset_import.clone(), ..plan })
    }

    /// A plan for a graph in ONNX's operator set `opset`.
    ///
    /// # Errors
    /// No output to put the loss on; a name that is not there; an op without a gradient on the way from the loss to a
    /// parameter; nothing to train; an option outside its range.
    pub fn new(graph: &GraphProto, opset: i64, options: &TrainingOptions) -> Result<Self, AutodiffError> {
        options.optimizer.check()?;
        options.clip.map_or(Ok(()), |clip| clip.check())?;
        options.loss_scale.check()?;
        let given: BTreeSet<&str> =
            graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
        let names = |infos: &[ValueInfoProto]| -> Vec<String> {
            infos.iter().filter_map(|info| info.name.clone()).collect()
        };
        let inputs = names(&graph.input).into_iter().filter(|name| !given.contains(name.as_str())).collect();
        let outputs = names(&graph.output);
        let moments = match options.layers {
            Layers::AsWritten => BTreeSet::new(),
            Layers::ByPhase => layers::running_moments(graph),
        };
        let mut builder = Builder::open(graph, opset)?;
        let objective = attach(&mut builder, &outputs, &options.loss)?;
        let chosen = choose(graph, &builder, objective.loss, &options.trainable, &moments)?;
        let parameters = chosen.iter().map(|tensor| parameter(tensor)).collect::<Result<Vec<_>, _>>()?;
        let held = graph.initializer.iter();
        let buffers = held
            .filter(|tensor| moments.contains(tensor.name.as_deref().unwrap_or_default()))
            .map(parameter)
            .collect::<Result<Vec<_>, _>>()?;
        let label = objective.label.map(|label| builder.name(label).to_owned());
        let state = update::state(options, &parameters, builder.dtype(objective.loss)?);
        let changed: Vec<&str> = parameters.iter().chain(&buffers).map(|held| held.name.as_str()).collect();
        Ok(Self {
            graph: as_inputs(graph, &changed),
            opsets: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            opset,
            options: options.clone(),
            parameters,
            buffers,
            state,
            inputs,
            outputs,
            label,
        })
    }

    /// What is trained, in the order of the graph's initializers.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What steps make anew without a gradient: the running means and variances of batch normalization, in the order
    /// of the graph's initializers.
    pub fn buffers(&self) -> &[Parameter] {
        &self.buffers
    }

    /// What a step remembers for the next one beside parameters and buffers.
    pub fn state(&self) -> &[State] {
        &self.state
    }

    /// The model's inputs that are fed with each batch.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The input that the loss compares with, if it needs one beside the model's own inputs.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The version of ONNX's operator set that the graphs are written in.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// A whole training step: loss, gradients, clipping, optimizer.
    ///
    /// With plain stochastic gradient descent the sweep starts from `-rate` rather than from 1, so that what arrives at a
    /// parameter is what is added to it, and a matrix product that ends there adds to the parameter in the same op.
    ///
    /// # Errors
    /// Those of [`Gradients::of`](crate::Gradients::of), [`AutodiffError::FixedBatch`], and
    /// [`AutodiffError::Undetermined`] for a Dropout of which the shape is not known without a batch size.
    pub fn step(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let Open { mut b, objective, masks, next_buffers } = self.open(batch, Phase::Training)?;
        let name = b.fresh("rate");
        let rate = b.define(&name, Fact::new(Some(b.dtype(objective.loss)?), Some(Vec::new())));
        let state = update::define(&mut b, &self.state);
        let parameters = self.values(&b, &self.parameters)?;
        let mut outputs = vec![objective.loss];
        let TrainingOptions { clip, loss_scale, optimizer, .. } = self.options;
        if clip.is_none() && loss_scale == LossScale::None && optimizer == Optimizer::Sgd {
            let seed = b.neg(rate);
            let changes = differentiate(&mut b, objective.loss, &parameters, Some(seed))?;
            for (&parameter, &change) in parameters.iter().zip(&changes) {
                outputs.push(add_in_place(&mut b, parameter, change));
            }
            outputs.extend(next_buffers);
        } else {
            let scale = update::scale(&mut b, &self.options, objective.loss, &state)?;
            let gradients = differentiate(&mut b, objective.loss, &parameters, scale)?;
            let buffers = self.values(&b, &self.buffers)?.into_iter().zip(next_buffers).collect();
            let update = Update {
                b: &mut b,
                options: &self.options,
                rate,
                scale,
                parameters: &parameters,
                buffers,
                state: &state,
            };
            outputs.extend(update.apply(gradients)?);
        }
        let mut inputs = self.fed(&b, &objective, &masks)?;
        inputs.push(rate);
        inputs.extend(state);
        self.close(b, batch, masks, &inputs, &outputs)
    }

    /// The loss and its gradient with respect to every parameter, as a step sees them.
    ///
    /// # Errors
    /// Those of [`TrainingPlan::step`].
    pub fn gradients(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let Open { mut b, objective, masks, .. } = self.open(batch, Phase::Training)?;
        let parameters = self.values(&b, &self.parameters)?;
        let gradients = differentiate(&mut b, objective.loss, &parameters, None)?;
        let mut outputs = vec![objective.loss];
        outputs.extend(gradients);
        let inputs = self.fed(&b, &objective, &masks)?;
        self.close(b, batch, masks, &inputs, &outputs)
    }

    /// The loss, how many labels were hit, and the model's outputs.
    ///
    /// # Errors
    /// [`AutodiffError::FixedBatch`].
    pub fn evaluation(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let Open { mut b, objective, masks, .. } = self.open(batch, Phase::Use)?;
        let mut outputs = vec![objective.loss];
        if let (Some(scores), Some(label)) = (objective.scores, objective.label) {
            outputs.push(correct(&mut b, scores, label));
        }
        for name in &self.outputs {
            outputs.push(lookup(&b, name)?);
        }
        let inputs = self.fed(&b, &objective, &masks)?;
        self.close(b, batch, masks, &inputs, &outputs)
    }

    /// The model itself.
    ///
    /// # Errors
    /// [`AutodiffError::FixedBatch`].
    pub fn forward(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let mut graph = self.graph_for(batch)?;
        if self.options.layers == Layers::ByPhase {
            graph = layers::for_use(graph, self.opset);
        }
        let b = Builder::open(&graph, self.opset)?;
        let outputs = self.outputs.iter().map(|name| lookup(&b, name)).collect::<Result<Vec<_>, _>>()?;
        let inputs = self.held_and_fed(&b)?;
        self.close(b, batch, Vec::new(), &inputs, &outputs)
    }

    fn open(&self, batch: Option<usize>, phase: Phase) -> Result<Open, AutodiffError> {
        let mut graph = self.graph_for(batch)?;
        let (mut masks, mut next_buffers) = (Vec::new(), Vec::new());
        match (self.options.layers, phase) {
            (Layers::AsWritten, _) => {}
            (Layers::ByPhase, Phase::Use) => graph = layers::for_use(graph, self.opset),
            (Layers::ByPhase, Phase::Training) => {
                let moments = self.buffers.iter().map(|buffer| buffer.name.clone()).collect();
                let made = layers::for_training(graph, self.opset, &moments)?;
                next_buffers = self
                    .buffers
                    .iter()
                    .map(|buffer| made.next.get(&buffer.name).unwrap_or(&buffer.name).clone())
                    .collect();
                (graph, masks) = (made.graph, made.masks);
            }
        }
        if phase == Phase::Training {
            graph = mixed(graph, self.opset, self.options.precision)?;
        }
        let mut b = Builder::open(&graph, self.opset)?;
        let objective = attach(&mut b, &self.outputs, &self.options.loss)?;
        let next_buffers = next_buffers.iter().map(|name| lookup(&b, name)).collect::<Result<_, _>>()?;
        Ok(Open { b, objective, masks, next_buffers })
    }

    fn values(&self, b: &Builder, held: &[Parameter]) -> Result<Vec<Val>, AutodiffError> {
        held.iter().map(|parameter| lookup(b, &parameter.name)).collect()
    }

    /// Parameters, buffers and the model's inputs.
    fn held_and_fed(&self, b: &Builder) -> Result<Vec<Val>, AutodiffError> {
        let mut inputs = self.values(b, &self.parameters)?;
        inputs.extend(self.values(b, &self.buffers)?);
        for name in &self.inputs {
            inputs.push(lookup(b, name)?);
        }
        Ok(inputs)
    }

    /// Parameters, buffers, the model's inputs, the label and the masks.
    fn fed(&self, b: &Builder, objective: &Objective, masks: &[Mask]) -> Result<Vec<Val>, AutodiffError> {
        let mut inputs = self.held_and_fed(b)?;
        inputs.extend(objective.label);
        for mask in masks {
            inputs.push(lookup(b, &mask.input)?);
        }
        Ok(inputs)
    }
}

impl TrainingGraph {
    /// The operator sets that the graph is written in.
    pub fn opset_import(&self) -> Vec<OperatorSetIdProto> {
        self.opsets.clone()
    }

    /// The graph as a model, for ONNX tools.
    pub fn to_model(&self) -> ModelProto {
        ModelProto {
            ir_version: Some(10),
            opset_import: self.opsets.clone(),
            producer_name: Some("bb-autodiff".to_owned()),
            graph: Some(self.graph.clone()),
            ..ModelProto::default()
        }
    }
}
