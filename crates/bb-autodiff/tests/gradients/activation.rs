//! Activation functions.

use super::harness::{Case, Rng};

/// Checks an op on numbers that are not close to zero.
fn check(seed: u64, case: impl Fn(&mut Rng) -> Case) {
    let mut rng = Rng::new(seed);
    for _ in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        case(&mut rng).signed(&mut rng, &shape).check();
    }
}

#[test]
fn relu_matches_differences_off_zero() {
    check(170, |_| Case::new("Relu"));
}

#[test]
fn sigmoid_matches_differences() {
    check(171, |_| Case::new("Sigmoid"));
}

#[test]
fn tanh_matches_differences() {
    check(172, |_| Case::new("Tanh"));
}
