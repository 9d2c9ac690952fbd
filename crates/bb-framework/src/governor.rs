//! Who may talk to the node, and to whom it may talk.

mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bb_ir::{PeerId, Time};
use thiserror::Error;

use crate::{BackoffTable, backoff};

pub use self::state::{FailingState, State};

/// Limits of a [`PeerGovernor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers on the blocklist, and as many on the allowlist.
    pub listed_peers: usize,
    /// Failing peers remembered.
    pub health_entries: usize,
    /// Failures in a row after which a peer is down.
    pub down_after: u32,
    /// How long after its last failure a peer that is down may be tried again.
    pub probe_after: Duration,
    /// Events that wait to be taken.
    pub events: usize,
    /// How long to wait between tries.
    pub backoff: backoff::Config,
}

/// Whether to deal with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Deal with it.
    Allow,
    /// Do not.
    Deny(DenyReason),
}

/// Why not to deal with a peer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenyReason {
    /// The operator blocked it.
    #[error("the peer is on the blocklist")]
    Blocklisted,
    /// It failed, or asked to be left alone; outbound only.
    #[error("the peer rests until {retry_at}")]
    Cooldown {
        /// When it may be tried again.
        retry_at: Time,
    },
    /// It failed too often in a row; outbound only.
    #[error("the peer is down")]
    Down,
    /// It sent more than the node can take and did not heed its notices; inbound only.
    #[error("the peer is muted until {until}: it did not heed notices to send less")]
    Muted {
        /// When it is heard again.
        until: Time,
    },
    /// There is an allowlist, and it is not on it.
    #[error("the peer is not on the allowlist")]
    NotAllowlisted,
}

/// What a [`PeerGovernor`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer failed too often in a row. Comes once, until it is up again.
    PeerDown(PeerId),
    /// A peer that was down answered. Comes once for each [`Event::PeerDown`].
    PeerUp(PeerId),
}

/// How a peer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Whether it is down.
    pub is_down: bool,
}

/// What a [`PeerGovernor`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages from peers on the blocklist.
    pub denied_inbound: u64,
    /// Messages to peers on the blocklist.
    pub denied_outbound: u64,
    /// Messages from peers that the allowlist leaves out.
    pub not_allowlisted_inbound: u64,
    /// Messages to peers that the allowlist leaves out.
    pub not_allowlisted_outbound: u64,
    /// Messages to peers that are down.
    pub down_outbound: u64,
    /// Messages to peers that rest.
    pub resting_outbound: u64,
    /// Failing peers forgotten to make room for others.
    pub evicted: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
}

/// A list has no room; nothing was changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a peer list holds at most {capacity} peers; raise the limit, or use an allowlist")]
pub struct ListFull {
    /// The cap.
    pub capacity: usize,
}

/// Decides by blocklist, then allowlist, then — outbound — whether the peer is down or resting.
///
/// Successes and failures come from the wire: answers, timeouts, what the host says of its sends. A peer that is
/// down may be tried again [`Config::probe_after`] its last failure; without that a peer that only
/// ever answers could not come back.
///
/// - look: [`policy`](Self::policy) [`is_allowed`](Self::is_allowed) [`outbound_decision`](Self::outbound_decision)
///   [`health`](Self::health) [`is_blocked`](Self::is_blocked) [`blocklist`](Self::blocklist)
///   [`allowlist`](Self::allowlist) [`backoff`](Self::backoff) [`counters`](Self::counters)
/// - feed: [`check_inbound`](Self::check_inbound) [`check_outbound`](Self::check_outbound)
///   [`record_success`](Self::record_success) [`record_failure`](Self::record_failure) [`advise`](Self::advise)
/// - command: [`block`](Self::block) [`unblock`](Self::unblock) [`set_allowlist`](Self::set_allowlist)
///   [`forget_counters`](Self::forget_counters)
/// - drive: [`expire`](Self::expire) [`take_events`](Self::take_events)
///
/// ```
/// use bb_framework::governor::{Config, Event};
/// use bb_framework::{Decision, DenyReason, PeerGovernor};
/// use bb_ir::{PeerId, Time};
/// let mut governor = PeerGovernor::new(Config::default(), 7);
/// let peer = PeerId::from_u64(1);
/// for _ in 0..5 {
///     governor.record_failure(peer, Time::ZERO);
/// }
/// assert_eq!(governor.take_events(), [Event::PeerDown(peer)]);
/// assert_eq!(governor.check_outbound(peer, Time::ZERO), Decision::Deny(DenyReason::Down));
/// governor.record_success(peer);
/// assert_eq!(governor.take_events(), [Event::PeerUp(peer)]);
/// governor.block(peer)?;
/// assert_eq!(governor.check_inbound(peer), Decision::Deny(DenyReason::Blocklisted));
/// # Ok::<(), bb_framework::governor::ListFull>(())
/// ```
#[derive(Clone, Debug)]
pub struct PeerGovernor {
    config: Config,
    blocklist: BTreeSet<PeerId>,
    allowlist: Option<BTreeSet<PeerId>>,
    failing: BTreeMap<PeerId, Failing>,
    /// Failing peers, the one to forget first in front: those not down before those down, the latest failure last.
    by_recency: BTreeMap<(bool, u64), PeerId>,
    failures_so_far: u64,
    backoff: BackoffTable,
    events: VecDeque<Event>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    count: u32,
    is_down: bool,
    last: Time,
    recency: u64,
}

impl Config {
    /// 16,384 peers a list and failing peers; down after 5 failures, tried again after 60 s.
    pub const DEFAULT: Self = Self {
        listed_peers: 16_384,
        health_entries: 16_384,
        down_after: 5,
        probe_after: Duration::from_secs(60),
        events: 1_024,
        backoff: backoff::Config::DEFAULT,
    };
}

impl Default for Config {
    /// [`Config::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl PeerGovernor {
    /// A governor that allows everybody; `seed` decides the jitter of waits.
    ///
    /// The lists refuse a peer beyond `config.listed_peers`. Of failing peers the one that failed longest ago is
    /// forgotten, those that are not down first, and counted; of events the oldest is. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while every peer is welcome and well.
    pub const fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            blocklist: BTreeSet::new(),
            allowlist: None,
            failing: BTreeMap::new(),
            by_recency: BTreeMap::new(),
            failures_so_far: 0,
            backoff: BackoffTable::new(config.backoff, seed),
            events: VecDeque::new(),
            counters: Counters {
                denied_inbound: 0,
                denied_outbound: 0,
                not_allowlisted_inbound: 0,
                not_allowlisted_outbound: 0,
                down_outbound: 0,
                resting_outbound: 0,
                evicted: 0,
                events_dropped: 0,
            },
        }
    }

    /// The most bytes that a governor holds: trees whose nodes are at least 5/11 full, and a ring grown to a
    /// power of two.
    pub const fn worst_case_bytes(config: Config) -> usize {
        2 * crate::tree_bytes(config.listed_peers, size_of::<PeerId>())
            + crate::tree_bytes(config.health_entries, size_of::<PeerId>() + size_of::<Failing>())
            + crate::tree_bytes(config.health_entries, size_of::<PeerId>() + size_of::<(bool, u64)>())
            + BackoffTable::worst_case_bytes(config.backoff.entries)
            + crate::ring_bytes(config.events, size_of::<Event>())
    }

    /// Whether to take a message from `peer`; a denial is counted and changes nothing else.
    pub fn check_inbound(&mut self, peer: PeerId) -> Decision {
        let decision = self.policy(peer);
        match decision {
            Decision::Deny(DenyReason::NotAllowlisted) => self.counters.not_allowlisted_inbound += 1,
            Decision::Deny(_) => self.counters.denied_inbound += 1,
            Decision::Allow => {}
        }
        decision
    }

    /// Whether to send a message to `peer`; a denial is counted and changes nothing else.
    pub fn check_outbound(&mut self, peer: PeerId, now: Time) -> Decision {
        let decision = self.outbound_decision(peer, now);
        match decision {
            Decision::Deny(DenyReason::NotAllowlisted) => self.counters.not_allowlisted_outbound += 1,
            Decision::Deny(DenyReason::Down) => self.counters.down_outbound += 1,
            Decision::Deny(DenyReason::Cooldown { .. }) => self.counters.resting_outbound += 1,
            Decision::Deny(_) => self.counters.denied_outbound += 1,
            Decision::Allow => {}
        }
        decision
    }

    /// `peer` answered, or took a message.
    pub fn record_success(&mut self, peer: PeerId) {
        self.backoff.record_success(peer);
        if let Some(failing) = self.failing.remove(&peer) {
            self.by_recency.remove(&(failing.is_down, failing.recency));
            if failing.is_down {
                self.queue(Event::PeerUp(peer));
            }
        }
    }

    /// `peer` did not answer in time, or could not be sent to. When it may be tried again, unless it is down.
    pub fn record_failure(&mut self, peer: PeerId, now: Time) -> Time {
        let retry_at = self.backoff.record_failure(peer, now);
        let held = self.failing.remove(&peer);
        if let Some(held) = held {
            self.by_recency.remove(&(held.is_down, held.recency));
        }
        let count = held.map_or(0, |held| held.count).saturating_add(1);
        let was_down = held.is_some_and(|held| held.is_down);
        let is_down = was_down || count >= self.config.down_after;
        if self.config.health_entries == 0 {
            self.counters.evicted += 1;
            return retry_at;
        }
        while self.failing.len() >= self.config.health_entries
            && let Some((_, forgotten)) = self.by_recency.pop_first()
        {
            self.failing.remove(&forgotten);
            self.counters.evicted += 1;
        }
        let recency = self.failures_so_far;
        self.failures_so_far += 1;
        self.failing.insert(peer, Failing { count, is_down, last: now, recency });
        self.by_recency.insert((is_down, recency), peer);
        if is_down && !was_down {
            self.queue(Event::PeerDown(peer));
        }
        retry_at
    }

    /// `peer` asks to be left alone until `until`; when it may be tried again.
    pub fn advise(&mut self, peer: PeerId, until: Time, now: Time) -> Time {
        self.backoff.advise(peer, until, now)
    }

    /// Puts `peer` on the blocklist; whether it was not there.
    ///
    /// # Errors
    /// [`ListFull`]: no peer is ever taken off to make room.
    pub fn block(&mut self, peer: PeerId) -> Result<bool, ListFull> {
        if self.blocklist.len() >= self.config.listed_peers && !self.blocklist.contains(&peer) {
            return Err(ListFull { capacity: self.config.listed_peers });
        }
        Ok(self.blocklist.insert(peer))
    }

    /// Takes `peer` off the blocklist; whether it was there.
    pub fn unblock(&mut self, peer: PeerId) -> bool {
        self.blocklist.remove(&peer)
    }

    /// Allows these peers only; `None` allows all.
    ///
    /// # Errors
    /// [`ListFull`]; the list before stays then.
    pub fn set_allowlist(&mut self, peers: Option<&[PeerId]>) -> Result<(), ListFull> {
        let allowlist = peers.map(|peers| peers.iter().copied().collect::<BTreeSet<_>>());
        if allowlist.as_ref().is_some_and(|list| list.len() > self.config.listed_peers) {
            return Err(ListFull { capacity: self.config.listed_peers });
        }
        self.allowlist = allowlist;
        Ok(())
    }

    /// Forgets what was counted, of waits too.
    pub fn forget_counters(&mut self) {
        self.counters = Counters::default();
        self.backoff.forget_counters();
    }

    /// Forgets waits that are long over; how many.
    pub fn expire(&mut self, now: Time) -> usize {
        self.backoff.expire(now)
    }

    /// What happened since it was last asked, in order.
    #[must_use = "an event that is not passed on is lost"]
    pub fn take_events(&mut self) -> Vec<Event> {
        // Most often there is nothing, and it is asked in every step.
        if self.events.is_empty() { Vec::new() } else { std::mem::take(&mut self.events).into() }
    }

    /// Whether the lists allow `peer`.
    pub fn is_allowed(&self, peer: PeerId) -> bool {
        self.policy(peer) == Decision::Allow
    }

    /// What [`check_outbound`](Self::check_outbound) would say, without counting.
    pub fn outbound_decision(&self, peer: PeerId, now: Time) -> Decision {
        if let denied @ Decision::Deny(_) = self.policy(peer) {
            return denied;
        }
        if let Some(failing) = self.failing.get(&peer)
            && failing.is_down
        {
            let probe_at = failing.last + self.config.probe_after;
            if now < probe_at {
                return Decision::Deny(DenyReason::Down);
            }
        }
        match self.backoff.retry_at(peer, now) {
            Some(retry_at) => Decision::Deny(DenyReason::Cooldown { retry_at }),
            None => Decision::Allow,
        }
    }

    /// How `peer` does.
    pub fn health(&self, peer: PeerId) -> Health {
        self.failing.get(&peer).map_or_else(Health::default, |failing| Health {
            consecutive_failures: failing.count,
            is_down: failing.is_down,
        })
    }

    /// Whether `peer` is on the blocklist.
    pub fn is_blocked(&self, peer: PeerId) -> bool {
        self.blocklist.contains(&peer)
    }

    /// The blocked peers, in order.
    pub fn blocklist(&self) -> impl Iterator<Item = PeerId> {
        self.blocklist.iter().copied()
    }

    /// The allowed peers, in order; `None`: all.
    pub fn allowlist(&self) -> Option<impl Iterator<Item = PeerId>> {
        self.allowlist.as_ref().map(|list| list.iter().copied())
    }

    /// The waits.
    pub fn backoff(&self) -> &BackoffTable {
        &self.backoff
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the lists say of `peer`, without counting.
    pub fn policy(&self, peer: PeerId) -> Decision {
        if self.blocklist.contains(&peer) {
            return Decision::Deny(DenyReason::Blocklisted);
        }
        match &self.allowlist {
            Some(list) if !list.contains(&peer) => Decision::Deny(DenyReason::NotAllowlisted),
            _ => Decision::Allow,
        }
    }

    fn queue(&mut self, event: Event) {
        while self.events.len() >= self.config.events {
            self.counters.events_dropped += 1;
            if self.events.pop_front().is_none() {
                return;
            }
        }
        self.events.push_back(event);
    }
}
