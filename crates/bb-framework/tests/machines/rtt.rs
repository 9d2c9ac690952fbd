//! The smoothed time against the formula in floating point.

use std::time::Duration;

use bb_framework::{Rtt, RttTable, rtt::Config};
use bb_ir::PeerId;
use proptest::prelude::*;

use crate::any_peer;

const ENTRIES: usize = 4;

proptest! {
    #[test]
    fn times_are_smoothed_and_the_peer_that_answered_longest_ago_is_forgotten(
        answers in prop::collection::vec((any_peer(), 0_u64..10_000_000), 0..200),
    ) {
        let mut table = RttTable::new(Config { entries: ENTRIES });
        let mut model: Vec<(PeerId, f64, f64)> = Vec::new();
        for (peer, micros) in answers {
            let elapsed = Duration::from_micros(micros);
            table.record(peer, elapsed);
            let seconds = elapsed.as_secs_f64();
            let (smoothed, variation) = match model.iter().position(|held| held.0 == peer) {
                Some(index) => {
                    let (_, smoothed, variation) = model.remove(index);
                    let variation = 0.75 * variation + 0.25 * (smoothed - seconds).abs();
                    (0.875 * smoothed + 0.125 * seconds, variation)
                }
                None => (seconds, seconds / 2.0),
            };
            model.push((peer, smoothed, variation));
            if model.len() > ENTRIES {
                model.remove(0);
            }
            let held: Vec<(PeerId, Rtt)> = table.iter().collect();
            prop_assert_eq!(held.len(), model.len());
            for ((peer, rtt), (expected, smoothed, variation)) in held.into_iter().zip(&model) {
                prop_assert_eq!(peer, *expected);
                prop_assert!((rtt.smoothed.as_secs_f64() - smoothed).abs() < 1e-6);
                prop_assert!((rtt.variation.as_secs_f64() - variation).abs() < 1e-6);
                prop_assert_eq!(table.get(peer), Some(rtt));
            }
        }
    }
}

#[test]
fn a_table_without_room_counts_what_it_forgets() {
    let mut table = RttTable::new(Config { entries: 0 });
    table.record(PeerId::from_u64(1), Duration::from_secs(1));
    assert!(table.is_empty());
    assert_eq!(table.evicted(), 1);
}

#[test]
fn what_was_saved_goes_on_as_it_was() {
    let peer = PeerId::from_u64(1);
    let mut table = RttTable::new(Config { entries: 2 });
    table.record(peer, Duration::from_millis(3));
    let mut other = RttTable::new(Config { entries: 2 });
    for (peer, rtt) in table.iter() {
        other.set(peer, rtt);
    }
    for table in [&mut table, &mut other] {
        table.record(peer, Duration::from_millis(7));
    }
    assert_eq!(table.get(peer), other.get(peer));
}
