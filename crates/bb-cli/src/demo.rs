//! `bb demo`: nodes in this process train a model on handwritten digits that are spread over them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bb_learn::data::digits::{ROWS, TRAIN_ROWS};
use bb_sim::{DigitsWorkload, Partition, Round};
use bytesandbrains::dsl::Fit;
use bytesandbrains::{TensorMap, Value};

use crate::args::{DemoArguments, Rule};
use crate::chart;
use crate::error::CliError;
use crate::model::{self, Chosen};
use crate::report::{Reporter, RoundReport, grouped};

/// Passes over its rows that a client makes in a round, where the workload is not the fixed one.
const EPOCHS: u32 = 5;
/// Rows a batch.
const BATCH: u32 = 32;

/// Trains, reports, writes model and chart.
pub(crate) fn run(arguments: &DemoArguments) -> Result<(), CliError> {
    let chosen = model::choose(arguments)?;
    let out = arguments.out.as_path();
    fs::create_dir_all(out).map_err(|source| CliError::Write { path: out.to_owned(), source })?;
    let rounds = arguments.round_count();
    let reporter = Reporter::new(rounds, arguments.json);
    reporter.line(&header(arguments, &chosen))?;

    let began = now();
    let mut federation = workload(arguments, &chosen).build()?;
    let mut reports = Vec::with_capacity(rounds as usize);
    let mut global = TensorMap::new();
    let mut before = began;
    for number in 1..=rounds {
        let round = federation.round().map_err(|error| match &arguments.model {
            Some(path) if number == 1 => {
                CliError::ModelFile { path: path.clone(), reason: error.to_string() }
            }
            _ => error.into(),
        })?;
        let after = now();
        let report = summary(number, &round, after.duration_since(before))?;
        before = after;
        reporter.round(&report)?;
        reports.push(report);
        if let Some(Value::Tensors(parameters)) = round.output("global") {
            global = parameters.clone();
        }
    }
    reporter.finish();

    let accuracy = reports.last().map_or(0.0, |report| report.accuracy);
    let (onnx, svg) = (out.join("digits.onnx"), out.join("digits.svg"));
    write(&onnx, &chosen.config.export_bytes(&global)?)?;
    let title = format!("{} · final accuracy {accuracy:.4}", conditions(arguments, &chosen));
    chart::draw(&svg, &title, &reports).map_err(|source| CliError::Chart { path: svg.clone(), source })?;
    let seconds = before.duration_since(began).as_secs_f64();
    reporter.line(&format!(
        "final accuracy {accuracy:.4} · {rounds} rounds in {seconds:.2} s · {} · {}",
        onnx.display(),
        svg.display()
    ))?;
    Ok(reporter.line(&format!("reproduce: {}", command(arguments)))?)
}

fn workload(arguments: &DemoArguments, chosen: &Chosen) -> DigitsWorkload {
    let workload = DigitsWorkload::new(chosen.config.clone(), arguments.clients).seed(arguments.seed);
    if arguments.reference.is_some() {
        return workload.partition(Partition::Contiguous).fit(Fit::epochs(1).batch(BATCH));
    }
    workload
        .partition(Partition::Dirichlet { alpha: arguments.alpha })
        .fit(Fit::epochs(EPOCHS).batch(BATCH))
        .shuffled()
}

fn summary(number: u32, round: &Round, elapsed: Duration) -> Result<RoundReport, CliError> {
    let float = |output: &'static str| match round.output(output) {
        Some(Value::F64(value)) => Ok(*value),
        _ => Err(CliError::MissingOutput { round: number, output }),
    };
    Ok(RoundReport {
        round: number,
        loss: float("loss")?,
        accuracy: float("accuracy")?,
        bytes_up: round.bytes_up,
        bytes_down: round.bytes_down,
        elapsed,
    })
}

/// `10 clients · digits 1,437 train / 360 test, Dirichlet α 0.5 · mlp 64-64-10, 4,810 parameters · FedAvg · seed 0`.
fn header(arguments: &DemoArguments, chosen: &Chosen) -> String {
    format!(
        "{} client{} · digits {} train / {} test, {} · {}, {} parameters · FedAvg · seed {}",
        grouped(arguments.clients),
        if arguments.clients == 1 { "" } else { "s" },
        grouped(TRAIN_ROWS),
        grouped(ROWS - TRAIN_ROWS),
        spread(arguments),
        chosen.name,
        grouped(chosen.config.parameter_count()),
        arguments.seed,
    )
}

fn conditions(arguments: &DemoArguments, chosen: &Chosen) -> String {
    format!("{} clients · {} · {}", grouped(arguments.clients), spread(arguments), chosen.name)
}

fn spread(arguments: &DemoArguments) -> String {
    match arguments.reference {
        Some(_) => "cut in order".to_owned(),
        None => format!("Dirichlet α {}", arguments.alpha),
    }
}

/// The command that does the same again.
fn command(arguments: &DemoArguments) -> String {
    let (clients, rounds) = (arguments.clients, arguments.round_count());
    match (arguments.reference, &arguments.model) {
        (Some(reference), _) => {
            let name = format!("{reference:?}").to_lowercase();
            format!("bb demo --reference {name} --clients {clients} --rounds {rounds}")
        }
        (None, model) => {
            let model = model.as_ref().map(|path| format!(" --model {}", path.display())).unwrap_or_default();
            let (alpha, seed) = (arguments.alpha, arguments.seed);
            let rule = match arguments.optimizer {
                Rule::Sgd => String::new(),
                rule => format!(" --optimizer {rule:?}").to_lowercase(),
            };
            let rate = arguments.rate.map(|rate| format!(" --rate {rate}")).unwrap_or_default();
            format!(
                "bb demo --clients {clients} --rounds {rounds} --alpha {alpha} --seed {seed}{model}{rule}{rate}"
            )
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    fs::write(path, bytes).map_err(|source| CliError::Write { path: path.to_owned(), source })
}

#[expect(clippy::disallowed_methods, reason = "a report for people; nothing that is trained depends on it")]
fn now() -> Instant {
    Instant::now()
}
