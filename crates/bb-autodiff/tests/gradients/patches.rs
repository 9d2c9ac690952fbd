//! Pieces of images put back together; determinants.

use super::harness::{Case, Rng, ints};

#[test]
fn windows_put_together_match_differences() {
    let mut rng = Rng::new(2401);
    for round in 0..20 {
        let axes = 1 + round % 3;
        let mut each = |low: usize, high: usize| (0..axes).map(|_| rng.below(low, high)).collect::<Vec<_>>();
        let (image, kernel, strides) = (each(3, 6), each(1, 3), each(1, 3));
        let (before, after) = (each(0, 2), each(0, 2));
        let dilations = each(1, 3);
        let places: usize = (0..axes)
            .map(|axis| {
                let reach = (kernel[axis] - 1) * dilations[axis] + 1;
                (image[axis] + before[axis] + after[axis] - reach) / strides[axis] + 1
            })
            .product();
        let signed = |list: &[usize]| list.iter().map(|&value| value as i64).collect::<Vec<_>>();
        let (batch, channels) = (rng.below(1, 3), rng.below(1, 3));
        Case::new("Col2Im")
            .attribute(ints("strides", &signed(&strides)))
            .attribute(ints("dilations", &signed(&dilations)))
            .attribute(ints("pads", &signed(&[before, after].concat())))
            .float(&mut rng, &[batch, channels * kernel.iter().product::<usize>(), places], -1.0, 1.0)
            .held(&signed(&image))
            .held(&signed(&kernel))
            .check();
    }
}

#[test]
fn determinants_match_differences() {
    let mut rng = Rng::new(2402);
    for round in 0..20 {
        let size = 1 + round % 5;
        let rank = rng.below(0, 3);
        let mut shape = rng.shape(rank);
        shape.extend([size, size]);
        Case::new("Det").float(&mut rng, &shape, -1.5, 1.5).check();
    }
}
