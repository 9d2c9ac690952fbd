//! Every machine against a model of it that is too simple to be wrong, on random sequences of calls.

#![expect(clippy::unwrap_used, reason = "all of this is a test")]

mod address_book;
mod address_proofs;
mod backoff;
mod backpressure;
mod budget;
mod dedup;
mod fair_queue;
mod governor;
mod outbound;
mod requests;
mod rng;
mod rtt;
mod saved;
mod scheduler;

use bb_ir::{PeerId, Time};
use proptest::prelude::*;

/// One of a few peers, so that sequences meet the same one again.
fn any_peer() -> impl Strategy<Value = PeerId> {
    (0_u64..8).prop_map(PeerId::from_u64)
}

/// One of a few moments, so that sequences meet the same one again.
fn any_time() -> impl Strategy<Value = Time> {
    (0_u64..40).prop_map(Time::from_nanos)
}
