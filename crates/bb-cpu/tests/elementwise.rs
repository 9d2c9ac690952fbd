//! Arithmetic, comparison and choice against values computed by hand.

mod common;

use bb_runtime::{BackendError, Tensor};
use common::{graph, node, prepare, run};

#[test]
fn operands_broadcast_both_ways() {
    let column = Tensor::from_rows([[1.0_f32], [2.0]]);
    let row = Tensor::from_slice([3], &[10.0_f32, 20.0, 30.0]).unwrap();
    let sum = run(node("Add", &["a", "b"], &["c"]), &[column.clone(), row.clone()]).unwrap();
    assert_eq!(sum[0], Tensor::from_rows([[11.0_f32, 21.0, 31.0], [12.0, 22.0, 32.0]]));
    let difference = run(node("Sub", &["a", "b"], &["c"]), &[row, column]).unwrap();
    assert_eq!(difference[0], Tensor::from_rows([[9.0_f32, 19.0, 29.0], [8.0, 18.0, 28.0]]));
}

#[test]
fn integers_wrap_and_divide_without_panic() {
    let a = Tensor::from_slice([3], &[i64::MIN, 7, -7]).unwrap();
    let b = Tensor::from_slice([3], &[-1_i64, 0, 2]).unwrap();
    let quotient = run(node("Div", &["a", "b"], &["c"]), &[a, b]).unwrap();
    assert_eq!(quotient[0].as_slice::<i64>().unwrap(), [i64::MIN, 0, -3]);
    for op in ["Abs", "Neg", "ReduceL1"] {
        let least = Tensor::from_slice([1], &[i64::MIN]).unwrap();
        let result = run(node(op, &["a"], &["c"]), &[least]).unwrap();
        assert_eq!(result[0].as_slice::<i64>().unwrap(), [i64::MIN], "{op}");
    }
}

#[test]
fn choice_broadcasts_condition_and_both_sides() {
    let condition = Tensor::from_buffer(
        bb_runtime::DataType::Bool,
        [2, 1],
        Tensor::from_slice([2], &[1_u8, 0]).unwrap().into_buffer(),
    )
    .unwrap();
    let a = Tensor::from_slice([2], &[1_i64, 2]).unwrap();
    let b = Tensor::scalar(9_i64);
    let chosen = run(node("Where", &["c", "a", "b"], &["o"]), &[condition, a, b]).unwrap();
    assert_eq!(chosen[0], Tensor::from_rows([[1_i64, 2], [9, 9]]));
}

#[test]
fn shapes_that_do_not_broadcast_are_an_error_with_the_node_and_shapes() {
    let a = Tensor::from_slice([2], &[1.0_f32, 2.0]).unwrap();
    let b = Tensor::from_slice([3], &[1.0_f32, 2.0, 3.0]).unwrap();
    let error = run(node("Mul", &["a", "b"], &["c"]), &[a, b]).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { node, .. } if node == "c"), "{error}");
    assert!(error.to_string().contains("Mul"), "{error}");
}

#[test]
fn types_that_differ_are_an_error() {
    let error =
        run(node("Add", &["a", "b"], &["c"]), &[Tensor::scalar(1.0_f32), Tensor::scalar(1_i64)]).unwrap_err();
    assert!(matches!(error, BackendError::Type { .. }), "{error}");
}

#[test]
fn what_the_caller_holds_never_changes() {
    let nodes = vec![
        node("Add", &["x", "x"], &["a"]),
        node("Identity", &["a"], &["b"]),
        node("Mul", &["b", "b"], &["c"]),
        node("Relu", &["c"], &["d"]),
        node("Add", &["d", "x"], &["e"]),
    ];
    let mut ready = prepare(&graph(nodes, &["x"], &["a", "e"], 22)).unwrap();
    let x = Tensor::from_slice([3], &[1.0_f32, -2.0, 3.0]).unwrap();
    let kept = x.clone();
    let first = ready.run(std::slice::from_ref(&x)).unwrap();
    let held = first.clone();
    let mut handed_back = first;
    let y = Tensor::from_slice([3], &[5.0_f32, 5.0, 5.0]).unwrap();
    ready.run_into(&[y], &mut handed_back).unwrap();
    assert_eq!(x, kept);
    assert_eq!(x.as_slice::<f32>().unwrap(), [1.0, -2.0, 3.0]);
    assert_eq!(held[0].as_slice::<f32>().unwrap(), [2.0, -4.0, 6.0]);
    assert_eq!(held[1].as_slice::<f32>().unwrap(), [5.0, 14.0, 39.0]);
    assert_eq!(handed_back[1].as_slice::<f32>().unwrap(), [105.0; 3]);
}

#[test]
fn an_op_that_is_not_known_is_refused_at_prepare() {
    let error = prepare(&graph(vec![node("Frobnicate", &["x"], &["y"])], &["x"], &["y"], 22))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, BackendError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("Frobnicate"), "{error}");
}
