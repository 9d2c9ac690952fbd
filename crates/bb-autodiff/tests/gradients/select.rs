//! Ops that let one of several values through.

use super::harness::{Case, Feed, Rng, real};

fn extreme(op: &'static str, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..20 {
        let wide = rng.shape(2);
        let mut case = Case::new(op).opset([22, 12, 9][round % 3]);
        for _ in 0..rng.below(1, 4) {
            let narrow = rng.narrowed(&wide);
            case = case.float(&mut rng, &narrow, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn max_matches_differences_off_ties() {
    extreme("Max", 180);
}

#[test]
fn min_matches_differences_off_ties() {
    extreme("Min", 181);
}

#[test]
fn where_matches_differences() {
    let mut rng = Rng::new(182);
    for _ in 0..20 {
        let wide = rng.shape(3);
        let (condition, a, b) = (rng.narrowed(&wide), rng.narrowed(&wide), rng.narrowed(&wide));
        Case::new("Where")
            .flags(&mut rng, &condition)
            .float(&mut rng, &a, -1.0, 1.0)
            .float(&mut rng, &b, -1.0, 1.0)
            .check();
    }
}

#[test]
fn clip_matches_differences_between_and_outside_of_its_limits() {
    let mut rng = Rng::new(183);
    for round in 0..20 {
        let shape = rng.shape(2);
        let case = Case::new("Clip");
        if round % 4 == 0 {
            let case = case.opset(9).attribute(real("min", -0.51)).attribute(real("max", 0.42));
            case.distinct(&mut rng, &shape).check();
        } else {
            case.distinct(&mut rng, &shape)
                .feed(if round % 4 == 1 { Feed::Absent } else { Feed::Float(vec![], vec![-0.1011]) })
                .feed(if round % 4 == 2 { Feed::Absent } else { Feed::Float(vec![], vec![0.1023]) })
                .check();
        }
    }
}

#[test]
fn limits_in_the_wrong_order_match_differences() {
    let mut rng = Rng::new(1205);
    for _ in 0..20 {
        let shape = rng.shape(2);
        let case = Case::new("Clip").distinct(&mut rng, &shape);
        case.feed(Feed::Float(vec![], vec![1.01])).feed(Feed::Float(vec![], vec![-1.02])).check();
    }
}
