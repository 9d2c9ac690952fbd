//! Random programs that are saved at a random step and go on in a new process, with the same stream of steps.
//!
//! `BB_CUTS=1000 cargo test -p bb-runtime --test node new_process` is the full test; without the variable thirty cuts do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bb_framework::Rng;
use bb_ir::program::{Attribute, domains};
use bb_runtime::{CompiledModel, Config, Node, NodeConfig, NodeSnapshot, Time, Value, ValueType};

use crate::common::{ProgramBuilder, RegionBuilder, node_with};

/// Only a child has it: `seed:steps:folder`.
const CHILD: &str = "BB_CUT_CHILD";
const CUTS: &str = "BB_CUTS";

/// Values handed on, delayed, joined and bundled at random.
fn program(rng: &mut Rng) -> CompiledModel {
    let mut region = RegionBuilder::entry();
    let mut values = vec![region.input("x", ValueType::Any)];
    values.push(region.absent());
    for _ in 0..5 + rng.below(25) {
        let pick = |rng: &mut Rng| values[rng.below(values.len() as u64) as usize];
        let (left, right) = (pick(rng), pick(rng));
        let value = match rng.below(5) {
            0 => {
                let delay = Attribute::Int(rng.below(9) as i64 * 1_000_000);
                region.node(domains::SYSCALL, "After").attribute("delay_ns", delay).input(left).one()
            }
            1 => region.node(domains::SYSCALL, "Any").inputs([left, right]).one(),
            2 => region.node(domains::SYSCALL, "Bundle").inputs([left, right]).one(),
            3 => region.node(domains::SYSCALL, "Barrier").inputs([left, right]).many(2)[0],
            _ => region.pass(left),
        };
        values.push(value);
    }
    let last = values.len() - 1;
    region.output("y", values[last]);
    region.output("z", values[last / 2]);
    ProgramBuilder::new().target("Random", [region]).build()
}

fn node(seed: u64) -> (Node, Rng) {
    let mut rng = Rng::from_u64(seed);
    let model = program(&mut rng);
    let limits = NodeConfig::default().with_cycle_op_budget(1 + rng.below(3) as usize).with_trace_ops(true);
    (node_with(1, &model, "Random", Config::new().node(limits).seed(seed)), rng)
}

/// Steps from `begin` to the end, a millisecond each; what the node said, incarnations aside.
fn run(node: &mut Node, begin: u64) -> String {
    let mut told = String::new();
    for step in begin..begin + 200 {
        let now = Time::ZERO + Duration::from_millis(step);
        told += &format!("{step}: {:?}\n", node.step(now));
    }
    let digest = node.state_digest().unwrap();
    format!("{told}{digest}").replace("incarnation: 2", "incarnation: 1")
}

fn files(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("snapshot"), folder.join("stream"))
}

fn be_child(order: &str) {
    let mut parts = order.splitn(3, ':');
    let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
    let (seed, steps) = (number(), number());
    let (snapshot, stream) = files(Path::new(parts.next().unwrap()));
    let (mut node, _) = node(seed);
    node.restore(NodeSnapshot::decode(std::fs::read(snapshot).unwrap()).unwrap()).unwrap();
    std::fs::write(stream, run(&mut node, steps)).unwrap();
}

#[test]
fn a_random_program_goes_on_in_a_new_process_as_it_would_have() {
    if let Ok(order) = std::env::var(CHILD) {
        return be_child(&order);
    }
    let cuts: u64 = std::env::var(CUTS).map_or(30, |cuts| cuts.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (snapshot, stream) = files(folder.path());
    for seed in 0..cuts {
        let (mut node, mut rng) = node(seed);
        for number in 0..1 + rng.below(3) {
            node.invoke("Random", &[("x", &Value::U64(number).encode())]).unwrap();
        }
        let steps = rng.below(20);
        for step in 0..steps {
            drop(node.step(Time::ZERO + Duration::from_millis(step)));
        }
        std::fs::write(&snapshot, node.snapshot().unwrap().encode()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "new_process::a_random_program_goes_on_in_a_new_process_as_it_would_have"])
            .env(CHILD, format!("{seed}:{steps}:{}", folder.path().display()))
            .output()
            .unwrap();
        assert!(child.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&child.stdout));
        let (got, expected) = (std::fs::read_to_string(&stream).unwrap(), run(&mut node, steps));
        assert!(got == expected, "seed {seed}, cut at {steps}:\n{got}\ninstead of\n{expected}");
        std::fs::remove_file(&stream).unwrap();
    }
}
