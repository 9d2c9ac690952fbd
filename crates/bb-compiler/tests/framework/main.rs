//! The framework's own ops, from recording to running: what each gives, when it waits, and what absence means.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod bootstrap;
mod flow;
mod shared;
mod sources;

use bb_compiler::Compiler;
use bb_dsl::{Graph, Module};
use bb_runtime::{
    CompiledModel, Config, EngineStep, ExecId, Node, NodeConfig, NodeSnapshot, Outcome, PeerId, Time, Value,
    install,
};

/// A module whose body is a closure.
struct Program<F>(F);

impl<F: Fn(&mut Graph)> Module for Program<F> {
    fn name(&self) -> &str {
        "P"
    }
    fn body(&self, g: &mut Graph) {
        self.0(g);
    }
}

fn compiled(body: impl Fn(&mut Graph)) -> CompiledModel {
    let program = Program(body).build().unwrap_or_else(|error| panic!("{error}"));
    Compiler::new().compile(program).unwrap_or_else(|error| panic!("{error}"))
}

/// A node that runs what the closure records.
fn node(body: impl Fn(&mut Graph)) -> Node {
    node_with(NodeConfig::default(), body)
}

fn node_with(limits: NodeConfig, body: impl Fn(&mut Graph)) -> Node {
    let config = Config::new().node(limits).seed(7);
    // Through bytes, so that every op survives the ONNX form.
    let model = CompiledModel::decode(&compiled(body).encode()).unwrap();
    install(PeerId::from_u64(1), [], model, &["P"], config).unwrap_or_else(|error| panic!("{error}"))
}

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

/// Steps until there is nothing to do at `now`; before each step a node that is not very busy is saved and goes on
/// from its bytes.
fn settle(node: &mut Node, now: Time) -> Vec<EngineStep> {
    let mut all = Vec::new();
    loop {
        if node.engine_stats().executions < 20 {
            let (bytes, digest) = (node.snapshot().unwrap().encode(), node.state_digest().unwrap());
            node.restore(NodeSnapshot::decode(bytes).unwrap()).unwrap();
            assert_eq!(node.state_digest().unwrap(), digest);
        }
        let steps = node.step(now);
        if steps.is_empty() {
            return all;
        }
        all.extend(steps);
    }
}

/// Steps until there is nothing to do at `now`, for components that do not save the answers that they owe.
fn settle_in_place(node: &mut Node, now: Time) -> Vec<EngineStep> {
    let mut all = Vec::new();
    loop {
        let steps = node.step(now);
        if steps.is_empty() {
            return all;
        }
        all.extend(steps);
    }
}

/// Invokes and settles; the execution's outputs if it completed.
fn run(node: &mut Node, inputs: &[(&str, Value)], now: Time) -> Vec<(String, Value)> {
    let id = invoke(node, inputs);
    let steps = settle(node, now);
    assert!(matches!(outcome(&steps, id), Some(Outcome::Completed)), "{steps:?}");
    events(&steps).into_iter().filter(|(of, ..)| *of == id).map(|(_, name, value)| (name, value)).collect()
}

fn invoke(node: &mut Node, inputs: &[(&str, Value)]) -> ExecId {
    let encoded: Vec<(&str, Vec<u8>)> = inputs.iter().map(|(name, value)| (*name, value.encode())).collect();
    let borrowed: Vec<(&str, &[u8])> =
        encoded.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    node.invoke("P", &borrowed).unwrap()
}

fn events(steps: &[EngineStep]) -> Vec<(ExecId, String, Value)> {
    let event = |step: &EngineStep| match step {
        EngineStep::AppEvent { exec_id, output, value, .. } => {
            Some((*exec_id, output.to_string(), value.clone()))
        }
        _ => None,
    };
    steps.iter().filter_map(event).collect()
}

/// The values of all events of a name.
fn values(steps: &[EngineStep], output: &str) -> Vec<Value> {
    events(steps).into_iter().filter(|(_, name, _)| name == output).map(|(.., value)| value).collect()
}

/// How an execution ended, at most once.
fn outcome(steps: &[EngineStep], id: ExecId) -> Option<Outcome> {
    let mut ends = steps.iter().filter_map(|step| match step {
        EngineStep::ExecutionFinished { exec_id, outcome } if *exec_id == id => Some(outcome.clone()),
        _ => None,
    });
    let first = ends.next();
    assert!(ends.next().is_none(), "it ended twice");
    first
}

fn failure(steps: &[EngineStep], id: ExecId) -> String {
    match outcome(steps, id) {
        Some(Outcome::Failed(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Nothing is left of any execution.
fn assert_idle(node: &Node) {
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.frames, stats.values_held, stats.pending_async), (0, 0, 0, 0));
    assert_eq!(stats.frontier, 0);
}
