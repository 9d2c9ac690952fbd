//! The virtual network with faults: what is lost, repeated, delayed, cut.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytesandbrains::Time;
use bytesandbrains::framework::Rng;

use super::Counts;

/// A message under way; a stranger's has no sender among the nodes.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: Option<usize>,
    pub(super) to: usize,
    pub(super) bytes: Bytes,
}

/// Messages under way, and until when each fault lasts.
#[derive(Debug)]
pub(super) struct FaultyNetwork {
    rng: Rng,
    sent: u64,
    under_way: BTreeMap<(Time, u64), Packet>,
    pub(super) loss_until: Time,
    pub(super) duplication_until: Time,
    pub(super) delay_until: Time,
    /// Until when nothing gets from one node to another.
    cuts: BTreeMap<(usize, usize), Time>,
}

impl FaultyNetwork {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::from_u64(seed),
            sent: 0,
            under_way: BTreeMap::new(),
            loss_until: Time::ZERO,
            duplication_until: Time::ZERO,
            delay_until: Time::ZERO,
            cuts: BTreeMap::new(),
        }
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, until: Time) {
        let held = self.cuts.entry((from, to)).or_insert(until);
        *held = (*held).max(until);
    }

    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        (self.loss_until, self.duplication_until, self.delay_until) = (Time::ZERO, Time::ZERO, Time::ZERO);
        self.cuts.clear();
    }

    /// Whether the message got under way.
    pub(super) fn send(&mut self, now: Time, packet: Packet, counts: &mut Counts) -> bool {
        let is_cut = packet.from.is_some_and(|from| self.is_cut(from, packet.to, now));
        if is_cut || now < self.loss_until && self.rng.below(4) == 0 {
            counts.messages_lost += 1;
            return false;
        }
        if now < self.duplication_until && self.rng.below(4) == 0 {
            counts.messages_repeated += 1;
            self.put(now, packet.clone());
        }
        self.put(now, packet);
        true
    }

    pub(super) fn next_arrival(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next message that has arrived at `now`.
    pub(super) fn arrived(&mut self, now: Time, counts: &mut Counts) -> Option<Packet> {
        loop {
            let entry = self.under_way.first_entry()?;
            if entry.key().0 > now {
                return None;
            }
            let packet = entry.remove();
            match packet.from {
                Some(from) if self.is_cut(from, packet.to, now) => counts.messages_lost += 1,
                _ => return Some(packet),
            }
        }
    }

    fn is_cut(&self, from: usize, to: usize, now: Time) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| now < *until)
    }

    fn put(&mut self, now: Time, packet: Packet) {
        let most = if now < self.delay_until { 8_000_000 } else { 50_000 };
        let due = now + Duration::from_micros(1_000 + self.rng.below(most));
        self.under_way.insert((due, self.sent), packet);
        self.sent += 1;
    }
}
