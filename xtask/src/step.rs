//! A check: what it is called, what it does, and the command that mends it when it is red.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use thiserror::Error;

/// One check.
pub(crate) struct Step {
    /// Its name, as `--skip` takes it.
    pub(crate) name: &'static str,
    /// What to type when it is red.
    pub(crate) mend: &'static str,
    /// What it does; on success a line about it, or nothing.
    pub(crate) action: Box<dyn FnOnce() -> Result<Option<String>, StepError>>,
}

/// Why a check is red.
#[derive(Debug, Error)]
pub(crate) enum StepError {
    /// A tool could not be started.
    #[error("`{command}` could not be started: {source}")]
    Start { command: String, source: std::io::Error },
    /// A tool found something.
    #[error("`{command}` failed")]
    Failed { command: String },
    /// Findings of our own.
    #[error("{} finding(s)\n{}", .0.len(), .0.join("\n"))]
    Findings(Vec<String>),
    /// A check's name that is none.
    #[error("no step is called `{name}`; there are: {}", known.join(", "))]
    UnknownStep { name: String, known: Vec<&'static str> },
    /// One check of several is red.
    #[error("{name}: {source}\n  mend it: {mend}")]
    Red { name: &'static str, mend: &'static str, source: Box<Self> },
}

/// Runs the steps in order and stops at the first red one.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<(), StepError> {
    let count = steps.len();
    let all = Stopwatch::start();
    for (index, Step { name, mend, action }) in steps.into_iter().enumerate() {
        eprintln!("[{}/{count}] {name} …", index + 1);
        let watch = Stopwatch::start();
        match action() {
            Ok(said) => {
                let said = said.map(|line| format!(": {line}")).unwrap_or_default();
                eprintln!("[{}/{count}] {name} ok, {:.1} s{said}", index + 1, watch.seconds());
            }
            Err(source) => return Err(StepError::Red { name, mend, source: Box::new(source) }),
        }
    }
    eprintln!("all {count} ok, {:.1} s", all.seconds());
    Ok(())
}

impl Step {
    /// A check that is one cargo command.
    pub(crate) fn cargo(name: &'static str, mend: &'static str, root: &Path, arguments: &[&str]) -> Self {
        let command = cargo(root, arguments);
        Self { name, mend, action: Box::new(move || run(command).map(|()| None)) }
    }
}

/// The code generator; a package of its own, because what it is made of takes minutes to build.
pub(crate) fn codegen(root: &Path, check: bool) -> Step {
    let mut command = cargo(root, &["run", "--quiet", "--package", "xtask-codegen", "--"]);
    if check {
        command.arg("--check");
    }
    Step {
        name: "codegen",
        mend: "cargo xtask codegen",
        action: Box::new(move || run(command).map(|()| None)),
    }
}

/// The simulator, whose runs are many enough to be worth an optimized build.
pub(crate) fn simulate(root: &Path, is_optimized: bool, arguments: &[String]) -> Command {
    let mut command = cargo(root, &["run", "--quiet", "--package", "bb-sim", "--bin", "simulate"]);
    if is_optimized {
        command.arg("--release");
    }
    command.arg("--").args(arguments);
    command
}

/// A cargo command in `root`.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root).args(arguments);
    command
}

/// Runs a command with our own output, and fails as it does.
pub(crate) fn run(mut command: Command) -> Result<(), StepError> {
    let text = text(&command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(StepError::Failed { command: text }),
        Err(source) => Err(StepError::Start { command: text, source }),
    }
}

/// Runs a command and gives its standard output.
pub(crate) fn output(command: Command) -> Result<String, StepError> {
    said(command, |_| ())
}

/// [`output`]; what a command says that fails is shown.
pub(crate) fn output_or_show(command: Command) -> Result<String, StepError> {
    said(command, |output| {
        for said in [&output.stdout, &output.stderr] {
            eprint!("{}", String::from_utf8_lossy(said));
        }
    })
}

fn said(mut command: Command, failed: impl FnOnce(&Output)) -> Result<String, StepError> {
    let text = text(&command);
    match command.output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            failed(&output);
            Err(StepError::Failed { command: text })
        }
        Err(source) => Err(StepError::Start { command: text, source }),
    }
}

/// A command as one would type it.
fn text(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut text = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a tool for people: they want to know how long it took")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
