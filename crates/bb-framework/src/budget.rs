//! A byte budget by ownership: what is admitted carries a guard, and the guard gives the bytes back.
//!
//! There is no `release`: bytes in flight are the sum of the charges that are alive, by construction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use thiserror::Error;

/// Admits bytes until `capacity` of them are in flight; a clone is the same budget, usable from any thread.
///
/// - look: [`capacity`](Self::capacity) [`in_flight`](Self::in_flight) [`remaining`](Self::remaining)
///   [`refused`](Self::refused)
/// - feed: [`try_charge`](Self::try_charge)
/// - command: [`set_capacity`](Self::set_capacity)
///
/// ```
/// use bb_framework::Budget;
/// let budget = Budget::new(100);
/// let charge = budget.try_charge(60)?;
/// let shared = charge.clone();
/// assert_eq!(budget.try_charge(60).unwrap_err().budget_remaining, 40);
/// drop(charge);
/// assert_eq!(budget.in_flight(), 60);
/// drop(shared);
/// assert_eq!(budget.in_flight(), 0);
/// # Ok::<(), bb_framework::BudgetExceeded>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    capacity: AtomicUsize,
    in_flight: AtomicUsize,
    refused: AtomicU64,
}

/// Bytes that are in flight until the last clone of this is dropped.
///
/// It is a [`bb_ir::Charge`], so it can ride on a tensor: `tensor.with_charge(charge.into())`.
#[derive(Clone)]
pub struct Charge(Arc<Held>);

struct Held {
    account: Arc<Account>,
    byte_count: usize,
}

/// The bytes do not fit in; the caller may try again when others have gone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{byte_count} bytes do not fit into the {budget_remaining} that the byte budget has left; try again later"
)]
pub struct BudgetExceeded {
    /// Bytes asked for.
    pub byte_count: usize,
    /// Bytes that were left.
    pub budget_remaining: usize,
}

impl Budget {
    /// A budget of `capacity` bytes, all of them free.
    ///
    /// Holds three counters and one small allocation a live charge, whatever the capacity; evicts nothing,
    /// refuses what does not fit.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Account {
            capacity: AtomicUsize::new(capacity),
            in_flight: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Admits `byte_count` bytes, or none of them.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; it is counted.
    pub fn try_charge(&self, byte_count: usize) -> Result<Charge, BudgetExceeded> {
        let capacity = self.capacity();
        let admitted = self.0.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
            in_flight.checked_add(byte_count).filter(|&total| total <= capacity)
        });
        match admitted {
            Ok(_) => Ok(Charge(Arc::new(Held { account: Arc::clone(&self.0), byte_count }))),
            Err(in_flight) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Err(BudgetExceeded { byte_count, budget_remaining: capacity.saturating_sub(in_flight) })
            }
        }
    }

    /// Sets the capacity; what is in flight already stays.
    pub fn set_capacity(&self, capacity: usize) {
        self.0.capacity.store(capacity, Ordering::Release);
    }

    /// The most bytes that may be in flight.
    pub fn capacity(&self) -> usize {
        self.0.capacity.load(Ordering::Acquire)
    }

    /// Bytes of all charges that are alive.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    /// Bytes that would still be admitted.
    pub fn remaining(&self) -> usize {
        self.capacity().saturating_sub(self.in_flight())
    }

    /// How often bytes were refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .field("refused", &self.refused())
            .finish()
    }
}

impl Charge {
    /// The bytes charged.
    pub fn byte_count(&self) -> usize {
        self.0.byte_count
    }
}

impl From<Charge> for Arc<dyn bb_ir::Charge> {
    fn from(charge: Charge) -> Self {
        charge.0
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl bb_ir::Charge for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Charge").field(&self.byte_count).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.in_flight.fetch_sub(self.byte_count, Ordering::AcqRel);
    }
}
