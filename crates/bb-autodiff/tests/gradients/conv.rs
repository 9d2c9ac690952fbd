//! Convolutions.

use super::harness::{Case, Rng, int, ints, text};

/// Strides, dilations and pads at random, for one, two or three axes.
fn sliding(rng: &mut Rng, mut case: Case, axes: usize, padded: bool) -> Case {
    if rng.flag() {
        let strides: Vec<i64> = (0..axes).map(|_| rng.below(1, 4) as i64).collect();
        case = case.attribute(ints("strides", &strides));
    }
    if rng.flag() {
        let dilations: Vec<i64> = (0..axes).map(|_| rng.below(1, 3) as i64).collect();
        case = case.attribute(ints("dilations", &dilations));
    }
    if padded && rng.flag() {
        let pads: Vec<i64> = (0..2 * axes).map(|_| rng.below(0, 2) as i64).collect();
        case = case.attribute(ints("pads", &pads));
    }
    case
}

#[test]
fn conv_matches_differences_with_strides_dilations_pads_and_groups() {
    let mut rng = Rng::new(1001);
    for round in 0..30 {
        let axes = 1 + round % 3;
        let group = 1 + round % 2;
        let (rows, channels, filters) = (rng.below(1, 3), group * rng.below(1, 3), group * rng.below(1, 3));
        let mut image = vec![rows, channels];
        image.extend((0..axes).map(|_| rng.below(5, 8)));
        let mut weights = vec![filters, channels / group];
        weights.extend((0..axes).map(|_| rng.below(1, 4)));
        let case = Case::new("Conv").attribute(int("group", group as i64));
        let case = if round % 5 == 4 {
            case.attribute(text("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"][round / 5 % 3]))
        } else {
            sliding(&mut rng, case, axes, true)
        };
        let case = case.float(&mut rng, &image, -1.0, 1.0).float(&mut rng, &weights, -1.0, 1.0);
        if rng.flag() { case.float(&mut rng, &[filters], -1.0, 1.0) } else { case }.check();
    }
}

#[test]
fn conv_transpose_matches_differences() {
    let mut rng = Rng::new(1002);
    for round in 0..24 {
        let axes = 1 + round % 2;
        let group = 1 + round / 2 % 2;
        let (rows, channels, filters) = (rng.below(1, 3), group * rng.below(1, 3), rng.below(1, 3));
        let mut image = vec![rows, channels];
        image.extend((0..axes).map(|_| rng.below(2, 5)));
        let mut weights = vec![channels, filters];
        weights.extend((0..axes).map(|_| rng.below(2, 4)));
        let case = Case::new("ConvTranspose").attribute(int("group", group as i64));
        let case = sliding(&mut rng, case, axes, true);
        let case = case.float(&mut rng, &image, -1.0, 1.0).float(&mut rng, &weights, -1.0, 1.0);
        if rng.flag() { case.float(&mut rng, &[filters * group], -1.0, 1.0) } else { case }.check();
    }
}

#[test]
fn transposed_convolutions_padded_beyond_a_stride_match_differences() {
    let mut rng = Rng::new(1003);
    for round in 0..24 {
        let (image, kernel, stride) = (rng.below(1, 4), rng.below(1, 4), rng.below(1, 3));
        let full = (image - 1) * stride + kernel;
        let mut case = Case::new("ConvTranspose").attribute(ints("strides", &[stride as i64]));
        case = if round % 2 == 0 {
            case.attribute(ints("output_padding", &[rng.below(0, 5) as i64]))
        } else {
            let padding = ["NOTSET", "SAME_UPPER", "SAME_LOWER"][round / 2 % 3];
            let wanted = rng.below(1, full + 5) as i64;
            case.attribute(ints("output_shape", &[wanted])).attribute(text("auto_pad", padding))
        };
        case.float(&mut rng, &[2, 2, image], -1.0, 1.0)
            .float(&mut rng, &[2, 3, kernel], -1.0, 1.0)
            .float(&mut rng, &[3], -1.0, 1.0)
            .check();
    }
}
