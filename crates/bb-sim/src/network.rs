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
    /// No time at all: what a node sends arrives before what others sent earlier, unless something that it sent before
    /// waits among that. So answers are met while their bytes are near: they arrive in groups of 16 or 64 KiB, and do not pile
    /// up. Those of one node arrive in the order in which it sent them; and nobody is passed by for ever: after each group
    /// one message goes that waits.
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
    /// Messages that take no time and wait, each with when it was sent.
    line: VecDeque<(Time, Message)>,
    /// Those that go before them, in groups.
    near: VecDeque<(Time, Message)>,
    near_bytes: usize,
    /// How many of them are still to arrive of the group that arrives now.
    arriving: usize,
    /// Whether a group has arrived, and none that waits since.
    is_lines_turn: bool,
    /// How many messages of each node are in the line, and how many are near.
    of_node: Vec<(usize, usize)>,
}

/// Messages of a group, or bytes, whichever come first.
const GROUP: usize = 16;
const GROUP_BYTES: usize = 64 << 10;

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
            line: VecDeque::new(),
            near: VecDeque::new(),
            near_bytes: 0,
            arriving: 0,
            is_lines_turn: false,
            of_node: Vec::new(),
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
            self.of_node.resize(from + 1, (0, 0));
        }
        let (in_line, near) = &mut self.of_node[from];
        if *in_line == 0 && !(self.line.is_empty() && self.near.is_empty()) {
            *near += messages.len();
            self.near_bytes += messages.iter().map(|message| message.bytes.len()).sum::<usize>();
            self.near.extend(messages.drain(..).map(|message| (now, message)));
        } else {
            *in_line += messages.len();
            self.line.extend(messages.drain(..).map(|message| (now, message)));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Time> {
        match self.line.front().or(self.near.front()) {
            Some((due, _)) => Some(*due),
            None => self.under_way.first_key_value().map(|((due, _), _)| *due),
        }
    }

    /// The next message that has arrived at `now`.
    pub(crate) fn arrived(&mut self, now: Time) -> Option<Message> {
        if self.arriving == 0 {
            let is_group = self.near.len() >= GROUP || self.near_bytes >= GROUP_BYTES;
            if self.line.is_empty() || is_group && !self.is_lines_turn {
                self.arriving = self.near.len();
            }
        }
        if let Some(message) = self.next_of_group() {
            return Some(message);
        }
        if let Some((_, message)) = self.line.pop_front() {
            self.of_node[message.from].0 -= 1;
            self.is_lines_turn = false;
            return Some(message);
        }
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// The next message of the group that arrives now, if it is for the node `to`.
    pub(crate) fn arrived_too(&mut self, to: usize) -> Option<Message> {
        let is_for_it = self.near.front().is_some_and(|(_, message)| message.to == to);
        if is_for_it { self.next_of_group() } else { None }
    }

    fn next_of_group(&mut self) -> Option<Message> {
        self.arriving = self.arriving.checked_sub(1)?;
        let (_, message) = self.near.pop_front()?;
        self.near_bytes -= message.bytes.len();
        self.of_node[message.from].1 -= 1;
        self.is_lines_turn = self.arriving == 0;
        Some(message)
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
    fn answers_that_take_no_time_go_in_groups_before_the_questions_to_others() {
        let mut network = Network::new(Latency::None, 0);
        let mut questions: Vec<Message> = (1..=40).map(|to| message(0, to, "question")).collect();
        network.send(Time::ZERO, &mut questions);
        let (mut asked, mut arrived) = (0, Vec::new());
        while let Some(Message { from, to, .. }) = network.arrived(Time::ZERO) {
            arrived.push(from);
            if from == 0 {
                asked += 1;
                network.send(Time::ZERO, &mut vec![message(to, 0, "answer")]);
                assert!(asked - (arrived.len() - asked) <= GROUP, "answers pile up");
            }
        }
        let answers: Vec<usize> = arrived.iter().copied().filter(|from| *from > 0).collect();
        assert_eq!(answers, (1..=40).collect::<Vec<_>>(), "in the order of the questions");
        assert_eq!(arrived[..2 * GROUP], [vec![0; GROUP], (1..=GROUP).collect()].concat());
    }

    #[test]
    fn large_answers_go_one_by_one() {
        let mut network = Network::new(Latency::None, 0);
        network.send(Time::ZERO, &mut vec![message(0, 1, "to 1"), message(0, 2, "to 2")]);
        assert_eq!(texts(&mut network, 1), ["to 1"]);
        let bytes = Bytes::from(vec![7; GROUP_BYTES]);
        network.send(Time::ZERO, &mut vec![Message { from: 1, to: 0, bytes: bytes.clone() }]);
        assert_eq!(texts(&mut network, 2), [bytes, Bytes::from_static(b"to 2")]);
    }

    #[test]
    fn messages_of_one_node_that_take_no_time_arrive_in_the_order_of_sending() {
        let mut network = Network::new(Latency::None, 0);
        network
            .send(Time::ZERO, &mut vec![message(0, 1, "to 1"), message(0, 2, "to 2"), message(0, 3, "to 3")]);
        assert_eq!(texts(&mut network, 1), ["to 1"]);
        network.send(Time::ZERO, &mut vec![message(1, 0, "first of 1")]);
        network.send(Time::ZERO, &mut vec![message(1, 2, "second of 1")]);
        // Node 0 has messages in the line: what it sends now goes behind them.
        network.send(Time::ZERO, &mut vec![message(0, 1, "to 1 again")]);
        let all = texts(&mut network, 9);
        assert_eq!(all, ["to 2", "to 3", "to 1 again", "first of 1", "second of 1"]);
    }

    #[test]
    fn those_that_answer_each_other_without_end_do_not_keep_another_waiting() {
        let mut network = Network::new(Latency::None, 0);
        let mut pings: Vec<Message> = (1..=GROUP).map(|to| message(0, to, "ping")).collect();
        pings.push(message(0, 99, "patient"));
        network.send(Time::ZERO, &mut pings);
        for arrived in 0.. {
            let Some(Message { to, bytes, .. }) = network.arrived(Time::ZERO) else {
                panic!("it was not reached")
            };
            if bytes == "patient" {
                return;
            }
            assert!(arrived < 4 * GROUP, "it waits");
            network.send(Time::ZERO, &mut vec![message(to, to % GROUP + 1, "ping")]);
        }
    }
}
