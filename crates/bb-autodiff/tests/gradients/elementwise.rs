//! Element-wise ops.

use super::harness::{Case, Rng, int};

fn binary(op: &'static str, seed: u64, low: f64, high: f64) {
    let mut rng = Rng::new(seed);
    for round in 0..25 {
        let (a, b) = rng.broadcast_pair();
        let opset = if round % 5 == 0 { 9 } else { 22 };
        Case::new(op).opset(opset).float(&mut rng, &a, low, high).float(&mut rng, &b, low, high).check();
    }
}

#[test]
fn add_matches_differences() {
    binary("Add", 101, -2.0, 2.0);
}

#[test]
fn sub_matches_differences() {
    binary("Sub", 102, -2.0, 2.0);
}

#[test]
fn mul_matches_differences() {
    binary("Mul", 103, -2.0, 2.0);
}

#[test]
fn div_matches_differences() {
    binary("Div", 104, 0.5, 2.0);
}

#[test]
fn pow_matches_differences() {
    binary("Pow", 105, 0.5, 2.0);
}

#[test]
fn sum_of_several_matches_differences() {
    let mut rng = Rng::new(113);
    for _ in 0..20 {
        let wide = rng.shape(3);
        let mut case = Case::new("Sum");
        for _ in 0..rng.below(1, 5) {
            let narrow = rng.narrowed(&wide);
            case = case.float(&mut rng, &narrow, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn a_cast_between_floats_passes_the_gradient() {
    let mut rng = Rng::new(114);
    for _ in 0..20 {
        let shape = rng.shape(2);
        Case::new("Cast").attribute(int("to", 11)).float(&mut rng, &shape, -1.0, 1.0).check_in_double();
    }
}

#[test]
fn mean_of_several_matches_differences() {
    let mut rng = Rng::new(115);
    for _ in 0..20 {
        let wide = rng.shape(3);
        let mut case = Case::new("Mean");
        for _ in 0..rng.below(1, 5) {
            let narrow = rng.narrowed(&wide);
            case = case.float(&mut rng, &narrow, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn fmod_matches_differences_between_multiples() {
    let mut rng = Rng::new(116);
    for _ in 0..20 {
        let (a, b) = rng.broadcast_pair();
        Case::new("Mod")
            .attribute(int("fmod", 1))
            .float(&mut rng, &a, 2.3, 2.7)
            .float(&mut rng, &b, 0.9, 1.1)
            .check();
    }
}
