//! Normalizations.

use super::harness::{Case, Feed, NEWEST, Rng, int, ints, real};

#[test]
fn batch_normalization_matches_differences_in_inference_and_training() {
    let mut rng = Rng::new(901);
    for round in 0..24 {
        let rank = 2 + round / 2 % 3;
        let mut shape: Vec<usize> = (0..rank).map(|_| rng.below(2, 4)).collect();
        shape[0] = rng.below(3, 5);
        let channels = [shape[1]];
        let fixed = |rng: &mut Rng| {
            Feed::Fixed(channels.to_vec(), (0..channels[0]).map(|_| rng.float(0.5, 1.5)).collect())
        };
        let mut case = Case::new("BatchNormalization")
            .attribute(real("epsilon", 0.01))
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &channels, 0.5, 1.5)
            .float(&mut rng, &channels, -1.0, 1.0)
            .feed(fixed(&mut rng))
            .feed(fixed(&mut rng));
        if round % 2 == 1 {
            case = case.attribute(int("training_mode", 1)).outputs(&[true, false, false]);
        }
        case.check();
    }
}

#[test]
fn layer_normalization_matches_differences() {
    let mut rng = Rng::new(902);
    for round in 0..20 {
        let rank = rng.below(1, 4);
        let shape: Vec<usize> = (0..rank).map(|_| rng.below(2, 5)).collect();
        let axis = rng.below(0, rank);
        let mut case = Case::new("LayerNormalization")
            .attribute(int("axis", axis as i64))
            .attribute(real("epsilon", 0.01))
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[axis..], 0.5, 1.5);
        if round % 2 == 0 {
            case = case.float(&mut rng, &shape[axis..], -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn instance_normalization_matches_differences() {
    let mut rng = Rng::new(903);
    for _ in 0..20 {
        let shape: Vec<usize> = (0..rng.below(3, 5)).map(|_| rng.below(2, 4)).collect();
        Case::new("InstanceNormalization")
            .attribute(real("epsilon", 0.01))
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[1..2], 0.5, 1.5)
            .float(&mut rng, &shape[1..2], -1.0, 1.0)
            .check();
    }
}

#[test]
fn root_mean_square_normalization_matches_differences() {
    let mut rng = Rng::new(904);
    for _ in 0..20 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let axis = rng.below(0, rank);
        Case::new("RMSNormalization")
            .opset(NEWEST + 1)
            .attribute(int("axis", axis as i64))
            .attribute(real("epsilon", 0.01))
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[axis..], 0.5, 1.5)
            .check();
    }
}

#[test]
fn lp_normalization_matches_differences_off_zero() {
    let mut rng = Rng::new(905);
    for round in 0..20 {
        let shape = rng.shape(2);
        Case::new("LpNormalization")
            .attribute(int("axis", rng.below(0, 2) as i64))
            .attribute(int("p", 1 + round % 2))
            .signed(&mut rng, &shape)
            .check();
    }
}

#[test]
fn mean_variance_normalization_matches_differences() {
    let mut rng = Rng::new(906);
    for round in 0..20 {
        let shape: Vec<usize> = (0..4).map(|_| rng.below(2, 4)).collect();
        let case = Case::new("MeanVarianceNormalization");
        let case = if round % 2 == 0 { case } else { case.attribute(ints("axes", &[1, 3])) };
        case.float(&mut rng, &shape, -1.0, 1.0).check();
    }
}

#[test]
fn group_normalization_matches_differences() {
    let mut rng = Rng::new(907);
    for _ in 0..20 {
        let groups = rng.below(1, 4);
        let mut shape: Vec<usize> = (0..rng.below(3, 5)).map(|_| rng.below(2, 4)).collect();
        shape[1] = groups * rng.below(1, 3);
        Case::new("GroupNormalization")
            .attribute(int("num_groups", groups as i64))
            .attribute(real("epsilon", 0.01))
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[1..2], 0.5, 1.5)
            .float(&mut rng, &shape[1..2], -1.0, 1.0)
            .check();
    }
}

#[test]
fn local_response_normalization_matches_differences() {
    let mut rng = Rng::new(908);
    for round in 0..20 {
        let shape = [rng.below(1, 3), rng.below(1, 6), rng.below(1, 3), rng.below(1, 3)];
        Case::new("LRN")
            .opset([22, 13, 10][round % 3])
            .attribute(int("size", rng.below(1, 5) as i64))
            .attribute(real("alpha", 0.5))
            .attribute(real("beta", 0.6))
            .attribute(real("bias", 1.2))
            .float(&mut rng, &shape, -1.5, 1.5)
            .check();
    }
}

#[test]
fn the_moments_of_layer_normalization_match_differences() {
    let mut rng = Rng::new(909);
    for round in 0..20 {
        let shape = [rng.below(1, 4), rng.below(2, 5)];
        Case::new("LayerNormalization")
            .attribute(real("epsilon", 0.05))
            .outputs(&[round % 2 == 0, true, round % 3 > 0])
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[1..], 0.5, 1.5)
            .check();
    }
}

#[test]
fn the_running_moments_of_batch_normalization_match_differences() {
    let mut rng = Rng::new(910);
    for round in 0..20 {
        let shape = [rng.below(2, 4), rng.below(1, 4), rng.below(1, 4)];
        let fixed =
            |rng: &mut Rng| Feed::Fixed(vec![shape[1]], (0..shape[1]).map(|_| rng.float(0.5, 1.5)).collect());
        Case::new("BatchNormalization")
            .attribute(real("epsilon", 0.05))
            .attribute(real("momentum", 0.7))
            .attribute(int("training_mode", 1))
            .outputs(&[round % 2 == 0, true, round % 3 > 0])
            .float(&mut rng, &shape, -1.0, 1.0)
            .float(&mut rng, &shape[1..2], 0.5, 1.5)
            .float(&mut rng, &shape[1..2], -1.0, 1.0)
            .feed(fixed(&mut rng))
            .feed(fixed(&mut rng))
            .check();
    }
}
