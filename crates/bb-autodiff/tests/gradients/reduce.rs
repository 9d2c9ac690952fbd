//! Reductions.

use super::harness::{Case, Feed, Rng, int, ints};

fn reduction(op: &'static str, seed: u64, since_input: i64) {
    let mut rng = Rng::new(seed);
    for round in 0..40 {
        let rank = rng.below(1, 5);
        let shape = rng.shape(rank);
        let mut case = Case::new(op);
        if rng.flag() {
            case = case.attribute(int("keepdims", i64::from(rng.flag())));
        }
        let axes = rng.axes(rank);
        case = match round % 5 {
            0 => case.float(&mut rng, &shape, -1.0, 1.0),
            1 => {
                case.opset(since_input - 2).attribute(ints("axes", &axes)).float(&mut rng, &shape, -1.0, 1.0)
            }
            2 => case
                .attribute(int("noop_with_empty_axes", 1))
                .float(&mut rng, &shape, -1.0, 1.0)
                .feed(if rng.flag() { Feed::Absent } else { Feed::Held(vec![]) }),
            3 => case.float(&mut rng, &shape, -1.0, 1.0).feed(Feed::Labels(vec![axes.len()], axes)),
            _ => case.float(&mut rng, &shape, -1.0, 1.0).held(&axes),
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
