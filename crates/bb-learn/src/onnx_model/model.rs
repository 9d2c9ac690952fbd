//! The component.

use bb_runtime::onnx::ModelProto;
use bb_runtime::{
    Answer, Batch, Component, ComponentError, DataSource, Dependency, Evaluation, Fit, FitReport, Model,
    OpContext, Outputs, Role, StateReader, StateWriter, Tensor, TensorMap,
};

use super::feed::Feed;
use super::graphs::Purpose;
use super::parameters::{add_scaled, check, number};
use super::prepared::Prepared;
use super::{OnnxModelConfig, OnnxModelError, Schedule};

/// The dependency that runs the graphs.
pub(super) const COMPUTE: &str = "compute";

/// The most rows that are evaluated at once.
const EVALUATION_ROWS: usize = 1_024;

/// Any ONNX model, trained on the backend bound as `compute`.
///
/// Its parameters are initializers that the loss depends on, and the running moments of batch normalization. A training
/// step — forward, loss, gradients, clipping, optimizer — is one graph, prepared for each number of rows that a batch has;
/// steps with a number of rows seen before allocate nothing but what the backend does.
///
/// What the optimizer remembers, the count of steps and the seed of what Dropout drops are the component's own: they are
/// saved with it, and stay as they are when parameters are loaded. The seed is drawn from the node's generator in the first
/// step that drops anything.
///
/// ```
/// use bb_cpu::{CpuBackend, CpuConfig};
/// use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
/// use bb_learn::models::reference_mlp;
/// use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{Component, Fit, Model};
///
/// let config = OnnxModelConfig::new(reference_mlp()?, OnnxModelOptions::default())?;
/// let mut model = OnnxModel::new(&config)?;
/// let mut data = InMemoryData::new(&InMemoryConfig::new(digits::load()?.train))?;
/// let mut node = Detached::new(0).with("compute", CpuBackend::new(&CpuConfig::default())?);
///
/// let fit = Fit { epochs: 20, batch: 32 };
/// let report = model.fit(&mut node.context(), &mut data, fit)?.into_now().ok_or("later")?;
/// assert_eq!(report.rows, 1437);
/// let evaluation = model.evaluate(&mut node.context(), &mut data)?.into_now().ok_or("later")?;
/// assert!(evaluation.accuracy > 0.95, "{evaluation:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OnnxModel {
    config: OnnxModelConfig,
    /// Holds the parameters.
    feed: Feed,
    prepared: Prepared,
    /// Training steps made.
    steps: u64,
    /// What the masks of all steps follow from.
    seed: Option<u64>,
}

bb_runtime::component!(OnnxModel: Model);

impl OnnxModel {
    /// The model with these parameters: see [`OnnxModelConfig::export`].
    ///
    /// # Errors
    /// Names, types or shapes that are not the parameters'.
    pub fn export(&self, parameters: &TensorMap) -> Result<ModelProto, OnnxModelError> {
        self.config.export(parameters)
    }

    /// Its configuration.
    pub fn config(&self) -> &OnnxModelConfig {
        &self.config
    }

    /// One step on a batch; its loss before the step. The step writes loss and parameters over `next`, which holds the
    /// parameters before it afterwards.
    fn step(
        &mut self,
        cx: &mut OpContext<'_>,
        batch: &Batch,
        next: &mut Outputs,
    ) -> Result<f64, ComponentError> {
        let run = self.prepared.find(cx, &self.config.0.graphs, (Purpose::Step, Some(batch.rows)))?;
        let options = self.config.options();
        let rate = options.learning_rate * options.schedule.factor(self.steps);
        if options.schedule != Schedule::Constant {
            self.feed.set_rate(rate)?;
        }
        if !run.masks().is_empty() {
            let seed = *self.seed.get_or_insert_with(|| cx.random());
            self.feed.draw(run.masks(), seed, self.steps)?;
        }
        self.feed.set_batch(batch)?;
        let done = run.run_into(self.feed.for_step(), next);
        self.feed.release();
        done?;
        let loss = number(&next[0]);
        if !loss.is_finite() {
            return Err(OnnxModelError::Diverged { learning_rate: rate, loss }.into());
        }
        let mut made = next[1..].iter_mut();
        for (held, next) in self.feed.parameters_mut().iter_mut().zip(made.by_ref()) {
            std::mem::swap(held, next);
        }
        for (held, next) in self.feed.state_mut().iter_mut().zip(made) {
            std::mem::swap(held, next);
        }
        self.steps += 1;
        Ok(loss)
    }

    /// The mean loss over a batch and the labels hit.
    fn score(&mut self, cx: &mut OpContext<'_>, batch: &Batch) -> Result<Score, ComponentError> {
        let graphs = &self.config.0.graphs;
        let run = self.prepared.find(cx, graphs, (Purpose::Evaluate, Some(batch.rows)))?;
        self.feed.set_batch(batch)?;
        let labels = self.feed.label_count();
        let done = run.run(self.feed.for_loss());
        self.feed.release();
        let outputs = done?;
        let counts_hits = outputs.len() > 1 + graphs.plan().outputs().len();
        let hits = if counts_hits { number(&outputs[1]) } else { 0.0 };
        Ok(Score { loss: number(&outputs[0]), hits, labels: if counts_hits { labels } else { 0 } })
    }

    fn take_up(&mut self, parameters: &TensorMap) -> Result<(), OnnxModelError> {
        check(self.config.parameters(), parameters)?;
        for (held, (_, given)) in self.feed.parameters_mut().iter_mut().zip(parameters.iter()) {
            *held = given.clone();
        }
        Ok(())
    }

    fn named(&self, tensors: impl IntoIterator<Item = Tensor>) -> TensorMap {
        self.config.parameters().with_tensors(tensors)
    }
}

struct Score {
    loss: f64,
    hits: f64,
    labels: usize,
}

impl Component for OnnxModel {
    const TYPE_NAME: &'static str = "bb_learn::OnnxModel";
    const DEPENDENCIES: &'static [Dependency] = &[Dependency { name: COMPUTE, role: Role::Backend }];
    type Config = OnnxModelConfig;

    fn new(config: &OnnxModelConfig) -> Result<Self, ComponentError> {
        let source = &config.0;
        let feed = Feed::new(source);
        Ok(Self { config: config.clone(), feed, prepared: Prepared::default(), steps: 0, seed: None })
    }

    /// Writes the parameters, the optimizer's state, the number of steps and the seed of the masks.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.tensors(&self.named(self.feed.parameters().iter().cloned()));
        out.tensors(&self.config.0.state.with_tensors(self.feed.state().iter().cloned()));
        out.u64(self.steps);
        out.u64(u64::from(self.seed.is_some()));
        out.u64(self.seed.unwrap_or_default());
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        let (parameters, remembered) = (state.tensors()?, state.tensors()?);
        let (steps, is_seeded, seed) = (state.u64()?, state.u64()?, state.u64()?);
        check(&self.config.0.state, &remembered).map_err(|error| OnnxModelError::State(Box::new(error)))?;
        self.take_up(&parameters)?;
        for (held, (_, given)) in self.feed.state_mut().iter_mut().zip(remembered.iter()) {
            *held = given.clone();
        }
        self.steps = steps;
        self.seed = (is_seeded != 0).then_some(seed);
        Ok(())
    }
}

impl Model for OnnxModel {
    fn forward(
        &mut self,
        cx: &mut OpContext<'_>,
        inputs: &TensorMap,
    ) -> Result<Answer<TensorMap>, ComponentError> {
        let graphs = &self.config.0.graphs;
        let run = self.prepared.find(cx, graphs, (Purpose::Forward, None))?;
        self.feed.set_inputs(inputs)?;
        let done = run.run(self.feed.for_forward()).map(drop);
        self.feed.release();
        done?;
        let names = graphs.plan().outputs().iter().map(String::as_str);
        Ok(Answer::now(names.zip(run.take_outputs()).collect()))
    }

    fn loss(&mut self, cx: &mut OpContext<'_>, batch: &Batch) -> Result<Answer<f64>, ComponentError> {
        Ok(Answer::now(self.score(cx, batch)?.loss))
    }

    /// The gradients of a step on the batch; running moments, which have none, get zeros.
    fn backward(
        &mut self,
        cx: &mut OpContext<'_>,
        batch: &Batch,
    ) -> Result<Answer<TensorMap>, ComponentError> {
        let run = self.prepared.find(cx, &self.config.0.graphs, (Purpose::Gradients, Some(batch.rows)))?;
        if !run.masks().is_empty() {
            let seed = *self.seed.get_or_insert_with(|| cx.random());
            self.feed.draw(run.masks(), seed, self.steps)?;
        }
        self.feed.set_batch(batch)?;
        let done = run.run(self.feed.for_gradients()).map(drop);
        self.feed.release();
        done?;
        let mut gradients = run.take_outputs();
        gradients.remove(0);
        for (_, buffer) in self.config.parameters().iter().skip(gradients.len()) {
            gradients.push(Tensor::zeros(buffer.dtype(), buffer.shape().clone())?);
        }
        Ok(Answer::now(self.named(gradients)))
    }

    fn apply_delta(
        &mut self,
        _: &mut OpContext<'_>,
        delta: &TensorMap,
        scale: f64,
    ) -> Result<Answer<()>, ComponentError> {
        check(self.config.parameters(), delta)?;
        for (parameter, (_, delta)) in self.feed.parameters_mut().iter_mut().zip(delta.iter()) {
            add_scaled(parameter, delta, scale)?;
        }
        Ok(Answer::now(()))
    }

    fn mix(
        &mut self,
        _: &mut OpContext<'_>,
        other: &TensorMap,
        weight: f64,
    ) -> Result<Answer<()>, ComponentError> {
        check(self.config.parameters(), other)?;
        for (parameter, (_, other)) in self.feed.parameters_mut().iter_mut().zip(other.iter()) {
            let own = parameter.clone();
            add_scaled(parameter, &own, -weight)?;
            add_scaled(parameter, other, weight)?;
        }
        Ok(Answer::now(()))
    }

    fn train_step(&mut self, cx: &mut OpContext<'_>, batch: &Batch) -> Result<Answer<f64>, ComponentError> {
        let mut next = self.config.0.spare.take();
        let loss = self.step(cx, batch, &mut next)?;
        self.config.0.spare.put(next);
        Ok(Answer::now(loss))
    }

    fn fit(
        &mut self,
        cx: &mut OpContext<'_>,
        data: &mut dyn DataSource,
        fit: Fit,
    ) -> Result<Answer<FitReport>, ComponentError> {
        for (argument, number) in [("epochs", fit.epochs), ("batch", fit.batch)] {
            if number == 0 {
                return Err(OnnxModelError::Empty { argument }.into());
            }
        }
        let mut next_step = self.config.0.spare.take();
        let mut seen = 0;
        let mut loss = 0.0;
        for _ in 0..fit.epochs {
            begin(cx, data)?;
            while let Some(batch) = next(cx, data, fit.batch as usize)? {
                loss += self.step(cx, &batch, &mut next_step)? * batch.rows as f64;
                seen += batch.rows as u64;
            }
        }
        self.config.0.spare.put(next_step);
        let loss = if seen == 0 { 0.0 } else { loss / seen as f64 };
        Ok(Answer::now(FitReport { rows: seen / u64::from(fit.epochs), loss }))
    }

    /// Mean loss and accuracy; the accuracy is 0 where the loss does not compare with class labels.
    fn evaluate(
        &mut self,
        cx: &mut OpContext<'_>,
        data: &mut dyn DataSource,
    ) -> Result<Answer<Evaluation>, ComponentError> {
        begin(cx, data)?;
        let (mut rows, mut labels) = (0, 0);
        let mut sum = Evaluation::default();
        while let Some(batch) = next(cx, data, EVALUATION_ROWS)? {
            let score = self.score(cx, &batch)?;
            sum.loss += score.loss * batch.rows as f64;
            sum.accuracy += score.hits;
            rows += batch.rows;
            labels += score.labels;
        }
        let mean = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        Ok(Answer::now(Evaluation { loss: mean(sum.loss, rows), accuracy: mean(sum.accuracy, labels) }))
    }

    fn parameters(&mut self, _: &mut OpContext<'_>) -> Result<Answer<TensorMap>, ComponentError> {
        Ok(Answer::now(self.named(self.feed.parameters().iter().cloned())))
    }

    fn load_parameters(
        &mut self,
        _: &mut OpContext<'_>,
        parameters: &TensorMap,
    ) -> Result<Answer<()>, ComponentError> {
        self.take_up(parameters)?;
        Ok(Answer::now(()))
    }
}

fn begin(cx: &mut OpContext<'_>, data: &mut dyn DataSource) -> Result<(), ComponentError> {
    data.reset(cx)?.into_now().ok_or_else(|| OnnxModelError::DataLater.into())
}

fn next(
    cx: &mut OpContext<'_>,
    data: &mut dyn DataSource,
    rows: usize,
) -> Result<Option<Batch>, ComponentError> {
    data.next_batch(cx, rows)?.into_now().ok_or_else(|| OnnxModelError::DataLater.into())
}
