//! Answers that come later, from other threads, or never.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bb_ir::program::domains;
use bb_runtime::{
    Completion, Config, EngineStep, NodeConfig, OpError, Outcome, Role, TensorMap, Time, Value,
};

use crate::common::components::{Script, Scripted, weight, weight_of};
use crate::common::{ProgramBuilder, RegionBuilder, events, node_with, outcome, settle};

type Held = Arc<Mutex<Vec<Completion<TensorMap>>>>;

fn later(limits: NodeConfig) -> (bb_runtime::Node, Held) {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::MODEL, "Parameters").slot("model").one();
    region.output("y", y);
    let model =
        ProgramBuilder::new().target("Later", [region]).bind::<Scripted>("model", Role::Model).build();
    let held = Held::default();
    let config = Config::new().with("model", Script::Later(Arc::clone(&held))).node(limits);
    (node_with(1, &model, "Later", config), held)
}

fn suspend(node: &mut bb_runtime::Node) -> bb_runtime::ExecId {
    let run = node.invoke("Later", &[]).unwrap();
    let steps = settle(node, Time::ZERO);
    assert!(matches!(steps[..], [EngineStep::AsyncSuspended { .. }]), "{steps:?}");
    assert_eq!(node.pending_async_count(), 1);
    assert_eq!(node.execution_state(run).unwrap().awaited, 1);
    run
}

struct Count(Mutex<u32>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn an_answer_of_another_thread_wakes_the_node_and_ends_the_op() {
    let (mut node, held) = later(NodeConfig::default());
    let run = suspend(&mut node);
    let count = Arc::new(Count(Mutex::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    assert!(node.poll(&mut cx).is_pending());
    let completion = held.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || completion.complete(weight(4.0))).join().unwrap();
    assert_eq!(*count.0.lock().unwrap(), 1);
    let Poll::Ready(steps) = node.poll(&mut cx) else { panic!("it is not ready") };
    let Value::Tensors(parameters) = &events(&steps, run)[0].1 else { panic!("{steps:?}") };
    assert_eq!(weight_of(parameters), 4.0);
    assert!(outcome(&steps, run).is_completed());
    assert!(node.poll(&mut cx).is_pending());
    assert_eq!(node.pending_async_count(), 0);
}

#[test]
fn a_dropped_completion_fails_the_op_with_cancelled() {
    let (mut node, held) = later(NodeConfig::default());
    let run = suspend(&mut node);
    held.lock().unwrap().clear();
    let Outcome::Failed(error) = outcome(&settle(&mut node, Time::ZERO), run) else {
        panic!("it ended well")
    };
    assert!(error.to_string().contains("cancelled"), "{error}");
}

#[test]
fn an_answer_that_does_not_come_in_time_fails_the_op_and_a_late_one_is_counted() {
    let (mut node, held) = later(NodeConfig::default().with_pending_deadline(Duration::from_secs(2)));
    let run = suspend(&mut node);
    let due = Time::ZERO + Duration::from_secs(2);
    assert_eq!(node.next_deadline(), Some(due));
    assert!(node.step(due - Duration::from_nanos(1)).is_empty());
    let Outcome::Failed(error) = outcome(&settle(&mut node, due), run) else { panic!("it ended well") };
    assert!(matches!(*error, OpError::DeadlineExceeded { after } if after == Duration::from_secs(2)));
    held.lock().unwrap().pop().unwrap().complete(weight(1.0));
    assert!(settle(&mut node, due).is_empty());
    assert_eq!(node.engine_stats().late_completions, 1);
    assert_eq!(node.next_deadline(), None);
}

#[test]
fn a_result_over_the_cap_fails_its_op() {
    let (mut node, held) = later(NodeConfig::default().with_completion_bytes(3));
    let run = suspend(&mut node);
    held.lock().unwrap().pop().unwrap().complete(weight(1.0));
    let Outcome::Failed(error) = outcome(&settle(&mut node, Time::ZERO), run) else {
        panic!("it ended well")
    };
    assert!(matches!(*error, OpError::ResultTooLarge { byte_count: 4, cap: 3 }), "{error}");
}

#[test]
fn no_more_ops_wait_than_may() {
    let (mut node, _held) = later(NodeConfig::default().with_pending_async(1));
    suspend(&mut node);
    let run = node.invoke("Later", &[]).unwrap();
    let Outcome::Failed(error) = outcome(&settle(&mut node, Time::ZERO), run) else {
        panic!("it ended well")
    };
    assert!(matches!(*error, OpError::TooManyPending { cap: 1 }), "{error}");
    assert_eq!(node.pending_async_count(), 1);
}
