//! The engine against the reference model: random programs, branches that are absent, answers that come late or never,
//! failures; each op ran as often, in the same order, on the same values.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bb_ir::program::{Attribute, NodeId, ValueId, domains};
use bb_runtime::{
    Completion, Config, EngineStep, Node, NodeConfig, NodeSnapshot, Outcome, Role, TensorMap, Time, Value,
    ValueType,
};
use proptest::prelude::*;

use crate::common::components::{Script, Scripted, weight};
use crate::common::{ProgramBuilder, RegionBuilder, node_with};
use crate::reference::{Kind, Plan, Planned, Seen, run};

type Held = Arc<Mutex<Vec<Completion<TensorMap>>>>;

/// The plan as a program; what is handed out is named by the number of its value.
fn install(plan: &Plan, how: How) -> (Node, Held) {
    let mut region = RegionBuilder::entry();
    let mut values: Vec<ValueId> =
        (0..plan.inputs.len()).map(|input| region.input(&format!("x{input}"), ValueType::Any)).collect();
    for Planned { kind, reads, after } in &plan.ops {
        if *kind == Kind::Emit {
            region.output(&reads[0].to_string(), values[reads[0]]);
            continue;
        }
        let node = match kind {
            Kind::Any => region.node(domains::SYSCALL, "Any"),
            Kind::Barrier => region.node(domains::SYSCALL, "Barrier"),
            Kind::Bundle => region.node(domains::SYSCALL, "Bundle"),
            Kind::Deferred { .. } => region.node(domains::MODEL, "Parameters").slot("model"),
            Kind::Delay(nanos) => {
                region.node(domains::SYSCALL, "After").attribute("delay_ns", Attribute::Int(*nanos as i64))
            }
            Kind::Fail => region
                .node(domains::SYSCALL, "Limit.Release")
                .attribute("name", Attribute::Str("never acquired".to_owned())),
            Kind::Gate => region.node(domains::SYSCALL, "Gate"),
            Kind::Pass | Kind::Emit => region.node(domains::SYSCALL, "PassThrough"),
            Kind::Quorum(count) => {
                region.node(domains::SYSCALL, "Quorum").attribute("count", Attribute::Int(*count as i64))
            }
            Kind::Tee(_) => region.node(domains::SYSCALL, "Tee"),
        };
        let node = node.inputs(reads.iter().map(|read| values[*read]));
        let node = after.iter().fold(node, |node, before| node.after(NodeId(*before as u32)));
        values.extend(node.many(kind.outputs(reads.len())));
    }
    let model = ProgramBuilder::new().target("P", [region]).bind::<Scripted>("model", Role::Model).build();
    let held = Held::default();
    let limits = NodeConfig::default().with_trace_ops(how.is_traced).with_cycle_op_budget(how.op_budget);
    let config = Config::new().with("model", Script::Later(Arc::clone(&held))).node(limits);
    (node_with(1, &model, "P", config), held)
}

/// How a plan is run on a node.
#[derive(Clone, Copy)]
struct How {
    is_traced: bool,
    op_budget: usize,
    /// After how many steps the host cancels it.
    cancelled_after: Option<usize>,
    /// After how many steps it is saved, and goes on in another node.
    moved_after: Option<usize>,
}

/// Runs the plan on a node, as the reference model does: ready ops, then answers, then time.
fn run_on_a_node(plan: &Plan, how: How) -> Seen {
    let (mut node, mut held) = install(plan, how);
    let encoded: Vec<(String, Vec<u8>)> =
        plan.inputs.iter().enumerate().map(|(index, value)| (format!("x{index}"), value.encode())).collect();
    let given: Vec<(&str, &[u8])> =
        encoded.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let id = node.invoke("P", &given).unwrap();
    let (mut seen, mut now, mut ends) = (Seen::default(), Time::ZERO, 0);
    // Deferred ops, in the order in which they asked.
    let mut asked = VecDeque::new();
    for step in 0_usize.. {
        if how.cancelled_after == Some(step) {
            assert_eq!(node.cancel(id), ends == 0);
        }
        if how.moved_after == Some(step) {
            let saved = NodeSnapshot::decode(node.snapshot().unwrap().encode()).unwrap();
            let (mut other, completions) = install(plan, how);
            other.restore(saved).unwrap();
            assert_eq!(other.state_digest().unwrap(), node.state_digest().unwrap());
            (node, held) = (other, completions);
        }
        let steps = node.step(now);
        for step in &steps {
            match step {
                EngineStep::AsyncSuspended { op, .. } if op.op.name() == "Parameters" => {
                    asked.push_back(op.index as usize);
                }
                EngineStep::OpCompleted { op, .. } if op.op.name() != "AppEmit" => {
                    seen.ran.push(op.index as usize);
                }
                EngineStep::AppEvent { output, value, exec_id, .. } => {
                    assert_eq!(*exec_id, id);
                    seen.emitted.push((output.parse().unwrap(), value.clone()));
                }
                EngineStep::OpFailed { op, .. } => seen.failed = Some(op.index as usize),
                EngineStep::ExecutionFinished { outcome, .. } => {
                    ends += 1;
                    assert_eq!(matches!(outcome, Outcome::Failed(_)), seen.failed.is_some());
                    let is_cancelled = matches!(outcome, Outcome::Cancelled(_));
                    assert!(!is_cancelled || how.cancelled_after.is_some(), "nobody cancelled it");
                }
                _ => {}
            }
        }
        if !steps.is_empty() {
            continue;
        }
        let completions = std::mem::take(&mut *held.lock().unwrap());
        if !completions.is_empty() {
            for completion in completions {
                let op = asked.pop_front().unwrap();
                let is_dropped = plan.ops[op].kind == Kind::Deferred { is_dropped: true };
                if is_dropped { drop(completion) } else { completion.complete(weight(5.0)) }
            }
            continue;
        }
        match node.next_deadline() {
            Some(due) if ends == 0 => now = due,
            _ => break,
        }
    }
    assert_eq!(ends, 1, "an execution ends once");
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.frames, stats.values_held, stats.pending_async), (0, 0, 0, 0));
    assert_eq!((stats.frontier, stats.bytes_in_flight), (0, 0));
    seen
}

/// Numbers that make an op: its kind, what it reads, what it comes after.
type Raw = (u8, Vec<u16>, Vec<u16>);

/// A program of these ops, each of which reads what is there before it; every value is handed out at the end.
fn plan(raw: &[Raw], bools: &[bool], with_failures: bool) -> Plan {
    let mut inputs: Vec<Value> = bools.iter().map(|is_open| Value::Bool(*is_open)).collect();
    inputs.push(Value::I64(7));
    let mut plan = Plan { inputs, ops: Vec::new() };
    for (number, (kind, reads, after)) in raw.iter().enumerate() {
        let known = plan.first_output(plan.ops.len());
        let mut reads: Vec<usize> = reads.iter().map(|read| *read as usize % known).collect();
        let kind = match kind % 16 {
            0 | 1 => Kind::Any,
            2 => Kind::Barrier,
            3 => Kind::Bundle,
            4 => Kind::Deferred { is_dropped: with_failures && reads[0].is_multiple_of(4) },
            5 | 6 => Kind::Delay(1 + reads[0] as u64 % 4),
            7 if with_failures => Kind::Fail,
            8..=10 => Kind::Gate,
            11 => Kind::Quorum(1 + reads[0] % reads.len()),
            12 => Kind::Tee(reads.len()),
            _ => Kind::Pass,
        };
        match kind {
            Kind::Any | Kind::Barrier | Kind::Bundle | Kind::Quorum(_) => {}
            Kind::Deferred { .. } => reads.clear(),
            Kind::Gate => {
                let open = reads.last().copied().unwrap_or(0) % bools.len();
                reads.truncate(1);
                reads.push(open);
            }
            _ => reads.truncate(1),
        }
        let mut after: Vec<usize> = match number {
            0 => Vec::new(),
            _ => after.iter().map(|before| *before as usize % number).collect(),
        };
        after.sort_unstable();
        after.dedup();
        plan.ops.push(Planned { kind, reads, after });
    }
    let count = plan.first_output(plan.ops.len());
    let emit = |value| Planned { kind: Kind::Emit, reads: vec![value], after: Vec::new() };
    plan.ops.extend((0..count).map(emit));
    plan
}

fn raw() -> impl Strategy<Value = Vec<Raw>> {
    let reads = prop::collection::vec(any::<u16>(), 1..5);
    let after = prop::collection::vec(any::<u16>(), 0..3);
    prop::collection::vec((any::<u8>(), reads, after), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_reference_model_does(
        raw in raw(),
        bools in prop::collection::vec(any::<bool>(), 1..4),
        with_failures in any::<bool>(),
        op_budget in 1_usize..12,
    ) {
        let plan = plan(&raw, &bools, with_failures);
        let expected = run(&plan);
        let traced = How { is_traced: true, op_budget: 1_000, cancelled_after: None, moved_after: None };
        prop_assert_eq!(&run_on_a_node(&plan, traced), &expected, "traced: {:?}", plan);
        let untraced = run_on_a_node(&plan, How { is_traced: false, op_budget, ..traced });
        prop_assert_eq!((&untraced.emitted, untraced.failed), (&expected.emitted, expected.failed), "{:?}", plan);
    }

    #[test]
    fn what_is_saved_at_any_step_goes_on_elsewhere_as_if_nothing_had_been(
        raw in raw(),
        bools in prop::collection::vec(any::<bool>(), 1..4),
        op_budget in 1_usize..12,
        steps in 0_usize..12,
    ) {
        // What a component deferred is the component's to save.
        let mut plan = plan(&raw, &bools, true);
        let with_input = |op: &mut Planned| {
            if matches!(op.kind, Kind::Deferred { .. }) {
                (op.kind, op.reads) = (Kind::Delay(2), vec![0]);
            }
        };
        plan.ops.iter_mut().for_each(with_input);
        let expected = run(&plan);
        let how = How { is_traced: true, op_budget, cancelled_after: None, moved_after: Some(steps) };
        prop_assert_eq!(run_on_a_node(&plan, how), expected, "{:?}", plan);
    }

    #[test]
    fn what_is_cancelled_did_what_it_would_have_done_up_to_then(
        raw in raw(),
        bools in prop::collection::vec(any::<bool>(), 1..4),
        op_budget in 1_usize..12,
        steps in 0_usize..12,
    ) {
        let plan = plan(&raw, &bools, true);
        let expected = run(&plan);
        let seen = run_on_a_node(&plan, How { is_traced: true, op_budget, cancelled_after: Some(steps), moved_after: None });
        prop_assert!(expected.ran.starts_with(&seen.ran), "{:?}: {:?} of {:?}", plan, seen, expected);
        prop_assert!(expected.emitted.starts_with(&seen.emitted), "{:?}: {:?} of {:?}", plan, seen, expected);
        prop_assert!(seen.failed.is_none() || seen.failed == expected.failed);
    }
}
