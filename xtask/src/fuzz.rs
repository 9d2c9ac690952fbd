//! `fuzz`: runs every fuzz target for its share of the time, two at a time, and prints what each did.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::step::{self, StepError};

/// Targets that run at one time.
const AT_ONCE: usize = 2;

/// Longest input, by target; the others take libFuzzer's default.
const LONGEST: [(&str, usize); 4] = [("envelope", 8192), ("model", 4096), ("node", 2048), ("value", 8192)];

/// What one target did.
struct Outcome {
    target: String,
    executions: u64,
    crashes: Vec<PathBuf>,
    /// Why it did not run to its end, if it did not.
    failure: Option<String>,
}

/// Runs all targets, or those named, for `seconds` of wall time in all.
pub(crate) fn run(root: &Path, seconds: u64, only: &[String]) -> Result<(), StepError> {
    let folder = root.join("tests/fuzz");
    step::output(cargo_fuzz(&folder, &["--version"])).map_err(|_| {
        StepError::Findings(vec!["cargo-fuzz is not installed: cargo install cargo-fuzz --locked".to_owned()])
    })?;
    let mut targets = targets(&folder)?;
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        let known = targets.join(", ");
        return Err(StepError::Findings(vec![format!(
            "no target is called `{unknown}`; there are: {known}"
        )]));
    }
    targets.retain(|target| only.is_empty() || only.contains(target));
    eprintln!("building {} targets …", targets.len());
    step::run(cargo_fuzz(&folder, &["build", "--fuzz-dir", ".", "--sanitizer", "none"]))?;

    let waves = targets.len().div_ceil(AT_ONCE) as u64;
    let each = (seconds / waves).max(1);
    let outcomes = Mutex::new(Vec::new());
    let queue = Mutex::new(targets.iter().rev().cloned().collect::<Vec<_>>());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    eprintln!("{target}: {each} s …");
                    let outcome = one(&folder, target, each);
                    eprintln!("{}", line(&outcome));
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    report(&outcomes)
}

/// The names of the targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>, StepError> {
    let listed = step::output(cargo_fuzz(folder, &["list", "--fuzz-dir", "."]))?;
    Ok(listed.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

fn one(folder: &Path, target: String, seconds: u64) -> Outcome {
    let before = artifacts(folder, &target);
    // What is found goes into a corpus of its own, so that the committed one changes by hand only.
    let found = folder.join("target/corpus").join(&target);
    let seeds = folder.join("corpus").join(&target);
    let longest = LONGEST.iter().find(|(name, _)| *name == target).map(|(_, bytes)| *bytes);
    let mut command = cargo_fuzz(folder, &["run", "--fuzz-dir", ".", "--sanitizer", "none", &target]);
    command.arg(&found);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command.args(["--", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.args(longest.map(|bytes| format!("-max_len={bytes}")));
    let ran = fs::create_dir_all(&found).and_then(|()| command.stdout(Stdio::null()).output());
    let said = ran.as_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let said = said.unwrap_or_default();
    let failure = match &ran {
        Err(error) => Some(error.to_string()),
        Ok(output) if output.status.success() => None,
        Ok(_) => Some(
            said.lines()
                .find(|line| line.contains("panicked") || line.contains("ERROR"))
                .map_or_else(|| "it ended before its time".to_owned(), str::to_owned),
        ),
    };
    let mut crashes = artifacts(folder, &target);
    crashes.retain(|path| !before.contains(path));
    Outcome { executions: executions(&said), target, crashes, failure }
}

/// How many inputs were tried, as libFuzzer says at its end.
fn executions(said: &str) -> u64 {
    let number = |line: &str| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok();
    said.lines().find_map(number).unwrap_or(0)
}

/// The inputs that crashed a target.
fn artifacts(folder: &Path, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.join("artifacts").join(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn report(outcomes: &[Outcome]) -> Result<(), StepError> {
    let executions: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
    let crashes: usize = outcomes.iter().map(|outcome| outcome.crashes.len()).sum();
    for outcome in outcomes {
        println!("{}", line(outcome));
    }
    println!("all {} targets: {executions} executions, {crashes} crashes", outcomes.len());
    let mut findings = Vec::new();
    for Outcome { target, crashes, failure, .. } in outcomes {
        findings.extend(failure.iter().map(|failure| format!("{target}: {failure}")));
        findings.extend(crashes.iter().map(|crash| {
            format!(
                "{target}: RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none {target} {}",
                crash.display()
            )
        }));
    }
    if findings.is_empty() { Ok(()) } else { Err(StepError::Findings(findings)) }
}

fn line(outcome: &Outcome) -> String {
    let Outcome { target, executions, crashes, .. } = outcome;
    format!("{target:10} {executions:>12} executions, {} crashes", crashes.len())
}

/// A cargo-fuzz command; the fuzzer's instrumentation needs flags that a stable compiler takes only so.
fn cargo_fuzz(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = step::cargo(folder, &["fuzz"]);
    command.args(arguments).env("RUSTC_BOOTSTRAP", "1");
    command
}
