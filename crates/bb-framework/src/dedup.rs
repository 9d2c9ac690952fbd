//! Which messages were seen already: a window over the latest ones.

mod state;

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use bb_ir::PeerId;
use hashbrown::{DefaultHashBuilder, HashTable};

pub use self::state::State;

/// Names a message among those of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The sender's incarnation when it sent.
    pub incarnation: u64,
    /// Counts the messages of that incarnation.
    pub counter: u64,
}

/// The latest messages, by sender and id; the oldest leaves when another comes to a full window.
///
/// - look: [`contains`](Self::contains) [`len`](Self::len) [`is_empty`](Self::is_empty) [`iter`](Self::iter)
///   [`evicted`](Self::evicted) [`unseen`](Self::unseen)
/// - feed: [`insert`](Self::insert) [`insert_unseen`](Self::insert_unseen)
/// - command: [`clear`](Self::clear) [`forget_counters`](Self::forget_counters)
///
/// A receiver asks [`unseen`](Self::unseen) first and inserts once it has room for the message, so that one it had to
/// refuse may come again.
///
/// ```
/// use bb_framework::{DedupWindow, MessageId};
/// use bb_ir::PeerId;
/// let mut window = DedupWindow::new(100);
/// let (peer, id) = (PeerId::from_u64(1), MessageId { incarnation: 1, counter: 9 });
/// assert!(window.insert(peer, id));
/// assert!(!window.insert(peer, id));
/// assert!(window.contains(peer, id));
/// ```
#[derive(Clone)]
pub struct DedupWindow {
    capacity: usize,
    /// Oldest first; the one at the front has number `evicted`.
    order: VecDeque<Unseen>,
    /// Numbers of the messages in `order`, by their hash. Never iterated, so the hasher's seed shows nowhere.
    numbers: HashTable<u64>,
    hasher: DefaultHashBuilder,
    evicted: u64,
    /// How many of the evicted are not counted any more.
    forgotten: u64,
}

/// A message that is not in the window that was asked for it.
#[derive(Clone, Copy, Debug)]
#[must_use = "the window does not have it until it is inserted"]
pub struct Unseen {
    sender: PeerId,
    message: MessageId,
    /// Of both, by the window's hasher.
    hash: u64,
}

impl DedupWindow {
    /// A window over at most `capacity` messages.
    ///
    /// The oldest is evicted first, and counted. Holds at most [`worst_case_bytes`](Self::worst_case_bytes), and
    /// nothing while it is empty.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            order: VecDeque::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            evicted: 0,
            forgotten: 0,
        }
    }

    /// The most bytes that a window over `capacity` messages holds: a ring grown to a power of two, and a table of
    /// numbers with a byte more a place. The table is at most 7/8 full, and once the window is, 7/16.
    pub const fn worst_case_bytes(capacity: usize) -> usize {
        crate::ring_bytes(capacity, size_of::<Unseen>()) + crate::table_bytes(capacity, size_of::<u64>())
    }

    /// Takes up a message; `false` if it is in the window already.
    pub fn insert(&mut self, sender: PeerId, message: MessageId) -> bool {
        let unseen = self.unseen(sender, message);
        unseen.map(|unseen| self.insert_unseen(unseen)).is_some()
    }

    /// Takes up a message that is not in the window, as [`unseen`](Self::unseen) has said and nothing has changed since.
    pub fn insert_unseen(&mut self, unseen: Unseen) {
        debug_assert!(!self.contains(unseen.sender, unseen.message), "the message is in the window");
        if self.capacity == 0 {
            self.evicted += 1;
            return;
        }
        while self.order.len() >= self.capacity {
            self.evict_oldest();
        }
        let number = self.evicted + self.order.len() as u64;
        self.order.push_back(unseen);
        let Self { capacity, order, numbers, evicted, .. } = self;
        let hash_of = |number: &u64| order.get(position(*number, *evicted)).map_or(0, |held| held.hash);
        if order.len() == *capacity && numbers.num_buckets() / 8 * 7 < 2 * *capacity {
            // So much that it never grows again, however numbers come and go.
            numbers.reserve(*capacity, hash_of);
        }
        numbers.insert_unique(unseen.hash, number, hash_of);
    }

    /// Forgets all messages.
    pub fn clear(&mut self) {
        self.evicted += self.order.len() as u64;
        self.order.clear();
        self.numbers.clear();
    }

    /// Forgets what was counted.
    pub fn forget_counters(&mut self) {
        self.forgotten = self.evicted;
    }

    /// Whether the message is in the window.
    pub fn contains(&self, sender: PeerId, message: MessageId) -> bool {
        self.unseen(sender, message).is_none()
    }

    /// A message, if it is not in the window: what [`insert_unseen`](Self::insert_unseen) takes.
    pub fn unseen(&self, sender: PeerId, message: MessageId) -> Option<Unseen> {
        let mut state = self.hasher.build_hasher();
        state.write(sender.as_bytes());
        message.hash(&mut state);
        let hash = state.finish();
        let is_it = |&number: &u64| {
            let held = self.order.get(position(number, self.evicted));
            held.is_some_and(|held| held.hash == hash && held.message == message && held.sender == sender)
        };
        self.numbers.find(hash, is_it).is_none().then_some(Unseen { sender, message, hash })
    }

    /// The messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, MessageId)> {
        self.order.iter().map(|held| (held.sender, held.message))
    }

    /// How many messages are in the window.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many messages have left the window.
    pub fn evicted(&self) -> u64 {
        self.evicted - self.forgotten
    }

    fn evict_oldest(&mut self) {
        let Some(oldest) = self.order.front() else { return };
        let oldest_number = self.evicted;
        if let Ok(entry) = self.numbers.find_entry(oldest.hash, |&number| number == oldest_number) {
            entry.remove();
        }
        self.order.pop_front();
        self.evicted += 1;
    }
}

impl fmt::Debug for DedupWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupWindow")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .field("evicted", &self.evicted())
            .finish_non_exhaustive()
    }
}

fn position(number: u64, evicted: u64) -> usize {
    number.wrapping_sub(evicted) as usize
}
