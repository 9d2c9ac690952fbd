//! Optimizers of the domain `ai.onnx.preview.training` against their definitions in `f64`, on random sizes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_runtime::onnx::{NodeProto, OperatorSetIdProto};
use bb_runtime::{BackendError, BackendGraph, Tensor};
use common::{graph, node, numbers, prepare, with_float, with_string};

/// A node of the domain over `count` tensors, each with its states; and its graph.
fn optimizer(op: &str, count: usize, states: usize, with: impl Fn(NodeProto) -> NodeProto) -> BackendGraph {
    let groups = ["x", "g", "s", "t"];
    let of = |group: &str, next: &str| (0..count).map(|at| format!("{group}{at}{next}")).collect::<Vec<_>>();
    let inputs: Vec<String> = ["r".to_owned(), "n".to_owned()]
        .into_iter()
        .chain(groups[..2 + states].iter().flat_map(|group| of(group, "")))
        .collect();
    let outputs: Vec<String> =
        [&groups[..1], &groups[2..2 + states]].concat().iter().flat_map(|group| of(group, "'")).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut node = with(node(op, &inputs, &outputs));
    node.domain = Some("ai.onnx.preview.training".to_owned());
    let made = graph(vec![node], &inputs, &outputs, 22);
    let training =
        OperatorSetIdProto { domain: Some("ai.onnx.preview.training".to_owned()), version: Some(1) };
    BackendGraph::new(made.graph().clone(), &[training])
}

/// The new value and states of one element.
fn definition(op: &str, nesterov: bool, (rate, updates): (f64, i64), [x, g, s, t]: [f64; 4]) -> [f64; 3] {
    let g = 0.01 * x + g;
    match op {
        "Adagrad" => {
            let squares = s + g * g;
            [x - rate / (1.0 + 0.1 * updates as f64) * g / (squares.sqrt() + 1e-2), squares, 0.0]
        }
        "Adam" => {
            let (v, h) = (0.8 * s + 0.2 * g, 0.9 * t + 0.1 * g * g);
            let power = |base: f64| base.powi(i32::try_from(updates).unwrap());
            let rate = if updates > 0 { rate * (1.0 - power(0.9)).sqrt() / (1.0 - power(0.8)) } else { rate };
            [0.75 * (x - rate * v / (h.sqrt() + 1e-2)), v, h]
        }
        _ => {
            let v = 0.8 * s + if updates > 0 { 0.9 } else { 1.0 } * g;
            [x - rate * if nesterov { g + 0.8 * v } else { v }, v, 0.0]
        }
    }
}

#[test]
fn each_optimizer_takes_the_step_that_its_definition_gives_for_any_number_of_tensors() {
    let forms = [("Adagrad", 1, false), ("Adam", 2, false), ("Momentum", 1, false), ("Momentum", 1, true)];
    for (seed, (op, states, nesterov)) in forms.into_iter().cycle().take(40).enumerate() {
        let (count, updates, rate) = (1 + seed % 3, (seed % 4) as i64, 0.1);
        let made = optimizer(op, count, states, |node| {
            let node = with_float(with_float(node, "norm_coefficient", 0.01), "epsilon", 1e-2);
            let node = with_float(with_float(node, "decay_factor", 0.1), "norm_coefficient_post", 0.25);
            let node = with_float(with_float(node, "alpha", 0.8), "beta", 0.9);
            with_string(node, "mode", if nesterov { "nesterov" } else { "standard" })
        });
        let tensor = |group: usize, at: usize| {
            let mut held = numbers((seed + at) % 9, seed + 10 * group + at);
            if group == 3 || op == "Adagrad" && group == 2 {
                held.iter_mut().for_each(|square| *square = square.abs());
            }
            held
        };
        let mut inputs = vec![Tensor::scalar(rate as f32), Tensor::scalar(updates)];
        for group in 0..2 + states {
            inputs.extend((0..count).map(|at| {
                let held = tensor(group, at);
                Tensor::from_slice([held.len()], &held).unwrap()
            }));
        }
        let outputs = prepare(&made).unwrap().run(&inputs).unwrap();
        for at in 0..count {
            let given: [Vec<f32>; 4] = std::array::from_fn(|group| tensor(group, at));
            let length = given[0].len();
            for place in 0..length {
                let element = given.each_ref().map(|group| f64::from(group[place]));
                let want = definition(op, nesterov, (rate, updates), element);
                for (group, want) in want.into_iter().take(1 + states).enumerate() {
                    let got = f64::from(outputs[group * count + at].as_slice::<f32>().unwrap()[place]);
                    assert!(
                        (got - want).abs() < 1e-5 * (1.0 + want.abs()),
                        "seed {seed}, {op}: {got}, not {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_no_step_can_be_taken_with_is_an_error() {
    let plain = |node| node;
    let error = prepare(&optimizer("Momentum", 1, 1, plain)).err().unwrap();
    assert!(matches!(&error, BackendError::Attribute { attribute, .. } if attribute == "alpha"), "{error}");
    let mut ready = prepare(&optimizer("Adam", 1, 2, plain)).unwrap();
    let vector = |length: usize| Tensor::from_slice([length], &vec![1.0_f32; length]).unwrap();
    let (rate, updates) = (Tensor::scalar(0.1_f32), Tensor::scalar(1_i64));
    let uneven = [rate.clone(), updates.clone(), vector(2), vector(3), vector(2), vector(2)];
    assert!(matches!(ready.run(&uneven).unwrap_err(), BackendError::Shape { .. }));
    let whole = Tensor::from_slice([1], &[1_i64]).unwrap();
    let integers = [rate, updates, whole.clone(), whole.clone(), whole.clone(), whole];
    assert!(matches!(ready.run(&integers).unwrap_err(), BackendError::Type { .. }));
}
