//! Matrix products.

use super::harness::{Case, Rng, int, real};

#[test]
fn gemm_matches_differences_in_all_its_forms() {
    let mut rng = Rng::new(201);
    for round in 0..48 {
        let (rows, inner, columns) = (rng.below(1, 5), rng.below(1, 5), rng.below(1, 5));
        let (trans_a, trans_b) = (round & 1 == 1, round & 2 == 2);
        let a = if trans_a { [inner, rows] } else { [rows, inner] };
        let b = if trans_b { [columns, inner] } else { [inner, columns] };
        let mut case = Case::new("Gemm")
            .opset([22, 13, 11, 9][round / 4 % 4])
            .attribute(int("transA", i64::from(trans_a)))
            .attribute(int("transB", i64::from(trans_b)))
            .float(&mut rng, &a, -1.0, 1.0)
            .float(&mut rng, &b, -1.0, 1.0);
        if rng.flag() {
            case = case.attribute(real("alpha", 0.5)).attribute(real("beta", -1.5));
        }
        if case.opset < 11 || rng.below(0, 4) > 0 {
            let c = rng.narrowed(&[rows, columns]);
            case = case.float(&mut rng, &c, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn matmul_of_matrices_matches_differences() {
    let mut rng = Rng::new(202);
    for _ in 0..20 {
        let (rows, inner, columns) = (rng.below(1, 5), rng.below(1, 5), rng.below(1, 5));
        Case::new("MatMul")
            .float(&mut rng, &[rows, inner], -1.0, 1.0)
            .float(&mut rng, &[inner, columns], -1.0, 1.0)
            .check();
    }
}

#[test]
fn matmul_of_stacks_broadcasts_and_matches_differences() {
    let mut rng = Rng::new(203);
    for _ in 0..30 {
        let rank = rng.below(1, 3);
        let stack = rng.shape(rank);
        let (mut a, mut b) = (rng.narrowed(&stack), rng.narrowed(&stack));
        let (rows, inner, columns) = (rng.below(1, 4), rng.below(1, 4), rng.below(1, 4));
        a.extend([rows, inner]);
        b.extend([inner, columns]);
        Case::new("MatMul").float(&mut rng, &a, -1.0, 1.0).float(&mut rng, &b, -1.0, 1.0).check();
    }
}

#[test]
fn matmul_with_vectors_matches_differences() {
    let mut rng = Rng::new(204);
    for round in 0..30 {
        let (rows, inner) = (rng.below(1, 4), rng.below(1, 4));
        let rank = rng.below(0, 3);
        let mut wide = rng.shape(rank);
        let (a, b) = match round % 3 {
            0 => (vec![inner], vec![inner]),
            1 => {
                wide.extend([inner, rows]);
                (vec![inner], wide)
            }
            _ => {
                wide.extend([rows, inner]);
                (wide, vec![inner])
            }
        };
        Case::new("MatMul").float(&mut rng, &a, -1.0, 1.0).float(&mut rng, &b, -1.0, 1.0).check();
    }
}
