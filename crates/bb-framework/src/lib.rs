//! Policy machines of a node: plain structs, time as an argument, decisions as return values.
//!
//! Each file is one machine. None knows of graphs, components or sockets, none reads a clock, and none draws
//! a random number that its seed does not decide: the same calls give the same answers on every platform.
//! A machine decides; the node that owns it acts. What a machine has to say besides its return values it
//! queues, and its owner takes it with `take_events`.
//!
//! Read them in this order:
//!
//! 1. [`budget`]: how many bytes of others' a node holds, counted by ownership.
//! 2. [`governor`] and the [`backoff`] it is made with: who may talk to the node, to whom it may talk, and when again.
//! 3. [`address_book`]: where peers can be reached, and whose word that is; [`address_proofs`]: whether they really are
//!    there; [`rtt`]: how long they take to answer; [`backpressure`]: who sends more than the node can take.
//! 4. [`fair_queue`], [`requests`], [`dedup`], [`outbound`]: what came in and waits its turn, what is asked and not yet
//!    answered, what was seen already, what waits to be sent.
//! 5. [`scheduler`]: what is due when.
//! 6. [`rng`]: the node's one source of chance.
//! 7. [`state`]: what a machine is saved as; each has a `State` of its own.
//!
//! Every container has a cap, an eviction rule and a counter, all stated in its constructor's documentation
//! together with the most bytes it can come to hold (half as many again while it grows). Nothing is allocated before it is needed: a machine that was
//! never used holds no memory besides itself. Containers that are iterated are ordered.

pub mod address_book;
pub mod address_proofs;
pub mod backoff;
pub mod backpressure;
pub mod budget;
pub mod dedup;
pub mod fair_queue;
pub mod governor;
pub mod outbound;
mod peer_table;
pub mod requests;
pub mod rng;
pub mod rtt;
pub mod scheduler;
pub mod state;

pub use address_book::{AddressBook, AddressBookError, Tier};
pub use address_proofs::AddressProofs;
pub use backoff::BackoffTable;
pub use backpressure::Backpressure;
pub use budget::{Budget, BudgetExceeded, Charge};
pub use dedup::{DedupWindow, MessageId, Unseen};
pub use fair_queue::FairQueue;
pub use governor::{Decision, DenyReason, PeerGovernor};
pub use outbound::OutboundQueue;
pub use requests::{RequestError, RequestId, RequestTracker};
pub use rng::Rng;
pub use rtt::{Rtt, RttTable};
pub use scheduler::{Scheduler, SchedulerFull};
pub use state::{Remaining, StateError};

/// The most bytes that a B-tree of `entries` entries of `entry_bytes` bytes takes: nodes have eleven places, and
/// all but the root have at least five of them filled.
const fn tree_bytes(entries: usize, entry_bytes: usize) -> usize {
    const NODE_OVERHEAD: usize = 16 + 12 * size_of::<usize>();
    (entries / 5 + 1) * (11 * entry_bytes + NODE_OVERHEAD)
}

/// The most bytes that a hash table of `entries` entries of `entry_bytes` bytes takes, whose entries come and go: it has a
/// byte more a place, is at most 7/8 full before it doubles, and grows rather than sweep when it is half full.
const fn table_bytes(entries: usize, entry_bytes: usize) -> usize {
    2 * (entries * 8 / 7 + 1).next_power_of_two() * (entry_bytes + 1) + 64
}

/// The most bytes that a list or ring takes that grew one by one to `entries` entries of `entry_bytes` bytes: it
/// doubles, and begins with four.
const fn ring_bytes(entries: usize, entry_bytes: usize) -> usize {
    let places = entries.next_power_of_two();
    (if places < 4 { 4 } else { places }) * entry_bytes
}
