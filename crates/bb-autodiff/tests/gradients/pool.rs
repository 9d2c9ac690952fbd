//! Pools.

use super::harness::{Case, Feed, NEWEST, Rng, int, ints};

fn pool(rng: &mut Rng, op: &'static str, round: usize) -> (Case, Vec<usize>) {
    let axes = 1 + round % 2;
    let mut image = vec![rng.below(1, 3), rng.below(1, 3)];
    image.extend((0..axes).map(|_| rng.below(4, 7)));
    let kernel: Vec<i64> = (0..axes).map(|_| rng.below(2, 4) as i64).collect();
    let mut case = Case::new(op).attribute(ints("kernel_shape", &kernel));
    if rng.flag() {
        let strides: Vec<i64> = (0..axes).map(|_| rng.below(1, 4) as i64).collect();
        case = case.attribute(ints("strides", &strides));
    }
    if rng.flag() {
        let pads: Vec<i64> = (0..2 * axes).map(|_| rng.below(0, 2) as i64).collect();
        case = case.attribute(ints("pads", &pads));
    }
    if rng.below(0, 3) == 0 {
        case = case.attribute(int("ceil_mode", 1));
    }
    (case, image)
}

#[test]
fn max_pool_matches_differences_off_ties() {
    let mut rng = Rng::new(1101);
    for round in 0..36 {
        let (case, image) = pool(&mut rng, "MaxPool", round);
        case.opset([NEWEST, 13, 10][round % 3]).distinct(&mut rng, &image).check();
    }
}

#[test]
fn average_pool_matches_differences_counting_pads_or_not() {
    let mut rng = Rng::new(1102);
    for round in 0..30 {
        let (mut case, image) = pool(&mut rng, "AveragePool", round);
        if rng.flag() {
            case = case.attribute(int("count_include_pad", 1));
        }
        case.float(&mut rng, &image, -1.0, 1.0).check();
    }
}

#[test]
fn global_pools_match_differences() {
    let mut rng = Rng::new(1103);
    for _ in 0..20 {
        let shape: Vec<usize> = (0..rng.below(3, 5)).map(|_| rng.below(1, 4)).collect();
        Case::new("GlobalAveragePool").float(&mut rng, &shape, -1.0, 1.0).check();
        Case::new("GlobalMaxPool").distinct(&mut rng, &shape).check();
    }
}

#[test]
fn norm_pools_match_differences() {
    let mut rng = Rng::new(1104);
    for round in 0..30 {
        let (case, image) = pool(&mut rng, "LpPool", round);
        case.attribute(int("p", 1 + (round % 3) as i64)).signed(&mut rng, &image).check();
        let shape: Vec<usize> = (0..rng.below(3, 5)).map(|_| rng.below(1, 4)).collect();
        Case::new("GlobalLpPool")
            .attribute(int("p", 1 + (round % 3) as i64))
            .signed(&mut rng, &shape)
            .check();
    }
}

#[test]
fn elements_put_back_match_differences() {
    let mut rng = Rng::new(1105);
    for round in 0..24 {
        let axes = 1 + round % 2;
        let planes = [rng.below(1, 3), rng.below(1, 3)];
        let image: Vec<usize> = (0..axes).map(|_| rng.below(1, 4)).collect();
        let whole: Vec<usize> = image.iter().map(|extent| 2 * extent).collect();
        let pixels: usize = whole.iter().product();
        let mut places = Vec::new();
        for plane in 0..planes[0] * planes[1] {
            let order = rng.permutation(pixels);
            let count: usize = image.iter().product();
            places.extend(order[..count].iter().map(|place| (plane * pixels) as i64 + place));
        }
        let shape = [&planes[..], &image].concat();
        let mut case = Case::new("MaxUnpool")
            .attribute(ints("kernel_shape", &vec![2; axes]))
            .attribute(ints("strides", &vec![2; axes]))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(shape.clone(), places));
        if round % 4 > 1 {
            let larger = whole.iter().map(|extent| extent + rng.below(0, 3));
            let extents: Vec<i64> = planes.into_iter().chain(larger).map(|extent| extent as i64).collect();
            case = case.held(&extents);
        }
        case.check();
    }
}
