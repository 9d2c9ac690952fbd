//! Branches, joins and deadlines.

use bb_dsl::{Graph, Output, Quorum, ValueType, secs};
use bb_runtime::{EngineStep, Value};

use super::{assert_idle, at, failure, invoke, node, outcome, run, settle, values};

/// An input that is absent where its bool is false.
fn gated(g: &mut Graph, name: &str) -> Output {
    let value = g.input(name);
    let open = g.input_of(&format!("{name}?"), ValueType::Bool);
    g.gate(value, open)
}

fn two(a: bool, b: bool) -> [(&'static str, Value); 4] {
    [("a", Value::I64(1)), ("a?", Value::Bool(a)), ("b", Value::I64(2)), ("b?", Value::Bool(b))]
}

fn named(pairs: &[(&str, i64)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::I64(*value))).collect()
}

#[test]
fn a_gate_lets_a_value_pass_or_makes_it_absent() {
    let mut node = node(|g| {
        let (a, b) = (gated(g, "a"), gated(g, "b"));
        g.output("a", a);
        g.output("b", b);
        let both = g.bundle((a, b));
        g.output("both", both);
    });
    assert_eq!(run(&mut node, &two(true, false), at(0)), named(&[("a", 1)]));
    assert_eq!(run(&mut node, &two(false, false), at(0)), []);
    assert_eq!(run(&mut node, &two(true, true), at(0)).len(), 3);
    assert_idle(&node);
}

#[test]
fn tee_gives_a_value_as_often_as_asked() {
    let mut node = node(|g| {
        let x = g.input("x");
        let copies = g.tee(x, 3);
        let all = g.bundle(copies);
        g.output("all", all);
    });
    let out = run(&mut node, &[("x", Value::I64(4))], at(0));
    assert_eq!(out[0].1, Value::Tuple([Value::I64(4), Value::I64(4), Value::I64(4)].into()));
}

#[test]
fn any_takes_the_first_value_that_is_there() {
    let mut node = node(|g| {
        let (a, b) = (gated(g, "a"), gated(g, "b"));
        let late = g.delay(a, secs(5));
        let first = g.any((late, b));
        g.output("first", first);
        g.output("late", late);
    });
    assert_eq!(run_later(&mut node, &two(true, true)), (vec![Value::I64(2)], vec![]), "b is there at once");
    assert_eq!(run_later(&mut node, &two(true, false)), (vec![], vec![Value::I64(1)]), "b will not come");
    assert_eq!(run_later(&mut node, &two(false, true)), (vec![Value::I64(2)], vec![]));
    assert_eq!(run_later(&mut node, &two(false, false)), (vec![], vec![]), "absent if none comes");
    assert_idle(&node);
}

/// What `first` is at once, and what after a minute.
fn run_later(node: &mut bb_runtime::Node, inputs: &[(&str, Value)]) -> (Vec<Value>, Vec<Value>) {
    let now = node.next_deadline().unwrap_or(at(0)).max(at(node.engine_stats().executions_completed * 100));
    let id = invoke(node, inputs);
    let early = settle(node, now);
    let late = settle(node, now + secs(60));
    let ends = [outcome(&early, id), outcome(&late, id)];
    assert_eq!(ends.iter().flatten().filter(|end| end.is_completed()).count(), 1, "{early:?} {late:?}");
    (values(&early, "first"), values(&late, "first"))
}

#[test]
fn any_reads_constants_and_one_value_twice() {
    let mut node = node(|g| {
        let a = g.input("a");
        let seven = g.constant(7_i64);
        let first = g.any((a, seven));
        g.output("first", first);
        let same = g.any((a, a));
        g.output("same", same);
    });
    let out = run(&mut node, &[("a", Value::I64(1))], at(0));
    assert_eq!(out, named(&[("first", 7), ("same", 1)]));
    assert_idle(&node);
}

#[test]
fn a_barrier_waits_for_all_and_hands_on_what_is_there() {
    let mut node = node(|g| {
        let (a, b) = (gated(g, "a"), gated(g, "b"));
        let late = g.delay(a, secs(5));
        let (late, b) = g.barrier((late, b));
        g.output("late", late);
        g.output("b", b);
    });
    let id = invoke(&mut node, &two(true, true));
    assert!(values(&settle(&mut node, at(0)), "b").is_empty(), "b waits");
    let steps = settle(&mut node, at(5));
    assert_eq!((values(&steps, "late"), values(&steps, "b")), (vec![Value::I64(1)], vec![Value::I64(2)]));
    assert!(outcome(&steps, id).is_some());
    assert_eq!(run(&mut node, &two(false, true), at(5)), named(&[("b", 2)]));
    assert_idle(&node);
}

#[test]
fn a_quorum_takes_what_comes_first_or_fails_at_its_deadline() {
    let mut node = node(|g| {
        let (a, b, c) = (gated(g, "a"), gated(g, "b"), g.input("c"));
        let (a, c) = (g.delay(a, secs(5)), g.delay(c, secs(10)));
        let got = g.quorum((a, b, c), Quorum::at_least(2).within(secs(8)));
        let got = g.bundle(got);
        g.output("got", got);
    });
    let inputs = |a, b| two(a, b).into_iter().chain([("c", Value::I64(3))]).collect::<Vec<_>>();
    let pair = |a, b| vec![Value::Tuple([Value::I64(a), Value::I64(b)].into())];

    let id = invoke(&mut node, &inputs(true, true));
    settle(&mut node, at(0));
    let steps = settle(&mut node, at(5));
    assert_eq!(values(&steps, "got"), pair(2, 1), "in order of arrival");
    assert!(outcome(&settle(&mut node, at(10)), id).is_some_and(|end| end.is_completed()));
    assert_idle(&node);

    let id = invoke(&mut node, &inputs(true, false));
    settle(&mut node, at(20));
    assert!(values(&settle(&mut node, at(25)), "got").is_empty());
    assert!(failure(&settle(&mut node, at(28)), id).contains("within 8s"));
    assert_idle(&node);
    assert!(settle(&mut node, at(60)).is_empty(), "nothing is left of it");

    let id = invoke(&mut node, &inputs(false, false));
    let steps = settle(&mut node, at(100));
    assert!(outcome(&steps, id).is_none(), "c is still to come");
    let steps = settle(&mut node, at(110));
    assert!(values(&steps, "got").is_empty() && outcome(&steps, id).is_some_and(|end| end.is_completed()));
    assert_idle(&node);
}

#[test]
fn a_quorum_that_cannot_come_about_waits_for_no_deadline() {
    let mut node = node(|g| {
        let (a, b) = (gated(g, "a"), gated(g, "b"));
        let got = g.quorum((a, b), Quorum::at_least(2).within(secs(8)));
        let got = g.bundle(got);
        g.output("got", got);
    });
    assert_eq!(run(&mut node, &two(true, false), at(0)), []);
    assert_eq!(node.next_deadline(), None);
    assert_idle(&node);
}

#[test]
fn what_is_too_late_fails_or_takes_the_other_way() {
    let mut node = node(|g| {
        let (x, nanos) = (g.input("x"), g.input_of("nanos", ValueType::I64));
        let slept = g.sleep(nanos);
        let (early, late) = g.deadline_match(x.after(slept), Some(secs(5)));
        g.output("early", early);
        g.output("late", late);
        let strict = g.deadline_check(x.after(slept), Some(secs(9)));
        g.output("strict", strict);
    });
    let mut run_for = |seconds: i64, now: u64| {
        let id = invoke(&mut node, &[("x", Value::I64(1)), ("nanos", Value::I64(seconds * 1_000_000_000))]);
        settle(&mut node, at(now));
        let steps = settle(&mut node, at(now + seconds.unsigned_abs()));
        let named: Vec<usize> =
            ["early", "late", "strict"].iter().map(|name| values(&steps, name).len()).collect();
        (named, outcome(&steps, id).is_some_and(|end| end.is_completed()))
    };
    assert_eq!(run_for(1, 0), (vec![1, 0, 1], true));
    assert_eq!(run_for(5, 100), (vec![0, 1, 1], true));
    assert_eq!(run_for(20, 200), (vec![0, 0, 0], false), "the check fails the execution");
}

#[test]
fn a_value_comes_after_others() {
    let mut node = node(|g| {
        let nanos = g.input_of("nanos", ValueType::I64);
        let slept = g.sleep(nanos);
        let (now, then) = (g.clock(), g.clock().after(slept));
        g.output("now", now);
        g.output("then", then);
        let said = g.constant("done").after(slept).after(then);
        g.output("said", said);
    });
    invoke(&mut node, &[("nanos", Value::I64(3_000_000_000))]);
    let steps = settle(&mut node, at(0));
    assert_eq!((values(&steps, "now").len(), values(&steps, "then").len()), (1, 0));
    let steps = settle(&mut node, at(3));
    assert_eq!(values(&steps, "then"), [Value::U64(3_000_000_000)]);
    assert_eq!(values(&steps, "said"), [Value::Str("done".into())]);
    assert!(steps.iter().any(|step| matches!(step, EngineStep::ExecutionFinished { .. })));
}
