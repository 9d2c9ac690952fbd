//! A pass over data of batch sizes seen before allocates nothing.

#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::alloc::System;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::models::reference_mlp;
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions, Optimizer, Schedule};
use bb_runtime::contracts::Detached;
use bb_runtime::{Component, Fit, Model};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_steady_pass_of_training_allocates_nothing() {
    pass_allocates_nothing(OnnxModelOptions::default());
    // The allocator counts for the whole process, so both are one test.
    pass_allocates_nothing(OnnxModelOptions {
        learning_rate: 0.01,
        optimizer: Optimizer::Momentum { momentum: 0.9, nesterov: true },
        schedule: Schedule::Cosine { warmup: 3, steps: 100, floor: 0.1 },
        ..OnnxModelOptions::default()
    });
}

fn pass_allocates_nothing(options: OnnxModelOptions) {
    let config = OnnxModelConfig::new(reference_mlp().unwrap(), options).unwrap();
    let mut model = OnnxModel::new(&config).unwrap();
    let train = InMemoryConfig::new(digits::load().unwrap().train.rows(0..150)).shuffled(1);
    let mut data = InMemoryData::new(&train).unwrap();
    let mut node = Detached::new(0).with("compute", CpuBackend::new(&CpuConfig::default()).unwrap());
    let mut pass = || {
        model
            .fit(&mut node.context(), &mut data, Fit { epochs: 1, batch: 32 })
            .unwrap()
            .into_now()
            .unwrap()
            .rows
    };
    // The first passes prepare the graphs and make the batches and the second set of parameters.
    assert_eq!([pass(), pass(), pass()], [150; 3]);
    let region = Region::new(ALLOCATOR);
    let rows = pass();
    let change = region.change();
    assert_eq!((rows, change.allocations + change.reallocations), (150, 0), "{change:?}");
}
