//! A process that trains and snapshots, killed at any moment, goes on from the newest snapshot that it acknowledged and
//! ends with the model of a run that nobody killed.
//!
//! `BB_KILLS=200 cargo test -p bb-learn --test a_killed_process_resumes` is the full test; without the variable ten
//! kills do.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use bb_compiler::Compiler;
use bb_cpu::CpuBackend;
use bb_dsl::{DataSourceSlot, Fit, Graph, ModelSlot, Module};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::models::reference_logreg;
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
use bb_runtime::snapshot::SnapshotStore;
use bb_runtime::{Config, EngineStep, Node, PeerId, Time, install};

/// Where a child keeps its snapshots; only a child has it.
const FOLDER: &str = "BB_KILL_FOLDER";
const KILLS: &str = "BB_KILLS";
const EPOCHS: u64 = 12;

struct Train {
    model: ModelSlot,
    data: DataSourceSlot,
}

impl Module for Train {
    fn name(&self) -> &str {
        "Train"
    }
    fn body(&self, g: &mut Graph) {
        let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
        g.output("rows", rows);
    }
}

fn node() -> Node {
    let module = Train { model: ModelSlot::named("model"), data: DataSourceSlot::named("data") };
    let model = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_data_source::<InMemoryData>("data")
        .compile(module.build().unwrap())
        .unwrap_or_else(|error| panic!("{error}"));
    let learner = OnnxModelConfig::new(reference_logreg().unwrap(), OnnxModelOptions::default()).unwrap();
    let config = Config::new()
        .with("model", learner)
        .with("data", InMemoryConfig::new(digits::load().unwrap().train).shuffled(7));
    install(PeerId::from_u64(1), [], model, &["Train"], config).unwrap()
}

/// Trains to the end, snapshot after snapshot; says on standard error what is acknowledged.
fn be_child(folder: &str) {
    let mut store = SnapshotStore::open(folder, 3).unwrap();
    let mut node = node();
    if let Some(found) = store.newest().unwrap() {
        node.restore(found.snapshot).unwrap();
    }
    eprintln!("resumed {}", node.engine_stats().executions_completed);
    while node.engine_stats().executions_completed < EPOCHS {
        node.invoke("Train", &[]).unwrap();
        let steps = node.step(Time::ZERO);
        assert!(steps.iter().any(|step| matches!(step, EngineStep::ExecutionFinished { .. })), "{steps:?}");
        store.save(&node.snapshot().unwrap()).unwrap();
        eprintln!("saved {}", node.engine_stats().executions_completed);
    }
    eprintln!("digest {}", node.state_digest().unwrap());
}

fn start(folder: &Path) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_ends_with_the_model_of_one_that_was_not", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    (child, lines)
}

/// Reads what a child says, at most `most` lines; the digest, if it came to its end.
fn listen(lines: &mut BufReader<ChildStderr>, most: u64, acknowledged: &mut u64) -> Option<String> {
    let known = lines.lines().map_while(Result::ok).filter_map(|line| {
        let (what, value) = line.split_once(' ')?;
        Some((what.to_owned(), value.to_owned()))
    });
    for (what, value) in
        known.filter(|(what, _)| ["resumed", "saved", "digest"].contains(&what.as_str())).take(most as usize)
    {
        match what.as_str() {
            "resumed" => assert!(value.parse::<u64>().unwrap() >= *acknowledged, "{value} < {acknowledged}"),
            "saved" => *acknowledged = value.parse().unwrap(),
            _ => return Some(value),
        }
    }
    None
}

#[test]
fn a_killed_process_ends_with_the_model_of_one_that_was_not() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return be_child(&folder);
    }
    let wanted: u64 = std::env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    let run = |kills: &mut u64, random: &mut u64| {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        loop {
            let (mut child, mut lines) = start(folder.path());
            // SplitMix64's step; the moment within an epoch is the machine's own.
            *random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let most = if *kills < wanted { 1 + (*random >> 33) % 4 } else { u64::MAX };
            let digest = listen(&mut lines, most, &mut acknowledged);
            if digest.is_none() {
                child.kill().unwrap();
                *kills += 1;
            }
            child.wait().unwrap();
            if let Some(digest) = digest {
                return digest;
            }
        }
    };
    let expected = run(&mut { wanted }, &mut 0);
    let (mut kills, mut random) = (0, 1);
    while kills < wanted {
        assert_eq!(run(&mut kills, &mut random), expected, "after {kills} kills");
    }
}
