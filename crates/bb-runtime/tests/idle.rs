//! A node that has nothing to do costs next to nothing: no allocation a poll, few bytes, and a process holds many.
//!
//! One test alone in its file, because it measures the memory of the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "node/common/mod.rs"]
mod common;

use std::alloc::System;
use std::task::{Context, Poll, Waker};

use bb_runtime::{Config, Node, PeerId};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NODES: u64 = 100_000;
const BYTES_A_NODE: usize = 8 * 1024;

#[test]
fn an_idle_node_is_small_and_polls_without_allocating() {
    let model = common::chain(10);
    let idle = |id| bb_runtime::install(PeerId::from_u64(id), [], &model, &["Chain"], Config::new()).unwrap();
    let mut first = idle(0);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(first.poll(&mut cx), Poll::Pending));

    let before = ALLOCATOR.stats().allocations;
    for _ in 0..1_000 {
        assert!(matches!(first.poll(&mut cx), Poll::Pending));
    }
    assert_eq!(ALLOCATOR.stats().allocations - before, 0, "an idle poll allocates");

    let before = live();
    let nodes: Vec<Node> = (1..=NODES).map(idle).collect();
    let each = (live() - before) / nodes.len();
    assert!(each <= BYTES_A_NODE, "an idle node takes {each} bytes beside the model");
}

/// Bytes that the process holds.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
