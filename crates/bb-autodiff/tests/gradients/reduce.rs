//! Reductions.

use super::harness::{Case, Feed, Rng, int, ints};

fn reduction(op: &'static str, seed: u64, since_input: i64) {
    check(op, seed, since_input, |case, rng, shape| case.float(rng, shape, -1.0, 1.0));
}

fn check(op: &'static str, seed: u64, since_input: i64, feed: fn(Case, &mut Rng, &[usize]) -> Case) {
    let mut rng = Rng::new(seed);
    for round in 0..40 {
        let rank = rng.below(1, 5);
        let shape = rng.shape(rank);
        let mut case = Case::new(op);
        if rng.flag() {
            case = case.attribute(int("keepdims", i64::from(rng.flag())));
        }
        let axes = rng.axes(rank);
        let case = match round % 5 {
            0 => feed(case, &mut rng, &shape),
            1 => feed(case.opset(since_input - 2).attribute(ints("axes", &axes)), &mut rng, &shape),
            2 => {
                let none = if rng.flag() { Feed::Absent } else { Feed::Held(vec![]) };
                feed(case.attribute(int("noop_with_empty_axes", 1)), &mut rng, &shape).feed(none)
            }
            3 => feed(case, &mut rng, &shape).feed(Feed::Labels(vec![axes.len()], axes)),
            _ => feed(case, &mut rng, &shape).held(&axes),
        };
        case.check();
    }
}

#[test]
fn reduce_sum_matches_differences() {
    reduction("ReduceSum", 301, 13);
}

#[test]
fn reduce_mean_matches_differences() {
    reduction("ReduceMean", 302, 18);
}

#[test]
fn reduce_l1_matches_differences_off_zero() {
    check("ReduceL1", 303, 18, |case, rng, shape| case.signed(rng, shape));
}

#[test]
fn reduce_l2_matches_differences() {
    check("ReduceL2", 304, 18, |case, rng, shape| case.signed(rng, shape));
}

#[test]
fn reduce_log_sum_matches_differences() {
    check("ReduceLogSum", 305, 18, |case, rng, shape| case.float(rng, shape, 0.5, 2.0));
}

#[test]
fn reduce_log_sum_exp_matches_differences() {
    reduction("ReduceLogSumExp", 306, 18);
}

#[test]
fn reduce_sum_square_matches_differences() {
    reduction("ReduceSumSquare", 307, 18);
}

#[test]
fn reduce_max_matches_differences_off_ties() {
    check("ReduceMax", 308, 18, |case, rng, shape| case.distinct(rng, shape));
}

#[test]
fn reduce_min_matches_differences_off_ties() {
    check("ReduceMin", 309, 18, |case, rng, shape| case.distinct(rng, shape));
}

#[test]
fn reduce_prod_matches_differences_with_zeros_too() {
    reduction("ReduceProd", 310, 18);
    let mut rng = Rng::new(311);
    for _ in 0..20 {
        let shape = [rng.below(1, 4), rng.below(1, 4)];
        let values = (0..shape[0] * shape[1]).map(|_| rng.below(0, 3) as f64).collect();
        Case::new("ReduceProd").feed(Feed::Float(shape.to_vec(), values)).held(&[1]).check();
    }
}
