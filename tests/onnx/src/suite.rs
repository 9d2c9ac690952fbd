//! Runs cases on a backend, each in a process that it may bring down or keep busy for ever, and counts.
//!
//! The process is this package's program with `--worker`: it reads numbers of cases and answers each with a line. One
//! that ends early or is silent for [`TIME_LIMIT`] has crashed on its case, and the rest goes to a new one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use bb_runtime::Backend;
use bb_runtime::onnx::ModelProto;
use prost::Message;
use thiserror::Error;

use crate::archive::{self, ArchiveError, Case};
use crate::{case, folder};

/// How long one case may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A panic, an abort, or no end within the time limit.
    Crashed(String),
    /// As wanted.
    Passed,
    /// Refused: an op, a type or a kind of value that is not taken.
    Unsupported {
        /// Why.
        reason: String,
        /// When.
        stage: Stage,
    },
    /// Another result than the wanted one, or an error where there should be a result.
    Wrong(String),
}

/// When a case was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before a backend was asked: its values cannot be tensors of ours, nor constants of a graph.
    Values,
    /// When its graph was prepared.
    Preparation,
    /// Only when it ran.
    Run,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Values, Self::Preparation, Self::Run];

    /// The word for it in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Preparation => "preparation",
            Self::Run => "run",
        }
    }
}

/// Why the suite cannot be run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// The cases cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A worker cannot be started or spoken to.
    #[error("a worker of {backend} cannot be used: {source}")]
    Worker {
        /// The backend.
        backend: String,
        /// Why.
        source: io::Error,
    },
}

/// Which cases, and who runs them.
#[derive(Clone, Debug)]
pub struct Suite {
    /// This package's program.
    pub program: PathBuf,
    /// The backend, as `--worker` takes it.
    pub backend: String,
    /// A folder of cases; `None`: the node cases.
    pub folder: Option<PathBuf>,
}

/// How all cases ended, by name.
#[derive(Clone, Debug, Default)]
pub struct Report {
    backend: String,
    cases: Vec<(Case, String, Outcome)>,
}

/// The cases of a folder, or the node cases.
///
/// # Errors
/// [`ArchiveError`].
pub fn cases(folder: Option<&Path>) -> Result<Vec<Case>, ArchiveError> {
    match folder {
        Some(folder) => folder::cases(folder),
        None => archive::cases(),
    }
}

impl Suite {
    /// Runs all cases.
    ///
    /// # Errors
    /// [`SuiteError`]; a case that fails is no error.
    pub fn run(&self) -> Result<Report, SuiteError> {
        let failed = |source| SuiteError::Worker { backend: self.backend.clone(), source };
        let mut report = Report { backend: self.backend.clone(), cases: Vec::new() };
        let mut worker: Option<Worker> = None;
        for (at, case) in cases(self.folder.as_deref())?.into_iter().enumerate() {
            let mut held = match worker.take() {
                Some(held) => held,
                None => Worker::start(self).map_err(failed)?,
            };
            let outcome = held.run(at).map_err(failed)?;
            match &outcome {
                Outcome::Crashed(_) => held.stop().map_err(failed)?,
                _ => worker = Some(held),
            }
            let op = op_of(&case.model);
            report.cases.push((case, op, outcome));
        }
        Ok(report)
    }
}

/// Answers numbers of cases on standard input with lines on standard output.
///
/// # Errors
/// [`SuiteError`].
pub fn work(name: &str, backend: &dyn Backend, folder: Option<&Path>) -> Result<(), SuiteError> {
    let failed = |source| SuiteError::Worker { backend: name.to_owned(), source };
    let cases = cases(folder)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(failed)?;
        let case = line.parse().ok().and_then(|at: usize| cases.get(at));
        let case = case.ok_or_else(|| failed(io::Error::other(format!("no case has number `{line}`"))))?;
        let (word, text) = match case::run(backend, case) {
            Outcome::Crashed(text) => ("crashed", text),
            Outcome::Passed => ("passed", String::new()),
            Outcome::Unsupported { stage, reason } => (stage.word(), reason),
            Outcome::Wrong(text) => ("wrong", text),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{word} {}", text.replace(['\n', '\r'], " "))
            .and_then(|()| out.flush())
            .map_err(failed)?;
    }
    Ok(())
}

/// A process that runs case after case.
struct Worker {
    child: Child,
    jobs: ChildStdin,
    lines: Receiver<io::Result<String>>,
}

impl Worker {
    fn start(suite: &Suite) -> io::Result<Self> {
        let mut command = Command::new(&suite.program);
        command.arg("--worker").arg(&suite.backend);
        if let Some(folder) = &suite.folder {
            command.arg("--folder").arg(folder);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let missing = || io::Error::other("a worker has no pipes");
        let jobs = child.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let (outgoing, lines) = sync_channel(1);
        std::thread::spawn(move || {
            for line in answers.lines() {
                if outgoing.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, jobs, lines })
    }

    fn run(&mut self, at: usize) -> io::Result<Outcome> {
        if let Err(error) = writeln!(self.jobs, "{at}").and_then(|()| self.jobs.flush()) {
            return Ok(Outcome::Crashed(format!("the worker is gone: {error}")));
        }
        let line = match self.lines.recv_timeout(TIME_LIMIT) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Outcome::Crashed(format!("no end within {TIME_LIMIT:?}")));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Outcome::Crashed(format!("the process ended: {}", self.child.wait()?)));
            }
        };
        let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
        if let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.word() == word) {
            return Ok(Outcome::Unsupported { reason: text.to_owned(), stage });
        }
        match word {
            "crashed" => Ok(Outcome::Crashed(text.to_owned())),
            "passed" => Ok(Outcome::Passed),
            "wrong" => Ok(Outcome::Wrong(text.to_owned())),
            _ => Err(io::Error::other(format!("a worker said `{line}`"))),
        }
    }

    /// Ends a process that may still be busy.
    fn stop(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
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

impl Report {
    /// Names of the cases that passed, in order.
    pub fn passed(&self) -> Vec<&str> {
        let passed = self.cases.iter().filter(|(_, _, outcome)| *outcome == Outcome::Passed);
        passed.map(|(case, _, _)| case.name.as_str()).collect()
    }

    /// Names of the cases that were refused, in order, each with when.
    pub fn refused(&self) -> Vec<(&str, Stage)> {
        let refused = self.cases.iter().filter_map(|(case, _, outcome)| match outcome {
            Outcome::Unsupported { stage, .. } => Some((case.name.as_str(), *stage)),
            _ => None,
        });
        refused.collect()
    }

    /// Cases with their outcomes, by name.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, &Outcome)> {
        self.cases.iter().map(|(case, _, outcome)| (case.name.as_str(), outcome))
    }

    /// Cases that crashed, or that were wrong and are not among `wrong`, by name.
    pub fn bad(&self, wrong: &[&str]) -> Vec<(&str, &Outcome)> {
        let bad = self.outcomes().filter(|(name, outcome)| match outcome {
            Outcome::Crashed(_) => true,
            Outcome::Wrong(_) => !wrong.contains(name),
            Outcome::Passed | Outcome::Unsupported { .. } => false,
        });
        bad.collect()
    }

    /// How many cases ended as `wanted` says.
    pub fn count(&self, wanted: impl Fn(&Case, &Outcome) -> bool) -> usize {
        self.cases.iter().filter(|(case, _, outcome)| wanted(case, outcome)).count()
    }

    /// The line of totals.
    pub fn totals(&self) -> String {
        format!(
            "{}: passed {} of {}, core {} of {}, unsupported {}, wrong {}, crashed {}",
            self.backend,
            self.passed().len(),
            self.cases.len(),
            self.count(|case, outcome| case.core && *outcome == Outcome::Passed),
            self.count(|case, _| case.core),
            self.count(|_, outcome| matches!(outcome, Outcome::Unsupported { .. })),
            self.count(|_, outcome| matches!(outcome, Outcome::Wrong(_))),
            self.count(|_, outcome| matches!(outcome, Outcome::Crashed(_))),
        )
    }
}

impl fmt::Display for Report {
    /// The line of totals, then one line an op: passed, of how many, unsupported, wrong, crashed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.totals())?;
        let mut ops: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
        for (_, op, outcome) in &self.cases {
            let row = ops.entry(op).or_default();
            row[0] += 1;
            row[match outcome {
                Outcome::Passed => 1,
                Outcome::Unsupported { .. } => 2,
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
