//! Images read between their pixels.

use super::harness::{Case, Feed, NEWEST, Rng, int, ints, real, text};

#[test]
fn grids_of_affine_maps_match_differences() {
    let mut rng = Rng::new(2301);
    for round in 0..20 {
        let axes = 2 + round % 2;
        let batch = rng.below(1, 3);
        let mut size = vec![batch as i64, rng.below(1, 4) as i64];
        size.extend((0..axes).map(|_| rng.below(1, 4) as i64));
        Case::new("AffineGrid")
            .attribute(int("align_corners", (round / 2 % 2) as i64))
            .float(&mut rng, &[batch, axes, axes + 1], -1.0, 1.0)
            .held(&size)
            .check();
    }
}

#[test]
fn sampled_images_match_differences_in_all_modes() {
    let mut rng = Rng::new(2302);
    for round in 0..36 {
        let modes =
            if round % 2 == 0 { ["linear", "nearest", "cubic"] } else { ["bilinear", "nearest", "bicubic"] };
        let mode = modes[round % 3];
        let axes = if mode.contains("cubic") { 2 } else { 1 + round / 3 % 3 };
        let (batch, channels) = (rng.below(1, 3), rng.below(1, 3));
        let image: Vec<usize> =
            [batch, channels].into_iter().chain((0..axes).map(|_| rng.below(1, 5))).collect();
        let grid: Vec<usize> =
            std::iter::once(batch).chain((0..axes).map(|_| rng.below(1, 4))).chain([axes]).collect();
        Case::new("GridSample")
            .opset(if round % 2 == 0 { NEWEST } else { 16 })
            .attribute(text("mode", mode))
            .attribute(text("padding_mode", ["zeros", "border", "reflection"][round / 6 % 3]))
            .attribute(int("align_corners", (round / 18) as i64))
            .float(&mut rng, &image, -1.0, 1.0)
            .float(&mut rng, &grid, -1.6, 1.6)
            .check();
    }
}

#[test]
fn cells_of_regions_match_differences() {
    let mut rng = Rng::new(2303);
    for round in 0..24 {
        let (batch, regions) = (rng.below(1, 3), rng.below(1, 4));
        let image = [batch, rng.below(1, 3), rng.below(2, 5), rng.below(2, 5)];
        let mut corners = Vec::new();
        for _ in 0..regions {
            let (x, y) = (rng.float(-1.0, 2.0), rng.float(-1.0, 2.0));
            corners.extend([x, y, x + rng.float(0.5, 4.0), y + rng.float(0.5, 4.0)]);
        }
        let mode = ["half_pixel", "output_half_pixel"][round / 2 % 2];
        let images = (0..regions).map(|_| rng.below(0, batch) as i64).collect();
        Case::new("RoiAlign")
            .opset(if round % 3 == 0 { NEWEST } else { 16 })
            .attribute(text("mode", ["avg", "max"][round % 2]))
            .attribute(text("coordinate_transformation_mode", mode))
            .attribute(int("output_height", rng.below(1, 4) as i64))
            .attribute(int("output_width", rng.below(1, 4) as i64))
            .attribute(int("sampling_ratio", (round / 4 % 3) as i64))
            .attribute(real("spatial_scale", 0.75))
            .distinct(&mut rng, &image)
            .feed(Feed::Float(vec![regions, 4], corners))
            .feed(Feed::Labels(vec![regions], images))
            .check();
    }
}

#[test]
fn deformed_convolutions_match_differences() {
    let mut rng = Rng::new(2304);
    for round in 0..20 {
        let (group, moved) = ([1, 2][round % 2], [1, 2][round / 2 % 2]);
        let (batch, channels, filters) = (rng.below(1, 3), 2 * rng.below(1, 3), 2 * rng.below(1, 3));
        let (height, width) = (rng.below(2, 5), rng.below(2, 5));
        let kernel = [rng.below(1, 3), rng.below(1, 3)];
        let strides = [rng.below(1, 3), rng.below(1, 3)];
        let pads = [rng.below(0, 2), rng.below(0, 2), rng.below(0, 2), rng.below(0, 2)];
        let out = |extent: usize, axis: usize| {
            (extent + pads[axis] + pads[axis + 2] - kernel[axis]) / strides[axis] + 1
        };
        let cells = [out(height, 0), out(width, 1)];
        let taps = kernel[0] * kernel[1];
        let signed = |list: &[usize]| list.iter().map(|&value| value as i64).collect::<Vec<_>>();
        let mut case = Case::new("DeformConv")
            .attribute(int("group", group as i64))
            .attribute(int("offset_group", moved as i64))
            .attribute(ints("strides", &signed(&strides)))
            .attribute(ints("pads", &signed(&pads)))
            .float(&mut rng, &[batch, channels, height, width], -1.0, 1.0)
            .float(&mut rng, &[filters, channels / group, kernel[0], kernel[1]], -1.0, 1.0)
            .float(&mut rng, &[batch, moved * taps * 2, cells[0], cells[1]], -1.0, 1.0);
        case = if rng.flag() { case.float(&mut rng, &[filters], -1.0, 1.0) } else { case.feed(Feed::Absent) };
        if rng.flag() {
            case = case.float(&mut rng, &[batch, moved * taps, cells[0], cells[1]], 0.0, 1.0);
        }
        case.check();
    }
}
