//! Seeded draws that come out the same on every platform.

use rand_core::Rng;

/// A number below `bound`, without bias; 0 if `bound` is 0.
///
/// Lemire, "Fast Random Integer Generation in an Interval", 2019, algorithm 5.
pub(crate) fn below(random: &mut impl Rng, bound: usize) -> usize {
    let bound = bound as u64;
    if bound == 0 {
        return 0;
    }
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let wide = u128::from(random.next_u64()) * u128::from(bound);
        if wide as u64 >= threshold {
            return (wide >> 64) as usize;
        }
    }
}

/// The number in [0, 1) that 64 random bits stand for.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Puts `items` into a random order: Fisher and Yates, as in Knuth, TAOCP 2, algorithm 3.4.2P.
pub(crate) fn shuffle<T>(random: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last + 1));
    }
}
