//! The queue between threads, driven as hosts and the node drive it. Nothing sleeps: threads meet at barriers and
//! wake each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use bb_framework::Budget;

use super::{Completed, EventGate, EventInput, Ingress, Input, SendResult};
use crate::contracts::{Completion, Pending};
use crate::{ComponentError, DeliveryError, NodeConfig, PeerId, Value};

struct OneInput;

impl EventGate for OneInput {
    fn find(&self, module: &str, input: &str) -> Result<EventInput, DeliveryError> {
        match (module, input) {
            ("M", "x") => Ok(EventInput { target: 3, input: 1 }),
            ("M", _) => Err(DeliveryError::UnknownInput {
                module: module.to_owned(),
                input: input.to_owned(),
                available: vec!["x".to_owned()],
            }),
            _ => Err(DeliveryError::UnknownModule {
                module: module.to_owned(),
                available: vec!["M".to_owned()],
            }),
        }
    }

    fn check(&self, _: EventInput, value: &[u8]) -> Result<(), DeliveryError> {
        match value {
            [0xff, ..] => Err(DeliveryError::MissingInput { module: "M".to_owned(), input: "x".to_owned() }),
            _ => Ok(()),
        }
    }

    fn hears_refusals(&self) -> bool {
        false
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn ingress(limits: &NodeConfig) -> (Ingress, Budget) {
    let budget = Budget::new(0);
    (Ingress::new(limits, budget.clone(), Arc::new(OneInput)), budget)
}

/// Takes the input whose turn it is.
fn pop(ingress: &Ingress) -> Option<Input> {
    let mut taken = None;
    ingress.shared.lanes.free_places(|inputs| inputs.queue.serve(1, |turn| taken = Some(turn.item)));
    taken
}

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn envelope_bytes(input: Option<Input>) -> Vec<u8> {
    match input {
        Some(Input::Envelope { bytes, .. }) => bytes,
        other => panic!("expected an envelope, got {other:?}"),
    }
}

#[test]
fn inputs_come_out_in_the_order_in_which_they_went_in_and_hold_their_charge() {
    let (ingress, budget) = ingress(&NodeConfig::default());
    let handle = ingress.handle();
    assert!(!ingress.has_work());
    handle.deliver_inbound(peer(1), b"abc").unwrap();
    handle.deliver_event("M", "x", b"de").unwrap();
    handle.send_result(peer(2), SendResult::Failed).unwrap();
    assert!(ingress.has_work());
    assert_eq!((handle.depth(), ingress.depth().0, budget.in_flight()), (3, 3, 5));

    let Some(Input::Envelope { source, bytes, charge }) = pop(&ingress) else { panic!("no envelope") };
    assert_eq!((source, &*bytes, charge.byte_count()), (peer(1), &b"abc"[..], 3));
    drop(charge);
    assert_eq!(budget.in_flight(), 2);
    let Some(Input::Event { input, value, charge }) = pop(&ingress) else { panic!("no event") };
    assert_eq!((input, &*value), (EventInput { target: 3, input: 1 }, &b"de"[..]));
    drop(charge);
    let Some(Input::SendResult { peer: to, result }) = pop(&ingress) else { panic!("no send result") };
    assert_eq!((to, result), (peer(2), SendResult::Failed));
    assert!(pop(&ingress).is_none() && !ingress.has_work());
    assert_eq!((handle.depth(), budget.in_flight()), (0, 0));
}

#[test]
fn a_refused_input_leaves_nothing_behind() {
    let limits = NodeConfig::edge().with_ingress_queue(3).with_ingress_bytes(300_000).with_app_event_bytes(4);
    let (ingress, budget) = ingress(&limits);
    let handle = ingress.handle();
    let large = vec![0; limits.envelope_bytes + 1];
    assert_eq!(
        handle.deliver_inbound(peer(1), &large),
        Err(DeliveryError::OversizePayload { byte_count: large.len(), cap: limits.envelope_bytes })
    );
    assert_eq!(
        handle.deliver_event("M", "x", b"12345"),
        Err(DeliveryError::OversizePayload { byte_count: 5, cap: 4 })
    );
    assert!(matches!(handle.deliver_event("N", "x", b"1"), Err(DeliveryError::UnknownModule { .. })));
    assert!(matches!(handle.deliver_event("M", "y", b"1"), Err(DeliveryError::UnknownInput { .. })));
    assert!(matches!(handle.deliver_event("M", "x", &[0xff]), Err(DeliveryError::MissingInput { .. })));
    assert_eq!((handle.depth(), budget.in_flight(), ingress.has_work()), (0, 0, false));

    handle.deliver_inbound(peer(1), &large[1..]).unwrap();
    assert_eq!(
        handle.deliver_inbound(peer(1), &large[1..]),
        Err(DeliveryError::BudgetExceeded {
            byte_count: limits.envelope_bytes,
            budget_remaining: 300_000 - limits.envelope_bytes
        })
    );
    handle.deliver_inbound(peer(1), b"2").unwrap();
    handle.deliver_inbound(peer(1), b"3").unwrap();
    assert_eq!(handle.deliver_inbound(peer(1), b"4"), Err(DeliveryError::QueueFull { capacity: 3 }));
    assert_eq!(ingress.door().refused, 7);
    assert_eq!(envelope_bytes(pop(&ingress)).len(), limits.envelope_bytes);
    handle.deliver_inbound(peer(1), b"5").unwrap();
    for expected in [b"2", b"3", b"5"] {
        assert_eq!(envelope_bytes(pop(&ingress)), expected);
    }
}

#[test]
fn an_unknown_module_is_named_before_a_large_value_is_looked_at() {
    let (ingress, _) = ingress(&NodeConfig::edge());
    let refused = ingress.handle().deliver_event("N", "x", &vec![0; 1 << 20]);
    assert!(matches!(refused, Err(DeliveryError::UnknownModule { .. })));
}

#[test]
fn after_close_nothing_goes_in_and_what_was_accepted_comes_out() {
    let (ingress, _) = ingress(&NodeConfig::default());
    let handle = ingress.handle();
    handle.deliver_inbound(peer(1), b"before").unwrap();
    assert!(handle.close());
    assert!(!handle.close());
    assert!(handle.is_closed());
    assert_eq!(handle.deliver_inbound(peer(1), b"after"), Err(DeliveryError::Closed));
    assert_eq!(handle.deliver_event("M", "x", b"1"), Err(DeliveryError::Closed));
    assert_eq!(handle.send_result(peer(1), SendResult::Delivered), Err(DeliveryError::Closed));
    assert_eq!(envelope_bytes(pop(&ingress)), b"before");
    assert!(pop(&ingress).is_none());
}

#[test]
fn a_host_that_closes_the_inputs_does_not_cut_off_completions() {
    let (ingress, _) = ingress(&NodeConfig::default());
    let answer = Completion::new(Pending(4), ingress.completion_sink());
    ingress.handle().close();
    answer.complete(9_i64);
    assert!(matches!(
        ingress.pop_completion(),
        Some(Completed { pending: Pending(4), result: Ok(values) }) if matches!(values[..], [Value::I64(9)])
    ));
    let late = Completion::new(Pending(5), ingress.completion_sink());
    ingress.close();
    late.complete(1_i64);
    assert!(ingress.pop_completion().is_none());
    assert_eq!(ingress.late_completions(), 1);
}

#[test]
fn completions_are_never_refused_for_lack_of_room() {
    let (ingress, _) = ingress(&NodeConfig::edge().with_ingress_queue(1));
    ingress.handle().send_result(peer(1), SendResult::Delivered).unwrap();
    for id in 0..1_000 {
        let completion = Completion::new(Pending(id), ingress.completion_sink());
        if id % 2 == 0 { completion.complete(id) } else { drop(completion) }
    }
    for id in 0..1_000 {
        let completed = ingress.pop_completion().unwrap();
        assert_eq!(completed.pending, Pending(id));
        match completed.result {
            Ok(values) => assert!(id % 2 == 0 && matches!(values[..], [Value::U64(value)] if value == id)),
            Err(ComponentError::Cancelled { .. }) => assert_eq!(id % 2, 1),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ingress.depth().0, 1);
}

#[test]
fn dropping_the_node_gives_back_its_charges_and_closes_its_handles() {
    let (ingress, budget) = ingress(&NodeConfig::default());
    let handle = ingress.handle();
    handle.deliver_inbound(peer(1), b"abc").unwrap();
    assert_eq!(budget.in_flight(), 3);
    drop(ingress);
    assert_eq!(budget.in_flight(), 0);
    assert_eq!(handle.deliver_inbound(peer(1), b"abc"), Err(DeliveryError::Closed));
    assert_eq!(budget.in_flight(), 0);
}

#[test]
fn limits_can_be_changed_under_a_handle() {
    let (ingress, budget) = ingress(&NodeConfig::default());
    let handle = ingress.handle();
    ingress.set_limits(&NodeConfig::edge().with_ingress_queue(1).with_ingress_bytes(1 << 20));
    assert_eq!((handle.capacity(), budget.capacity()), (1, 1 << 20));
    handle.deliver_inbound(peer(1), b"1").unwrap();
    assert_eq!(handle.deliver_inbound(peer(1), b"2"), Err(DeliveryError::QueueFull { capacity: 1 }));
}

#[test]
fn each_kind_of_push_and_close_wakes_the_registered_node() {
    let (ingress, _) = ingress(&NodeConfig::default());
    let handle = ingress.handle();
    let completion = Completion::new(Pending(0), ingress.completion_sink());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut expected = 0;
    let mut wakes_once = |push: &mut dyn FnMut()| {
        ingress.register(&waker);
        push();
        expected += 1;
        assert_eq!(wakes.0.load(Ordering::SeqCst), expected);
    };
    wakes_once(&mut || handle.deliver_inbound(peer(1), b"1").unwrap());
    wakes_once(&mut || handle.deliver_event("M", "x", b"1").unwrap());
    wakes_once(&mut || handle.send_result(peer(1), SendResult::Delivered).unwrap());
    let mut completion = Some(completion);
    wakes_once(&mut || completion.take().unwrap().complete(1_i64));
    wakes_once(&mut || assert!(handle.close()));
    ingress.register(&waker);
    assert_eq!(handle.deliver_inbound(peer(1), b"1"), Err(DeliveryError::Closed));
    assert_eq!(wakes.0.load(Ordering::SeqCst), expected);
}

/// The protocol of `Node::poll`: register, work, sleep only if nothing waits.
fn serve(ingress: &Ingress, mut is_done: impl FnMut(&Ingress) -> bool) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        ingress.register(&waker);
        if is_done(ingress) {
            return;
        }
        if !ingress.has_work() {
            thread::park();
        }
    }
}

#[test]
fn a_node_that_sleeps_between_pushes_of_many_threads_takes_every_input_once_and_in_order() {
    const THREADS: u64 = 4;
    const PUSHES: u64 = 5_000;
    let (ingress, budget) = ingress(&NodeConfig::default().with_ingress_queue(16));
    let start = Barrier::new(THREADS as usize + 1);
    thread::scope(|scope| {
        for id in 0..THREADS {
            let handle = ingress.handle();
            let sink = ingress.completion_sink();
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for push in 0..PUSHES {
                    Completion::new(Pending(id * PUSHES + push), Arc::clone(&sink)).complete(push);
                    loop {
                        match handle.deliver_inbound(peer(id), &push.to_le_bytes()) {
                            Ok(()) => break,
                            Err(DeliveryError::QueueFull { capacity: 16 }) => thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
        start.wait();
        let mut next = [0_u64; THREADS as usize];
        let mut completed = vec![false; (THREADS * PUSHES) as usize];
        let mut completions = 0;
        serve(&ingress, |ingress| {
            while let Some(input) = pop(ingress) {
                let Input::Envelope { source, bytes, .. } = input else { panic!("{input:?}") };
                let id = (0..THREADS).find(|&id| peer(id) == source).unwrap() as usize;
                assert_eq!(bytes, next[id].to_le_bytes());
                next[id] += 1;
            }
            while let Some(Completed { pending, .. }) = ingress.pop_completion() {
                assert!(!std::mem::replace(&mut completed[pending.0 as usize], true));
                completions += 1;
            }
            completions == THREADS * PUSHES && next.iter().all(|&taken| taken == PUSHES)
        });
    });
    assert_eq!((ingress.depth().0, budget.in_flight()), (0, 0));
}

#[test]
fn what_was_accepted_while_the_node_closed_is_delivered_and_the_rest_is_refused() {
    const THREADS: usize = 4;
    for _ in 0..200 {
        let (ingress, budget) = ingress(&NodeConfig::default());
        let start = Barrier::new(THREADS + 1);
        let accepted: usize = thread::scope(|scope| {
            let pushers: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (handle, start) = (ingress.handle(), &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut accepted = 0;
                        loop {
                            match handle.deliver_inbound(peer(1), b"1") {
                                Ok(()) => accepted += 1,
                                Err(DeliveryError::QueueFull { .. }) => thread::yield_now(),
                                Err(error) => {
                                    assert_eq!(error, DeliveryError::Closed);
                                    return accepted;
                                }
                            }
                        }
                    })
                })
                .collect();
            start.wait();
            thread::yield_now();
            ingress.close();
            pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum()
        });
        let mut delivered = 0;
        while pop(&ingress).is_some() {
            delivered += 1;
        }
        assert_eq!(delivered, accepted);
        assert_eq!((ingress.depth().0, budget.in_flight()), (0, 0));
    }
}

#[test]
fn an_ingress_that_is_not_used_is_small() {
    assert!(size_of::<super::Shared>() <= 1_280, "{}", size_of::<super::Shared>());
}
