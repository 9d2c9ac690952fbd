//! Softmax and its logarithm, along one axis and, before operator set 13, along all axes from one on.

use super::harness::{Case, Rng, int};

fn family(op: &'static str, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..30 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let mut case = Case::new(op).opset([22, 13, 11][round % 3]);
        if rng.flag() || (case.opset < 13 && rank < 2) {
            let axis = rng.below(0, rank) as i64;
            case = case.attribute(int("axis", if rng.flag() { axis } else { axis - rank as i64 }));
        }
        case.float(&mut rng, &shape, -2.0, 2.0).check();
    }
}

#[test]
fn softmax_matches_differences() {
    family("Softmax", 401);
}

#[test]
fn log_softmax_matches_differences() {
    family("LogSoftmax", 402);
}
