//! Numbers as small integers with a scale and a zero point.
//!
//! A quantized number is constant almost everywhere; what depends on something is the scale.

use bb_ir::Dim;

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::is_float;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "DequantizeLinear", flow: scale_flow, backward: dequantize, nested: false },
    Rule::first("DynamicQuantizeLinear", dynamic),
];

/// The scale; the integers are constants.
fn scale_flow(index: usize) -> Flow {
    if index == 1 { Flow::Asked } else { Flow::Stop }
}

/// `y = (x - zero)·scale`, each scale being that of all elements, of a slice or of a block: written out so.
fn dequantize(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, scale) = (s.input(0)?, s.input(1)?);
    let dtype = s.b.dtype(scale)?;
    let wide = s.b.cast(x, dtype);
    let spread = spread(s, scale)?;
    let centred = match s.optional(2) {
        Some(zero) => {
            let zero = s.b.cast(zero, dtype);
            let zero = self::spread(s, zero)?;
            s.b.sub(wide, zero)
        }
        None => wide,
    };
    let product = s.b.mul(centred, spread);
    let y = s.output(0)?;
    let made = match s.b.fact(y).dtype.filter(|&dtype| is_float(dtype)) {
        Some(to) => s.b.cast(product, to),
        None => product,
    };
    s.through(&[(0, made)])
}

/// Scales or zero points as they meet the elements.
fn spread(s: &mut Scope<'_>, own: Val) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let (rank, own_rank) = (s.b.rank(x)?, s.b.rank(own)?);
    let single = s.b.fact(own).extents().is_some_and(|extents| extents.iter().all(|&extent| extent == 1));
    let block = s.attributes().int_or("block_size", 0);
    if own_rank == 0 || (single && block == 0) {
        let flat = s.b.list(&[]);
        return Ok(s.b.reshape(own, flat));
    }
    let axis = s.axis("axis", 1, rank)?;
    if block == 0 {
        let behind: Vec<i64> = (1..(rank - axis) as i64).collect();
        return Ok(s.b.unsqueeze(own, &behind));
    }
    // Each as often as its block is long; the last block may be longer than what is left for it.
    let apart = s.b.unsqueeze(own, &[axis as i64 + 1]);
    let mut times = vec![1; rank + 1];
    let most = s.b.fact(x).extents().map_or(i64::MAX, |extents| extents[axis] as i64);
    times[axis + 1] = block.min(most.max(1));
    let times = s.b.list(&times);
    let wide = s.b.op("Expand", &[apart, times], vec![]);
    let mut shape: Vec<i64> = vec![0; axis];
    shape.push(-1);
    let front = s.b.list(&shape);
    let mut pieces = vec![front];
    for other in axis + 1..rank {
        pieces.push(s.b.extent(own, other as i64));
    }
    let shape = if pieces.len() == 1 { front } else { s.b.op("Concat", &pieces, vec![int("axis", 0)]) };
    let joined = s.b.reshape(wide, shape);
    let (begin, axes) = (s.b.list(&[0]), s.b.list(&[axis as i64]));
    let end = s.b.extent(x, axis as i64);
    let part = s.b.op("Slice", &[joined, begin, end, axes], vec![]);
    s.b.refine(part, &vec![Dim::Any; rank]);
    Ok(part)
}

/// The scale covers all elements and zero: `(max(x, 0) - min(x, 0)) / 255`.
fn dynamic(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let x = s.input(0)?;
    let zero = s.b.scalar_like(x, 0.0)?;
    let most = s.b.op("ReduceMax", &[x], vec![int("keepdims", 0)]);
    let least = s.b.op("ReduceMin", &[x], vec![int("keepdims", 0)]);
    let (most, least) = (s.b.op("Max", &[most, zero], vec![]), s.b.op("Min", &[least, zero], vec![]));
    let range = s.b.sub(most, least);
    let scale = s.b.scale(range, 1.0 / 255.0)?;
    s.through(&[(1, scale)])
}
