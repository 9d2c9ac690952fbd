//! Waits against the formula, and the table against a list that is searched from end to end.

use std::time::Duration;

use bb_framework::{BackoffTable, backoff::Config};
use bb_ir::{PeerId, Time};
use proptest::prelude::*;

use crate::any_peer;

const CONFIG: Config = Config {
    entries: 4,
    first: Duration::from_millis(10),
    longest: Duration::from_secs(60),
    longest_advisory: Duration::from_secs(100),
    forget_after: Duration::from_secs(200),
};

#[derive(Clone, Debug)]
enum Call {
    Fail(PeerId),
    Succeed(PeerId),
    Advise(PeerId, Duration),
    Expire,
    Pass(Duration),
    Clear,
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => any_peer().prop_map(Call::Fail),
        2 => any_peer().prop_map(Call::Succeed),
        2 => (any_peer(), 0_u64..200).prop_map(|(peer, s)| Call::Advise(peer, Duration::from_secs(s))),
        2 => Just(Call::Expire),
        4 => (0_u64..150_000).prop_map(|ms| Call::Pass(Duration::from_millis(ms))),
        1 => Just(Call::Clear),
    ]
}

#[derive(Clone, Debug)]
struct Entry {
    peer: PeerId,
    failures: u32,
    retry_at: Time,
}

impl Entry {
    fn expires_at(&self) -> Time {
        self.retry_at + CONFIG.forget_after
    }
}

proptest! {
    #[test]
    fn the_table_remembers_what_it_says_and_forgets_the_soonest_to_expire(
        seed: u64,
        calls in prop::collection::vec(any_call(), 0..120),
    ) {
        let mut table = BackoffTable::new(CONFIG, seed);
        let mut model: Vec<Entry> = Vec::new();
        let (mut now, mut evicted) = (Time::from_nanos(5), 0);
        for call in calls {
            match call {
                Call::Fail(peer) => {
                    let held = take_live(&mut model, peer, now);
                    let failures = held.as_ref().map_or(0, |entry| entry.failures) + 1;
                    let retry_at = table.record_failure(peer, now);
                    let earlier = held.map_or(Time::ZERO, |entry| entry.retry_at);
                    let nominal = (CONFIG.first * (1 << (failures - 1).min(20))).min(CONFIG.longest);
                    prop_assert!(retry_at >= earlier.max(now + nominal - nominal / 5));
                    prop_assert!(retry_at <= earlier.max(now + nominal + nominal / 5));
                    evicted += put(&mut model, Entry { peer, failures, retry_at });
                }
                Call::Succeed(peer) => {
                    let held = model.iter().position(|entry| entry.peer == peer).map(|at| model.remove(at));
                    prop_assert_eq!(table.record_success(peer), held.is_some());
                }
                Call::Advise(peer, rest) => {
                    let asked = now + rest.min(CONFIG.longest_advisory);
                    let live = model.iter().find(|entry| entry.peer == peer && entry.expires_at() > now);
                    let retry_at = live.map_or(asked, |entry| asked.max(entry.retry_at));
                    prop_assert_eq!(table.advise(peer, now + rest, now), retry_at);
                    if retry_at > now {
                        let failures =
                            take_live(&mut model, peer, now).map_or(0, |entry| entry.failures);
                        evicted += put(&mut model, Entry { peer, failures, retry_at });
                    }
                }
                Call::Expire => {
                    let before = model.len();
                    model.retain(|entry| entry.expires_at() > now);
                    prop_assert_eq!(table.expire(now), before - model.len());
                }
                Call::Pass(time) => now = now + time,
                Call::Clear => {
                    table.clear();
                    model.clear();
                }
            }
            model.sort_by_key(|entry| entry.peer);
            let held: Vec<_> = table.iter().collect();
            let expected: Vec<_> = model.iter().map(|e| (e.peer, e.failures, e.retry_at)).collect();
            prop_assert_eq!(held, expected);
            prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(table.evicted(), evicted);
            for id in 0..8 {
                let peer = PeerId::from_u64(id);
                let held = model.iter().find(|entry| entry.peer == peer);
                let rests = held.map(|entry| entry.retry_at).filter(|&at| at > now);
                prop_assert_eq!(table.retry_at(peer, now), rests);
                let live = held.filter(|entry| entry.expires_at() > now);
                prop_assert_eq!(table.failures(peer, now), live.map_or(0, |entry| entry.failures));
            }
        }
    }

    #[test]
    fn a_wait_never_overflows(first: u64, longest: u64, failures in 1_usize..80, seed: u64) {
        let config = Config {
            first: Duration::from_nanos(first),
            longest: Duration::from_nanos(longest),
            ..CONFIG
        };
        let mut table = BackoffTable::new(config, seed);
        for _ in 0..failures {
            let retry_at = table.record_failure(PeerId::from_u64(1), Time::ZERO);
            prop_assert!(retry_at.as_nanos() <= longest.saturating_add(longest / 5));
        }
    }
}

fn take_live(model: &mut Vec<Entry>, peer: PeerId, now: Time) -> Option<Entry> {
    let at = model.iter().position(|entry| entry.peer == peer)?;
    Some(model.remove(at)).filter(|entry| entry.expires_at() > now)
}

/// How many entries made room.
fn put(model: &mut Vec<Entry>, entry: Entry) -> u64 {
    let is_full = model.len() >= CONFIG.entries;
    if is_full {
        model.sort_by_key(|entry| (entry.expires_at(), entry.peer));
        model.remove(0);
    }
    model.push(entry);
    u64::from(is_full)
}

#[test]
fn the_same_seed_waits_alike_and_other_peers_and_seeds_wait_otherwise() {
    let wait = |seed, peer| {
        let mut table = BackoffTable::new(Config::default(), seed);
        let mut last = Time::ZERO;
        (0..20)
            .map(|_| {
                last = table.record_failure(PeerId::from_u64(peer), last);
                last
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(wait(1, 1), wait(1, 1));
    assert_ne!(wait(1, 1), wait(1, 2));
    assert_ne!(wait(1, 1), wait(2, 1));
}

#[test]
fn the_jitter_of_many_peers_covers_a_fifth_on_either_side() {
    let mut table = BackoffTable::new(Config::default(), 9);
    let waits: Vec<u64> =
        (0..2_000).map(|id| table.record_failure(PeerId::from_u64(id), Time::ZERO).as_nanos()).collect();
    let mean = waits.iter().sum::<u64>() / 2_000;
    assert!(waits.iter().all(|wait| (8_000_000..=12_000_000).contains(wait)));
    assert!(waits.iter().any(|&wait| wait < 8_100_000) && waits.iter().any(|&wait| wait > 11_900_000));
    assert!((9_900_000..10_100_000).contains(&mean), "{mean}");
}

#[test]
fn a_peer_that_was_forgotten_begins_anew() {
    let mut table = BackoffTable::new(Config::default(), 0);
    let peer = PeerId::from_u64(1);
    let mut retry_at = Time::ZERO;
    for _ in 0..10 {
        retry_at = table.record_failure(peer, retry_at);
    }
    let late = retry_at + Config::default().forget_after;
    assert_eq!((table.failures(peer, late - Duration::from_nanos(1)), table.failures(peer, late)), (10, 0));
    assert!(table.record_failure(peer, late) <= late + Duration::from_millis(12));
}
