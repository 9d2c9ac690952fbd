//! Functions of one number.

use super::harness::{Case, Rng};

fn check(op: &'static str, seed: u64, low: f64, high: f64) {
    let mut rng = Rng::new(seed);
    for _ in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        Case::new(op).float(&mut rng, &shape, low, high).check();
    }
}

#[test]
fn abs_matches_differences_off_zero() {
    let mut rng = Rng::new(150);
    for _ in 0..20 {
        let shape = rng.shape(2);
        Case::new("Abs").signed(&mut rng, &shape).check();
    }
}

#[test]
fn exp_matches_differences() {
    check("Exp", 151, -2.0, 2.0);
}

#[test]
fn log_matches_differences() {
    check("Log", 152, 0.3, 3.0);
}

#[test]
fn neg_matches_differences() {
    check("Neg", 153, -2.0, 2.0);
}

#[test]
fn reciprocal_matches_differences() {
    check("Reciprocal", 154, 0.5, 2.0);
}

#[test]
fn sqrt_matches_differences() {
    check("Sqrt", 155, 0.3, 3.0);
}

#[test]
fn trigonometric_functions_match_differences() {
    check("Sin", 156, -3.0, 3.0);
    check("Cos", 157, -3.0, 3.0);
    check("Tan", 158, -1.0, 1.0);
    check("Asin", 159, -0.9, 0.9);
    check("Acos", 140, -0.9, 0.9);
    check("Atan", 141, -3.0, 3.0);
}

#[test]
fn hyperbolic_functions_match_differences() {
    check("Sinh", 142, -2.0, 2.0);
    check("Cosh", 143, -2.0, 2.0);
    check("Asinh", 144, -2.0, 2.0);
    check("Acosh", 145, 1.2, 3.0);
    check("Atanh", 146, -0.9, 0.9);
}

#[test]
fn erf_matches_differences() {
    check("Erf", 147, -2.0, 2.0);
}
