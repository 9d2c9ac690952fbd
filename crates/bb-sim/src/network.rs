//! The virtual network: messages under way, when each arrives, and what each node sent and got.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytesandbrains::Time;
use bytesandbrains::framework::Rng;

/// How long a message is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Latency {
    /// No time at all: messages arrive in the order in which they were sent.
    #[default]
    None,
    /// Each the same time.
    Fixed(Duration),
    /// Each a time of its own, any between the two as likely as any other; messages overtake each other.
    Uniform {
        /// The shortest.
        from: Duration,
        /// The longest.
        to: Duration,
    },
}

/// What a node sent and got, envelopes whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that left it.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages that reached it.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
}

/// A message under way between two nodes, each by its index.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: Bytes,
}

/// Messages under way, in the order of their arrival; equal times in the order of sending.
#[derive(Debug)]
pub(crate) struct Network {
    latency: Latency,
    rng: Rng,
    sent: u64,
    under_way: BTreeMap<(Time, u64), Message>,
}

impl Latency {
    fn draw(self, rng: &mut Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(duration) => duration,
            Self::Uniform { from, to } => {
                let width = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
                from + Duration::from_nanos(rng.below(width.saturating_add(1)))
            }
        }
    }
}

impl Network {
    pub(crate) fn new(latency: Latency, seed: u64) -> Self {
        Self { latency, rng: Rng::from_u64(seed), sent: 0, under_way: BTreeMap::new() }
    }

    pub(crate) fn send(&mut self, now: Time, message: Message) {
        let due = now + self.latency.draw(&mut self.rng);
        self.under_way.insert((due, self.sent), message);
        self.sent += 1;
    }

    pub(crate) fn next_arrival(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next message that has arrived at `now`.
    pub(crate) fn arrived(&mut self, now: Time) -> Option<Message> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
