//! Losses.

use super::harness::{Case, Feed, Rng, int, text};

#[test]
fn softmax_cross_entropy_matches_differences_in_all_its_forms() {
    family("SoftmaxCrossEntropyLoss", 601);
}

#[test]
fn negative_log_likelihood_matches_differences_in_all_its_forms() {
    family("NegativeLogLikelihoodLoss", 602);
}

fn family(op: &'static str, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..90 {
        let rank = rng.below(0, 3);
        let (rows, classes, rest) = (rng.below(2, 5), rng.below(2, 5), rng.shape(rank));
        let mut scores = vec![rows, classes];
        scores.extend(&rest);
        let mut labels = vec![rows];
        labels.extend(&rest);
        let count = labels.iter().product();
        let mut values: Vec<i64> = (0..count).map(|_| rng.below(0, classes) as i64).collect();
        let reduction = ["none", "mean", "sum"][round % 3];
        let mut case = Case::new(op)
            .opset([22, 13, 12][round / 3 % 3])
            .attribute(text("reduction", reduction))
            .float(&mut rng, &scores, -2.0, 2.0);
        if round % 2 == 0 {
            let ignored = [-1, 0, 255][round / 2 % 3];
            case = case.attribute(int("ignore_index", ignored));
            values[0] = ignored;
            values[count - 1] = 1;
        }
        case = case.feed(Feed::Labels(labels, values));
        if round / 2 % 2 == 0 {
            case = match round / 4 % 4 {
                0 => {
                    let weights = (0..classes).map(|_| rng.float(0.5, 2.0)).collect();
                    case.feed(Feed::Fixed(vec![classes], weights))
                }
                _ => case.float(&mut rng, &[classes], 0.5, 2.0),
            };
        }
        match round % 5 {
            _ if op != "SoftmaxCrossEntropyLoss" => case.check(),
            0 => case.outputs(&[true, true]).check(),
            1 => case.outputs(&[false, true]).check(),
            2 => case.outputs(&[true, false]).check(),
            _ => case.check(),
        }
    }
}
