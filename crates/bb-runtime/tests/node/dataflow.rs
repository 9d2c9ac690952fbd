//! Which ops run, on what, and in which order.

use bb_ir::program::{Attribute, Graph, NamedValue, NodeId, ValueId, domains};
use bb_runtime::{Config, EngineStep, NodeConfig, OpId, Role, Tensor, Time, Value, ValueType};

use crate::common::components::{Adder, Rows, Scripted, weight, weight_of};
use crate::common::{ProgramBuilder, RegionBuilder, chain, events, node, node_with, outcome, settle};

fn invoke_one(node: &mut bb_runtime::Node, module: &str, value: impl Into<Value>) -> Vec<(String, Value)> {
    let run = node.invoke(module, &[("x", &value.into().encode())]).unwrap();
    let steps = settle(node, Time::ZERO);
    assert!(outcome(&steps, run).is_completed(), "{steps:?}");
    events(&steps, run)
}

#[test]
fn a_chain_hands_its_value_to_the_end() {
    for length in [0, 1, 2, 1_000, 10_000] {
        let mut node = node(1, &chain(length), "Chain");
        assert_eq!(invoke_one(&mut node, "Chain", 7_i64), [("y".to_owned(), Value::I64(7))]);
        let stats = node.engine_stats();
        assert_eq!((stats.executions, stats.frames, stats.values_held), (0, 0, 0));
        assert_eq!(stats.bytes_in_flight, 0);
        assert_eq!(stats.ops_fired, length as u64 + 1);
    }
}

#[test]
fn both_arms_of_a_diamond_run_once() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    let (left, right) = (region.pass(x), region.pass(x));
    let y = region.node(domains::SYSCALL, "Bundle").inputs([left, right]).one();
    region.output("y", y);
    let model = ProgramBuilder::new().target("Diamond", [region]).build();
    let mut node = node(1, &model, "Diamond");
    let out = invoke_one(&mut node, "Diamond", 3_i64);
    assert_eq!(out, [("y".to_owned(), Value::Tuple([Value::I64(3), Value::I64(3)].into()))]);
    assert_eq!(node.engine_stats().ops_fired, 4);
}

#[test]
fn an_op_that_reads_one_value_twice_runs_once_each_time_in_a_chain_of_eighteen() {
    let mut region = RegionBuilder::entry();
    let mut value = region.input("x", ValueType::Any);
    for _ in 0..18 {
        let pair = region.node(domains::SYSCALL, "Bundle").inputs([value, value]).one();
        value = region.node(domains::SYSCALL, "Unbundle").input(pair).many(2)[1];
    }
    region.output("y", value);
    let model = ProgramBuilder::new().target("Twice", [region]).build();
    let mut node = node(1, &model, "Twice");
    assert_eq!(invoke_one(&mut node, "Twice", 5_i64), [("y".to_owned(), Value::I64(5))]);
    assert_eq!(node.engine_stats().ops_fired, 18 * 2 + 1);
}

#[test]
fn what_depends_on_an_absent_value_does_not_run_and_everything_else_does() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    let absent = region.absent();
    let dead = region.pass(absent);
    let dead = region.node(domains::SYSCALL, "Bundle").inputs([x, dead]).one();
    region.output("dead", dead);
    let alive = region.pass(x);
    region.output("alive", alive);
    let model = ProgramBuilder::new().target("Branches", [region]).build();
    let mut node = node(1, &model, "Branches");
    assert_eq!(invoke_one(&mut node, "Branches", 1_i64), [("alive".to_owned(), Value::I64(1))]);
    // The source, the living pass-through and its output.
    assert_eq!(node.engine_stats().ops_fired, 3);
    assert_eq!(node.engine_stats().frames, 0);
}

#[test]
fn what_must_come_after_an_op_that_did_not_run_still_runs() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    let absent = region.absent();
    region.pass(absent);
    let after = NodeId(region.graph.nodes.len() as u32 - 1);
    let y = region.node(domains::SYSCALL, "PassThrough").input(x).after(after).one();
    region.output("y", y);
    let model = ProgramBuilder::new().target("After", [region]).build();
    assert_eq!(invoke_one(&mut node(1, &model, "After"), "After", 1_i64).len(), 1);
}

#[test]
fn effects_on_a_slot_run_in_the_order_in_which_they_were_recorded() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Tensors);
    let load = region.node(domains::MODEL, "LoadParameters").slot("model").input(x).none();
    let fit = region
        .node(domains::MODEL, "Fit")
        .slot("model")
        .uses("rows")
        .attribute("epochs", Attribute::Int(1))
        .attribute("batch", Attribute::Int(1))
        .after(load);
    let fitted = fit.many(2);
    let fit = NodeId(region.graph.nodes.len() as u32 - 1);
    let y = region.node(domains::MODEL, "Parameters").slot("model").after(fit).one();
    let after = NodeId(region.graph.nodes.len() as u32 - 1);
    let scores = region.node(domains::MODEL, "Evaluate").slot("model").uses("rows").after(after).many(2);
    for (name, value) in [("rows", fitted[0]), ("loss", fitted[1]), ("y", y), ("accuracy", scores[1])] {
        region.output(name, value);
    }
    let model = ProgramBuilder::new()
        .target("Train", [region])
        .bind::<Scripted>("model", Role::Model)
        .bind::<Rows>("rows", Role::DataSource)
        .build();
    let mut node = node(1, &model, "Train");
    let out = invoke_one(&mut node, "Train", weight(10.0));
    assert_eq!(out[0], ("rows".to_owned(), Value::I64(3)));
    assert_eq!(out[1], ("loss".to_owned(), Value::F64(0.5)));
    let Value::Tensors(parameters) = &out[2].1 else { panic!("{out:?}") };
    assert_eq!(weight_of(parameters), 13.0);
    assert_eq!(out[3].1, Value::F64(0.75));
}

#[test]
fn a_backend_graph_is_prepared_once_and_runs_many_times() {
    let mut inner = Graph::default();
    let f32s = || ValueType::ANY_TENSOR;
    let (a, b, c) =
        (inner.add_value("a", f32s()), inner.add_value("b", f32s()), inner.add_value("c", f32s()));
    inner.inputs = vec![a, b];
    inner.outputs = vec![NamedValue { name: "c".to_owned(), value: c }];
    let some = |ids: &[ValueId]| ids.iter().copied().map(Some).collect::<Vec<_>>();
    inner.add_node(bb_ir::program::Node {
        op: OpId::new("", "Add"),
        inputs: some(&[a, b]),
        outputs: some(&[c]),
        ..Default::default()
    });
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::ANY_TENSOR);
    let two = region.constant(Tensor::from_rows([[2.0_f32, 20.0]]));
    let run =
        region.node(domains::BACKEND, "Run").slot("compute").attribute("graph", Attribute::Graph(inner));
    let y = run.inputs([x, two]).one();
    region.output("y", y);
    let model = ProgramBuilder::new().target("Add", [region]).bind::<Adder>("compute", Role::Backend).build();
    let mut node = node(1, &model, "Add");
    for value in [1.0_f32, 5.0] {
        let out = invoke_one(&mut node, "Add", Tensor::from_rows([[value, value]]));
        assert_eq!(out[0].1, Value::Tensor(Tensor::from_rows([[value + 2.0, value + 20.0]])));
    }
    let run = node.invoke("Add", &[("x", &Value::from(Tensor::scalar(1_i64)).encode())]).unwrap();
    assert!(!outcome(&settle(&mut node, Time::ZERO), run).is_completed());
}

#[test]
fn a_step_runs_no_more_ops_than_its_budget_and_the_next_goes_on() {
    let limits = NodeConfig::default().with_cycle_op_budget(10).with_trace_ops(true);
    let mut node = node_with(1, &chain(25), "Chain", Config::new().node(limits));
    let run = node.invoke("Chain", &[("x", &Value::I64(1).encode())]).unwrap();
    let mut fired = Vec::new();
    loop {
        let steps = node.step(Time::ZERO);
        fired.push(steps.iter().filter(|step| matches!(step, EngineStep::OpCompleted { .. })).count());
        let exceeded =
            steps.iter().any(|step| matches!(step, EngineStep::CycleBudgetExceeded { ops_invoked: 10 }));
        if !exceeded {
            assert!(outcome(&steps, run).is_completed());
            break;
        }
        assert_eq!(node.next_deadline(), Some(Time::ZERO));
    }
    assert_eq!(fired, [10, 10, 6]);
    assert_eq!(node.next_deadline(), None);
}

#[test]
fn a_thousand_executions_at_once_do_not_mix_their_values() {
    let mut node = node(1, &chain(3), "Chain");
    let runs: Vec<_> = (0..1_000_i64)
        .map(|value| node.invoke("Chain", &[("x", &Value::I64(value).encode())]).unwrap())
        .collect();
    assert_eq!(node.execution_state(runs[5]).unwrap().target, "Chain");
    let steps = settle(&mut node, Time::ZERO);
    for (value, run) in runs.into_iter().enumerate() {
        assert_eq!(events(&steps, run), [("y".to_owned(), Value::I64(value as i64))]);
        assert!(outcome(&steps, run).is_completed());
        assert_eq!(node.execution_state(run), None);
    }
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
}
