//! Node cases with one change each are refused, or run and have the gradients that finite differences have.
//!
//! `BB_SWEEP=all` looks at every change, which takes some minutes; else [`SAMPLES`] are drawn by a seed that is printed and that
//! `BB_TEST_SEED` sets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bb_cpu::{CpuBackend, CpuConfig};
use bb_onnx_tests::{archive, sweep};
use bb_runtime::Component;

/// How many changes are drawn.
const SAMPLES: usize = 10_000;

/// Bytes of tensors that a run may hold, and elementary operations that it may take.
const LIMITS: (usize, u64) = (16 << 20, 1 << 22);

/// A number that follows from `seed` (SplitMix64).
fn number(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn cases_with_one_change_are_refused_or_have_the_gradients_that_differences_have() {
    let cases = archive::cases().unwrap();
    let passed: Vec<&str> = include_str!("../expected/bb-cpu.txt").lines().collect();
    let changes = sweep::changes(&cases, &passed);
    let given = std::env::var("BB_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or(1);
    println!("seed: BB_TEST_SEED={seed}, {} changes", changes.len());
    let config = CpuConfig { memory_limit: LIMITS.0, work_limit: LIMITS.1, ..CpuConfig::default() };
    let backend = CpuBackend::new(&config).unwrap();
    let is_whole = std::env::var_os("BB_SWEEP").is_some_and(|what| what == "all");
    let chosen: Vec<usize> = match is_whole {
        true => (0..changes.len()).collect(),
        false => {
            let draw = |at: u64| number(seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            (1..=SAMPLES as u64).map(|at| (draw(at) % changes.len() as u64) as usize).collect()
        }
    };
    let mut bad = Vec::new();
    for at in chosen {
        if let Some(wrong) = sweep::check(&changes[at], &cases, &backend) {
            println!("{wrong}");
            bad.push(wrong);
        }
    }
    assert!(bad.is_empty(), "{} changed cases are wrong: {bad:#?}", bad.len());
}
