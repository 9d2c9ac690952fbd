//! Resampling.

use super::harness::{Case, Feed, Rng, int, ints, real, text};

#[test]
fn resize_matches_differences_in_all_modes() {
    let mut rng = Rng::new(1801);
    for round in 0..60 {
        let image: Vec<usize> = vec![rng.below(1, 3), rng.below(1, 3), rng.below(2, 5), rng.below(2, 5)];
        let mode = ["nearest", "linear", "cubic"][round % 3];
        let coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"][round / 3 % 4];
        let mut case = Case::new("Resize")
            .attribute(text("mode", mode))
            .attribute(text("coordinate_transformation_mode", coordinates));
        if mode != "nearest" && round % 2 == 0 {
            case = case.attribute(int("antialias", 1));
        }
        if mode == "cubic" && rng.flag() {
            case = case.attribute(int("exclude_outside", 1)).attribute(real("cubic_coeff_a", -0.5));
        }
        let scale = |rng: &mut Rng| [0.5, 0.75, 1.0, 1.5, 2.0, 2.6][rng.below(0, 6)];
        let size = |rng: &mut Rng| rng.below(1, 8) as i64;
        match round % 4 {
            0 => {
                let scales = vec![1.0, 1.0, scale(&mut rng), scale(&mut rng)];
                case.float(&mut rng, &image, -1.0, 1.0)
                    .feed(Feed::Absent)
                    .feed(Feed::HeldNumbers(scales))
                    .check();
            }
            1 => {
                let scales = vec![scale(&mut rng), scale(&mut rng)];
                case = case.attribute(ints("axes", &[3, 2]));
                case.float(&mut rng, &image, -1.0, 1.0)
                    .feed(Feed::Absent)
                    .feed(Feed::HeldNumbers(scales))
                    .check();
            }
            2 => {
                let sizes = [image[0] as i64, image[1] as i64, size(&mut rng), size(&mut rng)];
                let case = case.float(&mut rng, &image, -1.0, 1.0).feed(Feed::Absent).feed(Feed::Absent);
                case.held(&sizes).check();
            }
            _ => {
                let policy = ["not_larger", "not_smaller"][round / 4 % 2];
                let times = rng.below(1, 4) as i64;
                let more = if policy == "not_larger" { 1 } else { -1 };
                let sizes = [image[2] as i64 * times, image[3] as i64 * times + more];
                case =
                    case.attribute(text("keep_aspect_ratio_policy", policy)).attribute(ints("axes", &[2, 3]));
                let case = case.float(&mut rng, &image, -1.0, 1.0).feed(Feed::Absent).feed(Feed::Absent);
                case.held(&sizes).check();
            }
        }
    }
}

#[test]
fn sizes_that_are_rounded_to_keep_the_proportions_match_differences() {
    let mut rng = Rng::new(1804);
    for round in 0..24 {
        let image = [1, rng.below(1, 3), rng.below(2, 6), rng.below(2, 6)];
        let coordinates = ["half_pixel", "asymmetric", "align_corners"][round / 3 % 3];
        Case::new("Resize")
            .attribute(text("mode", ["nearest", "linear", "cubic"][round % 3]))
            .attribute(text("coordinate_transformation_mode", coordinates))
            .attribute(text("keep_aspect_ratio_policy", ["not_larger", "not_smaller"][round % 2]))
            .attribute(ints("axes", if rng.flag() { &[2, 3] } else { &[3, 2] }))
            .float(&mut rng, &image, -1.0, 1.0)
            .feed(Feed::Absent)
            .feed(Feed::Absent)
            .held(&[rng.below(2, 9) as i64, rng.below(2, 9) as i64])
            .check();
    }
}

#[test]
fn crops_match_differences_inside_and_outside_of_the_image() {
    let mut rng = Rng::new(1802);
    for round in 0..20 {
        let image = [1, 2, rng.below(2, 5), rng.below(2, 5)];
        let corner = |rng: &mut Rng| rng.float(-0.3, 0.4);
        let far = |rng: &mut Rng| rng.float(0.6, 1.3);
        let roi = vec![0.0, 0.0, corner(&mut rng), corner(&mut rng), 1.0, 1.0, far(&mut rng), far(&mut rng)];
        Case::new("Resize")
            .attribute(text("mode", ["linear", "nearest", "cubic"][round % 3]))
            .attribute(text("coordinate_transformation_mode", "tf_crop_and_resize"))
            .attribute(real("extrapolation_value", 3.0))
            .float(&mut rng, &image, -1.0, 1.0)
            .feed(Feed::HeldNumbers(roi))
            .feed(Feed::Absent)
            .held(&[1, 2, 3, 4])
            .check();
    }
}

#[test]
fn crops_that_keep_the_proportions_match_differences() {
    let mut rng = Rng::new(1805);
    for round in 0..24 {
        let image = [1, rng.below(1, 3), rng.below(2, 6), rng.below(2, 6)];
        let mut case = Case::new("Resize")
            .attribute(text("mode", ["linear", "nearest", "cubic"][round % 3]))
            .attribute(text("coordinate_transformation_mode", "tf_crop_and_resize"))
            .attribute(text("keep_aspect_ratio_policy", ["not_larger", "not_smaller"][round % 2]))
            .attribute(ints("axes", if rng.flag() { &[2, 3] } else { &[3, 2] }))
            .attribute(real("extrapolation_value", 2.0))
            .float(&mut rng, &image, -1.0, 1.0);
        case = if round % 4 == 0 {
            case.feed(Feed::Absent)
        } else {
            let corners =
                [rng.float(-0.3, 0.4), rng.float(-0.3, 0.4), rng.float(0.6, 1.3), rng.float(0.6, 1.3)];
            case.feed(Feed::HeldNumbers(corners.to_vec()))
        };
        case.feed(Feed::Absent).held(&[rng.below(2, 9) as i64, rng.below(2, 9) as i64]).check();
    }
}

#[test]
fn older_forms_match_differences() {
    let mut rng = Rng::new(1803);
    for round in 0..20 {
        let image = [1, 2, rng.below(2, 4), rng.below(2, 4)];
        let scales = vec![1.0, 1.0, [1.0, 1.5, 2.0][rng.below(0, 3)], [1.0, 2.0][rng.below(0, 2)]];
        Case::new(["Upsample", "Resize"][round % 2])
            .opset(9 + (round % 2) as i64)
            .attribute(text("mode", ["nearest", "linear"][round / 2 % 2]))
            .float(&mut rng, &image, -1.0, 1.0)
            .feed(Feed::HeldNumbers(scales))
            .check();
    }
}
