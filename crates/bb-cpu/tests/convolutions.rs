//! Convolutions of `f32` against those of `f64`, which are computed another way; what follows one against itself alone;
//! results on several threads against those on one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::NodeProto;
use bb_runtime::{Backend, BackendGraph, Component, Tensor};
use common::{graph, node, numbers, prepare, single, with_constants, with_int, with_ints};
use proptest::test_runner::{Config, TestRunner};

fn double(tensor: &Tensor) -> Tensor {
    let elements: Vec<f64> = tensor.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
    Tensor::from_slice(tensor.shape().clone(), &elements).unwrap()
}

fn assert_close(got: &Tensor, want: &Tensor, of: &str) {
    assert_eq!(got.shape(), want.shape(), "{of}");
    for (at, (&got, &want)) in
        got.as_slice::<f32>().unwrap().iter().zip(want.as_slice::<f64>().unwrap()).enumerate()
    {
        assert!(
            (f64::from(got) - want).abs() <= 1e-4 * (1.0 + want.abs()),
            "{of}: {at} is {got}, not {want}"
        );
    }
}

/// Kernel, stride, dilation, padding before and after, image.
type Axis = (usize, i64, i64, i64, i64, usize);

/// A window over up to three axes.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    axes: Vec<Axis>,
}

impl Case {
    fn node(&self, inputs: &[&str]) -> NodeProto {
        let list = |of: fn(&Axis) -> i64| -> Vec<i64> { self.axes.iter().map(of).collect() };
        let pads: Vec<i64> = list(|axis| axis.3).into_iter().chain(list(|axis| axis.4)).collect();
        let conv = with_ints(node("Conv", inputs, &["y"]), "strides", &list(|axis| axis.1));
        let conv = with_ints(with_ints(conv, "dilations", &list(|axis| axis.2)), "pads", &pads);
        with_int(conv, "group", self.groups as i64)
    }

    fn inputs(&self) -> [Tensor; 3] {
        let kernel = self.axes.iter().map(|axis| axis.0);
        let image = self.axes.iter().map(|axis| axis.5);
        let x: Vec<usize> = [self.batch, self.groups * self.channels].into_iter().chain(image).collect();
        let w: Vec<usize> = [self.groups * self.filters, self.channels].into_iter().chain(kernel).collect();
        [single(&x, 1), single(&w, 2), single(&[self.groups * self.filters], 3)]
    }
}

#[test]
fn single_and_double_precision_agree_on_random_windows() {
    use proptest::prelude::*;
    // Kernel, stride, dilation, pads, and an image that the window fits.
    let axis = (1_usize..5, 1_i64..4, 1_i64..3, 0_i64..4, 0_i64..4, 0_usize..18).prop_map(
        |(kernel, stride, dilation, before, after, more)| {
            (kernel, stride, dilation, before, after, (kernel - 1) * dilation as usize + 1 + more)
        },
    );
    let case = (1_usize..3, 1_usize..4, 1_usize..5, 1_usize..20, prop::collection::vec(axis, 1..4))
        .prop_map(|(batch, groups, channels, filters, axes)| Case { batch, groups, channels, filters, axes });
    let mut runner = TestRunner::new(Config::with_cases(150));
    runner
        .run(&case, |case| {
            let [x, w, b] = case.inputs();
            let ready =
                || prepare(&graph(vec![case.node(&["x", "w", "b"])], &["x", "w", "b"], &["y"], 22)).unwrap();
            let want = ready().run(&[double(&x), double(&w), double(&b)]).unwrap();
            let mut ready = ready();
            let inputs = [x, w, b];
            let mut got = ready.run(&inputs).unwrap();
            assert_close(&got[0], &want[0], &format!("{case:?}"));
            ready.run_into(&inputs, &mut got).unwrap();
            assert_close(&got[0], &want[0], &format!("again, {case:?}"));
            Ok(())
        })
        .unwrap();
}

/// Conv, normalization, activation; weights are constants or inputs.
fn layer(activation: NodeProto, constants: bool) -> (BackendGraph, Vec<Tensor>) {
    let conv = with_ints(node("Conv", &["x", "w"], &["c"]), "pads", &[1, 1, 1, 1]);
    let norm = node("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], &["n"]);
    let graph =
        graph(vec![conv, norm, activation], &["x", "w", "scale", "shift", "mean", "variance"], &["y"], 15);
    let variance: Vec<f32> = numbers(13, 7).iter().map(|x| x.abs() + 0.1).collect();
    let rest = vec![
        single(&[13, 3, 3, 3], 2),
        single(&[13], 3),
        single(&[13], 4),
        single(&[13], 5),
        Tensor::from_slice([13], &variance).unwrap(),
    ];
    if !constants {
        return (graph, rest);
    }
    let names = ["w", "scale", "shift", "mean", "variance"];
    let constants: Vec<(&str, Tensor)> = names.into_iter().zip(rest).collect();
    (with_constants(graph, &constants), Vec::new())
}

#[test]
fn a_normalization_and_an_activation_within_a_convolution_change_nothing() {
    let x = single(&[2, 3, 9, 7], 1);
    let relu = node("Relu", &["n"], &["y"]);
    let (separate, parameters) = layer(relu.clone(), false);
    // In `f64` the nodes run one by one.
    let wide: Vec<Tensor> = [&x].into_iter().chain(&parameters).map(double).collect();
    let want = prepare(&separate).unwrap().run(&wide).unwrap();
    assert!(want[0].as_slice::<f64>().unwrap().contains(&0.0));
    let inputs: Vec<Tensor> = [x.clone()].into_iter().chain(parameters.clone()).collect();
    assert_close(&prepare(&separate).unwrap().run(&inputs).unwrap()[0], &want[0], "weights as inputs");
    let (whole, _) = layer(relu, true);
    let mut ready = prepare(&whole).unwrap();
    for run in 0..3 {
        // Another shape in between: what is packed must be packed again or still fit.
        let small = single(&[1, 3, 4, 4], 8);
        ready.run(std::slice::from_ref(&small)).unwrap();
        let got = ready.run(std::slice::from_ref(&x)).unwrap();
        assert_close(&got[0], &want[0], &format!("weights as constants, run {run}"));
    }
}

#[test]
fn a_sum_and_an_activation_within_a_convolution_change_nothing() {
    // The tensor that is added: an input, one that dies there, the image itself, one that is broadcast, the weights.
    for (other, channels, extents) in [
        ("z", 5, vec![2, 5, 9, 21]),
        ("dying", 5, vec![2, 5, 9, 21]),
        ("x", 5, vec![2, 5, 9, 21]),
        ("z", 5, vec![5, 1, 1]),
        ("dying", 5, vec![1, 5, 1, 1]),
        ("w", 1, vec![1]),
    ] {
        for (first, normalized) in [(true, true), (false, true), (true, false), (false, false)] {
            let conv = with_ints(node("Conv", &["x", "w"], &["c"]), "pads", &[1, 1, 1, 1]);
            let conv = with_int(conv, "group", if channels == 1 { 1 } else { 5 });
            let made = if normalized { "n" } else { "c" };
            let mut nodes = vec![node("Neg", &["z"], &["dying"]), conv];
            if normalized {
                nodes.push(node("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], &["n"]));
            }
            nodes.push(node("Add", &if first { [made, other] } else { [other, made] }, &["s"]));
            nodes.push(node("Relu", &["s"], &["y"]));
            let names = ["x", "w", "z", "scale", "shift", "mean", "variance"];
            let graph = graph(nodes, &names, &["y"], 15);
            let image = if channels == 1 { [1, 1, 3, 3] } else { [2, 5, 9, 21] };
            let variance: Vec<f32> = numbers(channels, 7).iter().map(|x| x.abs() + 0.1).collect();
            let inputs = [
                single(&image, 1),
                single(&[channels, 1, 3, 3], 2),
                single(&extents, 3),
                single(&[channels], 4),
                single(&[channels], 5),
                single(&[channels], 6),
                Tensor::from_slice([channels], &variance).unwrap(),
            ];
            // In `f64` the nodes run one by one.
            let want = prepare(&graph).unwrap().run(&inputs.each_ref().map(double)).unwrap();
            let mut ready = prepare(&graph).unwrap();
            let of = format!("{other} of shape {extents:?}, first {first}, normalized {normalized}");
            let mut got = ready.run(&inputs).unwrap();
            assert_close(&got[0], &want[0], &of);
            ready.run_into(&inputs, &mut got).unwrap();
            assert_close(&got[0], &want[0], &format!("again, {of}"));
        }
    }
}

#[test]
fn two_convolutions_that_are_added_give_their_sum() {
    let nodes = vec![
        with_ints(node("Conv", &["x", "w"], &["a"]), "pads", &[1, 1, 1, 1]),
        node("Conv", &["x", "v"], &["b"]),
        node("Sum", &["a", "b"], &["s"]),
        node("Clip", &["s", "least", "most"], &["y"]),
    ];
    let graph = graph(nodes, &["x", "w", "v", "least", "most"], &["y"], 15);
    let bounds = [Tensor::scalar(-0.25_f32), Tensor::scalar(0.5_f32)];
    let [least, most] = bounds;
    let inputs =
        [single(&[1, 3, 12, 30], 1), single(&[7, 3, 3, 3], 2), single(&[7, 3, 1, 1], 3), least, most];
    let want = prepare(&graph).unwrap().run(&inputs.each_ref().map(double)).unwrap();
    assert!(want[0].as_slice::<f64>().unwrap().iter().any(|&x| -0.25 < x && x < 0.5));
    assert_close(&prepare(&graph).unwrap().run(&inputs).unwrap()[0], &want[0], "a sum of two");
}

#[test]
fn weights_that_change_from_run_to_run_are_read_anew() {
    let (graph, mut parameters) = layer(node("Relu", &["n"], &["y"]), false);
    let mut ready = prepare(&graph).unwrap();
    for run in 0..3 {
        parameters[0] = single(&[13, 3, 3, 3], 20 + run);
        let inputs: Vec<Tensor> = [single(&[1, 3, 6, 6], 1)].into_iter().chain(parameters.clone()).collect();
        let wide: Vec<Tensor> = inputs.iter().map(double).collect();
        let want = prepare(&graph).unwrap().run(&wide).unwrap();
        assert_close(&ready.run(&inputs).unwrap()[0], &want[0], &format!("run {run}"));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let conv = with_ints(node("Conv", &["x", "w"], &["y"]), "pads", &[1, 1, 1, 1]);
    let conv = (
        graph(vec![conv], &["x", "w"], &["y"], 22),
        [single(&[1, 24, 40, 40], 1), single(&[50, 24, 3, 3], 2)],
    );
    let product = graph(vec![node("MatMul", &["a", "b"], &["y"])], &["a", "b"], &["y"], 22);
    let product = (product, [single(&[190, 210], 3), single(&[210, 170], 4)]);
    for (graph, inputs) in [conv, product] {
        let on = |threads| {
            let backend = CpuBackend::new(&CpuConfig { threads, ..CpuConfig::default() }).unwrap();
            backend.prepare(&graph).unwrap().run(&inputs).unwrap()
        };
        let one = on(1);
        for threads in [2, 3, 8] {
            assert_eq!(on(threads), one, "{threads} threads");
        }
    }
}

#[test]
fn large_products_agree_with_sums_in_double_precision() {
    for (m, k, n) in [(3, 300, 170), (1, 513, 129), (70, 190, 301), (2, 400, 333)] {
        for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let a = single(&if trans_a == 0 { [m, k] } else { [k, m] }, 1);
            let b = single(&if trans_b == 0 { [k, n] } else { [n, k] }, 2);
            let inputs = [a, b, single(&[n], 3)];
            let gemm = with_int(
                with_int(node("Gemm", &["a", "b", "c"], &["y"]), "transA", trans_a),
                "transB",
                trans_b,
            );
            let gemm = graph(vec![gemm], &["a", "b", "c"], &["y"], 22);
            let want = prepare(&gemm).unwrap().run(&inputs.each_ref().map(double)).unwrap();
            let got = prepare(&gemm).unwrap().run(&inputs).unwrap();
            assert_close(&got[0], &want[0], &format!("{m} · {k} · {n}, transposed {trans_a} {trans_b}"));
        }
    }
}

#[test]
fn of_an_image_without_places_a_convolution_sees_the_padding_alone() {
    for (image, want) in [([1, 1, 5, 0], [1, 1, 6, 3]), ([1, 1, 0, 5], [1, 1, 1, 8])] {
        let conv = with_ints(node("Conv", &["x", "w"], &["y"]), "pads", &[1, 1, 2, 3]);
        let got = common::run(conv, &[single(&image, 1), single(&[1, 1, 3, 2], 2)]).unwrap();
        assert_eq!(**got[0].shape(), want);
        assert!(got[0].as_slice::<f32>().unwrap().iter().all(|&element| element == 0.0));
    }
}

#[test]
fn an_odd_place_too_many_of_a_wanted_output_shape_is_cut_at_the_front_but_for_same_upper() {
    let x = Tensor::from_slice([1, 1, 3], &[1.0_f32, 2.0, 3.0]).unwrap();
    let w = Tensor::from_slice([1, 1, 3], &[1.0_f32, 10.0, 100.0]).unwrap();
    for (padding, want) in
        [("NOTSET", [123.0_f32, 230.0]), ("SAME_LOWER", [123.0, 230.0]), ("SAME_UPPER", [12.0, 123.0])]
    {
        let conv = with_ints(node("ConvTranspose", &["x", "w"], &["y"]), "output_shape", &[2]);
        let conv = common::with_string(conv, "auto_pad", padding);
        let got = common::run(conv, &[x.clone(), w.clone()]).unwrap();
        assert_eq!(got[0].as_slice::<f32>().unwrap(), want, "{padding}");
    }
}
