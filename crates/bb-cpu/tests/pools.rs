//! Pools of `f32` against those of `f64`, which are computed window by window.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_runtime::Tensor;
use common::{graph, node, prepare, single, with_int, with_ints};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Kernel, stride, dilation, padding before and after, image.
type Axis = (i64, i64, i64, i64, i64, usize);

#[test]
fn single_and_double_precision_agree_on_random_windows() {
    // Kernel, stride, dilation, pads that the kernel is wider than, and an image that the window fits.
    let axis = (1_usize..5, 1_i64..11, 1_i64..3, 0_i64..4, 0_i64..4, 0_usize..40).prop_map(
        |(kernel, stride, dilation, before, after, more)| {
            let most = kernel as i64 - 1;
            let image = most as usize * dilation as usize + 1 + more;
            (kernel as i64, stride, dilation, before.min(most), after.min(most), image)
        },
    );
    let case = (1_usize..3, 1_usize..4, prop::collection::vec(axis, 1..4), any::<bool>(), any::<bool>());
    let mut runner = TestRunner::new(Config::with_cases(150));
    runner
        .run(&case, |(batch, channels, axes, ceil, padding)| {
            let list = |of: fn(&Axis) -> i64| -> Vec<i64> { axes.iter().map(of).collect() };
            let pads: Vec<i64> = list(|axis| axis.3).into_iter().chain(list(|axis| axis.4)).collect();
            let image = axes.iter().map(|axis| axis.5);
            let extents: Vec<usize> = [batch, channels].into_iter().chain(image).collect();
            let x = single(&extents, 1);
            let wide: Vec<f64> = x.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
            let wide = Tensor::from_slice(x.shape().clone(), &wide).unwrap();
            for op in ["MaxPool", "AveragePool"] {
                let mut pool = node(op, &["x"], &["y"]);
                for (name, values) in [
                    ("kernel_shape", list(|axis| axis.0)),
                    ("strides", list(|axis| axis.1)),
                    ("dilations", list(|axis| axis.2)),
                    ("pads", pads.clone()),
                ] {
                    pool = with_ints(pool, name, &values);
                }
                pool = with_int(pool, "ceil_mode", i64::from(ceil));
                if op == "AveragePool" {
                    pool = with_int(pool, "count_include_pad", i64::from(padding));
                }
                let graph = graph(vec![pool], &["x"], &["y"], 22);
                let want = prepare(&graph).unwrap().run(std::slice::from_ref(&wide)).unwrap();
                let got = prepare(&graph).unwrap().run(std::slice::from_ref(&x)).unwrap();
                prop_assert_eq!(got[0].shape(), want[0].shape());
                let (got, want) = (got[0].as_slice::<f32>().unwrap(), want[0].as_slice::<f64>().unwrap());
                for (at, (&got, &want)) in got.iter().zip(want).enumerate() {
                    let close = (f64::from(got) - want).abs() <= 1e-5 * (1.0 + want.abs());
                    // A window of padding alone: no largest, no mean.
                    let empty = want.is_nan() && got.is_nan() || got == want as f32;
                    prop_assert!(close || empty, "{op}: {at} is {got}, not {want}");
                }
            }
            Ok(())
        })
        .unwrap();
}
