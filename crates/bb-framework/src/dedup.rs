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
///   [`evicted`](Self::evicted)
/// - feed: [`insert`](Self::insert) [`insert_new`](Self::insert_new)
/// - command: [`clear`](Self::clear) [`forget_counters`](Self::forget_counters)
///
/// A receiver asks [`contains`](Self::contains) first and inserts once it has room for the message, so that
/// one it had to refuse may come again.
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
    order: VecDeque<(PeerId, MessageId)>,
    /// Numbers of the messages in `order`, by their hash. Never iterated, so the hasher's seed shows nowhere.
    numbers: HashTable<u64>,
    hasher: DefaultHashBuilder,
    evicted: u64,
    /// How many of the evicted are not counted any more.
    forgotten: u64,
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
        let table = 2 * (capacity * 8 / 7 + 1).next_power_of_two() * (size_of::<u64>() + 1) + 64;
        crate::ring_bytes(capacity, size_of::<(PeerId, MessageId)>()) + table
    }

    /// Takes up a message; `false` if it is in the window already.
    pub fn insert(&mut self, sender: PeerId, message: MessageId) -> bool {
        let is_new = !self.contains(sender, message);
        if is_new {
            self.insert_new(sender, message);
        }
        is_new
    }

    /// Takes up a message that is not in the window, as [`contains`](Self::contains) has said.
    pub fn insert_new(&mut self, sender: PeerId, message: MessageId) {
        debug_assert!(!self.contains(sender, message), "the message is in the window");
        if self.capacity == 0 {
            self.evicted += 1;
            return;
        }
        while self.order.len() >= self.capacity {
            self.evict_oldest();
        }
        let number = self.evicted + self.order.len() as u64;
        self.order.push_back((sender, message));
        let Self { capacity, order, numbers, hasher, evicted, .. } = self;
        let rehash =
            |number: &u64| order.get(position(*number, *evicted)).map_or(0, |held| hash(hasher, held));
        if order.len() == *capacity && numbers.num_buckets() / 8 * 7 < 2 * *capacity {
            // So much that it never grows again, however numbers come and go.
            numbers.reserve(*capacity, rehash);
        }
        numbers.insert_unique(hash(hasher, &(sender, message)), number, rehash);
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
        let key = (sender, message);
        self.numbers
            .find(hash(&self.hasher, &key), |&number| {
                self.order.get(position(number, self.evicted)) == Some(&key)
            })
            .is_some()
    }

    /// The messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, MessageId)> {
        self.order.iter().copied()
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
        if let Ok(entry) =
            self.numbers.find_entry(hash(&self.hasher, oldest), |&number| number == oldest_number)
        {
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

fn hash(hasher: &DefaultHashBuilder, (sender, message): &(PeerId, MessageId)) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(sender.as_bytes());
    message.hash(&mut state);
    state.finish()
}
