//! Products, reductions, losses, layout and control against values computed by hand or another way.

mod common;

use bb_runtime::{BackendError, DataType, Tensor};
use common::{graph, node, prepare, run, with_float, with_int, with_ints, with_string};

fn matrix<const R: usize, const C: usize>(rows: [[f32; C]; R]) -> Tensor {
    Tensor::from_rows(rows)
}

#[test]
fn gemm_transposes_scales_and_broadcasts_its_bias() {
    let (a, b) = (matrix([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), matrix([[1.0, 0.0], [2.0, 1.0]]));
    let mut gemm = node("Gemm", &["a", "b", "c"], &["y"]);
    gemm = with_int(with_int(gemm, "transA", 1), "transB", 1);
    gemm = with_float(with_float(gemm, "alpha", 2.0), "beta", 0.5);
    let square = matrix([[1.0, 2.0], [3.0, 4.0]]);
    // aᵀ·bᵀ of [[1,3],[2,4]] and [[1,2],[0,1]], doubled, plus half of the bias.
    let got = run(gemm.clone(), &[square, b, Tensor::from_slice([2], &[2.0_f32, 4.0]).unwrap()]).unwrap();
    assert_eq!(got[0], matrix([[3.0, 12.0], [5.0, 18.0]]));
    assert!(matches!(run(gemm, &[a.clone(), a.clone(), a]), Err(BackendError::Shape { .. })));
}

#[test]
fn batched_products_agree_with_sums() {
    let count = |extents: &[usize]| extents.iter().product::<usize>();
    let tensor = |extents: &[usize], seed: usize| {
        let elements: Vec<f32> = (0..count(extents)).map(|at| ((at * 31 + seed) % 17) as f32 - 8.0).collect();
        Tensor::from_slice(extents, &elements).unwrap()
    };
    let (a, b) = (tensor(&[2, 1, 3, 4], 1), tensor(&[5, 4, 2], 2));
    let got = run(node("MatMul", &["a", "b"], &["y"]), &[a.clone(), b.clone()]).unwrap();
    assert_eq!(got[0].shape().to_vec(), [2, 5, 3, 2]);
    let (x, y) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
    for (at, &element) in got[0].as_slice::<f32>().unwrap().iter().enumerate() {
        let (i, j, row, column) = (at / 30, at / 6 % 5, at / 2 % 3, at % 2);
        let want: f32 = (0..4).map(|k| x[(i * 3 + row) * 4 + k] * y[(j * 4 + k) * 2 + column]).sum();
        assert_eq!(element, want, "{at}");
    }
}

#[test]
fn products_of_integers_wrap() {
    let (a, b) = (
        Tensor::from_slice([1, 2], &[i32::MAX, 2]).unwrap(),
        Tensor::from_slice([2, 2], &[2, 1, 3, -1]).unwrap(),
    );
    let got = run(node("MatMul", &["a", "b"], &["y"]), &[a.clone(), b.clone()]).unwrap();
    let want = Tensor::from_slice([1, 2], &[i32::MAX.wrapping_mul(2) + 6, i32::MAX - 2]).unwrap();
    assert_eq!(got[0], want);
    assert_eq!(run(node("MatMulInteger", &["a", "b"], &["y"]), &[a, b]).unwrap()[0], want);
}

#[test]
fn a_channel_is_pooled_to_its_norm() {
    let x = Tensor::from_slice([1, 2, 2], &[3.0_f32, -4.0, 1.0, 0.0]).unwrap();
    let got = run(node("GlobalLpPool", &["x"], &["y"]), std::slice::from_ref(&x)).unwrap();
    assert_eq!(got[0], Tensor::from_slice([1, 2, 1], &[5.0_f32, 1.0]).unwrap());
    let sums = run(with_int(node("GlobalLpPool", &["x"], &["y"]), "p", 1), &[x]).unwrap();
    assert_eq!(sums[0].as_slice::<f32>().unwrap(), [7.0, 1.0]);
}

#[test]
fn a_recurrent_layer_computes_in_the_type_of_its_input() {
    let double = |shape: &[usize], values: &[f64]| Tensor::from_slice(shape, values).unwrap();
    let inputs = [double(&[1, 1, 1], &[0.1]), double(&[1, 1, 1], &[2.0]), double(&[1, 1, 1], &[3.0])];
    let got = run(with_int(node("RNN", &["x", "w", "r"], &["y"]), "hidden_size", 1), &inputs).unwrap();
    assert!((got[0].as_slice::<f64>().unwrap()[0] - 0.2_f64.tanh()).abs() < 1e-15);
}

#[test]
fn a_convolution_pads_by_more_than_its_input_has() {
    let x = Tensor::from_slice([1, 1, 1], &[2.0_f32]).unwrap();
    let w = Tensor::from_slice([1, 1, 5], &[1.0_f32, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let got = run(with_ints(node("Conv", &["x", "w"], &["y"]), "pads", &[2, 2]), &[x, w]).unwrap();
    assert_eq!(got[0], Tensor::from_slice([1, 1, 1], &[6.0_f32]).unwrap());
    let x = Tensor::from_slice([1, 1, 1], &[2.0_f32]).unwrap();
    let w = Tensor::from_slice([1, 1, 3], &[1.0_f32, 2.0, 3.0]).unwrap();
    let got = run(with_ints(node("Conv", &["x", "w"], &["y"]), "pads", &[4, 4]), &[x, w]).unwrap();
    assert_eq!(got[0].as_slice::<f32>().unwrap(), [0.0, 0.0, 6.0, 4.0, 2.0, 0.0, 0.0]);
}

#[test]
fn reductions_agree_on_adjacent_and_scattered_axes() {
    let elements: Vec<f32> = (0..60).map(|at| at as f32).collect();
    let x = Tensor::from_slice([3, 4, 5], &elements).unwrap();
    for axes in [vec![0_i64], vec![1], vec![2], vec![0, 1], vec![1, -1], vec![0, 2], vec![0, 1, 2]] {
        let list = Tensor::from_slice([axes.len()], &axes).unwrap();
        let got =
            run(with_int(node("ReduceSum", &["x", "a"], &["y"]), "keepdims", 0), &[x.clone(), list]).unwrap();
        let axes: Vec<usize> =
            axes.iter().map(|&axis| if axis < 0 { (axis + 3) as usize } else { axis as usize }).collect();
        let mut want = std::collections::BTreeMap::new();
        for (at, element) in elements.iter().enumerate() {
            let index = [at / 20, at / 5 % 4, at % 5];
            let key: Vec<usize> =
                (0..3).filter(|axis| !axes.contains(axis)).map(|axis| index[axis]).collect();
            *want.entry(key).or_insert(0.0) += element;
        }
        assert_eq!(got[0].as_slice::<f32>().unwrap(), want.into_values().collect::<Vec<f32>>(), "{axes:?}");
    }
}

#[test]
fn the_loss_ignores_weighs_and_averages() {
    let scores = matrix([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]);
    let labels = Tensor::from_slice([3], &[0_i64, 1, -1]).unwrap();
    let weights = Tensor::from_slice([2], &[1.0_f32, 3.0]).unwrap();
    let loss = with_int(node("SoftmaxCrossEntropyLoss", &["s", "l", "w"], &["y", "log"]), "ignore_index", -1);
    let got = run(loss, &[scores.clone(), labels.clone(), weights]).unwrap();
    let ln2 = std::f32::consts::LN_2;
    assert!((got[0].as_slice::<f32>().unwrap()[0] - ln2).abs() < 1e-6);
    assert!(got[1].as_slice::<f32>().unwrap().iter().all(|log| (log + ln2).abs() < 1e-6));
    let sum = with_string(node("SoftmaxCrossEntropyLoss", &["s", "l"], &["y"]), "reduction", "sum");
    assert!(
        matches!(run(sum, &[scores, labels]), Err(BackendError::Shape { .. })),
        "a label that is no class"
    );
}

#[test]
fn transposition_and_slices_backwards_keep_elements() {
    let x = Tensor::from_slice([2, 3, 4], &(0..24_i64).collect::<Vec<_>>()).unwrap();
    let turned =
        run(with_ints(node("Transpose", &["x"], &["y"]), "perm", &[2, 0, 1]), std::slice::from_ref(&x))
            .unwrap();
    for (at, &element) in turned[0].as_slice::<i64>().unwrap().iter().enumerate() {
        assert_eq!(element as usize, at / 3 % 2 * 12 + at % 3 * 4 + at / 6);
    }
    let list = |elements: &[i64]| Tensor::from_slice([elements.len()], elements).unwrap();
    let inputs = [x, list(&[-1]), list(&[i64::MIN]), list(&[2]), list(&[-2])];
    let sliced = run(node("Slice", &["x", "s", "e", "a", "t"], &["y"]), &inputs).unwrap();
    assert_eq!(sliced[0].as_slice::<i64>().unwrap()[..4], [3, 1, 7, 5]);
}

#[test]
fn rows_that_fall_on_one_index_add_up() {
    let zeros = Tensor::zeros(DataType::F32, [3, 2]).unwrap();
    let indices = Tensor::from_rows([[2_i64], [2], [0]]);
    let updates = matrix([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let scatter = with_string(node("ScatterND", &["x", "i", "u"], &["y"]), "reduction", "add");
    let got = run(scatter, &[zeros, indices, updates]).unwrap();
    assert_eq!(got[0], matrix([[5.0, 6.0], [0.0, 0.0], [4.0, 6.0]]));
}

#[test]
fn a_mask_of_no_keys_hides_every_key() {
    let tensor = |extents: [usize; 4]| {
        let elements: Vec<f32> = (0..extents.iter().product()).map(|at| at as f32 + 1.0).collect();
        Tensor::from_slice(extents, &elements).unwrap()
    };
    let attention = node("Attention", &["q", "k", "v", "mask"], &["y"]);
    let mut ready = prepare(&graph(vec![attention], &["q", "k", "v", "mask"], &["y"], 23)).unwrap();
    for dtype in [DataType::Bool, DataType::F32] {
        let mask = Tensor::zeros(dtype, [2, 0]).unwrap();
        let inputs = [tensor([1, 1, 2, 2]), tensor([1, 1, 3, 2]), tensor([1, 1, 3, 2]), mask];
        let got = ready.run(&inputs).unwrap();
        assert_eq!(got[0], Tensor::zeros(DataType::F32, [1, 1, 2, 2]).unwrap(), "{dtype}");
    }
}

#[test]
fn runs_are_the_same_bit_for_bit() {
    let elements: Vec<f32> = (0..4096).map(|at| (at as f32).sin()).collect();
    let x = Tensor::from_slice([64, 64], &elements).unwrap();
    let nodes = || {
        vec![
            node("MatMul", &["x", "x"], &["a"]),
            node("Softmax", &["a"], &["b"]),
            node("ReduceSum", &["b"], &["c"]),
        ]
    };
    let first = prepare(&graph(nodes(), &["x"], &["a", "b", "c"], 21))
        .unwrap()
        .run(std::slice::from_ref(&x))
        .unwrap();
    let mut again = prepare(&graph(nodes(), &["x"], &["a", "b", "c"], 21)).unwrap();
    for _ in 0..3 {
        assert_eq!(again.run(std::slice::from_ref(&x)).unwrap(), first);
    }
}
