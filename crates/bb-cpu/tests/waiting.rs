//! Buffers that wait for a later run are within the limit too.
//!
//! One test alone in its file, because it counts the allocations of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::System;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::{Backend, Component, Outputs};
use common::{graph, node, single, with_int};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LIMIT: usize = 160_000;

/// What a prepared graph may hold beside tensors.
const SLACK: usize = 100_000;

fn held() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize + stats.bytes_reallocated - stats.bytes_deallocated as isize
}

#[test]
fn a_chain_of_values_of_all_sizes_leaves_no_more_than_the_limit() {
    let names: Vec<String> = (0..=64).map(|at| format!("v{at}")).collect();
    let nodes = names.windows(2).map(|pair| node("Concat", &[&pair[0], "x"], &[&pair[1]]));
    let chain = graph(nodes.map(|node| with_int(node, "axis", 0)).collect(), &["v0", "x"], &["v64"], 21);
    let backend = CpuBackend::new(&CpuConfig { memory_limit: LIMIT, ..CpuConfig::default() }).unwrap();
    let inputs = [single(&[250], 1), single(&[250], 2)];
    let before = held();
    let mut ready = backend.prepare(&chain).unwrap();
    let mut outputs = Outputs::new();
    for _ in 0..3 {
        ready.run_into(&inputs, &mut outputs).unwrap();
        assert_eq!(**outputs[0].shape(), [65 * 250]);
        // 2 MB went through it.
        let more = held() - before;
        assert!(more <= (LIMIT + SLACK) as isize, "{more} bytes are held");
    }
}
