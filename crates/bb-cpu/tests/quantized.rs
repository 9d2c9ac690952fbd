//! Convolutions of small integers against those of the numbers that they stand for, on random shapes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_runtime::onnx::NodeProto;
use bb_runtime::{BackendError, DataType, Tensor};
use common::{graph, node, prepare, with_int, with_ints};

/// Numbers from 0 to 255 that look like chance.
fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729 + at * at * 31) % 251) as u8).collect()
}

fn tensor(extents: &[usize], seed: usize) -> Tensor {
    Tensor::from_slice(extents, &bytes(extents.iter().product(), seed)).unwrap()
}

/// A convolution's attributes.
fn with_window(op: NodeProto, (groups, stride, pad): (i64, i64, i64)) -> NodeProto {
    let op = with_int(op, "group", groups);
    with_ints(with_ints(op, "strides", &[stride, stride]), "pads", &[pad, pad, 0, 0])
}

/// The extents of a random convolution: of its input, of its weights, and its window.
fn window(seed: usize) -> ([usize; 4], [usize; 4], (i64, i64, i64)) {
    let groups = 1 + seed % 2;
    let (channels, filters) = (groups * (1 + seed % 3), groups * (1 + seed / 2 % 2));
    let (height, width) = (3 + seed % 4, 3 + seed / 3 % 3);
    let (rows, columns) = (1 + seed % 3, 1 + seed / 4 % 3);
    let stride = 1 + (seed / 5 % 2) as i64;
    let weights = [filters, channels / groups, rows, columns];
    ([1 + seed % 2, channels, height, width], weights, (groups as i64, stride, (seed % 2) as i64))
}

/// Integers less their zero points, one for all or one for each part of the first axis, as `f64`.
fn centred(integers: &Tensor, zeros: &[u8]) -> Tensor {
    let each = integers.element_count() / zeros.len();
    let numbers = integers.as_slice::<u8>().unwrap().iter().enumerate();
    let numbers: Vec<f64> = numbers.map(|(at, &x)| f64::from(x) - f64::from(zeros[at / each])).collect();
    Tensor::from_slice(integers.shape().to_vec(), &numbers).unwrap()
}

#[test]
fn sums_of_integers_are_those_of_the_numbers_less_their_zero_points() {
    for seed in 0..60 {
        let (input, weights, attributes) = window(seed);
        let (x, w) = (tensor(&input, seed), tensor(&weights, seed + 1));
        let w_zeros = bytes(if seed % 3 == 0 { 1 } else { weights[0] }, seed + 2);
        let zeros = [Tensor::scalar(9_u8), Tensor::from_slice([w_zeros.len()], &w_zeros).unwrap()];
        let integers = with_window(node("ConvInteger", &["x", "w", "xz", "wz"], &["y"]), attributes);
        let made = graph(vec![integers], &["x", "w", "xz", "wz"], &["y"], 22);
        let [x_zero, w_zero] = zeros.clone();
        let got = prepare(&made).unwrap().run(&[x.clone(), w.clone(), x_zero, w_zero]).unwrap();
        let floats = with_window(node("Conv", &["x", "w"], &["y"]), attributes);
        let plain = graph(vec![floats], &["x", "w"], &["y"], 22);
        let want = prepare(&plain).unwrap().run(&[centred(&x, &[9]), centred(&w, &w_zeros)]).unwrap();
        assert_eq!(got[0].shape(), want[0].shape(), "seed {seed}");
        let (got, want) = (got[0].as_slice::<i32>().unwrap(), want[0].as_slice::<f64>().unwrap());
        assert!(got.iter().zip(want).all(|(&got, &want)| f64::from(got) == want), "seed {seed}");
    }
}

#[test]
fn a_quantized_convolution_is_that_of_the_numbers_quantized_again() {
    for seed in 0..60 {
        let (input, weights, attributes) = window(seed);
        let filters = weights[0];
        let (x, w) = (tensor(&input, seed), tensor(&weights, seed + 1));
        let each = if seed % 3 == 0 { 1 } else { filters };
        let w_zeros = bytes(each, seed + 2);
        let w_scales: Vec<f32> = (0..each).map(|at| 0.01 + at as f32 / 300.0).collect();
        let bias: Vec<i32> = (0..filters).map(|at| at as i32 * 700 - 500).collect();
        let (x_scale, y_scale, y_zero) = (0.02_f32, 3.5_f32, 100_u8);
        let names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"];
        let quantized = with_window(node("QLinearConv", &names, &["y"]), attributes);
        let inputs = [
            x.clone(),
            Tensor::scalar(x_scale),
            Tensor::scalar(9_u8),
            w.clone(),
            Tensor::from_slice([each], &w_scales).unwrap(),
            Tensor::from_slice([each], &w_zeros).unwrap(),
            Tensor::scalar(y_scale),
            Tensor::scalar(y_zero),
            Tensor::from_slice([filters], &bias).unwrap(),
        ];
        let got = prepare(&graph(vec![quantized], &names, &["y"], 22)).unwrap().run(&inputs).unwrap();
        let floats = with_window(node("Conv", &["x", "w"], &["y"]), attributes);
        let plain = graph(vec![floats], &["x", "w"], &["y"], 22);
        let sums = prepare(&plain).unwrap().run(&[centred(&x, &[9]), centred(&w, &w_zeros)]).unwrap();
        let places: usize = sums[0].shape()[2..].iter().product();
        let sums = sums[0].as_slice::<f64>().unwrap();
        let got = got[0].as_slice::<u8>().unwrap();
        assert_eq!(got.len(), sums.len(), "seed {seed}");
        for (at, (&got, &sum)) in got.iter().zip(sums).enumerate() {
            let filter = at / places % filters;
            let scale = f64::from(w_scales[if each == 1 { 0 } else { filter }]) * f64::from(x_scale);
            let number = (sum + f64::from(bias[filter])) * scale;
            let want = (number / f64::from(y_scale) + f64::from(y_zero)).clamp(0.0, 255.0);
            // Rounded to the nearest.
            assert!((f64::from(got) - want).abs() <= 0.5 + 1e-6, "seed {seed}: {got}, not {want}");
        }
    }
}

#[test]
fn zero_points_that_are_not_one_or_one_a_filter_are_an_error() {
    let made = graph(vec![node("ConvInteger", &["x", "w", "", "z"], &["y"])], &["x", "w", "z"], &["y"], 22);
    let mut ready = prepare(&made).unwrap();
    let (x, w) = (tensor(&[1, 1, 3, 3], 1), tensor(&[2, 1, 2, 2], 2));
    let zeros = Tensor::from_slice([3], &[1_u8, 2, 3]).unwrap();
    assert!(matches!(ready.run(&[x.clone(), w, zeros]).unwrap_err(), BackendError::Shape { .. }));
    let floats = Tensor::zeros(DataType::F32, [1, 1, 2, 2]).unwrap();
    let zero = Tensor::scalar(0_u8);
    assert!(matches!(ready.run(&[x, floats, zero]).unwrap_err(), BackendError::Type { .. }));
}
