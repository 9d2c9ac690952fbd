//! The virtual network: messages under way, when each arrives, and what each node sent and got.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use bytesandbrains::Time;
use bytesandbrains::framework::Rng;

/// How long a message is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Latency {
    /// No time at all: what a node sends arrives before what others sent earlier, unless something that it sent before is
    /// under way still. So an answer is met while its bytes are near, and answers do not pile up. Those of one node
    /// arrive in the order in which it sent them; and nobody is passed by for ever: after 64 messages that went first
    /// one goes that waits.
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

/// Messages under way, in the order of their arrival; those that take time and are due together in the order of sending.
#[derive(Debug)]
pub(crate) struct Network {
    latency: Latency,
    rng: Rng,
    sent: u64,
    under_way: BTreeMap<(Time, u64), Message>,
    /// Messages that take no time, each with when it was sent and whether it passed others by.
    at_once: VecDeque<(Time, bool, Message)>,
    /// How many of them each node sent.
    of_node: Vec<usize>,
    /// Messages that passed others by since one arrived that did not.
    passed: usize,
}

/// How many messages may pass others by one after the other.
const MAY_PASS: usize = 64;

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
        Self {
            latency,
            rng: Rng::from_u64(seed),
            sent: 0,
            under_way: BTreeMap::new(),
            at_once: VecDeque::new(),
            of_node: Vec::new(),
            passed: 0,
        }
    }

    /// Takes what a node sends in one step, in order.
    pub(crate) fn send(&mut self, now: Time, messages: &mut Vec<Message>) {
        if self.latency == Latency::None {
            return self.send_at_once(now, messages);
        }
        for message in messages.drain(..) {
            let due = now + self.latency.draw(&mut self.rng);
            self.under_way.insert((due, self.sent), message);
            self.sent += 1;
        }
    }

    fn send_at_once(&mut self, now: Time, messages: &mut Vec<Message>) {
        let Some(from) = messages.first().map(|message| message.from) else { return };
        if self.of_node.len() <= from {
            self.of_node.resize(from + 1, 0);
        }
        let passes = self.of_node[from] == 0 && !self.at_once.is_empty() && self.passed < MAY_PASS;
        self.of_node[from] += messages.len();
        if passes {
            for message in messages.drain(..).rev() {
                self.at_once.push_front((now, true, message));
            }
        } else {
            self.at_once.extend(messages.drain(..).map(|message| (now, false, message)));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Time> {
        match self.at_once.front() {
            Some((due, ..)) => Some(*due),
            None => self.under_way.first_key_value().map(|((due, _), _)| *due),
        }
    }

    /// The next message that has arrived at `now`.
    pub(crate) fn arrived(&mut self, now: Time) -> Option<Message> {
        if let Some((_, passed, message)) = self.at_once.pop_front() {
            self.of_node[message.from] -= 1;
            self.passed = if passed { self.passed + 1 } else { 0 };
            return Some(message);
        }
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message from one node to another that says `text`.
    fn message(from: usize, to: usize, text: &'static str) -> Message {
        Message { from, to, bytes: Bytes::from_static(text.as_bytes()) }
    }

    fn texts(network: &mut Network, count: usize) -> Vec<Bytes> {
        (0..count).map_while(|_| network.arrived(Time::ZERO)).map(|message| message.bytes).collect()
    }

    #[test]
    fn an_answer_that_takes_no_time_goes_before_the_questions_to_others() {
        let mut network = Network::new(Latency::None, 0);
        network
            .send(Time::ZERO, &mut vec![message(0, 1, "to 1"), message(0, 2, "to 2"), message(0, 3, "to 3")]);
        assert_eq!(texts(&mut network, 1), ["to 1"]);
        network.send(Time::ZERO, &mut vec![message(1, 0, "first of 1"), message(1, 0, "second of 1")]);
        assert_eq!(texts(&mut network, 1), ["first of 1"]);
        // Node 0 has messages under way: what it sends now goes behind them.
        network.send(Time::ZERO, &mut vec![message(0, 1, "to 1 again")]);
        assert_eq!(texts(&mut network, 9), ["second of 1", "to 2", "to 3", "to 1 again"]);
    }

    #[test]
    fn two_that_answer_each_other_without_end_do_not_keep_a_third_waiting() {
        let mut network = Network::new(Latency::None, 0);
        network.send(Time::ZERO, &mut vec![message(0, 1, "ping"), message(0, 3, "patient")]);
        let mut arrived = 0;
        while let Some(Message { to, bytes, .. }) = network.arrived(Time::ZERO) {
            if bytes == "patient" {
                assert_eq!(arrived, 1 + MAY_PASS);
                return;
            }
            arrived += 1;
            network.send(Time::ZERO, &mut vec![message(to, 3 - to, "ping")]);
        }
        panic!("the third was not reached");
    }
}
