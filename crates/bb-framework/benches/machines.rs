//! What the machines on a message's way cost, each beside the least that could do the work.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use bb_framework::{Budget, DedupWindow, MessageId, OutboundQueue, RequestTracker, Rng, Scheduler, outbound};
use bb_ir::{PeerId, Time};
use criterion::{Criterion, criterion_group, criterion_main};

/// What is held while one more comes and one goes.
const HELD: u64 = 1_000;

fn budget(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("charge and release");
    let counter = AtomicUsize::new(0);
    group.bench_function("baseline: an atomic counter", |bencher| {
        bencher.iter(|| {
            counter.fetch_add(black_box(64), Ordering::AcqRel);
            counter.fetch_sub(black_box(64), Ordering::AcqRel)
        });
    });
    let budget = Budget::new(1 << 20);
    group.bench_function("Budget", |bencher| bencher.iter(|| budget.try_charge(black_box(64)).is_ok()));
    group.finish();
}

fn scheduler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set a timer and take the next");
    let mut rng = Rng::from_u64(1);
    let mut heap: BinaryHeap<_> = (0..HELD).map(|key| Reverse((rng.u64() >> 8, key))).collect();
    group.bench_function("baseline: a binary heap", |bencher| {
        bencher.iter(|| {
            let popped = heap.pop();
            if let Some(Reverse((at, key))) = popped {
                heap.push(Reverse((at.wrapping_add(rng.u64() >> 8), key)));
            }
            popped
        });
    });
    let mut scheduler = Scheduler::new(HELD as usize);
    for key in 0..HELD {
        assert!(scheduler.set(key, Time::from_nanos(rng.u64() >> 8)).is_ok());
    }
    group.bench_function("Scheduler", |bencher| {
        bencher.iter(|| {
            let popped = scheduler.pop_due(Time::MAX);
            if let Some((at, key)) = popped {
                let next = Time::from_nanos(at.as_nanos().wrapping_add(rng.u64() >> 8));
                assert!(scheduler.set(key, next).is_ok());
            }
            popped
        });
    });
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let mut rng = Rng::from_u64(1);
    let mut requests = RequestTracker::new(2 * HELD as usize);
    let mut now = 0;
    for peer in 0..HELD {
        now += 1;
        let id = rng.request_id();
        assert!(requests.begin(PeerId::from_u64(peer), id, Time::from_nanos(now), ()).is_ok());
    }
    let peer = PeerId::from_u64(7);
    criterion.bench_function("draw an id, begin a request and answer it", |bencher| {
        bencher.iter(|| {
            now += 1;
            let id = rng.request_id();
            assert!(requests.begin(peer, id, Time::from_nanos(now), ()).is_ok());
            requests.answer(peer, id)
        });
    });
}

fn dedup(criterion: &mut Criterion) {
    let mut window = DedupWindow::new(8_192);
    let peer = PeerId::from_u64(7);
    let mut counter = 0;
    criterion.bench_function("look a message up in a full window and take it", |bencher| {
        bencher.iter(|| {
            counter += 1;
            let message = MessageId { incarnation: 1, counter };
            window.contains(peer, message) || window.insert(peer, message)
        });
    });
}

fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue a message and take it");
    let mut ring = VecDeque::new();
    group.bench_function("baseline: a ring", |bencher| {
        bencher.iter(|| {
            ring.push_back(black_box(7_u64));
            ring.pop_front()
        });
    });
    let mut queue = OutboundQueue::new(outbound::Config::default());
    group.bench_function("OutboundQueue", |bencher| {
        bencher.iter(|| {
            assert!(queue.push(black_box(7_u64), 64).is_ok());
            queue.pop()
        });
    });
    group.finish();
}

criterion_group!(benches, budget, scheduler, requests, dedup, outbound);
criterion_main!(benches);
