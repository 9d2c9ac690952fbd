//! Fused trees of element-wise nodes against the same nodes run one at a time.

#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod common;

use bb_runtime::{Shape, Tensor};
use common::{graph, node, prepare};
use proptest::prelude::*;

/// One node of a random tree: its op, and which earlier values it reads.
type Step = (usize, usize, usize);

const UNARY: &[&str] = &["Neg", "Relu", "Tanh", "Sigmoid", "Abs", "Exp"];
const BINARY: &[&str] = &["Add", "Sub", "Mul", "Max", "Min"];

fn extents() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::select(vec![
        vec![],
        vec![1],
        vec![5],
        vec![3, 1],
        vec![3, 5],
        vec![2, 1, 5],
        vec![2, 3, 5],
        vec![1, 3, 1],
    ])
}

fn filled(extents: &[usize], seed: usize) -> Tensor {
    let count: usize = extents.iter().product();
    let elements: Vec<f32> = (0..count).map(|at| ((at * 37 + seed * 101) % 41) as f32 / 20.0 - 1.0).collect();
    Tensor::from_slice(Shape::new(extents), &elements).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_fused_chain_gives_the_bits_of_its_nodes(
        shapes in prop::collection::vec(extents(), 3),
        steps in prop::collection::vec((0_usize..11, 0_usize..100, 0_usize..100), 2..12),
    ) {
        let inputs: Vec<Tensor> = shapes.iter().enumerate().map(|(seed, shape)| filled(shape, seed)).collect();
        let mut names: Vec<String> = (0..3).map(|at| format!("x{at}")).collect();
        let mut nodes = Vec::new();
        for &(op, a, b) in &steps as &Vec<Step> {
            let output = format!("v{}", nodes.len());
            // The newest value is always read, so that the tree is one chain with leaves.
            let newest = names[names.len() - 1].clone();
            let other = if a % 2 == 0 { newest.clone() } else { names[b % 3].clone() };
            nodes.push(match op.checked_sub(UNARY.len()) {
                None => node(UNARY[op], &[&newest], &[&output]),
                Some(op) => node(BINARY[op], &[&newest, &other], &[&output]),
            });
            names.push(output);
        }
        let outer = ["x0", "x1", "x2"];
        let last = names[names.len() - 1].clone();
        let mut fused = prepare(&graph(nodes.clone(), &outer, &[&last], 21)).unwrap();
        let got = fused.run(&inputs).unwrap();
        // Naming every value as an output keeps each node to itself.
        let all: Vec<&str> = names[3..].iter().map(String::as_str).collect();
        let mut alone = prepare(&graph(nodes, &outer, &all, 21)).unwrap();
        let want = alone.run(&inputs).unwrap();
        prop_assert_eq!(&got[0], &want[want.len() - 1]);
    }

    #[test]
    fn broadcasting_agrees_with_indexing(a in extents(), b in extents()) {
        let (x, y) = (filled(&a, 1), filled(&b, 2));
        let rank = a.len().max(b.len());
        let at = |shape: &[usize], axis: usize| if axis + shape.len() < rank { 1 } else { shape[axis + shape.len() - rank] };
        let extents: Vec<usize> = (0..rank).map(|axis| at(&a, axis).max(at(&b, axis))).collect();
        let fits = (0..rank).all(|axis| at(&a, axis) == at(&b, axis) || at(&a, axis) == 1 || at(&b, axis) == 1);
        let got = common::run(node("Sub", &["x", "y"], &["z"]), &[x.clone(), y.clone()]);
        if !fits {
            prop_assert!(got.is_err());
            return Ok(());
        }
        let got = got.unwrap();
        prop_assert_eq!(got[0].shape().to_vec(), extents.clone());
        for (index, &element) in got[0].as_slice::<f32>().unwrap().iter().enumerate() {
            let read = |tensor: &Tensor, shape: &[usize]| {
                let mut rest = index;
                let mut places = vec![0; rank];
                for axis in (0..rank).rev() {
                    places[axis] = rest % extents[axis];
                    rest /= extents[axis];
                }
                let offset = (0..shape.len()).fold(0, |offset, axis| {
                    let place = if shape[axis] == 1 { 0 } else { places[axis + rank - shape.len()] };
                    offset * shape[axis] + place
                });
                tensor.as_slice::<f32>().unwrap()[offset]
            };
            prop_assert_eq!(element, read(&x, &a) - read(&y, &b));
        }
    }
}

#[test]
fn a_tree_over_types_it_is_not_fused_for_runs_all_the_same() {
    let nodes = vec![node("Add", &["a", "b"], &["c"]), node("Mul", &["c", "c"], &["d"])];
    let mut ready = prepare(&graph(nodes, &["a", "b"], &["d"], 21)).unwrap();
    let outputs = ready.run(&[Tensor::scalar(2_i64), Tensor::scalar(3_i64)]).unwrap();
    assert_eq!(outputs[0], Tensor::scalar(25_i64));
    let outputs = ready.run(&[Tensor::scalar(2.0_f32), Tensor::scalar(3.0_f32)]).unwrap();
    assert_eq!(outputs[0], Tensor::scalar(25.0_f32));
}

#[test]
fn values_that_follow_from_shapes_follow_new_shapes() {
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("ConstantOfShape", &["s"], &["zeros"]),
        node("Add", &["x", "zeros"], &["y"]),
    ];
    let mut ready = prepare(&graph(nodes, &["x"], &["y", "s"], 21)).unwrap();
    for extents in [[2, 3], [2, 3], [4, 1], [2, 3]] {
        let x = filled(&extents, 3);
        let outputs = ready.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(outputs[0], x);
        assert_eq!(outputs[1].as_slice::<i64>().unwrap(), [extents[0] as i64, extents[1] as i64]);
    }
}
