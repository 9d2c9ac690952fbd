//! What the fuzz targets share: a measure of the memory that decoding takes, and [`world`], nodes that are driven, and [`snapshots`] of them that are
//! damaged.
//!
//! Run one with `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz envelope -- -runs=1000000`.

pub mod components;
pub mod models;
#[path = "../../../crates/bb-runtime/tests/node/common/snapshot_file.rs"]
mod snapshot_file;
pub mod snapshots;
mod sound;
pub mod world;

use std::alloc::System;

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs `decode` and gives what it returns with the most memory that it held at one time.
pub fn with_peak<T>(decode: impl FnOnce() -> T) -> (T, usize) {
    ALLOCATOR.reset_peak_memory();
    let decoded = decode();
    (decoded, ALLOCATOR.get_peak_memory())
}
