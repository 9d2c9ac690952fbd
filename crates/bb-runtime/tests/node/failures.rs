//! One failed op ends its execution, says so, and touches nothing else.

use bb_ir::program::domains;
use bb_runtime::{Config, EngineStep, OpError, Outcome, Role, Time, Value, ValueType};

use crate::common::components::{Script, Scripted};
use crate::common::{ProgramBuilder, RegionBuilder, events, node_with, outcome, settle};

fn parameters(script: Script) -> bb_runtime::Node {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::MODEL, "Parameters").slot("model").one();
    region.output("y", y);
    let mut other = RegionBuilder::entry();
    let x = other.input("x", ValueType::Any);
    other.output("y", x);
    let model = ProgramBuilder::new()
        .target("Fails", [region])
        .target("Works", [other])
        .bind::<Scripted>("model", Role::Model)
        .build();
    let config = Config::new().with("model", script);
    bb_runtime::install(bb_runtime::PeerId::from_u64(1), [], model, &["Fails", "Works"], config).unwrap()
}

fn failure(steps: &[EngineStep], run: bb_runtime::ExecId) -> std::sync::Arc<OpError> {
    let Outcome::Failed(error) = outcome(steps, run) else { panic!("{steps:?}") };
    let named = steps.iter().find_map(|step| match step {
        EngineStep::OpFailed { op, exec_id, error: why } if *exec_id == run => {
            Some((op.op.name().to_owned(), why.to_string()))
        }
        _ => None,
    });
    assert_eq!(named, Some(("Parameters".to_owned(), error.to_string())));
    error
}

#[test]
fn a_failed_op_is_named_and_other_executions_go_on() {
    let mut node = parameters(Script::Fail);
    let works = node.invoke("Works", &[("x", &Value::I64(1).encode())]).unwrap();
    let fails = node.invoke("Fails", &[]).unwrap();
    let works_too = node.invoke("Works", &[("x", &Value::I64(2).encode())]).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert!(matches!(&*failure(&steps, fails), OpError::Component { slot, .. } if slot == "model"));
    assert!(events(&steps, fails).is_empty());
    for run in [works, works_too] {
        assert!(outcome(&steps, run).is_completed());
        assert_eq!(events(&steps, run).len(), 1);
    }
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.frames, stats.values_held, stats.bytes_in_flight), (0, 0, 0, 0));
}

#[test]
fn a_panic_in_a_component_is_an_error_of_its_op() {
    let mut node = parameters(Script::Panic);
    for _ in 0..2 {
        let run = node.invoke("Fails", &[]).unwrap();
        let error = failure(&settle(&mut node, Time::ZERO), run);
        let OpError::ComponentPanicked { slot, message, .. } = &*error else { panic!("{error}") };
        assert_eq!((slot.as_str(), message.as_str()), ("model", "told to panic"));
    }
}

#[test]
fn a_value_of_another_kind_than_an_op_takes_fails_it() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    region.node(domains::MODEL, "LoadParameters").slot("model").input(x).none();
    let model = ProgramBuilder::new().target("Load", [region]).bind::<Scripted>("model", Role::Model).build();
    let mut node = node_with(1, &model, "Load", Config::new());
    let run = node.invoke("Load", &[("x", &Value::I64(1).encode())]).unwrap();
    let Outcome::Failed(error) = outcome(&settle(&mut node, Time::ZERO), run) else {
        panic!("it ended well")
    };
    assert_eq!(error.to_string(), "input 0: expected tensors, got i64");
}

#[test]
fn a_failure_frees_what_the_rest_of_its_execution_holds() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    region.node(domains::MODEL, "Parameters").slot("model").none();
    let mut value = x;
    for _ in 0..10 {
        value = region.pass(value);
    }
    region.output("y", value);
    let model = ProgramBuilder::new().target("Half", [region]).bind::<Scripted>("model", Role::Model).build();
    let mut node = node_with(1, &model, "Half", Config::new().with("model", Script::Fail));
    for _ in 0..100 {
        let run = node.invoke("Half", &[("x", &Value::from("held").encode())]).unwrap();
        let steps = settle(&mut node, Time::ZERO);
        assert!(matches!(outcome(&steps, run), Outcome::Failed(_)));
        assert!(events(&steps, run).is_empty());
    }
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.frames, stats.values_held, stats.bytes_in_flight), (0, 0, 0, 0));
    assert_eq!(stats.executions_failed, 100);
}
