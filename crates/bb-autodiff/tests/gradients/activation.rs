//! Activation functions.

use super::harness::{Case, Rng, real, text};

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

#[test]
fn celu_elu_and_selu_match_differences_off_zero() {
    check(173, |rng| Case::new("Celu").attribute(real("alpha", rng.float(0.5, 2.0) as f32)));
    check(174, |rng| Case::new("Elu").attribute(real("alpha", rng.float(0.5, 2.0) as f32)));
    check(175, |_| Case::new("Selu"));
}

#[test]
fn gelu_matches_differences_in_both_forms() {
    check(176, |_| Case::new("Gelu"));
    check(177, |_| Case::new("Gelu").attribute(text("approximate", "tanh")));
}

#[test]
fn hard_activations_match_differences_off_their_corners() {
    check(178, |_| Case::new("HardSigmoid").attribute(real("alpha", 0.7)).attribute(real("beta", 0.51234)));
    check(179, |_| Case::new("HardSwish"));
    check(160, |_| Case::new("LeakyRelu").attribute(real("alpha", 0.1)));
    check(161, |_| Case::new("Shrink").attribute(real("lambd", 0.31234)).attribute(real("bias", 0.1)));
    check(162, |_| Case::new("ThresholdedRelu").attribute(real("alpha", 0.31234)));
}

#[test]
fn smooth_activations_match_differences() {
    check(163, |_| Case::new("Mish"));
    check(164, |_| Case::new("Softplus"));
    check(165, |_| Case::new("Softsign"));
    check(166, |rng| Case::new("Swish").opset(24).attribute(real("alpha", rng.float(0.5, 2.0) as f32)));
}

#[test]
fn prelu_matches_differences_with_one_slope_or_many() {
    let mut rng = Rng::new(167);
    for _ in 0..20 {
        let shape = rng.shape(3);
        let slope = rng.narrowed(&shape);
        Case::new("PRelu").signed(&mut rng, &shape).float(&mut rng, &slope, 0.1, 0.9).check();
    }
}
