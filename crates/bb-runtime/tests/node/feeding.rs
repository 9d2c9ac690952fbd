//! Invocations and events: what is refused, what waits, what it costs.

use bb_runtime::error::ValueFault;
use bb_runtime::{Config, DeliveryError, EngineStep, Node, NodeConfig, Tensor, Time, Value, ValueType};

use crate::common::{ProgramBuilder, RegionBuilder, chain, events, node_with, outcome, settle};

/// `Pair` hands out its inputs `a` (a number) and `b` as they are.
fn pair(limits: NodeConfig) -> Node {
    let mut region = RegionBuilder::entry();
    let a = region.input("a", ValueType::I64);
    let b = region.input("b", ValueType::Any);
    region.output("a", a);
    region.output("b", b);
    let model = ProgramBuilder::new().target("Pair", [region]).build();
    node_with(1, &model, "Pair", Config::new().node(limits))
}

fn number(value: i64) -> Vec<u8> {
    Value::I64(value).encode()
}

fn refused(node: &mut Node, module: &str, inputs: &[(&str, &[u8])]) -> DeliveryError {
    let before = node.engine_stats();
    let error = node.invoke(module, inputs).unwrap_err();
    let mut after = node.engine_stats();
    after.budget_refused = before.budget_refused;
    assert_ne!(after.refused, before.refused, "it is counted");
    after.refused = before.refused;
    assert_eq!(after, before, "a refused invocation changed the node");
    assert!(node.step(Time::ZERO).is_empty());
    error
}

#[test]
fn every_mistake_of_an_invocation_has_its_own_error() {
    let limits = NodeConfig::edge().with_invoke_inputs(2).with_invoke_bytes(64);
    let mut node = pair(limits);
    let (one, long) = (number(1), Value::from("x".repeat(100).as_str()).encode());
    assert_eq!(
        refused(&mut node, "Other", &[]),
        DeliveryError::UnknownModule { module: "Other".to_owned(), available: vec!["Pair".to_owned()] }
    );
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &one), ("c", &one)]),
        DeliveryError::UnknownInput {
            module: "Pair".to_owned(),
            input: "c".to_owned(),
            available: vec!["a".to_owned(), "b".to_owned()]
        }
    );
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &one)]),
        DeliveryError::MissingInput { module: "Pair".to_owned(), input: "b".to_owned() }
    );
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &one), ("a", &one)]),
        DeliveryError::DuplicateInput { module: "Pair".to_owned(), input: "a".to_owned() }
    );
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &one), ("b", &one), ("c", &one)]),
        DeliveryError::TooManyInputs { count: 3, cap: 2 }
    );
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &one), ("b", &long)]),
        DeliveryError::OversizePayload { byte_count: 2 + one.len() + long.len(), cap: 64 }
    );
    let fault = ValueFault::WrongType { expected: ValueType::I64, got: "bool".to_owned() };
    assert_eq!(
        refused(&mut node, "Pair", &[("a", &Value::Bool(true).encode()), ("b", &one)]),
        DeliveryError::InvalidValue { module: "Pair".to_owned(), input: "a".to_owned(), fault }
    );
    let malformed = refused(&mut node, "Pair", &[("a", &one), ("b", &[0xff])]);
    assert!(matches!(malformed, DeliveryError::InvalidValue { fault: ValueFault::Malformed(_), .. }));
}

#[test]
fn no_more_executions_run_than_may() {
    let mut node = pair(NodeConfig::edge().with_executions(2));
    let (one, two) = (number(1), number(2));
    let inputs = [("a", &one[..]), ("b", &two[..])];
    node.invoke("Pair", &inputs).unwrap();
    node.invoke("Pair", &inputs).unwrap();
    assert_eq!(node.invoke("Pair", &inputs), Err(DeliveryError::QueueFull { capacity: 2 }));
    settle(&mut node, Time::ZERO);
    node.invoke("Pair", &inputs).unwrap();
}

#[test]
fn streams_are_joined_in_order() {
    let mut node = pair(NodeConfig::default());
    assert_eq!(node.deliver_event("Pair", "a", &number(1)), Ok(None));
    assert_eq!(node.deliver_event("Pair", "a", &number(2)), Ok(None));
    assert_eq!(node.engine_stats().events_waiting, 2);
    assert!(node.step(Time::ZERO).is_empty());
    for (a, b) in [(1, 10), (2, 20)] {
        let run = node.deliver_event("Pair", "b", &number(b)).unwrap().expect("it begins");
        let steps = settle(&mut node, Time::ZERO);
        let expected = [("a".to_owned(), Value::I64(a)), ("b".to_owned(), Value::I64(b))];
        assert_eq!(events(&steps, run), expected);
        assert!(outcome(&steps, run).is_completed());
    }
    let stats = node.engine_stats();
    assert_eq!((stats.events_waiting, stats.bytes_in_flight), (0, 0));
}

#[test]
fn waiting_values_are_capped_and_charged() {
    let mut node = pair(NodeConfig::edge().with_ingress_queue(3));
    for value in 0..3 {
        node.deliver_event("Pair", "a", &number(value)).unwrap();
    }
    assert_eq!(node.engine_stats().bytes_in_flight, 3 * number(0).len());
    assert_eq!(node.deliver_event("Pair", "a", &number(3)), Err(DeliveryError::QueueFull { capacity: 3 }));
    assert_eq!(node.engine_stats().bytes_in_flight, 3 * number(0).len());
    assert!(node.deliver_event("Pair", "b", &number(3)).unwrap().is_some(), "what completes a line is taken");
}

#[test]
fn an_event_of_another_thread_is_delivered_or_reported() {
    let mut node = pair(NodeConfig::default());
    let handle = node.ingress_handle();
    std::thread::spawn(move || {
        handle.deliver_event("Pair", "a", &number(1)).unwrap();
        handle.deliver_event("Pair", "b", &number(2)).unwrap();
        handle.deliver_event("Pair", "a", &Value::Bool(true).encode()).unwrap();
        assert!(handle.deliver_event("Pair", "c", &number(2)).is_err());
    })
    .join()
    .unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert_eq!(steps.iter().filter(|step| matches!(step, EngineStep::AppEvent { .. })).count(), 2);
    assert!(steps.iter().any(|step| matches!(
        step,
        EngineStep::IngressFailed { peer: None, error: DeliveryError::InvalidValue { .. } }
    )));
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
}

#[test]
fn the_budget_counts_until_the_last_clone_of_a_tensor_is_gone() {
    let limits = NodeConfig::edge();
    let mut node = node_with(1, &chain(2), "Chain", Config::new().node(limits.clone()));
    let tensor = Tensor::from_slice([1024], &[1.0_f32; 1024]).unwrap();
    let bytes = Value::from(tensor).encode();
    let run = node.invoke("Chain", &[("x", &bytes)]).unwrap();
    let charged = node.engine_stats().bytes_in_flight;
    assert!((bytes.len()..bytes.len() + 200).contains(&charged), "what is held is charged: {charged}");
    let steps = settle(&mut node, Time::ZERO);
    let held = events(&steps, run);
    assert_eq!(node.engine_stats().bytes_in_flight, charged, "the host still holds the tensor");
    drop(steps);
    assert_eq!(node.engine_stats().bytes_in_flight, charged);
    drop(held);
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
    let tight = Config::new().node(limits.with_ingress_bytes(300 * 1024));
    let mut node = node_with(1, &chain(2), "Chain", tight);
    let runs = std::iter::from_fn(|| node.invoke("Chain", &[("x", &bytes)]).ok()).count();
    assert_eq!(runs, 300 * 1024 / charged);
    drop(settle(&mut node, Time::ZERO));
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
    assert!(node.invoke("Chain", &[("x", &bytes)]).is_ok());
}
