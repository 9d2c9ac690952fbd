//! An allocator that fails large allocations when it is told to.
//!
//! Rust's collections end the process where memory for a few bytes cannot be had; nothing can be tested there. What the
//! node promises is about memory whose amount somebody else decides: the bytes of an input, the items of a list,
//! the length of a snapshot. So only allocations of a least size fail, and only those of the thread that asked for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, failing within [`with_failures`].
#[derive(Debug)]
pub struct Failing;

/// Which allocations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Smaller ones neither fail nor count.
    pub least_bytes: usize,
    /// Which one fails, from 0.
    pub nth: u64,
    /// Whether all after it fail too.
    pub for_good: bool,
}

/// What became of large allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many were asked for.
    pub asked: u64,
    /// How many of them failed.
    pub failed: u64,
}

thread_local! {
    static STATE: Cell<Option<(Plan, Counts)>> = const { Cell::new(None) };
}

/// Fails the allocations of this thread by `plan` while `run` runs.
pub fn with_failures<R>(plan: Plan, run: impl FnOnce() -> R) -> (R, Counts) {
    struct Disarm;
    impl Drop for Disarm {
        fn drop(&mut self) {
            STATE.set(None);
        }
    }
    STATE.set(Some((plan, Counts::default())));
    let disarm = Disarm;
    let result = run();
    let counts = STATE.get().map(|(_, counts)| counts).unwrap_or_default();
    drop(disarm);
    (result, counts)
}

/// Counts an allocation; whether it is to fail.
fn fails(byte_count: usize) -> bool {
    let decided = STATE.try_with(|state| {
        let Some((plan, mut counts)) = state.get() else { return false };
        if byte_count < plan.least_bytes {
            return false;
        }
        let fails = counts.asked == plan.nth || (plan.for_good && counts.asked > plan.nth);
        counts.asked += 1;
        counts.failed += u64::from(fails);
        state.set(Some((plan, counts)));
        fails
    });
    decided.unwrap_or(false)
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; all it does is to ask the system's")]
// SAFETY: every block comes from `System` and goes back to it with the layout it was asked with; a null pointer is how
// an allocator says that there is no memory, and `fails` does not allocate.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if fails(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if fails(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() && fails(new_size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are handed on; a block whose growth failed stays as it was.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
