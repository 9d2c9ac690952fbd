//! Who sends more than the node can take: notices first, then silence.

use std::collections::VecDeque;
use std::time::Duration;

use bb_ir::{PeerId, Time};

use crate::peer_table::PeerTable;

/// When a [`Backpressure`] speaks, and when it mutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How full the queue is, in percent, when senders get notices.
    pub threshold_percent: u32,
    /// The shortest time between two notices to one peer; what comes within it was under way already.
    pub notice_every: Duration,
    /// For how long a notice asks for silence.
    pub retry_after: Duration,
    /// A peer that ignores so many notices in a row is muted.
    pub ignored: u32,
    /// How long a peer that has the whole queue is muted the first time; doubles each time.
    pub first_mute: Duration,
    /// No peer is muted for longer.
    pub longest_mute: Duration,
    /// A peer that does not press for so long begins anew.
    pub forget_after: Duration,
    /// Peers remembered.
    pub entries: usize,
    /// Events that wait to be taken.
    pub events: usize,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Drop it and say nothing: its sender is muted.
    Drop {
        /// Until when.
        until: Time,
    },
    /// Take it.
    Take,
    /// Take it, and tell its sender that the queue is nearly full.
    TakeAndNotify {
        /// For how long it is to be silent; zero for one that does not press.
        retry_after: Duration,
    },
}

/// What a [`Backpressure`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer ignored its notices and is muted. Comes once each time.
    Muted {
        /// The peer.
        peer: PeerId,
        /// Until when.
        until: Time,
    },
}

/// How full the queue is that a message came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Messages in it.
    pub queued: usize,
    /// Of them, messages of the sender.
    pub of_sender: usize,
    /// How many senders have messages in it.
    pub senders: usize,
    /// Messages that fit.
    pub capacity: usize,
}

/// What a [`Backpressure`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages dropped because their sender is muted.
    pub dropped: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
    /// Peers forgotten to make room for others.
    pub evicted: u64,
    /// Notices asked for.
    pub notices: u64,
    /// How often a peer was muted.
    pub mutes: u64,
}

/// How a peer behaves under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressing {
    /// When it last got a notice.
    pub noticed_at: Time,
    /// Notices in a row that it ignored.
    pub ignored: u32,
    /// How often in a row it was muted.
    pub mutes: u32,
    /// Until when it is muted, or was last.
    pub muted_until: Time,
    /// Whether its last mute is over and it has not shown yet that it learned.
    pub is_probed: bool,
    /// Whether its last notice asked for no silence.
    pub is_only_told: bool,
}

/// Asks senders for silence while the queue is nearly full, and mutes those that do not listen.
///
/// From [`Config::threshold_percent`] of the queue on every sender gets notices, at most one each
/// [`Config::notice_every`]. One that has at least an equal share of the queue is asked for silence; who has less does not press,
/// whatever others do, and is only told. What arrives within `notice_every` was under way; what arrives after it and before
/// the time is over for which the notice asks ignores the notice. A peer that ignored [`Config::ignored`] in a row is muted for
/// `min(first_mute · 2ⁿ⁻¹, longest_mute)` times its share of the queue the n-th time, at least for
/// `notice_every`. Then it is probed: its next message is taken, and if that meets a full queue and its notice is
/// ignored too, the peer is muted again, for longer.
///
/// - look: [`is_muted`](Self::is_muted) [`iter`](Self::iter) [`len`](Self::len) [`is_empty`](Self::is_empty)
///   [`counters`](Self::counters)
/// - feed: [`check`](Self::check)
/// - command: [`set`](Self::set) [`clear`](Self::clear) [`forget_counters`](Self::forget_counters)
/// - drive: [`take_events`](Self::take_events)
///
/// ```
/// use bb_framework::backpressure::{Backpressure, Config, Load, Verdict};
/// use bb_ir::{PeerId, Time};
/// use std::time::Duration;
/// let mut machine = Backpressure::new(Config::default());
/// let (peer, full) = (PeerId::from_u64(1), Load { queued: 80, of_sender: 80, senders: 1, capacity: 100 });
/// let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
/// for second in 0..3 {
///     assert!(matches!(machine.check(peer, full, at(second)), Verdict::TakeAndNotify { .. }));
/// }
/// assert!(matches!(machine.check(peer, full, at(3)), Verdict::Drop { .. }));
/// ```
#[derive(Clone, Debug)]
pub struct Backpressure {
    config: Config,
    table: PeerTable<Pressing>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Load {
    /// Whether the queue is so full, in percent.
    pub const fn is_full(&self, percent: u32) -> bool {
        self.capacity > 0 && self.queued as u128 * 100 >= self.capacity as u128 * percent as u128
    }

    /// Whether the queue is so full, in percent, and the sender has at least an equal share of it.
    pub const fn presses(&self, percent: u32) -> bool {
        self.is_full(percent) && self.of_sender as u128 * self.senders as u128 >= self.queued as u128
    }
}

impl Config {
    /// Notices from 75 %, one a second, asking for 2 s; muted after 3 that are ignored, for 1 s to 60 s; begins anew
    /// after 10 minutes; 16,384 peers.
    pub const DEFAULT: Self = Self {
        threshold_percent: 75,
        notice_every: Duration::from_secs(1),
        retry_after: Duration::from_secs(2),
        ignored: 3,
        first_mute: Duration::from_secs(1),
        longest_mute: Duration::from_secs(60),
        forget_after: Duration::from_secs(600),
        entries: 16_384,
        events: 1_024,
    };
}

impl Default for Config {
    /// [`Config::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Backpressure {
    /// A machine that has met no pressure.
    ///
    /// Beyond `config.entries` the peer that pressed longest ago is forgotten; of events the oldest is; both are counted.
    /// Holds at most [`worst_case_bytes`](Self::worst_case_bytes), and nothing while nobody presses.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            table: PeerTable::new(config.entries),
            events: VecDeque::new(),
            counters: Counters { dropped: 0, events_dropped: 0, evicted: 0, notices: 0, mutes: 0 },
        }
    }

    /// The most bytes that a machine holds.
    pub const fn worst_case_bytes(config: Config) -> usize {
        PeerTable::<Pressing>::worst_case_bytes(config.entries)
            + crate::ring_bytes(config.events, size_of::<Event>())
    }

    /// What to do with a message of `peer` that came through a queue as full as `load` says.
    pub fn check(&mut self, peer: PeerId, load: Load, now: Time) -> Verdict {
        let threshold = self.config.threshold_percent;
        let (is_full, presses) = (load.is_full(threshold), load.presses(threshold));
        let Some(held) = self.table.get_mut(peer) else {
            return if is_full { self.notify(peer, presses, now) } else { Verdict::Take };
        };
        if now < held.muted_until {
            self.counters.dropped += 1;
            return Verdict::Drop { until: held.muted_until };
        }
        if !presses {
            held.ignored = 0;
            held.is_probed = false;
            held.noticed_at = held.noticed_at.max(held.muted_until);
            if is_full && now.since(held.noticed_at) >= self.config.notice_every {
                return self.notify(peer, false, now);
            }
            if now >= held.noticed_at + self.config.forget_after {
                self.table.remove(peer);
            }
            return Verdict::Take;
        }
        let since = now.since(held.noticed_at);
        if held.muted_until > held.noticed_at {
            held.is_probed = true;
            held.ignored = 0;
        } else if since < self.config.notice_every {
            return Verdict::Take;
        } else if since < self.config.retry_after && !held.is_only_told {
            held.ignored = held.ignored.saturating_add(1);
            if held.is_probed || held.ignored >= self.config.ignored {
                return self.mute(peer, load, now);
            }
        } else {
            held.ignored = 0;
            held.is_probed = false;
        }
        self.notify(peer, true, now)
    }

    /// How a peer behaves, as it was saved; it counts as the one that pressed last.
    pub fn set(&mut self, peer: PeerId, pressing: Pressing) {
        if let Some(held) = self.table.hear(peer, || pressing) {
            *held = pressing;
        }
    }

    /// Forgets all peers.
    pub fn clear(&mut self) {
        self.table.clear();
        self.events.clear();
    }

    /// What happened since it was last asked, in order.
    #[must_use = "an event that is not passed on is lost"]
    pub fn take_events(&mut self) -> Vec<Event> {
        // Most often there is nothing, and it is asked in every step.
        if self.events.is_empty() { Vec::new() } else { std::mem::take(&mut self.events).into() }
    }

    /// Until when `peer` is muted, if it is.
    pub fn is_muted(&self, peer: PeerId, now: Time) -> Option<Time> {
        self.table.get(peer).map(|held| held.muted_until).filter(|&until| now < until)
    }

    /// The peers that pressed, the one that did longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, Pressing)> {
        self.table.iter().map(|(peer, held)| (peer, *held))
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no peer is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The events that wait to be taken, in order.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.events.iter().copied()
    }

    /// Takes up the events and counters that were saved; of events as many as may wait.
    pub fn resume(&mut self, events: impl IntoIterator<Item = Event>, counters: Counters) {
        self.events = events.into_iter().take(self.config.events).collect();
        self.table.set_evicted(counters.evicted);
        self.counters = counters;
    }

    /// Forgets what was counted.
    pub fn forget_counters(&mut self) {
        self.table.set_evicted(0);
        self.counters = Counters::default();
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters { evicted: self.table.evicted(), ..self.counters }
    }

    fn notify(&mut self, peer: PeerId, presses: bool, now: Time) -> Verdict {
        let first = || Pressing {
            noticed_at: now,
            ignored: 0,
            mutes: 0,
            muted_until: Time::ZERO,
            is_probed: false,
            is_only_told: false,
        };
        if let Some(held) = self.table.hear(peer, first) {
            (held.noticed_at, held.is_only_told) = (now, !presses);
        }
        self.counters.notices += 1;
        Verdict::TakeAndNotify { retry_after: if presses { self.config.retry_after } else { Duration::ZERO } }
    }

    fn mute(&mut self, peer: PeerId, load: Load, now: Time) -> Verdict {
        let Config { first_mute, longest_mute, notice_every, .. } = self.config;
        let Some(held) = self.table.get_mut(peer) else { return Verdict::Take };
        let whole = first_mute.saturating_mul(1 << held.mutes.min(31)).min(longest_mute);
        let queued = load.queued.max(1);
        let of_sender = load.of_sender.clamp(1, queued);
        let share = whole.as_nanos() * of_sender as u128 / queued as u128;
        let until = now + Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX)).max(notice_every);
        held.mutes = held.mutes.saturating_add(1);
        held.ignored = 0;
        held.is_probed = false;
        held.muted_until = until;
        self.counters.mutes += 1;
        self.counters.dropped += 1;
        while self.events.len() >= self.config.events {
            self.counters.events_dropped += 1;
            if self.events.pop_front().is_none() {
                return Verdict::Drop { until };
            }
        }
        self.events.push_back(Event::Muted { peer, until });
        Verdict::Drop { until }
    }
}
