//! Ops that move elements.

use super::harness::{Case, Feed, Rng, int, ints};

#[test]
fn reshape_matches_differences() {
    let mut rng = Rng::new(501);
    for round in 0..20 {
        let shape = [rng.below(1, 4), rng.below(1, 4), rng.below(1, 4)];
        let [a, b, c] = shape.map(|extent| extent as i64);
        let target = match round % 4 {
            0 => vec![a * b * c],
            1 => vec![-1, c],
            2 => vec![0, -1],
            _ => vec![c, 1, a * b],
        };
        let case = Case::new("Reshape").float(&mut rng, &shape, -1.0, 1.0);
        if rng.flag() { case.held(&target) } else { case.feed(Feed::Labels(vec![target.len()], target)) }
            .check();
    }
}

#[test]
fn flatten_matches_differences() {
    let mut rng = Rng::new(502);
    for _ in 0..20 {
        let rank = rng.below(1, 5);
        let shape = rng.shape(rank);
        let axis = rng.below(0, rank + 1) as i64;
        Case::new("Flatten").attribute(int("axis", axis)).float(&mut rng, &shape, -1.0, 1.0).check();
    }
}

#[test]
fn transpose_matches_differences() {
    let mut rng = Rng::new(503);
    for _ in 0..20 {
        let rank = rng.below(1, 5);
        let shape = rng.shape(rank);
        let mut case = Case::new("Transpose");
        if rng.below(0, 4) > 0 {
            case = case.attribute(ints("perm", &rng.permutation(rank)));
        }
        case.float(&mut rng, &shape, -1.0, 1.0).check();
    }
}

#[test]
fn identity_matches_differences() {
    let mut rng = Rng::new(504);
    for _ in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        Case::new("Identity").float(&mut rng, &shape, -1.0, 1.0).check();
    }
}

#[test]
fn squeeze_and_unsqueeze_match_differences() {
    let mut rng = Rng::new(505);
    for round in 0..40 {
        let rank = rng.below(1, 4);
        let mut shape = rng.shape(rank);
        let op = if round % 2 == 0 { "Squeeze" } else { "Unsqueeze" };
        let axes = if op == "Squeeze" {
            let axis = rng.below(0, rank);
            shape[axis] = 1;
            vec![axis as i64 - if rng.flag() { rank as i64 } else { 0 }]
        } else {
            let first = rng.below(0, rank + 1) as i64;
            vec![first, rank as i64 + 1]
        };
        let case = Case::new(op).float(&mut rng, &shape, -1.0, 1.0);
        match round % 3 {
            0 => case.opset(11).attribute(ints("axes", &axes)).check(),
            1 if op == "Squeeze" => case.check(),
            _ => case.held(&axes).check(),
        }
    }
}

#[test]
fn expand_matches_differences() {
    let mut rng = Rng::new(506);
    for _ in 0..20 {
        let wide = rng.shape(3);
        let narrow = rng.narrowed(&wide);
        let target: Vec<i64> = rng.narrowed(&wide).iter().map(|&extent| extent as i64).collect();
        Case::new("Expand").float(&mut rng, &narrow, -1.0, 1.0).held(&target).check();
    }
}

#[test]
fn concat_matches_differences() {
    let mut rng = Rng::new(507);
    for round in 0..20 {
        let rank = rng.below(1, 4);
        let mut shape = rng.shape(rank);
        let axis = rng.below(0, rank);
        let signed = axis as i64 - if rng.flag() { rank as i64 } else { 0 };
        let mut case = Case::new("Concat").attribute(int("axis", signed)).opset([22, 11, 9][round % 3]);
        for _ in 0..rng.below(1, 5) {
            shape[axis] = rng.below(1, 4);
            case = case.float(&mut rng, &shape, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn dropout_outside_of_training_is_the_identity() {
    let mut rng = Rng::new(508);
    for round in 0..20 {
        let shape = rng.shape(2);
        let case = Case::new("Dropout").opset([22, 10][round % 2]).float(&mut rng, &shape, -1.0, 1.0);
        match round % 4 {
            0 => case.feed(Feed::Absent).feed(Feed::Flag(false)).check(),
            _ => case.check(),
        }
    }
}
