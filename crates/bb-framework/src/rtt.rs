//! How long peers take to answer, smoothed.

use std::time::Duration;

use bb_ir::PeerId;

use crate::peer_table::PeerTable;

/// How many peers an [`RttTable`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Peers remembered.
    pub entries: usize,
}

/// How long a peer takes from a question to its answer, its own work included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    /// The smoothed time.
    pub smoothed: Duration,
    /// How far answers stray from it, smoothed.
    pub variation: Duration,
}

/// The times in which peers answer, from their answers alone.
///
/// Smoothed as in Paxson, Allman, Chu, Sargent, "Computing TCP's Retransmission Timer" (RFC 6298), section 2: an
/// eighth of each answer counts for the time, a quarter for its variation. Every request has an id of its own, so an
/// answer is never taken for that of another request.
///
/// - look: [`get`](Self::get) [`iter`](Self::iter) [`len`](Self::len) [`is_empty`](Self::is_empty)
///   [`evicted`](Self::evicted)
/// - feed: [`record`](Self::record)
/// - command: [`set`](Self::set) [`clear`](Self::clear) [`set_evicted`](Self::set_evicted)
///
/// ```
/// use bb_framework::{RttTable, rtt};
/// use bb_ir::PeerId;
/// use std::time::Duration;
/// let mut table = RttTable::new(rtt::Config::default());
/// let peer = PeerId::from_u64(1);
/// table.record(peer, Duration::from_millis(80));
/// table.record(peer, Duration::from_millis(160));
/// let rtt = table.get(peer).unwrap();
/// assert_eq!(rtt.smoothed, Duration::from_millis(90));
/// assert_eq!(rtt.variation, Duration::from_millis(50));
/// assert_eq!(rtt.expected(), Duration::from_millis(290));
/// ```
#[derive(Clone, Debug)]
pub struct RttTable {
    table: PeerTable<Rtt>,
}

impl Default for Config {
    /// 16,384 peers.
    fn default() -> Self {
        Self { entries: 16_384 }
    }
}

impl RttTable {
    /// A table that has seen no answer.
    ///
    /// Beyond `config.entries` the peer that answered longest ago is forgotten, and counted. Holds at most
    /// [`worst_case_bytes`](Self::worst_case_bytes), and nothing while it is empty.
    pub fn new(config: Config) -> Self {
        Self { table: PeerTable::new(config.entries) }
    }

    /// The most bytes that a table of `entries` entries holds.
    pub const fn worst_case_bytes(entries: usize) -> usize {
        PeerTable::<Rtt>::worst_case_bytes(entries)
    }

    /// `peer` answered after `elapsed`.
    pub fn record(&mut self, peer: PeerId, elapsed: Duration) {
        let mut is_first = false;
        let first = || {
            is_first = true;
            Rtt { smoothed: elapsed, variation: elapsed / 2 }
        };
        let Some(rtt) = self.table.hear(peer, first) else { return };
        if !is_first {
            rtt.variation = weighted(rtt.variation, 3, rtt.smoothed.abs_diff(elapsed));
            rtt.smoothed = weighted(rtt.smoothed, 7, elapsed);
        }
    }

    /// What is known of a peer, as it was saved; it counts as heard of last.
    pub fn set(&mut self, peer: PeerId, rtt: Rtt) {
        if let Some(held) = self.table.hear(peer, || rtt) {
            *held = rtt;
        }
    }

    /// Forgets all peers.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// How long `peer` takes to answer, if it ever answered.
    pub fn get(&self, peer: PeerId) -> Option<Rtt> {
        self.table.get(peer).copied()
    }

    /// The peers, the one that answered longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, Rtt)> {
        self.table.iter().map(|(peer, rtt)| (peer, *rtt))
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no peer is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many peers were forgotten to make room for others.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Sets how many were, as it was saved.
    pub fn set_evicted(&mut self, evicted: u64) {
        self.table.set_evicted(evicted);
    }
}

impl Rtt {
    /// When an answer is overdue: the smoothed time and four times its variation.
    pub fn expected(&self) -> Duration {
        self.smoothed.saturating_add(self.variation.saturating_mul(4))
    }
}

/// `weight` parts of `held` and one of `new`.
fn weighted(held: Duration, weight: u32, new: Duration) -> Duration {
    (held.saturating_mul(weight).saturating_add(new)) / (weight + 1)
}
