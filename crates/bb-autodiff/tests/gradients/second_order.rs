//! Gradients of gradients: the Hessian times a vector. (Pearlmutter, "Fast exact multiplication by the Hessian", 1994.)

use super::graphs::{Model, sum_of};
use super::harness::{Rng, Shapes, int, node};

fn numbers(rng: &mut Rng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.float(-0.8, 0.8)).collect()
}

#[test]
fn the_hessian_of_a_classifier_times_a_vector_matches_differences() {
    let mut rng = Rng::new(1501);
    for round in 0..6 {
        let (rows, inner, classes) = (rng.below(1, 4), rng.below(1, 4), rng.below(2, 4));
        let mut softmax = node("LogSoftmax", &["scores"], "log");
        softmax.attribute.push(int("axis", -1));
        let nodes = vec![
            node("Gemm", &["x", "w1", "b1"], "h"),
            node(["Tanh", "Sigmoid", "Softplus"][round % 3], &["h"], "a"),
            node("MatMul", &["a", "w2"], "scores"),
            softmax,
            node("Mul", &["log", "t"], "picked"),
            sum_of("picked", "sum"),
            node("Neg", &["sum"], "loss"),
        ];
        let mut model = Model::new(nodes);
        for (name, shape) in [
            ("x", [rows, 3]),
            ("w1", [3, inner]),
            ("b1", [1, inner]),
            ("w2", [inner, classes]),
            ("t", [rows, classes]),
        ] {
            let values = numbers(&mut rng, shape[0] * shape[1]);
            model = model.float(name, &shape, &values, Shapes::Declared);
        }
        let directions: Vec<Vec<f64>> =
            model.wrt.iter().map(|&place| numbers(&mut rng, model.fed[place].element_count())).collect();
        let second = model.second(&directions);
        second.check();
        // And the Hessian is symmetric: u·Hv = v·Hu.
        let others: Vec<Vec<f64>> =
            model.wrt.iter().map(|&place| numbers(&mut rng, model.fed[place].element_count())).collect();
        let dot = |a: &[Vec<f64>], b: &[Vec<f64>]| -> f64 {
            a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| a * b).sum()
        };
        let (one, other) =
            (dot(&others, &second.gradients()), dot(&directions, &model.second(&others).gradients()));
        assert!((one - other).abs() <= 1e-10 * one.abs().max(1.0), "{one} and {other}");
    }
}

#[test]
fn the_hessian_through_a_convolution_and_a_pool_matches_differences() {
    let mut rng = Rng::new(1502);
    for _ in 0..4 {
        let mut conv = node("Conv", &["x", "w"], "c");
        conv.attribute.push(super::harness::ints("kernel_shape", &[3, 3]));
        let mut pool = node("AveragePool", &["a"], "p");
        pool.attribute.push(super::harness::ints("kernel_shape", &[2, 2]));
        let nodes =
            vec![conv, node("Tanh", &["c"], "a"), pool, node("Mul", &["p", "p"], "s"), sum_of("s", "loss")];
        let model = Model::new(nodes)
            .float("x", &[2, 1, 5, 5], &numbers(&mut rng, 50), Shapes::Declared)
            .float("w", &[2, 1, 3, 3], &numbers(&mut rng, 18), Shapes::Declared);
        let directions = vec![numbers(&mut rng, 50), numbers(&mut rng, 18)];
        model.second(&directions).check();
    }
}
