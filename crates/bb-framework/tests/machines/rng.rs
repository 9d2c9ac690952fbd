//! Equal seeds and positions give equal numbers, and the numbers are spread evenly.

use std::collections::BTreeSet;

use bb_framework::Rng;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Draw {
    U64,
    Below(u64),
    RequestId,
}

fn any_draw() -> impl Strategy<Value = Draw> {
    prop_oneof![Just(Draw::U64), any::<u64>().prop_map(Draw::Below), Just(Draw::RequestId)]
}

fn draw(rng: &mut Rng, what: Draw) -> u128 {
    match what {
        Draw::U64 => rng.u64().into(),
        Draw::Below(bound) => rng.below(bound).into(),
        Draw::RequestId => u128::from_le_bytes(rng.request_id().0),
    }
}

proptest! {
    #[test]
    fn a_restored_generator_goes_on_where_the_saved_one_was(
        seed in any::<[u8; 32]>(),
        before in prop::collection::vec(any_draw(), 0..80),
        after in prop::collection::vec(any_draw(), 0..80),
    ) {
        let mut rng = Rng::from_seed(seed);
        for &what in &before {
            draw(&mut rng, what);
        }
        let state = rng.state();
        let mut restored = Rng::restore(state);
        prop_assert!(restored.state() == state);
        for &what in &after {
            prop_assert_eq!(draw(&mut rng, what), draw(&mut restored, what));
        }
        prop_assert!(rng.state() == restored.state());
    }

    #[test]
    fn a_number_below_a_bound_is_below_it(seed: u64, bound: u64) {
        let mut rng = Rng::from_u64(seed);
        for bound in [bound, bound % 10, u64::MAX, (1 << 63) + bound % 3, 1] {
            let drawn = rng.below(bound);
            prop_assert!(drawn < bound || (bound == 0 && drawn == 0));
        }
    }
}

#[test]
fn the_stream_of_a_seed_is_the_same_on_every_platform() {
    let mut rng = Rng::from_u64(7);
    let drawn: Vec<u64> = (0..4).map(|_| rng.u64()).collect();
    assert_eq!(drawn, GOLDEN, "{drawn:#x?}");
}

/// ChaCha with eight rounds of the key 7, 0, 0, …, counter and nonce 0, as a few lines of another language compute it.
const GOLDEN: [u64; 4] =
    [0xc39c_a672_2c44_ba73, 0x7747_b002_ea9d_9d65, 0x0173_e28d_72a7_fcae, 0x4d26_d3a0_0f02_31c0];

#[test]
fn each_number_below_a_bound_is_as_likely_as_any_other() {
    const BOUND: usize = 7;
    const DRAWS: u32 = 70_000;
    let mut rng = Rng::from_u64(1);
    let mut seen = [0_u32; BOUND];
    for _ in 0..DRAWS {
        seen[rng.below(BOUND as u64) as usize] += 1;
    }
    let expected = f64::from(DRAWS) / BOUND as f64;
    let chi_squared: f64 = seen.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    // Six degrees of freedom: larger once in a thousand seeds.
    assert!(chi_squared < 22.46, "{chi_squared}: {seen:?}");
}

#[test]
fn request_ids_do_not_repeat() {
    let mut rng = Rng::from_u64(0);
    let ids: BTreeSet<_> = (0..10_000).map(|_| rng.request_id()).collect();
    assert_eq!(ids.len(), 10_000);
}

#[test]
fn a_seed_is_not_shown() {
    let rng = Rng::from_seed([0xab; 32]);
    for shown in [format!("{rng:?}"), format!("{:?}", rng.state())] {
        assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
    }
}
