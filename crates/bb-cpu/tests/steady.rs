//! A run with shapes met before allocates nothing.
//!
//! One test alone in its file, because it counts the allocations of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::System;

use bb_runtime::{BackendGraph, Outputs, Tensor};
use common::{
    BATCH, CLASSES, HIDDEN, WIDTH, graph, node, prepare, single, training_step, with_constants, with_int,
    with_ints,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A small network for images: convolutions of three kinds, pools, a residual sum, a dense layer.
fn network() -> BackendGraph {
    let padded =
        |inputs: &[&str], output: &str| with_ints(node("Conv", inputs, &[output]), "pads", &[1, 1, 1, 1]);
    let pool = with_ints(node("MaxPool", &["r"], &["m"]), "kernel_shape", &[2, 2]);
    let nodes = vec![
        with_ints(padded(&["x", "w1", "b"], "c"), "strides", &[2, 2]),
        node("BatchNormalization", &["c", "b", "b", "b", "one"], &["n"]),
        node("Relu", &["n"], &["r"]),
        with_ints(pool, "strides", &[2, 2]),
        with_int(padded(&["m", "w2"], "d"), "group", 16),
        node("Conv", &["d", "w3"], &["p"]),
        node("Add", &["p", "m"], &["s"]),
        node("Relu", &["s"], &["t"]),
        node("GlobalAveragePool", &["t"], &["g"]),
        node("Flatten", &["g"], &["f"]),
        node("Gemm", &["f", "w4"], &["l"]),
        node("Softmax", &["l"], &["y"]),
    ];
    let constants = [
        ("w1", single(&[16, 3, 3, 3], 1)),
        ("b", single(&[16], 2)),
        ("one", Tensor::from_slice([16], &[1.0_f32; 16]).unwrap()),
        ("w2", single(&[16, 1, 3, 3], 3)),
        ("w3", single(&[16, 16, 1, 1], 4)),
        ("w4", single(&[16, 10], 5)),
    ];
    with_constants(graph(nodes, &["x"], &["y"], 21), &constants)
}

/// Allocations of a hundred runs, after three.
fn allocations(graph: &BackendGraph, mut inputs: Vec<Tensor>, feed_back: usize) -> usize {
    let mut ready = prepare(graph).unwrap();
    let mut outputs = Outputs::new();
    let mut run = || {
        ready.run_into(&inputs, &mut outputs).unwrap();
        let first = inputs.len() - feed_back;
        for (input, output) in inputs[first..].iter_mut().zip(&mut outputs) {
            std::mem::swap(input, output);
        }
    };
    (0..3).for_each(|_| run());
    let before = ALLOCATOR.stats();
    (0..100).for_each(|_| run());
    let after = ALLOCATOR.stats();
    after.allocations + after.reallocations - before.allocations - before.reallocations
}

#[test]
fn steady_inference_and_steady_training_allocate_nothing() {
    let labels: Vec<i64> = (0..BATCH).map(|row| (row % CLASSES) as i64).collect();
    let training = vec![
        single(&[BATCH, WIDTH], 1),
        Tensor::from_slice([BATCH], &labels).unwrap(),
        single(&[WIDTH, HIDDEN], 2),
        single(&[HIDDEN], 3),
        single(&[HIDDEN, CLASSES], 4),
        single(&[CLASSES], 5),
    ];
    assert_eq!(allocations(&training_step(), training, 4), 0, "a training step");
    assert_eq!(allocations(&network(), vec![single(&[2, 3, 32, 32], 6)], 0), 0, "an inference");
}
