//! When to try a peer again: exponential backoff with jitter, and the word of the peer itself.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bb_ir::{PeerId, Time};

pub use self::state::{EntryState, State};

/// How long a [`BackoffTable`] waits and remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers remembered.
    pub entries: usize,
    /// The wait after the first failure; doubles with every further one.
    pub first: Duration,
    /// No wait of this node's own is longer, jitter left out.
    pub longest: Duration,
    /// No wait that a peer asks for is longer.
    pub longest_advisory: Duration,
    /// An entry is forgotten this long after its wait is over.
    pub forget_after: Duration,
}

/// After the n-th failure in a row a peer rests for `min(first · 2ⁿ⁻¹, longest)`, give or take a fifth.
///
/// The jitter is a function of the seed, the peer and n, so nothing has to be saved to repeat it, and nodes that
/// lost the same peer at once do not all come back at once.
///
/// - look: [`retry_at`](Self::retry_at) [`failures`](Self::failures) [`len`](Self::len)
///   [`is_empty`](Self::is_empty) [`iter`](Self::iter) [`evicted`](Self::evicted)
/// - feed: [`record_failure`](Self::record_failure) [`record_success`](Self::record_success)
///   [`advise`](Self::advise)
/// - command: [`clear`](Self::clear) [`forget_counters`](Self::forget_counters)
/// - drive: [`expire`](Self::expire)
///
/// ```
/// use bb_framework::{BackoffTable, backoff};
/// use bb_ir::{PeerId, Time};
/// use std::time::Duration;
/// let mut table = BackoffTable::new(backoff::Config::default(), 7);
/// let peer = PeerId::from_u64(1);
/// let retry_at = table.record_failure(peer, Time::ZERO);
/// assert!(retry_at >= Time::ZERO + Duration::from_millis(8));
/// assert!(retry_at <= Time::ZERO + Duration::from_millis(12));
/// assert_eq!(table.retry_at(peer, Time::ZERO), Some(retry_at));
/// assert_eq!(table.retry_at(peer, retry_at), None);
/// ```
#[derive(Clone, Debug)]
pub struct BackoffTable {
    config: Config,
    seed: u64,
    entries: BTreeMap<PeerId, Entry>,
    by_expiry: BTreeSet<(Time, PeerId)>,
    evicted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    retry_at: Time,
    expires_at: Time,
}

impl Config {
    /// 16,384 peers; 10 ms to 60 s, on a peer's word up to an hour; remembered ten minutes longer.
    pub const DEFAULT: Self = Self {
        entries: 16_384,
        first: Duration::from_millis(10),
        longest: Duration::from_secs(60),
        longest_advisory: Duration::from_secs(3_600),
        forget_after: Duration::from_secs(600),
    };
}

impl Default for Config {
    /// [`Config::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl BackoffTable {
    /// A table in which no peer rests.
    ///
    /// Beyond `config.entries` the entry that would be forgotten first is evicted, and counted. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it is empty.
    pub const fn new(config: Config, seed: u64) -> Self {
        Self { config, seed, entries: BTreeMap::new(), by_expiry: BTreeSet::new(), evicted: 0 }
    }

    /// The most bytes that a table of `entries` entries holds: two trees whose nodes are at least 5/11 full.
    pub const fn worst_case_bytes(entries: usize) -> usize {
        crate::tree_bytes(entries, size_of::<PeerId>() + size_of::<Entry>())
            + crate::tree_bytes(entries, size_of::<(Time, PeerId)>())
    }

    /// Another failure of `peer`; when it may be tried again.
    pub fn record_failure(&mut self, peer: PeerId, now: Time) -> Time {
        let held = self.live(peer, now);
        let failures = held.map_or(0, |entry| entry.failures).saturating_add(1);
        let own = now + self.wait(peer, failures);
        let retry_at = held.map_or(own, |entry| own.max(entry.retry_at));
        self.put(peer, failures, retry_at);
        retry_at
    }

    /// A success of `peer`: all is forgotten. Whether there was anything to forget.
    pub fn record_success(&mut self, peer: PeerId) -> bool {
        self.remove(peer).is_some()
    }

    /// `peer` asks to be left alone until `until`; the later of that and its own wait counts. When it may be tried again.
    pub fn advise(&mut self, peer: PeerId, until: Time, now: Time) -> Time {
        let held = self.live(peer, now);
        let asked = until.min(now + self.config.longest_advisory);
        let retry_at = held.map_or(asked, |entry| asked.max(entry.retry_at));
        if retry_at > now {
            self.put(peer, held.map_or(0, |entry| entry.failures), retry_at);
        }
        retry_at
    }

    /// Forgets entries whose time has come; how many.
    pub fn expire(&mut self, now: Time) -> usize {
        let mut count = 0;
        while let Some(&(expires_at, peer)) = self.by_expiry.first()
            && expires_at <= now
        {
            self.remove(peer);
            count += 1;
        }
        count
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_expiry.clear();
    }

    /// Forgets what was counted.
    pub fn forget_counters(&mut self) {
        self.evicted = 0;
    }

    /// When `peer` may be tried again; `None`: now.
    pub fn retry_at(&self, peer: PeerId, now: Time) -> Option<Time> {
        self.entries.get(&peer).map(|entry| entry.retry_at).filter(|&retry_at| retry_at > now)
    }

    /// How often in a row `peer` failed.
    pub fn failures(&self, peer: PeerId, now: Time) -> u32 {
        self.live(peer, now).map_or(0, |entry| entry.failures)
    }

    /// Peers that failed or asked to be left alone, with how often they failed and when they may be tried again.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, u32, Time)> {
        self.entries.iter().map(|(&peer, entry)| (peer, entry.failures, entry.retry_at))
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no peer is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries were evicted to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn live(&self, peer: PeerId, now: Time) -> Option<Entry> {
        self.entries.get(&peer).copied().filter(|entry| entry.expires_at > now)
    }

    fn put(&mut self, peer: PeerId, failures: u32, retry_at: Time) {
        self.remove(peer);
        if self.config.entries == 0 {
            self.evicted += 1;
            return;
        }
        while self.entries.len() >= self.config.entries
            && let Some(&(_, soonest)) = self.by_expiry.first()
        {
            self.remove(soonest);
            self.evicted += 1;
        }
        let expires_at = retry_at + self.config.forget_after;
        self.entries.insert(peer, Entry { failures, retry_at, expires_at });
        self.by_expiry.insert((expires_at, peer));
    }

    fn remove(&mut self, peer: PeerId) -> Option<Entry> {
        let entry = self.entries.remove(&peer)?;
        self.by_expiry.remove(&(entry.expires_at, peer));
        Some(entry)
    }

    /// The wait after `failures` failures in a row, between 4/5 and 6/5 of the nominal one.
    fn wait(&self, peer: PeerId, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(63);
        let first = u64::try_from(self.config.first.as_nanos()).unwrap_or(u64::MAX);
        let longest = u64::try_from(self.config.longest.as_nanos()).unwrap_or(u64::MAX);
        let nominal = first.saturating_mul(1 << doublings).min(longest);
        let fifth = nominal / 5;
        let above = (u128::from(mix(self.seed, peer, failures)) * (2 * u128::from(fifth) + 1)) >> 64;
        Duration::from_nanos((nominal - fifth).saturating_add(above as u64))
    }
}

/// 64 bits that depend on all arguments: FNV-1a over them, finished as in SplitMix64 (Steele, Lea, Flood,
/// "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(seed: u64, peer: PeerId, failures: u32) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325;
    for &byte in seed.to_le_bytes().iter().chain(peer.as_bytes()).chain(&failures.to_le_bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
