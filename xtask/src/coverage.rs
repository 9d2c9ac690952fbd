//! `coverage`: which lines of the parts that must not err the tests run, as a table.

use std::path::Path;

use crate::step::{self, StepError};

/// What must be covered: the name of each part, and where its files are.
const PARTS: [(&str, &[&str]); 3] = [
    ("bb-framework", &["crates/bb-framework/src/"]),
    ("codecs", &["crates/bb-ir/src/wire_codec", "crates/bb-runtime/src/envelope/"]),
    ("snapshot", &["crates/bb-runtime/src/snapshot/"]),
];

/// Per cent of the lines of each part that must be run.
const LEAST: f64 = 95.0;

/// Whose tests run them.
const PACKAGES: [&str; 4] = ["bb-framework", "bb-ir", "bb-runtime", "bb-compiler"];

/// Tests that run the same lines so often that to watch them takes minutes.
const TOO_LONG: [&str; 1] = ["every_flipped_bit_and_every_truncation_is_refused"];

/// A file's lines that tests ran, and those there are.
#[derive(Clone, Copy, Default)]
struct Lines {
    run: u32,
    all: u32,
}

/// Runs the tests under cargo-tarpaulin, prints the table, and fails where too little is run.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    step::output(step::cargo(root, &["tarpaulin", "--version"])).map_err(|_| {
        StepError::Findings(vec![
            "cargo-tarpaulin is not installed: cargo install cargo-tarpaulin --locked".to_owned(),
        ])
    })?;
    let mut command = step::cargo(root, &["tarpaulin", "--engine", "ptrace", "--profile", "coverage"]);
    command.args(["--skip-clean", "--lib", "--tests", "--timeout", "600", "--out", "Stdout"]);
    command.arg("--target-dir").arg(target_folder(root)?);
    for package in PACKAGES {
        command.args(["--packages", package]);
    }
    for (_, places) in PARTS {
        for place in places {
            command.arg("--include-files").arg(format!("{place}*"));
        }
    }
    command.arg("--").args(TOO_LONG.iter().flat_map(|test| ["--skip", test]));
    let said = step::output_or_show(command)?;
    let files: Vec<(&str, Lines)> = said.lines().filter_map(file).collect();
    let mut findings = Vec::new();
    for (part, places) in PARTS {
        let mut sum = Lines::default();
        for &(path, lines) in &files {
            if places.iter().any(|place| path.starts_with(place)) {
                println!("{path:60} {:>5} of {:>5} {:6.1} %", lines.run, lines.all, lines.share());
                sum = Lines { run: sum.run + lines.run, all: sum.all + lines.all };
            }
        }
        println!("{part:60} {:>5} of {:>5} {:6.1} %\n", sum.run, sum.all, sum.share());
        if sum.all == 0 || sum.share() < LEAST {
            findings.push(format!("{part}: {:.1} % of its lines are run, {LEAST} must be", sum.share()));
        }
    }
    for line in said.lines().filter(|line| is_uncovered(line)) {
        println!("not run: {}", line.trim_start_matches('|').trim());
    }
    if findings.is_empty() { Ok(()) } else { Err(StepError::Findings(findings)) }
}

/// A folder of its own beside the other builds, whose flags are others.
fn target_folder(root: &Path) -> Result<std::path::PathBuf, StepError> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root).no_deps().exec();
    match metadata {
        Ok(metadata) => Ok(metadata.target_directory.join("coverage").into()),
        Err(error) => Err(StepError::Findings(vec![error.to_string()])),
    }
}

impl Lines {
    fn share(self) -> f64 {
        100.0 * f64::from(self.run) / f64::from(self.all.max(1))
    }
}

/// `|| crates/…/budget.rs: 55/57 +0.00%`
fn file(line: &str) -> Option<(&str, Lines)> {
    let (path, rest) = line.strip_prefix("|| ")?.split_once(": ")?;
    let (run, all) = rest.split_whitespace().next()?.split_once('/')?;
    path.ends_with(".rs").then_some(())?;
    Some((path, Lines { run: run.parse().ok()?, all: all.parse().ok()? }))
}

/// `|| crates/…/budget.rs: 17, 20-22`
fn is_uncovered(line: &str) -> bool {
    let path = line.strip_prefix("|| ").and_then(|line| line.split_once(": "));
    path.is_some_and(|(path, lines)| path.ends_with(".rs") && !lines.contains('/'))
}
