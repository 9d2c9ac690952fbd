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
/// - command: [`set_capacity`](Self::set_capacity) [`set_refused`](Self::set_refused) [`readmit`](Self::readmit)
///   [`forget`](Self::forget)
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
    /// Bytes in flight in the lower bits; above them how often everything was forgotten.
    in_flight: AtomicU64,
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
    /// Charges of another era count no more.
    era: u64,
}

/// Bits for bytes in flight: 256 TiB.
const BYTE_BITS: u32 = 48;
const BYTES: u64 = (1 << BYTE_BITS) - 1;

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
            in_flight: AtomicU64::new(0),
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
            let total = bytes_of(in_flight).checked_add(byte_count).filter(|&total| total <= capacity)?;
            Some(in_flight & !BYTES | total as u64 & BYTES)
        });
        match admitted {
            Ok(before) => {
                let era = before >> BYTE_BITS;
                Ok(Charge(Arc::new(Held { account: Arc::clone(&self.0), byte_count, era })))
            }
            Err(in_flight) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Err(BudgetExceeded {
                    byte_count,
                    budget_remaining: capacity.saturating_sub(bytes_of(in_flight)),
                })
            }
        }
    }

    /// Charges bytes that were admitted before, whatever the capacity: for what is restored, whose sum the caller has
    /// checked.
    pub fn readmit(&self, byte_count: usize) -> Charge {
        let add = (byte_count as u64).min(BYTES);
        let before = self.0.in_flight.fetch_add(add, Ordering::AcqRel);
        let (account, era) = (Arc::clone(&self.0), before >> BYTE_BITS);
        Charge(Arc::new(Held { account, byte_count: add as usize, era }))
    }

    /// Forgets all charges that are alive: they count no more, here and when they end. Nothing was refused so far.
    pub fn forget(&self) {
        let next = |in_flight: u64| Some((in_flight >> BYTE_BITS).wrapping_add(1) << BYTE_BITS);
        // The function never refuses.
        if self.0.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok() {
            self.set_refused(0);
        }
    }

    /// Sets how often bytes were refused.
    pub fn set_refused(&self, refused: u64) {
        self.0.refused.store(refused, Ordering::Relaxed);
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
        bytes_of(self.0.in_flight.load(Ordering::Acquire))
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
    /// Names the charge among those that are alive; its clones have the same name.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

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
        let give_back = |in_flight: u64| {
            (in_flight >> BYTE_BITS == self.era)
                .then(|| in_flight - (self.byte_count as u64).min(in_flight & BYTES))
        };
        match self.account.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_back) {
            // The charge is of another era in the second case.
            Ok(_) | Err(_) => {}
        }
    }
}

fn bytes_of(in_flight: u64) -> usize {
    (in_flight & BYTES) as usize
}
