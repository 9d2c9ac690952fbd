//! Runs cases on a backend, each guarded against panic and hang, and counts.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bb_runtime::onnx::{ModelProto, TensorProto, type_proto};
use bb_runtime::{Backend, BackendError, BackendGraph, Tensor};
use prost::Message;

use crate::archive::{Case, DataSet};
use crate::compare::compare;

/// How long one case may take.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A panic, or no end within the time limit.
    Crashed(String),
    /// As wanted.
    Passed,
    /// Refused: an op, a type or a kind of value that the backend does not take.
    Unsupported(String),
    /// Another result than the wanted one, or an error where there should be a result.
    Wrong(String),
}

/// How all cases ended, by name.
#[derive(Clone, Debug, Default)]
pub struct Report {
    backend: String,
    cases: Vec<(Case, String, Outcome)>,
}

/// Runs all cases on the backends that `make` makes, one for each worker.
pub fn run<B: Backend>(
    backend: &str,
    cases: Vec<Case>,
    make: impl Fn() -> B + Send + Sync + 'static,
) -> Report {
    let make = Arc::new(make);
    let mut report = Report { backend: backend.to_owned(), cases: Vec::with_capacity(cases.len()) };
    let mut worker = Worker::start(Arc::clone(&make));
    for case in cases {
        let case = Arc::new(case);
        let outcome = match worker.run(Arc::clone(&case)) {
            Some(outcome) => outcome,
            None => {
                worker = Worker::start(Arc::clone(&make));
                Outcome::Crashed(format!("no end within {TIME_LIMIT:?}"))
            }
        };
        let op = op_of(&case.model);
        report.cases.push((Case::clone(&case), op, outcome));
    }
    report
}

/// A thread that runs case after case; a case that hangs costs the thread, not the run.
struct Worker {
    jobs: SyncSender<Arc<Case>>,
    outcomes: Receiver<Outcome>,
}

impl Worker {
    fn start<B: Backend>(make: Arc<impl Fn() -> B + Send + Sync + 'static>) -> Self {
        let (jobs, incoming) = sync_channel::<Arc<Case>>(1);
        let (outgoing, outcomes) = sync_channel(1);
        std::thread::spawn(move || {
            let backend = make();
            for case in incoming {
                let outcome = catch_unwind(AssertUnwindSafe(|| run_case(&backend, &case)));
                let outcome = outcome.unwrap_or_else(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                    Outcome::Crashed(text.unwrap_or_else(|| "a panic".to_owned()))
                });
                if outgoing.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { jobs, outcomes }
    }

    fn run(&self, case: Arc<Case>) -> Option<Outcome> {
        self.jobs.send(case).ok()?;
        self.outcomes.recv_timeout(TIME_LIMIT).ok()
    }
}

/// The op that a case is about: its only node's, or the ops of all nodes.
fn op_of(model: &[u8]) -> String {
    let graph = ModelProto::decode(model).ok().and_then(|model| model.graph).unwrap_or_default();
    match graph.node.as_slice() {
        [node] => node.op_type().to_owned(),
        _ => "(several)".to_owned(),
    }
}

fn run_case(backend: &impl Backend, case: &Case) -> Outcome {
    match try_case(backend, case) {
        Ok(()) => Outcome::Passed,
        Err(outcome) => outcome,
    }
}

fn try_case(backend: &impl Backend, case: &Case) -> Result<(), Outcome> {
    let model =
        ModelProto::decode(case.model.as_slice()).map_err(|error| Outcome::Wrong(error.to_string()))?;
    let graph = BackendGraph::from_model(&model).map_err(refusal)?;
    if !model.functions.is_empty() {
        return Err(Outcome::Unsupported("functions of the model".to_owned()));
    }
    for value in graph.graph().input.iter().chain(&graph.graph().output) {
        match value.r#type.as_ref().and_then(|held| held.value.as_ref()) {
            Some(type_proto::Value::TensorType(_)) => {}
            _ => return Err(Outcome::Unsupported("values that are no tensors".to_owned())),
        }
    }
    let mut ready = backend.prepare(&graph).map_err(refusal)?;
    for DataSet { inputs, outputs } in case.sets.values() {
        let inputs = inputs.values().map(|bytes| tensor(bytes)).collect::<Result<Vec<_>, _>>()?;
        // Twice, the second time into what the first one gave, and with shapes that are known by then.
        let mut got = ready.run(&inputs).map_err(refusal)?;
        for again in [false, true] {
            if again {
                ready.run_into(&inputs, &mut got).map_err(refusal)?;
            }
            if got.len() != outputs.len() {
                return Err(Outcome::Wrong(format!("{} outputs instead of {}", got.len(), outputs.len())));
            }
            for (place, bytes) in outputs {
                let want = tensor(bytes)?;
                compare(&got[*place], &want).map_err(|difference| {
                    let run = if again { "second" } else { "first" };
                    Outcome::Wrong(format!("output {place}, {run} run: {difference}"))
                })?;
            }
        }
    }
    Ok(())
}

fn tensor(bytes: &[u8]) -> Result<Tensor, Outcome> {
    let proto = TensorProto::decode(bytes).map_err(|error| Outcome::Wrong(error.to_string()))?;
    Tensor::from_onnx(&proto).map_err(|error| Outcome::Unsupported(error.to_string()))
}

fn refusal(error: BackendError) -> Outcome {
    match error {
        BackendError::Unsupported { .. } | BackendError::Type { .. } => {
            Outcome::Unsupported(error.to_string())
        }
        other => Outcome::Wrong(other.to_string()),
    }
}

impl Report {
    /// Names of the cases that passed, in order.
    pub fn passed(&self) -> Vec<&str> {
        let passed = self.cases.iter().filter(|(_, _, outcome)| *outcome == Outcome::Passed);
        passed.map(|(case, _, _)| case.name.as_str()).collect()
    }

    /// Cases with their outcomes, by name.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, &Outcome)> {
        self.cases.iter().map(|(case, _, outcome)| (case.name.as_str(), outcome))
    }

    /// How many cases ended as `wanted` says.
    pub fn count(&self, wanted: impl Fn(&Case, &Outcome) -> bool) -> usize {
        self.cases.iter().filter(|(case, _, outcome)| wanted(case, outcome)).count()
    }
}

impl fmt::Display for Report {
    /// The line of totals, then one line an op: passed, of how many, unsupported, wrong, crashed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.cases.len();
        let core = self.count(|case, _| case.core);
        writeln!(
            f,
            "{}: passed {} of {all}, core {} of {core}, unsupported {}, wrong {}, crashed {}",
            self.backend,
            self.passed().len(),
            self.count(|case, outcome| case.core && *outcome == Outcome::Passed),
            self.count(|_, outcome| matches!(outcome, Outcome::Unsupported(_))),
            self.count(|_, outcome| matches!(outcome, Outcome::Wrong(_))),
            self.count(|_, outcome| matches!(outcome, Outcome::Crashed(_))),
        )?;
        let mut ops: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
        for (_, op, outcome) in &self.cases {
            let row = ops.entry(op).or_default();
            row[0] += 1;
            row[match outcome {
                Outcome::Passed => 1,
                Outcome::Unsupported(_) => 2,
                Outcome::Wrong(_) => 3,
                Outcome::Crashed(_) => 4,
            }] += 1;
        }
        writeln!(
            f,
            "{:32} {:>6} {:>6} {:>12} {:>6} {:>8}",
            "op", "cases", "passed", "unsupported", "wrong", "crashed"
        )?;
        for (op, [all, passed, unsupported, wrong, crashed]) in ops {
            writeln!(f, "{op:32} {all:>6} {passed:>6} {unsupported:>12} {wrong:>6} {crashed:>8}")?;
        }
        Ok(())
    }
}
