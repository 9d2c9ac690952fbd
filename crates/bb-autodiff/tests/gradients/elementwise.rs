//! Element-wise ops.

use super::harness::{Case, Rng, int};

fn binary(op: &'static str, seed: u64, low: f64, high: f64) {
    let mut rng = Rng::new(seed);
    for round in 0..25 {
        let (a, b) = rng.broadcast_pair();
        let opset = if round % 5 == 0 { 7 } else { 22 };
        Case::new(op).opset(opset).float(&mut rng, &a, low, high).float(&mut rng, &b, low, high).check();
    }
}

fn unary(op: &'static str, seed: u64, low: f64, high: f64) {
    let mut rng = Rng::new(seed);
    for _ in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        Case::new(op).float(&mut rng, &shape, low, high).check();
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
fn neg_matches_differences() {
    unary("Neg", 106, -2.0, 2.0);
}

#[test]
fn exp_matches_differences() {
    unary("Exp", 107, -2.0, 2.0);
}

#[test]
fn log_matches_differences() {
    unary("Log", 108, 0.3, 3.0);
}

#[test]
fn sqrt_matches_differences() {
    unary("Sqrt", 109, 0.3, 3.0);
}

#[test]
fn tanh_matches_differences() {
    unary("Tanh", 110, -2.0, 2.0);
}

#[test]
fn sigmoid_matches_differences() {
    unary("Sigmoid", 111, -3.0, 3.0);
}

#[test]
fn relu_matches_differences_off_zero() {
    let mut rng = Rng::new(112);
    for _ in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        Case::new("Relu").signed(&mut rng, &shape).check();
    }
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
        Case::new("Cast").attribute(int("to", 11)).float(&mut rng, &shape, -1.0, 1.0).check();
    }
}
