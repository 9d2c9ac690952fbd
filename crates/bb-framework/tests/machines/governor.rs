//! Decisions against a model that keeps whole histories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bb_framework::governor::{Config, Event, ListFull};
use bb_framework::{Decision, DenyReason, PeerGovernor, backoff};
use bb_ir::{PeerId, Time};
use proptest::prelude::*;

use crate::any_peer;

fn config() -> Config {
    Config { listed_peers: 3, health_entries: 4, events: 6, ..Config::default() }
}

#[derive(Clone, Debug)]
enum Call {
    Block(PeerId),
    Unblock(PeerId),
    Allow(Option<Vec<PeerId>>),
    Fail(PeerId),
    Succeed(PeerId),
    CheckInbound(PeerId),
    CheckOutbound(PeerId),
    Pass(Duration),
    TakeEvents,
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        2 => any_peer().prop_map(Call::Block),
        2 => any_peer().prop_map(Call::Unblock),
        1 => prop::option::of(prop::collection::vec(any_peer(), 0..5)).prop_map(Call::Allow),
        24 => any_peer().prop_map(Call::Fail),
        3 => any_peer().prop_map(Call::Succeed),
        4 => any_peer().prop_map(Call::CheckInbound),
        8 => any_peer().prop_map(Call::CheckOutbound),
        4 => (0_u64..90_000).prop_map(|ms| Call::Pass(Duration::from_millis(ms))),
        2 => Just(Call::TakeEvents),
    ]
}

#[derive(Default)]
struct Model {
    blocked: BTreeSet<PeerId>,
    allowed: Option<BTreeSet<PeerId>>,
    /// When each failure since the last success was, and where in the history of all failures the last one stands.
    failures: BTreeMap<PeerId, (Vec<Time>, usize)>,
    retry_at: BTreeMap<PeerId, Time>,
    events: Vec<Event>,
    denied: (u64, u64),
    evicted: u64,
    events_dropped: u64,
}

impl Model {
    fn is_down(&self, peer: PeerId) -> bool {
        self.failures.get(&peer).is_some_and(|(times, _)| times.len() >= 5)
    }

    fn inbound(&self, peer: PeerId) -> Decision {
        if self.blocked.contains(&peer) {
            Decision::Deny(DenyReason::Blocklisted)
        } else if self.allowed.as_ref().is_some_and(|list| !list.contains(&peer)) {
            Decision::Deny(DenyReason::NotAllowlisted)
        } else {
            Decision::Allow
        }
    }

    fn outbound(&self, peer: PeerId, now: Time) -> Decision {
        let inbound = self.inbound(peer);
        if inbound != Decision::Allow {
            return inbound;
        }
        let last = self.failures.get(&peer).and_then(|(times, _)| times.last().copied());
        if self.is_down(peer) && last.is_some_and(|last| now.since(last) < config().probe_after) {
            return Decision::Deny(DenyReason::Down);
        }
        match self.retry_at.get(&peer) {
            Some(&retry_at) if retry_at > now => Decision::Deny(DenyReason::Cooldown { retry_at }),
            _ => Decision::Allow,
        }
    }

    fn event(&mut self, event: Event) {
        if self.events.len() == config().events {
            self.events.remove(0);
            self.events_dropped += 1;
        }
        self.events.push(event);
    }

    fn fail(&mut self, peer: PeerId, now: Time, number: usize) {
        let was_down = self.is_down(peer);
        if !self.failures.contains_key(&peer) && self.failures.len() == config().health_entries {
            let victim =
                *self.failures.iter().min_by_key(|(_, (times, last))| (times.len() >= 5, *last)).unwrap().0;
            self.failures.remove(&victim);
            self.evicted += 1;
        }
        let entry = self.failures.entry(peer).or_default();
        entry.0.push(now);
        entry.1 = number;
        if self.is_down(peer) && !was_down {
            self.event(Event::PeerDown(peer));
        }
    }
}

proptest! {
    #[test]
    fn decisions_follow_lists_then_health_then_waits_and_each_turn_is_told_once(
        seed: u64,
        calls in prop::collection::vec(any_call(), 0..150),
    ) {
        let mut governor = PeerGovernor::new(config(), seed);
        let mut model = Model::default();
        let mut now = Time::ZERO;
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Block(peer) => {
                    let expected = if model.blocked.contains(&peer) {
                        Ok(false)
                    } else if model.blocked.len() == 3 {
                        Err(ListFull { capacity: 3 })
                    } else {
                        Ok(model.blocked.insert(peer))
                    };
                    prop_assert_eq!(governor.block(peer), expected);
                }
                Call::Unblock(peer) => prop_assert_eq!(governor.unblock(peer), model.blocked.remove(&peer)),
                Call::Allow(peers) => {
                    let list: Option<BTreeSet<_>> = peers.as_ref().map(|peers| peers.iter().copied().collect());
                    let taken = governor.set_allowlist(peers.as_deref());
                    if list.as_ref().is_some_and(|list| list.len() > 3) {
                        prop_assert_eq!(taken, Err(ListFull { capacity: 3 }));
                    } else {
                        prop_assert_eq!(taken, Ok(()));
                        model.allowed = list;
                    }
                }
                Call::Fail(peer) => {
                    let retry_at = governor.record_failure(peer, now);
                    model.retry_at.insert(peer, retry_at);
                    model.fail(peer, now, number);
                }
                Call::Succeed(peer) => {
                    governor.record_success(peer);
                    model.retry_at.remove(&peer);
                    if model.is_down(peer) {
                        model.event(Event::PeerUp(peer));
                    }
                    model.failures.remove(&peer);
                }
                Call::CheckInbound(peer) => {
                    let expected = model.inbound(peer);
                    model.denied.0 += u64::from(expected != Decision::Allow);
                    prop_assert_eq!(governor.check_inbound(peer), expected);
                }
                Call::CheckOutbound(peer) => {
                    let expected = model.outbound(peer, now);
                    model.denied.1 += u64::from(expected != Decision::Allow);
                    prop_assert_eq!(governor.check_outbound(peer, now), expected);
                }
                Call::Pass(time) => now = now + time,
                Call::TakeEvents => {
                    prop_assert_eq!(governor.take_events(), std::mem::take(&mut model.events));
                }
            }
            let counters = governor.counters();
            let inbound = counters.denied_inbound + counters.not_allowlisted_inbound;
            let outbound = counters.denied_outbound
                + counters.not_allowlisted_outbound
                + counters.down_outbound
                + counters.resting_outbound;
            prop_assert_eq!((inbound, outbound), model.denied);
            prop_assert_eq!((counters.evicted, counters.events_dropped), (model.evicted, model.events_dropped));
            prop_assert!(governor.blocklist().eq(model.blocked.iter().copied()));
            prop_assert_eq!(
                governor.allowlist().map(|list| list.collect::<BTreeSet<_>>()),
                model.allowed.clone()
            );
            for id in 0..8 {
                let peer = PeerId::from_u64(id);
                let health = governor.health(peer);
                let failures = model.failures.get(&peer).map_or(0, |(times, _)| times.len());
                prop_assert_eq!((health.consecutive_failures as usize, health.is_down), (failures, failures >= 5));
                prop_assert_eq!(governor.is_allowed(peer), model.inbound(peer) == Decision::Allow);
                prop_assert_eq!(governor.is_blocked(peer), model.blocked.contains(&peer));
                prop_assert_eq!(governor.outbound_decision(peer, now), model.outbound(peer, now));
            }
        }
    }
}

#[test]
fn a_peer_that_is_down_is_tried_again_and_comes_up_once() {
    let mut governor = PeerGovernor::new(Config::default(), 0);
    let peer = PeerId::from_u64(1);
    let mut now = Time::ZERO;
    for _ in 0..7 {
        now = governor.record_failure(peer, now);
    }
    assert_eq!(governor.take_events(), [Event::PeerDown(peer)]);
    assert_eq!(governor.check_outbound(peer, now), Decision::Deny(DenyReason::Down));
    assert_eq!(governor.check_inbound(peer), Decision::Allow);
    let probe_at = now + Config::default().probe_after;
    assert_eq!(governor.check_outbound(peer, probe_at), Decision::Allow);
    governor.record_failure(peer, probe_at);
    assert_eq!(governor.check_outbound(peer, probe_at), Decision::Deny(DenyReason::Down));
    assert_eq!(governor.take_events(), []);
    governor.record_success(peer);
    governor.record_success(peer);
    assert_eq!(governor.take_events(), [Event::PeerUp(peer)]);
    assert_eq!(governor.check_outbound(peer, probe_at), Decision::Allow);
}

#[test]
fn a_peer_that_asks_to_be_left_alone_rests_but_is_not_down() {
    let mut governor = PeerGovernor::new(Config::default(), 0);
    let peer = PeerId::from_u64(1);
    let until = Time::ZERO + Duration::from_secs(3);
    governor.advise(peer, until, Time::ZERO);
    assert_eq!(
        governor.check_outbound(peer, Time::ZERO),
        Decision::Deny(DenyReason::Cooldown { retry_at: until })
    );
    assert_eq!(governor.check_outbound(peer, until), Decision::Allow);
    assert_eq!(governor.take_events(), []);
    assert_eq!(governor.expire(until + backoff::Config::default().forget_after), 1);
    assert!(governor.backoff().is_empty());
}

#[test]
fn each_reason_not_to_deal_with_a_peer_has_its_counter() {
    let mut governor = PeerGovernor::new(Config { down_after: 2, ..Config::DEFAULT }, 7);
    let [blocked, other, failing] = [1, 2, 3].map(PeerId::from_u64);
    governor.block(blocked).unwrap();
    governor.check_inbound(blocked);
    governor.check_outbound(blocked, Time::ZERO);
    governor.record_failure(failing, Time::ZERO);
    governor.check_outbound(failing, Time::ZERO);
    governor.record_failure(failing, Time::ZERO);
    governor.check_outbound(failing, Time::ZERO);
    governor.set_allowlist(Some(&[failing])).unwrap();
    governor.check_inbound(other);
    governor.check_outbound(other, Time::ZERO);
    let counters = governor.counters();
    let inbound = (counters.denied_inbound, counters.not_allowlisted_inbound);
    let outbound = (counters.denied_outbound, counters.not_allowlisted_outbound);
    assert_eq!((inbound, outbound), ((1, 1), (1, 1)));
    assert_eq!((counters.resting_outbound, counters.down_outbound), (1, 1));
}
