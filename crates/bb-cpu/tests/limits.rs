//! Hostile graphs: typed errors, never a panic, never more memory than the stated limit.

mod common;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::{Backend, BackendError, Component, Tensor};
use common::{graph, node, prepare, run, with_int, with_ints};

#[test]
fn huge_extents_are_refused_before_memory_is_taken() {
    let huge = Tensor::from_slice([2], &[1_i64 << 31, 1 << 20]).unwrap();
    let error = run(node("ConstantOfShape", &["s"], &["y"]), std::slice::from_ref(&huge)).unwrap_err();
    assert!(matches!(error, BackendError::Memory { .. }), "{error}");
    let endless = Tensor::from_slice([3], &[i64::MAX, i64::MAX, i64::MAX]).unwrap();
    let error = run(node("Expand", &["x", "s"], &["y"]), &[Tensor::scalar(1.0_f32), endless]).unwrap_err();
    assert!(matches!(error, BackendError::Shape { .. }), "{error}");
    let error = run(node("Tile", &["x", "r"], &["y"]), &[Tensor::from_rows([[1.0_f32]]), huge]).unwrap_err();
    assert!(matches!(error, BackendError::Memory { .. }), "{error}");
}

#[test]
fn the_limit_counts_what_is_alive_at_one_time() {
    let backend = CpuBackend::new(&CpuConfig { memory_limit: 1000, ..CpuConfig::default() }).unwrap();
    let nodes = |count: usize| {
        let names: Vec<String> = (0..=count).map(|at| format!("v{at}")).collect();
        let nodes = (0..count).map(|at| node("Transpose", &[&names[at]], &[&names[at + 1]])).collect();
        graph(nodes, &["v0"], &[&names[count]], 21)
    };
    let x = Tensor::from_slice([100], &[1.0_f32; 100]).unwrap();
    let mut chain = backend.prepare(&nodes(50)).unwrap();
    assert_eq!(chain.run(std::slice::from_ref(&x)).unwrap()[0], x);
    let large = Tensor::from_slice([300], &[1.0_f32; 300]).unwrap();
    let error = chain.run(std::slice::from_ref(&large)).unwrap_err();
    assert!(matches!(error, BackendError::Memory { limit: 1000, .. }), "{error}");
    assert_eq!(chain.run(std::slice::from_ref(&x)).unwrap()[0], x);
}

#[test]
fn absurd_attributes_and_indices_are_errors() {
    let x = || Tensor::from_rows([[1.0_f32, 2.0], [3.0, 4.0]]);
    let absurd = [i64::MIN, i64::MAX, -3, 2];
    for value in absurd {
        assert!(run(with_int(node("Concat", &["a", "b"], &["c"]), "axis", value), &[x(), x()]).is_err());
        assert!(
            run(with_int(node("Gather", &["a", "b"], &["c"]), "axis", value), &[x(), Tensor::scalar(0_i64)])
                .is_err()
        );
        assert!(run(node("Gather", &["a", "b"], &["c"]), &[x(), Tensor::scalar(value)]).is_err());
        assert!(run(with_ints(node("Transpose", &["a"], &["c"]), "perm", &[0, value]), &[x()]).is_err());
    }
    let ends = Tensor::from_slice([2], &[i64::MIN, i64::MAX]).unwrap();
    let sliced = run(node("Slice", &["x", "s", "e"], &["y"]), &[x(), ends.clone(), ends]).unwrap();
    assert_eq!(sliced[0].element_count(), 0);
    let error = prepare(&graph(vec![node("Add", &["x", "nothing"], &["y"])], &["x"], &["y"], 21))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(&error, BackendError::Graph { reason } if reason.contains("nothing")), "{error}");
}

#[test]
fn the_number_of_inputs_is_checked() {
    let mut ready = prepare(&graph(vec![node("Neg", &["x"], &["y"])], &["x"], &["y"], 21)).unwrap();
    assert!(matches!(ready.run(&[]), Err(BackendError::InputCount { expected: 1, got: 0 })));
}

#[test]
fn no_threads_is_no_configuration() {
    assert!(CpuBackend::new(&CpuConfig { threads: 0, ..CpuConfig::default() }).is_err());
}
