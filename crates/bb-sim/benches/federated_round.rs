//! A round of the fixed workload through nodes, envelopes and the aggregator, beside a plain loop over the same models.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bb_learn::data::{Dataset, InMemoryConfig, InMemoryData, digits};
use bb_learn::models::{reference_logreg, reference_mlp};
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
use bb_sim::{DigitsWorkload, Federation};
use bytesandbrains::TensorMap;
use bytesandbrains::cpu::{CpuBackend, CpuConfig};
use bytesandbrains::runtime::contracts::Detached;
use bytesandbrains::runtime::{Answer, Component, DataSource, Evaluation, Fit, Model};
use criterion::{Criterion, criterion_group, criterion_main};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CASES: [(&str, usize); 4] = [("logreg", 10), ("logreg", 100), ("mlp", 10), ("mlp", 100)];

/// A model with its data, called directly: no node, no message.
struct Learner {
    host: Detached,
    model: OnnxModel,
    data: InMemoryData,
}

/// What a federation does, as a loop.
struct PlainLoop {
    learners: Vec<Learner>,
    judge: Learner,
    global: TensorMap,
    rows: usize,
}

impl Learner {
    fn new(config: &OnnxModelConfig, compute: &CpuConfig, rows: Dataset) -> Outcome<Self> {
        Ok(Self {
            host: Detached::new(0).with("compute", CpuBackend::new(compute)?),
            model: OnnxModel::new(config)?,
            data: InMemoryData::new(&InMemoryConfig::new(rows))?,
        })
    }

    fn train(&mut self, global: &TensorMap) -> Outcome<TensorMap> {
        let mut cx = self.host.context();
        now(self.model.load_parameters(&mut cx, global)?)?;
        now(self.model.fit(&mut cx, &mut self.data, Fit { epochs: 1, batch: 32 })?)?;
        now(self.model.parameters(&mut cx)?)
    }

    fn evaluate(&mut self, global: &TensorMap) -> Outcome<Evaluation> {
        let mut cx = self.host.context();
        now(self.model.load_parameters(&mut cx, global)?)?;
        now(self.model.evaluate(&mut cx, &mut self.data)?)
    }
}

impl PlainLoop {
    fn new(config: &OnnxModelConfig, clients: usize) -> Outcome<Self> {
        let digits = digits::load()?;
        let rows = digits.train.len();
        let compute = CpuConfig::default();
        let learner = |rows| Learner::new(config, &compute, rows);
        let parts = digits.train.contiguous(clients)?;
        Ok(Self {
            learners: parts.into_iter().map(learner).collect::<Result<_, _>>()?,
            judge: learner(digits.test)?,
            global: config.parameters().clone(),
            rows,
        })
    }

    fn round(&mut self) -> Outcome<Evaluation> {
        let mut sums: Vec<Vec<f32>> =
            self.global.iter().map(|(_, tensor)| vec![0.0; tensor.element_count()]).collect();
        for learner in &mut self.learners {
            let update = learner.train(&self.global)?;
            let weight = learner.data.len() as f32 / self.rows as f32;
            for (sum, (_, tensor)) in sums.iter_mut().zip(update.iter()) {
                for (sum, number) in sum.iter_mut().zip(tensor.as_slice::<f32>()?) {
                    *sum += weight * number;
                }
            }
        }
        for (sum, (_, tensor)) in sums.iter().zip(self.global.iter_mut()) {
            tensor.make_mut::<f32>()?.copy_from_slice(sum);
        }
        self.judge.evaluate(&self.global)
    }
}

fn now<T>(answer: Answer<T>) -> Outcome<T> {
    answer.into_now().ok_or_else(|| "an answer that comes later".into())
}

fn config(model: &str) -> Outcome<OnnxModelConfig> {
    let model = if model == "mlp" { reference_mlp()? } else { reference_logreg()? };
    Ok(OnnxModelConfig::new(model, OnnxModelOptions::default())?)
}

fn federation(model: &str, clients: usize) -> Outcome<Federation> {
    Ok(DigitsWorkload::new(config(model)?, clients).build()?)
}

fn bench(criterion: &mut Criterion) {
    for (model, clients) in CASES {
        if let Err(error) = measure(criterion, model, clients) {
            eprintln!("{model}, {clients} clients: {error}");
        }
    }
}

fn measure(criterion: &mut Criterion, model: &str, clients: usize) -> Outcome<()> {
    let (mut nodes, mut plain) = (federation(model, clients)?, PlainLoop::new(&config(model)?, clients)?);
    let mut group = criterion.benchmark_group(format!("round_{model}_{clients}"));
    group.sample_size(20);
    group.bench_function("nodes", |bencher| bencher.iter(|| black_box(nodes.round().is_ok())));
    group.bench_function("plain loop", |bencher| bencher.iter(|| black_box(plain.round().is_ok())));
    group.finish();
    ratio(model, clients)
}

/// Prints the ratio of the two from rounds in which they take turns, and what the first round took.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn ratio(model: &str, clients: usize) -> Outcome<()> {
    let (mut nodes, mut plain) = (federation(model, clients)?, PlainLoop::new(&config(model)?, clients)?);
    let (mut through_nodes, mut in_loop) = (Vec::new(), Vec::new());
    for _ in 0..41 {
        let begin = Instant::now();
        nodes.round()?;
        let between = Instant::now();
        plain.round()?;
        through_nodes.push(between.duration_since(begin).as_secs_f64() * 1e3);
        in_loop.push(between.elapsed().as_secs_f64() * 1e3);
    }
    let (first, _) = (through_nodes.remove(0), in_loop.remove(0));
    let (nodes, plain) = (median(through_nodes), median(in_loop));
    eprintln!(
        "{model}, {clients} clients: through nodes {nodes:.3} ms, plain loop {plain:.3} ms: {:.2} x; first round {first:.2} ms",
        nodes / plain
    );
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

criterion_group!(benches, bench);
criterion_main!(benches);
