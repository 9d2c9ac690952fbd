//! Notices, mutes and probes, second by second; and what holds on any sequence of messages.

use std::time::Duration;

use bb_framework::backpressure::{Backpressure, Config, Event, Load, Verdict};
use bb_ir::{PeerId, Time};
use proptest::prelude::*;

use crate::any_peer;

const FULL: Load = Load { queued: 75, of_sender: 75, senders: 1, capacity: 100 };
const CALM: Load = Load { queued: 74, of_sender: 74, senders: 1, capacity: 100 };

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn notified(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::TakeAndNotify { retry_after } if retry_after == Duration::from_secs(2))
}

/// A machine whose peer 1 is muted from second 3 on.
fn muted(load: Load) -> (Backpressure, Time) {
    let mut machine = Backpressure::new(Config::default());
    let peer = PeerId::from_u64(1);
    for second in 0..3 {
        assert!(notified(machine.check(peer, load, at(second * 1_000))));
    }
    let Verdict::Drop { until } = machine.check(peer, load, at(3_000)) else { panic!("not muted") };
    assert_eq!(machine.take_events(), [Event::Muted { peer, until }]);
    (machine, until)
}

#[test]
fn nobody_gets_a_notice_below_the_threshold() {
    let mut machine = Backpressure::new(Config::default());
    assert_eq!(machine.check(PeerId::from_u64(1), CALM, Time::ZERO), Verdict::Take);
    assert!(machine.is_empty());
}

#[test]
fn a_notice_comes_at_most_once_a_second_and_what_was_under_way_is_taken() {
    let mut machine = Backpressure::new(Config::default());
    let peer = PeerId::from_u64(1);
    assert!(notified(machine.check(peer, FULL, at(0))));
    for millis in [1, 500, 999] {
        assert_eq!(machine.check(peer, FULL, at(millis)), Verdict::Take);
    }
    assert!(notified(machine.check(peer, FULL, at(1_000))));
}

#[test]
fn a_peer_that_heeds_its_notices_is_never_muted() {
    let mut machine = Backpressure::new(Config::default());
    for round in 0..100 {
        assert!(notified(machine.check(PeerId::from_u64(1), FULL, at(round * 2_000))));
    }
    assert_eq!(machine.counters().mutes, 0);
}

#[test]
fn mutes_grow_and_a_probe_that_goes_wrong_mutes_at_once() {
    let (mut machine, until) = muted(FULL);
    let peer = PeerId::from_u64(1);
    assert_eq!(until, at(4_000));
    assert_eq!(machine.is_muted(peer, at(3_999)), Some(until));
    assert_eq!(machine.check(peer, FULL, at(3_999)), Verdict::Drop { until });
    // The probe, and what follows it in spite of the notice.
    assert!(notified(machine.check(peer, FULL, at(4_000))));
    assert_eq!(machine.check(peer, FULL, at(4_999)), Verdict::Take);
    assert_eq!(machine.check(peer, FULL, at(5_000)), Verdict::Drop { until: at(7_000) });
    assert!(notified(machine.check(peer, FULL, at(7_000))));
    assert_eq!(machine.check(peer, FULL, at(8_000)), Verdict::Drop { until: at(12_000) });
    assert_eq!(machine.counters().mutes, 3);
}

#[test]
fn a_probe_that_goes_well_gives_the_peer_its_three_notices_back() {
    let (mut machine, until) = muted(FULL);
    let peer = PeerId::from_u64(1);
    assert_eq!(machine.check(peer, CALM, until), Verdict::Take);
    let again = until + Duration::from_secs(10);
    for second in 0..3 {
        assert!(notified(machine.check(peer, FULL, again + Duration::from_secs(second))));
    }
    // It is muted for longer than the first time all the same.
    let third = again + Duration::from_secs(3);
    let verdict = machine.check(peer, FULL, third);
    assert_eq!(verdict, Verdict::Drop { until: third + Duration::from_secs(2) });
    // Long after, all is forgotten.
    assert_eq!(machine.check(peer, CALM, third + Duration::from_secs(1_000)), Verdict::Take);
    assert!(machine.is_empty());
}

#[test]
fn a_peer_with_less_than_an_equal_share_of_a_full_queue_is_told_and_not_asked_for_silence() {
    let loud = PeerId::from_u64(1);
    let quiet = PeerId::from_u64(2);
    let mut machine = Backpressure::new(Config::default());
    for second in 0..10 {
        let load = |of_sender| Load { queued: 100, of_sender, senders: 2, capacity: 100 };
        let _verdict = machine.check(loud, load(51), at(second * 1_000));
        let told = Verdict::TakeAndNotify { retry_after: Duration::ZERO };
        assert_eq!(machine.check(quiet, load(49), at(second * 1_000)), told);
        assert_eq!(machine.check(quiet, load(49), at(second * 1_000 + 999)), Verdict::Take, "once a second");
    }
    let mutes = |peer| machine.iter().find(|(held, _)| *held == peer).map(|(_, held)| held.mutes);
    assert!(mutes(loud) > Some(0) && mutes(quiet) == Some(0));
}

#[test]
fn who_was_only_told_has_ignored_nothing_when_it_presses() {
    let mut machine = Backpressure::new(Config::default());
    let peer = PeerId::from_u64(1);
    let little = Load { queued: 80, of_sender: 10, senders: 2, capacity: 100 };
    for second in 0..9 {
        let _told = machine.check(peer, little, at(second * 1_000));
    }
    for second in 9..12 {
        assert!(notified(machine.check(peer, FULL, at(second * 1_000))), "three notices ask for silence");
    }
    assert!(matches!(machine.check(peer, FULL, at(12_000)), Verdict::Drop { .. }));
}

#[test]
fn a_peer_with_little_of_the_queue_is_muted_for_little() {
    let load = Load { queued: 80, of_sender: 40, senders: 2, capacity: 100 };
    let config = Config { first_mute: Duration::from_secs(10), ..Config::default() };
    let mut machine = Backpressure::new(config);
    let peer = PeerId::from_u64(1);
    for second in 0..3 {
        assert!(notified(machine.check(peer, load, at(second * 1_000))));
    }
    assert_eq!(machine.check(peer, load, at(3_000)), Verdict::Drop { until: at(8_000) });
}

#[test]
fn the_peer_that_pressed_longest_ago_is_forgotten_and_counted() {
    let mut machine = Backpressure::new(Config { entries: 2, ..Config::default() });
    let [first, second, third] = [1, 2, 3].map(PeerId::from_u64);
    for (second_of, peer) in [(0, first), (1, second), (2, first), (3, third)] {
        assert!(notified(machine.check(peer, FULL, at(second_of * 1_000))));
    }
    assert_eq!(machine.iter().map(|(peer, _)| peer).collect::<Vec<_>>(), [first, third]);
    assert_eq!(machine.counters().evicted, 1);
    let saved = machine.counters();
    machine.forget_counters();
    assert_eq!(machine.counters(), Default::default());
    machine.resume([], saved);
    assert_eq!(machine.counters(), saved);
    machine.clear();
    assert_eq!(machine.len(), 0);
}

#[test]
fn of_mutes_that_nobody_takes_note_of_the_latest_stay() {
    let mut machine = Backpressure::new(Config { events: 1, ..Config::default() });
    for peer in [1, 2].map(PeerId::from_u64) {
        for second in 0..4 {
            let _verdict = machine.check(peer, FULL, at(second * 1_000));
        }
    }
    assert_eq!(machine.events().count(), 1);
    let [Event::Muted { peer, .. }] = machine.take_events()[..] else { panic!("one was to be said") };
    assert_eq!((peer, machine.counters().events_dropped), (PeerId::from_u64(2), 1));
    let mut deaf = Backpressure::new(Config { events: 0, ..Config::default() });
    for second in 0..4 {
        let _verdict = deaf.check(PeerId::from_u64(1), FULL, at(second * 1_000));
    }
    assert!(deaf.take_events().is_empty() && deaf.is_muted(PeerId::from_u64(1), at(3_500)).is_some());
}

proptest! {
    #[test]
    fn whatever_comes_notices_are_rare_and_what_was_saved_goes_on_as_it_was(
        messages in prop::collection::vec((any_peer(), 0_u64..1_500, 60_usize..100), 0..200),
        save_at in 0_usize..200,
    ) {
        let config = Config { entries: 4, ..Config::default() };
        let mut machine = Backpressure::new(config);
        let mut restored: Option<Backpressure> = None;
        let mut noticed: Vec<(PeerId, Time)> = Vec::new();
        let mut now = Time::ZERO;
        for (index, (peer, millis, queued)) in messages.into_iter().enumerate() {
            if index == save_at {
                let mut copy = Backpressure::new(config);
                for (peer, pressing) in machine.iter() {
                    copy.set(peer, pressing);
                }
                restored = Some(copy);
            }
            now = now + Duration::from_millis(millis);
            let load = Load { queued, of_sender: queued.div_ceil(2), senders: 2, capacity: 100 };
            let was_muted = machine.is_muted(peer, now);
            let is_known = machine.iter().any(|(held, _)| held == peer);
            let verdict = machine.check(peer, load, now);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(restored.check(peer, load, now), verdict);
            }
            prop_assert!(machine.len() <= config.entries);
            match (verdict, was_muted) {
                (Verdict::Drop { until }, Some(muted)) => prop_assert_eq!(until, muted),
                (_, Some(_)) => prop_assert!(false, "a muted peer was heard"),
                (Verdict::Drop { until }, None) => {
                    prop_assert!(until > now && until <= now + config.longest_mute.max(config.notice_every));
                }
                (Verdict::TakeAndNotify { .. }, None) => {
                    prop_assert!(queued >= 75);
                    let held = noticed.iter().position(|held| held.0 == peer);
                    if let Some(index) = held {
                        let (_, last) = noticed.remove(index);
                        prop_assert!(!is_known || now.since(last) >= config.notice_every);
                    }
                    noticed.push((peer, now));
                }
                (Verdict::Take, None) => {}
            }
        }
    }
}
