//! What was asked and is not answered yet, by who was asked and a random id.

mod state;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

use bb_ir::{PeerId, Time};
use hashbrown::{DefaultHashBuilder, HashTable};
use thiserror::Error;

pub use self::state::{RequestState, State};

/// 128 random bits that name a request; made by [`Rng::request_id`](crate::Rng::request_id).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

/// Requests in flight, each with a deadline and what its owner keeps with it.
///
/// A response counts only if it comes from the peer that was asked and carries the id that it was sent;
/// any other is counted and changes nothing else.
///
/// - look: [`len`](Self::len) [`is_empty`](Self::is_empty) [`get`](Self::get)
///   [`iter`](Self::iter) [`next_deadline`](Self::next_deadline) [`unsolicited`](Self::unsolicited) [`refused`](Self::refused)
/// - feed: [`answer`](Self::answer)
/// - command: [`begin`](Self::begin) [`cancel`](Self::cancel) [`clear`](Self::clear)
///   [`forget_counters`](Self::forget_counters)
/// - drive: [`pop_expired`](Self::pop_expired)
///
/// ```
/// use bb_framework::{RequestTracker, Rng};
/// use bb_ir::{PeerId, Time};
/// let (asked, other) = (PeerId::from_u64(1), PeerId::from_u64(2));
/// let id = Rng::from_u64(0).request_id();
/// let mut requests = RequestTracker::new(10);
/// requests.begin(asked, id, Time::from_nanos(50), "weights")?;
/// assert_eq!(requests.answer(other, id), None);
/// assert_eq!(requests.answer(asked, id), Some("weights"));
/// assert_eq!(requests.answer(asked, id), None);
/// assert_eq!(requests.unsolicited(), 2);
/// # Ok::<(), bb_framework::RequestError>(())
/// ```
#[derive(Clone)]
pub struct RequestTracker<T> {
    capacity: usize,
    /// By the hash of peer and id. Never iterated, so the hasher's seed shows nowhere.
    requests: HashTable<Request<T>>,
    hasher: DefaultHashBuilder,
    /// Hashes of the requests, by when they end and the order in which they began: of no two that is the same.
    by_deadline: BTreeMap<(Time, u64), u64>,
    begun_so_far: u64,
    unsolicited: u64,
    refused: u64,
}

#[derive(Clone, Debug)]
struct Request<T> {
    peer: PeerId,
    id: RequestId,
    due: (Time, u64),
    hash: u64,
    payload: T,
}

/// Why a request cannot begin.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The id is in flight to that peer; the caller must draw a new one.
    #[error("request {id} to {peer} is in flight already; draw a new id")]
    Duplicate {
        /// The id.
        id: RequestId,
        /// The peer.
        peer: PeerId,
    },
    /// Too many are in flight.
    #[error("all {capacity} requests are in flight; wait for answers, or raise the limit")]
    Full {
        /// The cap.
        capacity: usize,
    },
}

impl<T> RequestTracker<T> {
    /// A tracker of at most `capacity` requests.
    ///
    /// Evicts nothing: a request beyond the cap is refused and counted, and each one leaves at its deadline at
    /// the latest. Holds at most [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it is empty.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            requests: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            by_deadline: BTreeMap::new(),
            begun_so_far: 0,
            unsolicited: 0,
            refused: 0,
        }
    }

    /// The most bytes that a tracker of `capacity` requests holds, besides what its payloads own: a
    /// table with a byte more a place that is 7/8 full at most, and 7/16 when requests come and go, and a tree whose nodes
    /// are at least 5/11 full.
    pub const fn worst_case_bytes(capacity: usize) -> usize {
        crate::table_bytes(capacity, size_of::<Request<T>>())
            + crate::tree_bytes(capacity, size_of::<(Time, u64)>() + size_of::<u64>())
    }

    /// Begins a request to `peer`, unanswered until `deadline`.
    ///
    /// # Errors
    /// [`RequestError`]; nothing is changed then but a counter.
    pub fn begin(
        &mut self,
        peer: PeerId,
        id: RequestId,
        deadline: Time,
        payload: T,
    ) -> Result<(), RequestError> {
        let hash = self.hash(peer, id);
        if self.find(hash, peer, id).is_some() {
            self.refused += 1;
            return Err(RequestError::Duplicate { id, peer });
        }
        if self.requests.len() >= self.capacity {
            self.refused += 1;
            return Err(RequestError::Full { capacity: self.capacity });
        }
        let due = (deadline, self.begun_so_far);
        self.begun_so_far += 1;
        self.requests.insert_unique(hash, Request { peer, id, due, hash, payload }, |held| held.hash);
        self.by_deadline.insert(due, hash);
        Ok(())
    }

    /// Ends the request that `peer` answers; `None` if it was not asked that.
    pub fn answer(&mut self, peer: PeerId, id: RequestId) -> Option<T> {
        let payload = self.cancel(peer, id);
        if payload.is_none() {
            self.unsolicited += 1;
        }
        payload
    }

    /// Ends a request that nobody waits for any more.
    pub fn cancel(&mut self, peer: PeerId, id: RequestId) -> Option<T> {
        let is_it = |held: &Request<T>| held.id == id && held.peer == peer;
        let (request, _) = self.requests.find_entry(self.hash(peer, id), is_it).ok()?.remove();
        self.by_deadline.remove(&request.due);
        Some(request.payload)
    }

    /// Takes the next request whose deadline is not after `now`; by deadline, then in the order they began.
    pub fn pop_expired(&mut self, now: Time) -> Option<(PeerId, RequestId, T)> {
        let entry = self.by_deadline.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let (due, hash) = entry.remove_entry();
        let (request, _) = self.requests.find_entry(hash, |held| held.due == due).ok()?.remove();
        Some((request.peer, request.id, request.payload))
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.by_deadline.clear();
    }

    /// Forgets what was counted.
    pub fn forget_counters(&mut self) {
        (self.unsolicited, self.refused) = (0, 0);
    }

    /// Until when the request `id` to `peer` may be answered, and what is kept with it.
    pub fn get(&self, peer: PeerId, id: RequestId) -> Option<(Time, &T)> {
        let request = self.find(self.hash(peer, id), peer, id)?;
        Some((request.due.0, &request.payload))
    }

    /// The requests with their deadlines, the next one due first.
    pub fn iter(&self) -> impl Iterator<Item = (Time, PeerId, RequestId, &T)> {
        self.by_deadline.iter().filter_map(|(&due, &hash)| {
            let request = self.requests.find(hash, |held| held.due == due)?;
            Some((due.0, request.peer, request.id, &request.payload))
        })
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none is in flight.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many responses nobody had asked for: late, repeated, or from another peer.
    pub fn unsolicited(&self) -> u64 {
        self.unsolicited
    }

    /// How many requests could not begin.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn find(&self, hash: u64, peer: PeerId, id: RequestId) -> Option<&Request<T>> {
        self.requests.find(hash, |held| held.id == id && held.peer == peer)
    }

    fn hash(&self, peer: PeerId, id: RequestId) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write(&id.0);
        state.write(peer.as_bytes());
        state.finish()
    }
}

impl<T> fmt::Debug for RequestTracker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTracker")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

impl PartialOrd for RequestId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RequestId {
    /// By their bytes, which are compared as one number.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}
