//! What starts executions: timers, topics, phases; and time and chance within one.

use std::time::Duration;

use bb_dsl::{Graph, Module, Phase, ValueType, millis, secs};
use bb_runtime::{EngineStep, NodeConfig, Time, Value};

use super::{
    Program, assert_idle, at, compiled, events, invoke, node, node_with, outcome, run, settle,
    settle_in_place, values,
};

#[test]
fn an_interval_starts_an_execution_each_period_from_the_first_step_on() {
    let mut node = node(|g| {
        let tick = g.every(secs(2));
        let now = g.clock().after(tick);
        g.output("now", now);
    });
    assert!(node.next_deadline().is_some(), "it wants its first step");
    assert!(settle(&mut node, at(1_000)).is_empty());
    assert_eq!(node.next_deadline(), Some(at(1_002)));
    assert!(settle(&mut node, at(1_001)).is_empty());
    for second in [1_002, 1_004] {
        let steps = settle(&mut node, at(second));
        assert_eq!(values(&steps, "now"), [Value::U64(at(second).as_nanos())]);
        assert_eq!(node.next_deadline(), Some(at(second + 2)));
    }
    let steps = settle(&mut node, at(1_011));
    assert_eq!(values(&steps, "now").len(), 1, "ticks that were slept through are one");
    assert_eq!(node.next_deadline(), Some(at(1_012)));
    assert_idle(&node);
}

#[test]
fn a_pulse_starts_one_execution() {
    let mut node = node(|g| {
        let now = g.pulse(millis(5));
        g.output("now", now);
    });
    assert!(settle(&mut node, Time::ZERO).is_empty());
    let due = Time::ZERO + Duration::from_millis(5);
    assert_eq!(node.next_deadline(), Some(due));
    assert_eq!(values(&settle(&mut node, due), "now"), [Value::Trigger]);
    assert_eq!(node.next_deadline(), None);
    assert!(settle(&mut node, at(100)).is_empty());
}

#[test]
fn what_the_host_starts_and_what_a_timer_starts_are_apart() {
    let mut node = node(|g| {
        let x = g.input("x");
        g.output("x", x);
        let tick = g.every(secs(1));
        let seven = g.constant(7_i64).after(tick);
        let seven = g.pass_through(seven);
        g.output("seven", seven);
    });
    assert_eq!(run(&mut node, &[("x", Value::I64(1))], at(0)), [("x".to_owned(), Value::I64(1))]);
    let steps = settle(&mut node, at(1));
    assert_eq!(events(&steps).len(), 1);
    assert_eq!(values(&steps, "seven"), [Value::I64(7)]);
}

#[test]
fn a_value_of_another_execution_cannot_be_read() {
    let program = Program(|g: &mut bb_dsl::Graph| {
        let x = g.input("x");
        let tick = g.every(secs(1));
        let both = g.bundle((x, tick));
        g.output("both", both);
    });
    let error = bb_compiler::Compiler::new().compile(program.build().unwrap()).unwrap_err().to_string();
    assert!(error.contains("`x` is a value of the execution that the host starts"), "{error}");
    assert!(error.contains("sources.rs"), "{error}");

    let program = Program(|g: &mut bb_dsl::Graph| {
        let (fast, slow) = (g.every(secs(1)), g.every(secs(2)));
        let chance = g.random_u64();
        let both = g.bundle((fast, chance));
        g.output("both", both);
        let both = g.bundle((slow, chance));
        g.output("too", both);
    });
    let error = bb_compiler::Compiler::new().compile(program.build().unwrap()).unwrap_err().to_string();
    assert!(error.contains("executions that start apart"), "{error}");
}

#[test]
fn a_timer_inside_a_body_is_a_mistake() {
    let program = Program(|g: &mut bb_dsl::Graph| {
        g.on("a", |g| {
            let peers = g.input_of("peers", ValueType::Peers);
            g.send(peers, ()).to("b").then(|g, ()| {
                let tick = g.every(secs(1));
                g.output("tick", tick);
            });
        });
    });
    let error = program.build().unwrap_err().to_string();
    assert!(error.contains("Interval inside a body"), "{error}");
}

#[test]
fn each_event_of_a_topic_starts_an_execution_and_a_trigger_one_a_step() {
    let mut node = node(|g| {
        let x = g.input("x");
        g.app_notify("news", x);
        let said = g.on_event("news", ValueType::I64);
        g.output("said", said);
        let some = g.on_trigger("news");
        g.output("some", some);
    });
    assert_eq!(node.engine_stats().subscriptions, 2);
    let ids: Vec<_> = (1..=3_i64).map(|x| invoke(&mut node, &[("x", Value::I64(x))])).collect();
    invoke(&mut node, &[("x", Value::Bool(true))]);
    let steps = settle(&mut node, at(0));
    let notified =
        |step: &&EngineStep| matches!(step, EngineStep::AppNotified { topic, .. } if *topic == "news");
    assert_eq!(steps.iter().filter(notified).count(), 4);
    assert_eq!(values(&steps, "said"), [Value::I64(1), Value::I64(2), Value::I64(3)]);
    assert_eq!(values(&steps, "some"), [Value::Trigger]);
    assert_eq!(node.engine_stats().sources_skipped, 1, "a bool is no i64");
    assert!(ids.iter().all(|id| outcome(&steps, *id).is_some()));
    assert_eq!(node.engine_stats().bus, 0);
}

#[test]
fn what_finds_no_room_on_the_bus_is_counted() {
    let mut node = node_with(NodeConfig::default().with_bus(2), |g| {
        let x = g.input("x");
        g.app_notify("news", x);
        let said = g.on_event("news", ValueType::Any);
        g.output("said", said);
    });
    for x in 0..5_i64 {
        invoke(&mut node, &[("x", Value::I64(x))]);
    }
    assert_eq!(values(&settle(&mut node, at(0)), "said").len(), 2);
    assert_eq!(node.engine_stats().bus_dropped, 3);
}

#[test]
fn the_node_says_what_it_refuses() {
    let mut node = node(|g| {
        let x = g.input("x");
        g.output("x", x);
        let refused = g.on_event("node.delivery_refused", ValueType::Str);
        g.output("refused", refused);
    });
    assert!(node.invoke("P", &[("x", &[0xFF, 0xFF])]).is_err());
    let steps = settle(&mut node, at(0));
    let [Value::Str(reason)] = &values(&steps, "refused")[..] else { panic!("{steps:?}") };
    assert!(reason.contains("input `x` of `P`"), "{reason}");
}

#[test]
fn a_phase_fires_once_each_time_it_is_entered() {
    let mut node = node(|g| {
        let warm = g.on_phase(&Phase::named("warm"));
        g.output("warm", warm);
        let end = g.on_phase(&Phase::shutdown());
        g.output("end", end);
    });
    assert!(!node.enter_phase("cold"), "nobody listens");
    assert!(node.enter_phase("warm") && node.enter_phase("warm"));
    let steps = settle(&mut node, at(0));
    let fired = |step: &&EngineStep| matches!(step, EngineStep::LifecycleFired { phase } if *phase == "warm");
    assert_eq!(steps.iter().filter(fired).count(), 1);
    assert_eq!(values(&steps, "warm"), [Value::Trigger]);
    assert!(node.enter_phase("warm") && node.close());
    let steps = settle(&mut node, at(1));
    assert_eq!((values(&steps, "warm").len(), values(&steps, "end").len()), (1, 1));
    assert_eq!(node.phase_count("warm"), 2);
}

#[test]
fn who_is_saved_enters_the_phase_of_it_and_so_does_who_is_made_of_that() {
    let program = |g: &mut Graph| {
        let saved = g.on_phase(&Phase::snapshot());
        g.output("saved", saved);
    };
    let mut node = node(program);
    assert!(node.step(at(0)).is_empty());
    let snapshot = node.snapshot().unwrap();
    assert_eq!(node.snapshot().unwrap(), snapshot, "it waits once");
    assert_eq!(node.next_deadline(), Some(at(0)), "there is something to do");
    let mut twin = super::node(program);
    twin.restore(&snapshot).unwrap();
    assert_eq!(twin.state_digest().unwrap(), node.state_digest().unwrap());
    for node in [&mut node, &mut twin] {
        let steps = settle_in_place(node, at(1));
        assert_eq!(values(&steps, "saved"), [Value::Trigger]);
        assert_eq!(node.phase_count("Snapshot"), 1);
    }
}

#[test]
fn being_saved_is_no_news_where_nothing_listens() {
    let mut node = node(|g| {
        let x = g.input("x");
        g.output("x", x);
    });
    assert!(node.step(at(0)).is_empty());
    let before = node.state_digest().unwrap();
    node.snapshot().unwrap();
    assert_eq!(node.state_digest().unwrap(), before);
    assert!(node.step(at(1)).is_empty());
}

#[test]
fn a_value_is_delayed_and_an_execution_sleeps() {
    let mut node = node(|g| {
        let (x, nanos) = (g.input("x"), g.input_of("nanos", ValueType::I64));
        let later = g.delay(x, secs(3));
        g.output("later", later);
        let slept = g.sleep(nanos);
        g.output("slept", slept);
    });
    let id = invoke(&mut node, &[("x", Value::I64(1)), ("nanos", Value::I64(2_000_000_000))]);
    let steps = settle(&mut node, at(50));
    let waits = steps.iter().filter(|step| matches!(step, EngineStep::AsyncSuspended { .. })).count();
    assert_eq!((waits, node.pending_async_count()), (2, 2));
    assert_eq!(node.next_deadline(), Some(at(52)));
    assert_eq!(values(&settle(&mut node, at(52)), "slept"), [Value::Trigger]);
    assert_eq!(node.next_deadline(), Some(at(53)));
    let steps = settle(&mut node, at(53));
    assert_eq!(values(&steps, "later"), [Value::I64(1)]);
    assert!(outcome(&steps, id).is_some_and(|outcome| outcome.is_completed()));
    assert_idle(&node);

    let id = invoke(&mut node, &[("x", Value::I64(1)), ("nanos", Value::I64(-1))]);
    assert!(super::failure(&settle(&mut node, at(60)), id).contains("expected u64"));
    assert_idle(&node);
}

#[test]
fn chance_and_ids_follow_the_seed() {
    let body = |g: &mut bb_dsl::Graph| {
        let x = g.input("x");
        let (chance, tag, same) = (g.random_u64(), g.correlate_tag(), g.correlate_tag_of((x, x)));
        for (name, value) in [("chance", chance), ("tag", tag), ("same", same)] {
            g.output(name, value);
        }
    };
    let (mut one, mut two) = (node(body), node(body));
    let first = run(&mut one, &[("x", Value::I64(1))], at(0));
    assert_eq!(first, run(&mut two, &[("x", Value::I64(1))], at(0)));
    let second = run(&mut one, &[("x", Value::I64(1))], at(0));
    assert!(first[0] != second[0] && first[1] != second[1]);
    assert_eq!(first[2], second[2], "equal values give equal ids");
    let Value::Bytes(tag) = &first[1].1 else { panic!("{first:?}") };
    assert_eq!(tag.len(), 16);
    assert_ne!(first[2], run(&mut one, &[("x", Value::I64(2))], at(0))[2]);
}

#[test]
fn timers_that_cannot_start_anything_are_counted() {
    let limits = NodeConfig::default().with_executions(1);
    let mut node = node_with(limits, |g| {
        let x = g.input("x");
        let x = g.delay(x, secs(100));
        g.output("x", x);
        let tick = g.every(secs(1));
        g.output("tick", tick);
    });
    invoke(&mut node, &[("x", Value::I64(1))]);
    settle(&mut node, at(0));
    for second in 1..=3 {
        assert!(settle(&mut node, at(second)).is_empty());
    }
    assert_eq!(node.engine_stats().sources_skipped, 3);
}

#[test]
fn the_program_of_a_timer_has_a_region_of_its_own() {
    let model = compiled(|g| {
        let tick = g.every(secs(1));
        let chance = g.random_u64().after(tick);
        g.output("chance", chance);
    });
    let text = model.program().to_string();
    assert!(text.contains("region 0 source"), "{text}");
    assert!(!text.contains("entry"), "{text}");
}
