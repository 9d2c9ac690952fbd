//! Numbers as small integers.

use super::harness::{Case, Feed, Rng, int};

#[test]
fn scales_of_dequantized_numbers_match_differences() {
    let mut rng = Rng::new(2601);
    for round in 0..24 {
        let rank = rng.below(2, 4);
        let shape = rng.shape(rank);
        let axis = rng.below(0, rank);
        let block = rng.below(1, 3);
        let scales = match round % 3 {
            0 => vec![],
            1 => vec![shape[axis]],
            _ => {
                let mut scales = shape.clone();
                scales[axis] = shape[axis].div_ceil(block);
                scales
            }
        };
        let bytes = |rng: &mut Rng, shape: &[usize]| {
            let values = (0..shape.iter().product()).map(|_| rng.below(0, 256) as u8).collect();
            Feed::Bytes(shape.to_vec(), values)
        };
        let counted = if rng.flag() { axis as i64 } else { axis as i64 - rank as i64 };
        let mut case = Case::new("DequantizeLinear").attribute(int("axis", counted));
        if round % 3 == 2 {
            case = case.attribute(int("block_size", block as i64));
        }
        case = case.feed(bytes(&mut rng, &shape)).float(&mut rng, &scales, 0.1, 1.0);
        if rng.flag() {
            case = case.feed(bytes(&mut rng, &scales));
        }
        case.check();
    }
}

#[test]
fn the_scale_that_covers_all_numbers_matches_differences() {
    let mut rng = Rng::new(2602);
    for _ in 0..20 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        Case::new("DynamicQuantizeLinear").distinct(&mut rng, &shape).outputs(&[false, true, false]).check();
    }
}
