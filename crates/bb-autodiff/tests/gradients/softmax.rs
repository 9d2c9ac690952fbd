//! Softmax and its logarithm, along one axis and, before operator set 13, along all axes from one on.

use bb_runtime::DataType;

use super::graphs::{Model, sum_of};
use super::harness::{Case, Rng, Shapes, float_tensor, int, named, node};

fn family(op: &'static str, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..30 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let mut case = Case::new(op).opset([22, 13, 11][round % 3]);
        if rng.flag() || (case.opset < 13 && rank < 2) {
            let axis = rng.below(0, rank) as i64;
            case = case.attribute(int("axis", if rng.flag() { axis } else { axis - rank as i64 }));
        }
        case.float(&mut rng, &shape, -2.0, 2.0).check();
    }
}

#[test]
fn softmax_matches_differences() {
    family("Softmax", 401);
}

#[test]
fn log_softmax_matches_differences() {
    family("LogSoftmax", 402);
}

#[test]
fn rows_of_which_all_is_hidden_and_which_are_replaced_get_no_gradient_and_spoil_no_other() {
    let mut rng = Rng::new(403);
    let hidden = f64::NEG_INFINITY;
    let nodes = vec![
        node("Add", &["x", "bias"], "scores"),
        node("Softmax", &["scores"], "shares"),
        node("IsNaN", &["shares"], "none"),
        node("Where", &["none", "zero", "shares"], "safe"),
        node("MatMul", &["safe", "v"], "y"),
        node("Mul", &["y", "y"], "z"),
        sum_of("z", "loss"),
    ];
    let mut numbers = || -> Vec<f64> { (0..6).map(|_| rng.float(-1.0, 1.0)).collect() };
    let mut model = Model::new(nodes).float("x", &[2, 3], &numbers(), Shapes::Declared);
    model = model.float("v", &[3, 2], &numbers(), Shapes::Declared);
    let bias = float_tensor(DataType::F64, &[2, 3], &[0.0, hidden, 0.0, hidden, hidden, hidden]);
    model.graph.initializer.push(named(bias, "bias"));
    model.graph.initializer.push(named(float_tensor(DataType::F64, &[], &[0.0]), "zero"));
    model.check();
    assert_eq!(model.gradients()[0][3..], [0.0; 3]);
}
