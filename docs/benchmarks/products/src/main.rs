//! Times products of square `f32` matrices on bb-cpu, ndarray (matrixmultiply) and gemm, one thread each, alternately.
//!
//! ```text
//! cargo run --release --manifest-path docs/benchmarks/products/Cargo.toml
//! ```

use std::error::Error;
use std::time::Instant;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use bb_runtime::{Backend, BackendGraph, Component, Outputs, Tensor};
use gemm::Parallelism;
use ndarray::{Array2, linalg::general_mat_mul};

const ROUNDS: usize = 21;

/// Seconds that a round of one contender takes at least.
const ROUND: f64 = 0.03;

fn main() -> Result<(), Box<dyn Error>> {
    for size in [512, 1024] {
        let elements = |seed: usize| -> Vec<f32> {
            (0..size * size).map(|at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
        };
        let (a, b) = (elements(1), elements(2));

        let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
        let graph = GraphProto {
            node: vec![NodeProto {
                op_type: Some("MatMul".into()),
                input: vec!["a".into(), "b".into()],
                output: vec!["y".into()],
                ..Default::default()
            }],
            input: vec![value("a"), value("b")],
            output: vec![value("y")],
            ..Default::default()
        };
        let graph = BackendGraph::new(graph, &[OperatorSetIdProto { domain: None, version: Some(21) }]);
        let mut prepared = CpuBackend::new(&CpuConfig::default())?.prepare(&graph)?;
        let inputs = [Tensor::from_slice([size, size], &a)?, Tensor::from_slice([size, size], &b)?];
        let mut outputs = Outputs::new();
        let mut ours = || prepared.run_into(&inputs, &mut outputs).map_err(|error| error.to_string());

        let (left, right) = (
            Array2::from_shape_vec((size, size), a.clone())?,
            Array2::from_shape_vec((size, size), b.clone())?,
        );
        let mut by_ndarray = Array2::zeros((size, size));
        let mut plain = || {
            general_mat_mul(1.0, &left, &right, 0.0, &mut by_ndarray);
            Ok(())
        };

        let mut by_gemm = vec![0.0_f32; size * size];
        let mut theirs = || {
            let stride = size.cast_signed();
            // SAFETY: all three are row-major matrices of `size` rows and columns, and the result is no factor.
            unsafe {
                gemm::gemm(
                    size,
                    size,
                    size,
                    by_gemm.as_mut_ptr(),
                    1,
                    stride,
                    false,
                    a.as_ptr(),
                    1,
                    stride,
                    b.as_ptr(),
                    1,
                    stride,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                );
            }
            Ok(())
        };

        let took = alternate([&mut ours, &mut plain, &mut theirs])?;
        let product = outputs.first().ok_or("no product")?.as_slice::<f32>()?;
        for (at, &x) in product.iter().enumerate() {
            let others = [by_ndarray.as_slice().ok_or("not row-major")?[at], by_gemm[at]];
            if others.iter().any(|other| (other - x).abs() > 1e-3 * (1.0 + x.abs())) {
                return Err(format!("element {at} is {x} on bb-cpu, {others:?} on ndarray and gemm").into());
            }
        }
        let rate = took.map(|seconds| 2.0 * (size as f64).powi(3) / seconds / 1e9);
        let best = rate[1].max(rate[2]);
        println!(
            "{size:5}: bb-cpu {:.0} GFLOP/s, ndarray {:.0}, gemm {:.0}: {:.2} × the best",
            rate[0],
            rate[1],
            rate[2],
            rate[0] / best
        );
    }
    Ok(())
}

type Contender<'a> = &'a mut dyn FnMut() -> Result<(), String>;

/// Seconds a call, the median of rounds in which each has its turn.
fn alternate<const N: usize>(mut contenders: [Contender<'_>; N]) -> Result<[f64; N], String> {
    let mut took = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (contender, took) in contenders.iter_mut().zip(&mut took) {
            let (begin, mut count) = (Instant::now(), 0);
            while begin.elapsed().as_secs_f64() < ROUND {
                contender()?;
                count += 1;
            }
            took.push(begin.elapsed().as_secs_f64() / f64::from(count));
        }
    }
    Ok(took.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    }))
}
