//! Fourier transforms.

use super::harness::{Case, Feed, NEWEST, Rng, int};

#[test]
fn transforms_match_differences_in_all_their_forms() {
    let mut rng = Rng::new(2501);
    for round in 0..48 {
        let (inverse, onesided) = (round % 2 == 1, round / 2 % 2 == 1);
        let newest = round / 4 % 2 == 0;
        let rank = rng.below(1, 4);
        let mut shape: Vec<usize> = (0..rank).map(|_| rng.below(1, 5)).collect();
        let axis = rng.below(0, rank);
        shape[axis] = rng.below(2, 7);
        // A transform to one side is of real numbers, its inverse of complex ones.
        let parts = if onesided { if inverse { 2 } else { 1 } } else { rng.below(1, 3) };
        shape.push(parts);
        let length = match round / 8 % 3 {
            0 => Feed::Absent,
            1 => Feed::Held(vec![rng.below(2, 5) as i64]),
            _ => Feed::Held(vec![rng.below(5, 9) as i64]),
        };
        let mut case = Case::new("DFT")
            .opset(if newest { NEWEST } else { 17 })
            .attribute(int("inverse", i64::from(inverse)))
            .attribute(int("onesided", i64::from(onesided)))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(length);
        case = if newest {
            case.held(&[axis as i64 - if rng.flag() { shape.len() as i64 } else { 0 }])
        } else {
            case.attribute(int("axis", axis as i64))
        };
        case.check();
    }
}

#[test]
fn transforms_of_frames_match_differences() {
    let mut rng = Rng::new(2502);
    for round in 0..24 {
        let (batch, samples) = (rng.below(1, 3), rng.below(6, 12));
        let length = rng.below(2, 6);
        let onesided = round % 2 == 0;
        let shape = match round % 3 {
            0 => vec![batch, samples],
            1 => vec![batch, samples, 1],
            _ => vec![batch, samples, if onesided { 1 } else { 2 }],
        };
        let mut case = Case::new("STFT")
            .opset(if round % 4 < 2 { NEWEST } else { 17 })
            .attribute(int("onesided", i64::from(onesided)))
            .float(&mut rng, &shape, -1.0, 1.0)
            .held(&[rng.below(1, 4) as i64]);
        case = match round / 2 % 3 {
            0 => case.float(&mut rng, &[length], 0.1, 1.0),
            1 => case.float(&mut rng, &[length], 0.1, 1.0).held(&[length as i64]),
            _ => case.feed(Feed::Absent).held(&[length as i64]),
        };
        case.check();
    }
}
