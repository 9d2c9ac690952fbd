//! Backends made from clones of one configuration share what is prepared, and nobody notices.

#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod common;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::{Backend, BackendGraph, Component, Executable, Outputs, Tensor};
use common::{graph, node};

fn layer() -> BackendGraph {
    let nodes = vec![
        node("Gemm", &["x", "w", "b"], &["h"]),
        node("Tanh", &["h"], &["t"]),
        node("Shape", &["t"], &["s"]),
        node("Softmax", &["t"], &["y"]),
    ];
    graph(nodes, &["x", "w", "b"], &["y", "s"], 21)
}

fn filled(rows: usize, columns: usize, seed: usize) -> Tensor {
    let elements: Vec<f32> =
        (0..rows * columns).map(|at| ((at * 37 + seed * 101) % 41) as f32 / 20.0 - 1.0).collect();
    Tensor::from_slice([rows, columns], &elements).unwrap()
}

fn inputs(rows: usize, seed: usize) -> [Tensor; 3] {
    [filled(rows, 6, seed), filled(6, 5, seed + 1), filled(1, 5, seed + 2)]
}

fn alone(inputs: &[Tensor]) -> Outputs {
    CpuBackend::new(&CpuConfig::default()).unwrap().prepare(&layer()).unwrap().run(inputs).unwrap()
}

fn sharing(count: usize) -> Vec<Box<dyn Executable>> {
    let (config, graph) = (CpuConfig::default(), layer());
    (0..count).map(|_| CpuBackend::new(&config.clone()).unwrap().prepare(&graph).unwrap()).collect()
}

#[test]
fn runs_that_take_turns_give_what_each_gives_alone() {
    let mut ready = sharing(3);
    let mut outputs: Vec<Outputs> = vec![Outputs::new(); 3];
    for turn in 0..10 {
        for (user, (ready, outputs)) in ready.iter_mut().zip(&mut outputs).enumerate() {
            let inputs = inputs(2 + (turn + user) % 3, turn * 3 + user);
            ready.run_into(&inputs, outputs).unwrap();
            assert_eq!(*outputs, alone(&inputs));
        }
    }
}

#[test]
fn outputs_of_one_user_stay_as_they_are_while_others_run() {
    let mut ready = sharing(2);
    let first = ready[0].run(&inputs(4, 1)).unwrap();
    let kept = format!("{first:?}");
    for seed in 2..20 {
        ready[1].run(&inputs(4, seed)).unwrap();
    }
    assert_eq!(format!("{first:?}"), kept);
}

#[test]
fn users_in_several_threads_give_what_each_gives_alone() {
    std::thread::scope(|scope| {
        for (user, mut ready) in sharing(4).into_iter().enumerate() {
            scope.spawn(move || {
                for turn in 0..50 {
                    let inputs = inputs(3, user * 100 + turn);
                    assert_eq!(ready.run(&inputs).unwrap(), alone(&inputs));
                }
            });
        }
    });
}

#[test]
fn an_error_of_one_user_leaves_the_others_unharmed() {
    let mut ready = sharing(2);
    let wrong = [filled(2, 6, 0), filled(7, 5, 0), filled(1, 5, 0)];
    assert!(ready[0].run(&wrong).is_err());
    let inputs = inputs(2, 5);
    assert_eq!(ready[1].run(&inputs).unwrap(), alone(&inputs));
}

#[test]
fn a_graph_outlives_the_users_that_it_was_prepared_for() {
    let (config, graph) = (CpuConfig::default(), layer());
    let backend = CpuBackend::new(&config).unwrap();
    let inputs = inputs(3, 9);
    for _ in 0..3 {
        let mut ready = backend.prepare(&graph).unwrap();
        assert_eq!(ready.run(&inputs).unwrap(), alone(&inputs));
    }
}

#[test]
fn more_graphs_than_are_remembered_all_run() {
    let backend = CpuBackend::new(&CpuConfig::default()).unwrap();
    let inputs = inputs(2, 3);
    let mut ready: Vec<_> = (0..100).map(|_| backend.prepare(&layer()).unwrap()).collect();
    for ready in &mut ready {
        assert_eq!(ready.run(&inputs).unwrap(), alone(&inputs));
    }
}
