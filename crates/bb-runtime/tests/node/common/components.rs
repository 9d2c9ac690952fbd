//! Components that do as they are told.

use std::sync::{Arc, Mutex};

use bb_runtime::contracts::BackendError;
use bb_runtime::{
    Aggregator, Answer, Backend, BackendGraph, Batch, Completion, Component, ComponentError, DataSource,
    Dependency, Evaluation, Executable, Fit, FitReport, Meta, Model, OpContext, OpId, Outputs, PeerId,
    PeerSelector, Role, StateReader, StateWriter, Tensor, TensorMap,
};

type Answered<T> = Result<Answer<T>, ComponentError>;

macro_rules! stateless {
    () => {
        fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
            Ok(())
        }
        fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
            Ok(())
        }
    };
}

/// The parameters of a one-weight model.
pub(crate) fn weight(w: f32) -> TensorMap {
    [("w", Tensor::scalar(w))].into_iter().collect()
}

pub(crate) fn weight_of(tensors: &TensorMap) -> f32 {
    tensors.find("w").expect("there is a weight").as_slice::<f32>().expect("it is f32")[0]
}

/// What a [`Scripted`] model answers when it is asked for its parameters.
#[derive(Clone, Default)]
pub(crate) enum Script {
    /// What it has.
    #[default]
    Now,
    /// An error.
    Fail,
    /// A panic.
    Panic,
    /// What it has, but it cannot load what was saved.
    Unloadable,
    /// What it has, but it cannot be saved.
    Unsaveable,
    /// Later, and what is owed is not saved.
    Forget(Arc<Mutex<Vec<Completion<TensorMap>>>>),
    /// Later; whoever holds the list has the right to answer.
    Later(Arc<Mutex<Vec<Completion<TensorMap>>>>),
}

/// A model of one weight.
pub(crate) struct Scripted {
    script: Script,
    parameters: TensorMap,
}

impl Component for Scripted {
    const TYPE_NAME: &'static str = "test::Scripted";
    type Config = Script;
    fn default_config() -> Option<Script> {
        Some(Script::Now)
    }
    fn new(script: &Script) -> Result<Self, ComponentError> {
        Ok(Self { script: script.clone(), parameters: weight(1.0) })
    }
    /// Writes the parameters, and the answers that are owed.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.tensors(&self.parameters);
        match &self.script {
            Script::Later(held) => {
                let held = held.lock().expect("nobody panics");
                out.u64(held.len() as u64);
                held.iter().for_each(|completion| out.u64(completion.token()));
            }
            Script::Unsaveable => return Err(ComponentError::other("told not to be saved")),
            _ => {}
        }
        Ok(())
    }
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        self.parameters = state.tensors()?;
        match &self.script {
            Script::Later(held) => {
                for _ in 0..state.u64()? {
                    let token = state.u64()?;
                    held.lock().expect("nobody panics").push(state.completion(token)?);
                }
            }
            Script::Unloadable => return Err(ComponentError::other("told not to load")),
            _ => {}
        }
        Ok(())
    }
}

impl Model for Scripted {
    fn forward(&mut self, _: &mut OpContext<'_>, inputs: &TensorMap) -> Answered<TensorMap> {
        Ok(Answer::now(inputs.clone()))
    }
    fn loss(&mut self, _: &mut OpContext<'_>, batch: &Batch) -> Answered<f64> {
        Ok(Answer::now(batch.rows as f64))
    }
    fn backward(&mut self, _: &mut OpContext<'_>, batch: &Batch) -> Answered<TensorMap> {
        Ok(Answer::now(batch.tensors.clone()))
    }
    fn mix(&mut self, _: &mut OpContext<'_>, other: &TensorMap, weight_of_other: f64) -> Answered<()> {
        let share = weight_of_other as f32;
        let mixed = (1.0 - share) * weight_of(&self.parameters) + share * weight_of(other);
        self.parameters = weight(mixed);
        Ok(Answer::now(()))
    }
    fn apply_delta(&mut self, _: &mut OpContext<'_>, delta: &TensorMap, scale: f64) -> Answered<()> {
        self.parameters = weight(weight_of(&self.parameters) + weight_of(delta) * scale as f32);
        Ok(Answer::now(()))
    }
    fn train_step(&mut self, _: &mut OpContext<'_>, batch: &Batch) -> Answered<f64> {
        Ok(Answer::now(batch.rows as f64))
    }
    fn fit(&mut self, cx: &mut OpContext<'_>, data: &mut dyn DataSource, fit: Fit) -> Answered<FitReport> {
        let mut rows = 0;
        while let Some(batch) = data.next_batch(cx, fit.batch as usize)?.into_now().flatten() {
            rows += batch.rows as u64;
            self.parameters = weight(weight_of(&self.parameters) + 1.0);
        }
        Ok(Answer::now(FitReport { rows, loss: 0.5 }))
    }
    fn evaluate(&mut self, _: &mut OpContext<'_>, _: &mut dyn DataSource) -> Answered<Evaluation> {
        Ok(Answer::now(Evaluation { loss: 0.25, accuracy: 0.75 }))
    }
    fn parameters(&mut self, cx: &mut OpContext<'_>) -> Answered<TensorMap> {
        match &self.script {
            Script::Now | Script::Unloadable | Script::Unsaveable => Ok(Answer::now(self.parameters.clone())),
            Script::Fail => Err(ComponentError::other("told to fail")),
            Script::Panic => panic!("told to panic"),
            Script::Later(held) | Script::Forget(held) => {
                let (completion, answer) = cx.defer();
                held.lock().expect("nobody panics").push(completion);
                Ok(answer)
            }
        }
    }
    fn load_parameters(&mut self, _: &mut OpContext<'_>, parameters: &TensorMap) -> Answered<()> {
        self.parameters = parameters.clone();
        Ok(Answer::now(()))
    }
}

bb_runtime::component!(Scripted: Model);

/// Three rows, one at a time, a pass.
pub(crate) struct Rows(usize);

impl Component for Rows {
    const TYPE_NAME: &'static str = "test::Rows";
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self(0))
    }
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.u64(self.0 as u64);
        Ok(())
    }
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        self.0 = state.u64()? as usize;
        Ok(())
    }
}

impl DataSource for Rows {
    fn next_batch(&mut self, _: &mut OpContext<'_>, rows: usize) -> Answered<Option<Batch>> {
        self.0 += rows;
        let batch = Batch { tensors: weight(0.0), rows };
        Ok(Answer::now((self.0 <= 3).then_some(batch)))
    }
    fn reset(&mut self, _: &mut OpContext<'_>) -> Answered<()> {
        self.0 = 0;
        Ok(Answer::now(()))
    }
    fn len(&self) -> usize {
        3
    }
}

bb_runtime::component!(Rows: DataSource);

/// A weighted sum that refuses what is not finite.
#[derive(Default)]
pub(crate) struct Sum {
    sum: f64,
    weight: f64,
}

impl Component for Sum {
    const TYPE_NAME: &'static str = "test::Sum";
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self::default())
    }
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.u64(self.sum.to_bits());
        out.u64(self.weight.to_bits());
        Ok(())
    }
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        self.sum = f64::from_bits(state.u64()?);
        self.weight = f64::from_bits(state.u64()?);
        Ok(())
    }
}

impl Aggregator for Sum {
    fn begin(&mut self, _: &mut OpContext<'_>) -> Answered<()> {
        *self = Self::default();
        Ok(Answer::now(()))
    }
    fn contribute(
        &mut self,
        _: &mut OpContext<'_>,
        _: PeerId,
        update: TensorMap,
        meta: Meta,
    ) -> Answered<()> {
        let w = weight_of(&update);
        if !w.is_finite() {
            return Err(ComponentError::other("not finite"));
        }
        self.sum += f64::from(w) * meta.weight;
        self.weight += meta.weight;
        Ok(Answer::now(()))
    }
    fn aggregate(&mut self, _: &mut OpContext<'_>) -> Answered<TensorMap> {
        Ok(Answer::now(weight((self.sum / self.weight) as f32)))
    }
}

bb_runtime::component!(Sum: Aggregator);

/// The peers it was configured with.
pub(crate) struct Fixed(Vec<PeerId>);

impl Component for Fixed {
    const TYPE_NAME: &'static str = "test::Fixed";
    type Config = Vec<PeerId>;
    fn new(peers: &Vec<PeerId>) -> Result<Self, ComponentError> {
        if peers.is_empty() {
            let reason = "give at least one".to_owned();
            return Err(ComponentError::InvalidConfig { field: "peers", reason });
        }
        Ok(Self(peers.clone()))
    }
    stateless!();
}

impl PeerSelector for Fixed {
    fn view(&mut self, _: &mut OpContext<'_>) -> Answered<Vec<PeerId>> {
        Ok(Answer::now(self.0.clone()))
    }
    fn sample(&mut self, cx: &mut OpContext<'_>, count: usize) -> Answered<Vec<PeerId>> {
        let mut left = self.0.clone();
        let mut chosen = Vec::new();
        while chosen.len() < count && !left.is_empty() {
            chosen.push(left.remove(cx.random_below(left.len() as u64) as usize));
        }
        Ok(Answer::now(chosen))
    }
}

bb_runtime::component!(Fixed: PeerSelector);

/// Adds f32 tensors of one shape.
pub(crate) struct Adder;

impl Component for Adder {
    const TYPE_NAME: &'static str = "test::Adder";
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    stateless!();
}

impl Backend for Adder {
    fn supports(&self, op: &OpId) -> bool {
        op.domain().is_onnx() && op.name() == "Add"
    }
    fn prepare(&self, graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
        Ok(Box::new(Prepared(graph.graph().node.len())))
    }
}

/// Adds its two inputs as often as the graph has ops.
struct Prepared(usize);

impl Executable for Prepared {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
        let mut sum = inputs[0].clone();
        for _ in 0..self.0 {
            let addend = inputs[1].as_slice::<f32>()?.to_vec();
            for (sum, addend) in sum.make_mut::<f32>()?.iter_mut().zip(addend) {
                *sum += addend;
            }
        }
        Ok(Outputs::from_iter([sum]))
    }
}

bb_runtime::component!(Adder: Backend);

/// A selector that depends on a backend which it never needs.
pub(crate) struct Needy;

impl Component for Needy {
    const TYPE_NAME: &'static str = "test::Needy";
    const DEPENDENCIES: &'static [Dependency] = &[Dependency { name: "compute", role: Role::Backend }];
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    stateless!();
}

impl PeerSelector for Needy {
    /// One peer if the backend is there and adds.
    fn view(&mut self, cx: &mut OpContext<'_>) -> Answered<Vec<PeerId>> {
        let adds = cx.backend("compute")?.supports(&OpId::new("", "Add"));
        assert!(cx.with_data_source("compute", |_, _| Ok(())).is_err() && cx.backend("other").is_err());
        Ok(Answer::now(if adds { vec![PeerId::from_u64(1)] } else { Vec::new() }))
    }
    fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Answered<Vec<PeerId>> {
        self.view(cx)
    }
}

bb_runtime::component!(Needy: PeerSelector);

/// One peer, after a bootstrap that is done at once.
pub(crate) struct Booted;

impl Component for Booted {
    const TYPE_NAME: &'static str = "test::Booted";
    const HAS_BOOTSTRAP: bool = true;
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    stateless!();
}

impl PeerSelector for Booted {
    fn view(&mut self, _: &mut OpContext<'_>) -> Answered<Vec<PeerId>> {
        Ok(Answer::now(vec![PeerId::from_u64(30)]))
    }
    fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Answered<Vec<PeerId>> {
        self.view(cx)
    }
}

bb_runtime::component!(Booted: PeerSelector);
