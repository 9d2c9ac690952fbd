//! What waits to be sent: first in, first out, capped by count and by bytes.

mod state;

use std::collections::VecDeque;

pub use self::state::State;

/// Messages that the host has not taken yet.
///
/// - look: [`len`](Self::len) [`is_empty`](Self::is_empty) [`byte_count`](Self::byte_count) [`iter`](Self::iter)
///   [`dropped`](Self::dropped)
/// - feed: [`push`](Self::push)
/// - command: [`clear`](Self::clear) [`forget_counters`](Self::forget_counters)
/// - drive: [`pop`](Self::pop) [`take_events`](Self::take_events)
///
/// ```
/// use bb_framework::{OutboundQueue, outbound};
/// let mut queue = OutboundQueue::new(outbound::Config { messages: 2, bytes: 100 });
/// assert_eq!(queue.push("a", 60), Ok(()));
/// assert_eq!(queue.push("b", 60), Err("b"));
/// assert_eq!(queue.take_events(), [outbound::Event::OutboundDropped { count: 1, bytes: 60 }]);
/// assert_eq!(queue.pop(), Some("a"));
/// ```
#[derive(Clone, Debug)]
pub struct OutboundQueue<T> {
    config: Config,
    messages: VecDeque<(T, usize)>,
    byte_count: usize,
    dropped: Dropped,
    reported: Dropped,
}

/// What an [`OutboundQueue`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Messages.
    pub messages: usize,
    /// Bytes of all messages.
    pub bytes: usize,
}

/// What an [`OutboundQueue`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Messages found no room since the last event.
    OutboundDropped {
        /// How many.
        count: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// Messages that found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Default for Config {
    /// 10,000 messages, 64 MiB.
    fn default() -> Self {
        Self { messages: 10_000, bytes: 64 << 20 }
    }
}

impl<T> OutboundQueue<T> {
    /// A queue of at most `config.messages` messages and `config.bytes` bytes.
    ///
    /// Evicts nothing: the newest message is refused, handed back and counted. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it was never used.
    pub const fn new(config: Config) -> Self {
        let none = Dropped { count: 0, bytes: 0 };
        Self { config, messages: VecDeque::new(), byte_count: 0, dropped: none, reported: none }
    }

    /// The most bytes that a queue holds: those of its messages, and a ring grown to a power of two.
    pub const fn worst_case_bytes(config: Config) -> usize {
        config.bytes + crate::ring_bytes(config.messages, size_of::<(T, usize)>())
    }

    /// Takes up a message of `byte_count` bytes behind all others.
    ///
    /// # Errors
    /// The message, if there is no room; it is counted.
    pub fn push(&mut self, message: T, byte_count: usize) -> Result<(), T> {
        let total = self.byte_count.saturating_add(byte_count);
        if self.messages.len() >= self.config.messages || total > self.config.bytes {
            self.dropped.count += 1;
            self.dropped.bytes = self.dropped.bytes.saturating_add(byte_count as u64);
            return Err(message);
        }
        self.byte_count = total;
        self.messages.push_back((message, byte_count));
        Ok(())
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<T> {
        let (message, byte_count) = self.messages.pop_front()?;
        self.byte_count -= byte_count;
        Some(message)
    }

    /// What was dropped since it was last asked.
    #[must_use = "an event that is not passed on is lost"]
    pub fn take_events(&mut self) -> Vec<Event> {
        let count = self.dropped.count - self.reported.count;
        let bytes = self.dropped.bytes - self.reported.bytes;
        self.reported = self.dropped;
        if count == 0 { Vec::new() } else { vec![Event::OutboundDropped { count, bytes }] }
    }

    /// Drops all messages, without counting them, and gives their memory back.
    pub fn clear(&mut self) {
        self.messages = VecDeque::new();
        self.byte_count = 0;
    }

    /// Forgets what was dropped, but for what was not said yet.
    pub fn forget_counters(&mut self) {
        self.dropped = self.unreported();
        self.reported = Dropped::default();
    }

    /// The messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.messages.iter().map(|(message, _)| message)
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Their bytes.
    pub fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// What was dropped and not said yet.
    pub fn unreported(&self) -> Dropped {
        Dropped {
            count: self.dropped.count - self.reported.count,
            bytes: self.dropped.bytes - self.reported.bytes,
        }
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}
