//! What executions share: limits, queues, holds, records, the address book.

use bb_dsl::{Graph, Hold, Limit, Serialize, secs};
use bb_runtime::{Address, EngineStep, NodeConfig, PeerId, Time, Value};

use super::{assert_idle, at, failure, invoke, node, node_with, outcome, run, settle, values};

/// Works for the seconds that it is given, with at most `permits` at a time.
fn limited(permits: u32) -> impl Fn(&mut Graph) {
    move |g| {
        let x = g.input("x");
        let gpu = Limit::named("gpu", permits);
        let held = gpu.acquire(g, x);
        g.app_emit("began", held);
        let worked = g.delay(held, secs(10));
        let done = gpu.release(g, worked);
        g.output("done", done);
    }
}

#[test]
fn a_limit_lets_so_many_work_and_serves_the_others_in_order() {
    let mut node = node(limited(2));
    for x in 0..5_i64 {
        invoke(&mut node, &[("x", Value::I64(x))]);
    }
    let numbers = |values: Vec<Value>| {
        values.into_iter().map(|value| if let Value::I64(x) = value { x } else { -1 }).collect::<Vec<_>>()
    };
    assert_eq!(numbers(values(&settle(&mut node, at(0)), "began")), [0, 1]);
    let steps = settle(&mut node, at(10));
    assert_eq!((numbers(values(&steps, "done")), numbers(values(&steps, "began"))), (vec![0, 1], vec![2, 3]));
    let steps = settle(&mut node, at(20));
    assert_eq!((numbers(values(&steps, "done")), numbers(values(&steps, "began"))), (vec![2, 3], vec![4]));
    assert_eq!(numbers(values(&settle(&mut node, at(30)), "done")), [4]);
    assert_idle(&node);
}

#[test]
fn an_execution_that_ends_gives_back_what_it_has() {
    let mut node = node(|g| {
        let x = g.input("x");
        let queue = Serialize::named("door");
        let turn = queue.enqueue(g, x);
        g.app_emit("turn", turn);
        let late = g.delay(turn, secs(5));
        let checked = g.deadline_check(late, Some(secs(7)));
        g.output("checked", checked);
    });
    let ids: Vec<_> = (0..3_i64).map(|x| invoke(&mut node, &[("x", Value::I64(x))])).collect();
    assert_eq!(values(&settle(&mut node, at(0)), "turn"), [Value::I64(0)]);
    let steps = settle(&mut node, at(5));
    assert!(outcome(&steps, ids[0]).is_some_and(|end| end.is_completed()));
    assert_eq!(values(&steps, "turn"), [Value::I64(1)], "an end is a dequeue");
    let steps = settle(&mut node, at(10));
    assert!(failure(&steps, ids[1]).contains("within 7s"));
    assert_eq!(values(&steps, "turn"), [Value::I64(2)], "a failure is one too");
    settle(&mut node, at(15));
    assert_idle(&node);
}

#[test]
fn who_leaves_a_queue_lets_the_next_one_in_and_goes_on() {
    let mut node = node(|g| {
        let x = g.input("x");
        let queue = Serialize::named("door");
        let turn = queue.enqueue(g, x);
        g.app_emit("turn", turn);
        let worked = g.delay(turn, secs(2));
        let left = queue.dequeue(g, worked);
        let late = g.delay(left, secs(9));
        g.output("late", late);
    });
    for x in 0..3_i64 {
        invoke(&mut node, &[("x", Value::I64(x))]);
    }
    for (second, turn) in [(0, 0), (2, 1), (4, 2)] {
        let steps = settle(&mut node, at(second));
        assert_eq!(values(&steps, "turn"), [Value::I64(turn)]);
    }
    assert_eq!(node.engine_stats().executions, 3, "those who left still work");
    let steps = settle(&mut node, at(20));
    assert_eq!(values(&steps, "late"), [Value::I64(0), Value::I64(1)]);
    assert_eq!(values(&settle(&mut node, at(29)), "late"), [Value::I64(2)]);
    assert_idle(&node);
}

#[test]
fn a_thousand_that_wait_are_served_without_a_deep_stack() {
    let mut node = node(|g| {
        let x = g.input("x");
        let queue = Serialize::named("door");
        let turn = queue.enqueue(g, x);
        let turn = g.delay(turn, bb_dsl::millis(1));
        g.output("turn", turn);
    });
    for x in 0..5_000_i64 {
        invoke(&mut node, &[("x", Value::I64(x))]);
    }
    let mut done = values(&settle(&mut node, at(0)), "turn");
    while let Some(due) = node.next_deadline() {
        done.extend(values(&settle(&mut node, due), "turn"));
    }
    assert_eq!(done, (0..5_000).map(Value::I64).collect::<Vec<_>>());
    assert_idle(&node);
}

#[test]
fn what_waits_for_a_limit_has_a_deadline() {
    let limits = NodeConfig::default().with_pending_deadline(secs(3));
    let mut node = node_with(limits, limited(1));
    let (first, second) =
        (invoke(&mut node, &[("x", Value::I64(0))]), invoke(&mut node, &[("x", Value::I64(1))]));
    settle(&mut node, at(0));
    assert!(failure(&settle(&mut node, at(3)), second).contains("within 3s"));
    assert!(outcome(&settle(&mut node, at(10)), first).is_some_and(|end| end.is_completed()));
    assert_idle(&node);
}

#[test]
fn nothing_is_given_back_that_was_not_taken() {
    let mut node = node(|g| {
        let x = g.input("x");
        let x = Limit::named("gpu", 1).release(g, x);
        g.output("x", x);
    });
    let id = invoke(&mut node, &[("x", Value::I64(0))]);
    assert!(failure(&settle(&mut node, at(0)), id).contains("acquire it first"));
}

fn holding(g: &mut Graph) {
    let (key, value) = (g.input("key"), g.input("value"));
    let hold = Hold::named("updates");
    let kept = hold.stash(g, key, value);
    g.output("kept", kept);
    let flush = g.on_phase(&bb_dsl::Phase::named("flush"));
    let all = hold.flush(g, flush);
    g.output("all", all);
}

#[test]
fn a_hold_keeps_values_by_key_until_they_are_flushed() {
    let mut node = node(holding);
    let stash = |node: &mut bb_runtime::Node, key: i64, value: i64| {
        run(node, &[("key", Value::I64(key)), ("value", Value::I64(value))], at(0))[0].1.clone()
    };
    assert_eq!(stash(&mut node, 2, 20), Value::I64(1));
    assert_eq!(stash(&mut node, 1, 10), Value::I64(2));
    assert_eq!(stash(&mut node, 2, 21), Value::I64(2), "a key is held once");
    assert_eq!(node.engine_stats().holds, 2);
    assert!(node.engine_stats().bytes_in_flight > 0);
    node.enter_phase("flush");
    let pair = |key, value| Value::Tuple([Value::I64(key), Value::I64(value)].into());
    let steps = settle(&mut node, at(0));
    assert_eq!(values(&steps, "all"), [Value::Tuple([pair(1, 10), pair(2, 21)].into())]);
    drop(steps);
    assert_eq!((node.engine_stats().holds, node.engine_stats().bytes_in_flight), (0, 0));
    node.enter_phase("flush");
    assert_eq!(values(&settle(&mut node, at(0)), "all"), [Value::Tuple([].into())]);
}

#[test]
fn a_hold_is_capped_in_number_and_in_bytes() {
    let mut node = node_with(NodeConfig::default().with_holds(1), holding);
    run(&mut node, &[("key", Value::I64(1)), ("value", Value::I64(1))], at(0));
    let id = invoke(&mut node, &[("key", Value::I64(2)), ("value", Value::I64(1))]);
    assert!(failure(&settle(&mut node, at(0)), id).contains("1 values are held"));
    let id = invoke(&mut node, &[("key", Value::F64(0.5)), ("value", Value::I64(1))]);
    assert!(failure(&settle(&mut node, at(0)), id).contains("got f64"));
    assert_eq!(node.engine_stats().holds, 1);
}

#[test]
fn records_and_counters_are_there_to_look_at_and_told_once_a_step() {
    let mut node = node_with(NodeConfig::default().with_records(1), |g| {
        let x = g.input("x");
        g.record_last("loss", x);
        g.record_last("other", x);
        g.incr_metric("rounds", x);
    });
    for x in [3_i64, 4] {
        invoke(&mut node, &[("x", Value::I64(x))]);
    }
    let steps = settle(&mut node, Time::ZERO);
    let told: Vec<(String, Value)> = steps
        .iter()
        .filter_map(|step| match step {
            EngineStep::Telemetry { name, value } => Some((name.to_string(), value.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [("loss".to_owned(), Value::I64(4)), ("rounds".to_owned(), Value::U64(7))]);
    assert_eq!((node.record("loss"), node.metric("rounds")), (Some(&Value::I64(4)), 7));
    assert_eq!(node.records().count() + node.metrics().count(), 2);
    assert_eq!(node.engine_stats().records_refused, 2, "the cap of names holds");
}

#[test]
fn a_program_reads_and_fills_the_address_book() {
    let mut node = node(|g| {
        let (peer, addresses) = (g.input("peer"), g.input("addresses"));
        let new = g.address_book_insert(peer, addresses);
        g.output("new", new);
        let pair = g.bundle((peer, addresses));
        let all = g.bundle([pair]);
        let many = g.address_book_insert_many(all);
        g.output("many", many);
        let known = g.address_book_lookup(peer);
        g.output("known", known);
    });
    let peer = PeerId::from_u64(9);
    let address: Address = "/ip4/10.0.0.1/udp/4001/quic-v1".parse().unwrap();
    let inputs =
        |peer| [("peer", Value::Peer(peer)), ("addresses", Value::Addresses([address.clone()].into()))];
    let out = run(&mut node, &inputs(peer), at(0));
    assert_eq!(out[0].1, Value::Bool(true));
    assert_eq!(out[1].1, Value::I64(0), "it is there already");
    assert_eq!(node.resolve_peer_addresses(peer).len(), 1);
    let Value::Addresses(known) = &out[2].1 else { panic!("{out:?}") };
    assert_eq!(known.len(), 1);
    // All of many, or none: the last one names another peer.
    let named: Address = format!("/ip4/10.0.0.3/tcp/1/p2p/{}", PeerId::from_u64(12)).parse().unwrap();
    let entry = |id, address: &Address| {
        Value::Tuple([Value::Peer(PeerId::from_u64(id)), Value::Addresses([address.clone()].into())].into())
    };
    let mut insert = super::node(|g| {
        let all = g.input("all");
        let many = g.address_book_insert_many(all);
        g.output("many", many);
    });
    let all = Value::Tuple([entry(20, &address), entry(21, &address), entry(22, &named)].into());
    let id = invoke(&mut insert, &[("all", all)]);
    assert!(failure(&settle(&mut insert, at(0)), id).contains("names"));
    assert!([20, 21, 22].iter().all(|&id| insert.resolve_peer_addresses(PeerId::from_u64(id)).is_empty()));
    let all = Value::Tuple([entry(20, &address), entry(21, &address), entry(12, &named)].into());
    assert_eq!(run(&mut insert, &[("all", all)], at(0))[0].1, Value::I64(3));
    node.block_peer(PeerId::from_u64(10)).unwrap();
    for refused in [PeerId::from_u64(1), PeerId::from_u64(10)] {
        let out = run(&mut node, &inputs(refused), at(0));
        assert_eq!(out[0].1, Value::Bool(false), "neither the node itself nor whom policy denies");
    }
}
