//! Matrix products.
//!
//! For `Y = A·B`: `dA = G·Bᵀ`, `dB = Aᵀ·G`, with `G` the gradient of `Y`. (Giles, "An extended collection of matrix
//! derivative results for forward and reverse mode algorithmic differentiation", 2008, section 2.2.)

use bb_ir::Dim;

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::builder::Val;

pub(super) const RULES: &[Rule] = &[Rule::all("Gemm", gemm), Rule::all("MatMul", matmul)];

/// `Y = α·A'·B' + β·C`, where `A'` is `A` or `Aᵀ`, `B'` is `B` or `Bᵀ`.
///
/// `dA' = α·G·B'ᵀ`, `dB' = α·A'ᵀ·G`, `dC = β·G` summed to the shape of `C`; of a transposed operand the transposed
/// product, as one `Gemm` each.
fn gemm(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, a, b) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let (trans_a, trans_b) = (s.attributes().flag("transA", false), s.attributes().flag("transB", false));
    let alpha = f64::from(s.attributes().float_or("alpha", 1.0));
    let beta = f64::from(s.attributes().float_or("beta", 1.0));
    let scaled = if s.wants(0) || s.wants(1) { s.b.scale(g, alpha)? } else { g };
    if s.wants(0) {
        let gradient =
            if trans_a { s.b.gemm(b, scaled, trans_b, true)? } else { s.b.gemm(scaled, b, false, !trans_b)? };
        s.give(0, gradient);
    }
    if s.wants(1) {
        let gradient =
            if trans_b { s.b.gemm(scaled, a, true, trans_a)? } else { s.b.gemm(a, scaled, !trans_a, false)? };
        s.give(1, gradient);
    }
    if s.wants(2) {
        let c = s.input(2)?;
        let summed = s.b.unbroadcast(g, c)?;
        let gradient = s.b.scale(summed, beta)?;
        s.give(2, gradient);
    }
    Ok(())
}

/// `Y = A·B` with NumPy's rules: leading axes are a stack and broadcast, a one-dimensional operand is a row on
/// the left, a column on the right.
fn matmul(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, a, b) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let (rank_a, rank_b) = (s.b.rank(a)?, s.b.rank(b)?);
    if rank_a == 2 && rank_b == 2 {
        if s.wants(0) {
            let gradient = s.b.gemm(g, b, false, true)?;
            s.give(0, gradient);
        }
        if s.wants(1) {
            let gradient = s.b.gemm(a, g, true, false)?;
            s.give(1, gradient);
        }
        return Ok(());
    }
    if rank_a > 2 && rank_b == 2 {
        return stacked_times_matrix(s, g, a, b);
    }
    let (left, right) = (as_row(s, a, rank_a), as_column(s, b, rank_b));
    let product = product_gradient(s, g, rank_a, rank_b)?;
    if s.wants(0) {
        let transposed = s.b.transpose_last(right)?;
        let wide = s.b.op("MatMul", &[product, transposed], vec![]);
        let gradient = s.b.unbroadcast(wide, left)?;
        let gradient = s.b.reshape_like(gradient, a);
        s.give(0, gradient);
    }
    if s.wants(1) {
        let transposed = s.b.transpose_last(left)?;
        let wide = s.b.op("MatMul", &[transposed, product], vec![]);
        let gradient = s.b.unbroadcast(wide, right)?;
        let gradient = s.b.reshape_like(gradient, b);
        s.give(1, gradient);
    }
    Ok(())
}

/// The usual linear layer: the stack is more rows, so the matrix's gradient is one product.
fn stacked_times_matrix(s: &mut Scope<'_>, g: Val, a: Val, b: Val) -> Result<(), AutodiffError> {
    if s.wants(0) {
        let transposed = s.b.transpose_last(b)?;
        let gradient = s.b.op("MatMul", &[g, transposed], vec![]);
        s.give(0, gradient);
    }
    if s.wants(1) {
        let rows_a = rows(s, a)?;
        let rows_g = rows(s, g)?;
        let gradient = s.b.gemm(rows_a, rows_g, true, false)?;
        s.give(1, gradient);
    }
    Ok(())
}

/// All leading axes as one.
fn rows(s: &mut Scope<'_>, val: Val) -> Result<Val, AutodiffError> {
    let last = match s.b.fact(val).shape.as_deref() {
        Some([.., last @ Dim::Known(extent)]) if *extent > 0 => Some((*extent as i64, last.clone())),
        _ => None,
    };
    if let Some((extent, last)) = last {
        let shape = s.b.list(&[-1, extent]);
        let flat = s.b.reshape(val, shape);
        s.b.refine(flat, &[Dim::Any, last]);
        return Ok(flat);
    }
    let extent = s.b.extent(val, -1);
    let free = s.b.list(&[-1]);
    let shape = s.b.op("Concat", &[free, extent], vec![crate::attributes::int("axis", 0)]);
    Ok(s.b.reshape(val, shape))
}

fn as_row(s: &mut Scope<'_>, val: Val, rank: usize) -> Val {
    if rank == 1 { s.b.unsqueeze(val, &[0]) } else { val }
}

fn as_column(s: &mut Scope<'_>, val: Val, rank: usize) -> Val {
    if rank == 1 { s.b.unsqueeze(val, &[1]) } else { val }
}

/// The gradient with the axes that a one-dimensional operand took away.
fn product_gradient(s: &mut Scope<'_>, g: Val, rank_a: usize, rank_b: usize) -> Result<Val, AutodiffError> {
    let stack = rank_a.max(rank_b).saturating_sub(2) as i64;
    Ok(match (rank_a, rank_b) {
        (0, _) | (_, 0) => return Err(s.unsupported("an operand of rank 0 cannot be multiplied".to_owned())),
        (1, 1) => s.b.unsqueeze(g, &[0, 1]),
        (1, _) => s.b.unsqueeze(g, &[stack]),
        (_, 1) => s.b.unsqueeze(g, &[stack + 1]),
        _ => g,
    })
}
