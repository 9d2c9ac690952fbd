//! Pieces of images put back together; determinants.

use bb_ir::{DataType, Dim};

use super::resample::identity;
use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::times;

pub(super) const RULES: &[Rule] = &[Rule::first("Col2Im", col_to_image), Rule::first("Det", determinant)];

/// Windows added up where they lie: `g` cut into windows, by a convolution of each channel whose filters have a one at
/// one tap each.
fn col_to_image(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, kernel) = (s.upstream()?, s.input(0)?, s.input(2)?);
    let known = s.b.fact(kernel).integers().ok_or_else(|| s.b.undetermined(kernel, "contents"))?;
    let taps = times(&known).ok_or_else(|| s.unsupported("the block is larger than memory".to_owned()))?;
    let taps = s.b.list(&[taps]);
    let filters = identity(s, x, taps)?;
    let shape: Vec<i64> = [-1, 1].iter().chain(&known).copied().collect();
    let shape = s.b.list(&shape);
    let filters = s.b.reshape(filters, shape);
    let image = s.b.shape(g);
    let last = s.b.slice(image, 0, 2, i64::MAX);
    let front = s.b.list(&[-1, 1]);
    let shape = s.b.op("Concat", &[front, last], vec![int("axis", 0)]);
    let planes = s.b.reshape(g, shape);
    let windows = s.b.op("Conv", &[planes, filters], s.all_attributes());
    let gradient = s.b.reshape_like(windows, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = det x`: `g` times the cofactors, which are determinants of what a row and a column leave, so that the gradient
/// holds where `x` has no inverse. They are as many as `x` has elements: this is for small matrices.
fn determinant(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let rank = s.b.rank(x)?;
    if rank < 2 {
        return Err(s.b.undetermined(x, "rank of two or more"));
    }
    let dtype = s.b.dtype(x)?;
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let count = s.b.extent_number(x, -1);
    let all = s.b.op("Range", &[zero, count, one], vec![]);
    // `others[i]`: all places but `i`.
    let fewer = s.b.sub(count, one);
    let fewer = s.b.op("Range", &[zero, fewer, one], vec![]);
    let own = s.b.unsqueeze(all, &[1]);
    let before = s.b.op("Less", &[fewer, own], vec![]);
    let after = s.b.op("Not", &[before], vec![]);
    let after = s.b.cast(after, DataType::I64);
    let others = s.b.add(fewer, after);
    let rows = s.b.op("Gather", &[x, others], vec![int("axis", rank as i64 - 2)]);
    let minors = s.b.op("Gather", &[rows, others], vec![int("axis", rank as i64)]);
    let mut perm: Vec<usize> = (0..rank + 2).collect();
    perm.swap(rank - 1, rank);
    let minors = s.b.transpose(minors, &perm);
    let minors = s.b.op("Det", &[minors], vec![]);
    let signs = signs(s, all, dtype)?;
    let cofactors = s.b.mul(minors, signs);
    let rank = rank as i64;
    let g = s.b.unsqueeze(g, &[rank - 2, rank - 1]);
    let gradient = s.b.mul(g, cofactors);
    if let Some(dims) = s.b.fact(x).shape.clone() {
        s.b.refine(gradient, &dims);
    }
    s.give(0, gradient);
    Ok(())
}

/// 1 and -1 in the pattern of a chessboard.
fn signs(s: &mut Scope<'_>, places: Val, dtype: DataType) -> Result<Val, AutodiffError> {
    let down = s.b.unsqueeze(places, &[1]);
    let sum = s.b.add(places, down);
    let two = s.b.scalar(DataType::I64, 2.0);
    let odd = s.b.op("Mod", &[sum, two], vec![]);
    let odd = s.b.cast(odd, dtype);
    let doubled = s.b.scale(odd, 2.0)?;
    let one = s.b.scalar(dtype, 1.0);
    let signs = s.b.sub(one, doubled);
    s.b.refine(signs, &[Dim::Any, Dim::Any]);
    Ok(signs)
}
