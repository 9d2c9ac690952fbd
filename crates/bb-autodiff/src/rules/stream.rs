//! Ops that go on where an earlier run stopped: they take a state or a cache and give the next one.
//!
//! Each is written out in ops that have rules, and those are differentiated.

use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{graph, int, ints};
use crate::builder::Val;
use crate::facts::{Fact, axis_within};

pub(super) const RULES: &[Rule] = &[
    Rule::all("CausalConvWithState", causal_convolution),
    Rule::all("LinearAttention", linear_attention),
    Rule::all("SwiGLU", swi_glu),
    Rule { op: "TensorScatter", flow: scatter_flow, backward: tensor_scatter, nested: false },
];

/// Zeros in the shape that `parts`, lists of extents, are one after the other.
fn zeros(s: &mut Scope<'_>, dtype: DataType, parts: &[Val]) -> Val {
    let shape = s.b.op("Concat", parts, vec![int("axis", 0)]);
    let zero = s.b.scalar(dtype, 0.0);
    s.b.op("Expand", &[zero, shape], vec![])
}

/// A convolution of each channel alone, over what came before and what comes now.
fn causal_convolution(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, w) = (s.input(0)?, s.input(1)?);
    let channels =
        |val: Val, axis: usize| s.b.fact(val).shape.as_ref().and_then(|dims| dims.get(axis).cloned());
    let ((Some(Dim::Known(channels)), _) | (_, Some(Dim::Known(channels)))) =
        (channels(w, 0), channels(x, 1))
    else {
        return Err(s.b.undetermined(w, "number of channels"));
    };
    let past = match s.optional(3) {
        Some(past) => past,
        None => {
            let (batch, taps) = (s.b.extent(x, 0), s.b.extent(w, 2));
            let before = match s.b.fact(taps).integers().as_deref() {
                Some([taps]) => s.b.list(&[taps.saturating_sub(1)]),
                _ => {
                    let one = s.b.list(&[1]);
                    s.b.sub(taps, one)
                }
            };
            let channels = s.b.list(&[channels as i64]);
            let dtype = s.b.dtype(x)?;
            zeros(s, dtype, &[batch, channels, before])
        }
    };
    let line = s.b.op("Concat", &[past, x], vec![int("axis", 2)]);
    let mut inputs = vec![line, w];
    inputs.extend(s.optional(2));
    let mut made = s.b.op("Conv", &inputs, vec![int("group", channels as i64)]);
    if s.attributes().text("activation").unwrap_or("none") != "none" {
        let gate = s.b.op("Sigmoid", &[made], vec![]);
        made = s.b.mul(made, gate);
    }
    let (begin, end, axis) = (s.b.extent(x, 2), s.b.list(&[i64::MAX]), s.b.list(&[2]));
    let state = s.b.op("Slice", &[line, begin, end, axis], vec![]);
    s.through(&[(0, made), (1, state)])
}

/// A head's past is a matrix, decayed and corrected from row to row: as a loop over the rows. (Yang et al., "Gated Delta
/// Networks", 2024.)
fn linear_attention(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (q, k, v) = (s.input(0)?, s.input(1)?, s.input(2)?);
    let dtype = s.b.dtype(q)?;
    let heads = |name: &str| {
        let count = s.attributes().int(name).filter(|&count| count > 0);
        count.ok_or_else(|| s.attributes().wrong(name, "is missing"))
    };
    let (q_heads, heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    let share = q_heads / heads;
    // `[rows, batch, heads, …]`.
    let by_row = |s: &mut Scope<'_>, val: Val, shape: &[i64]| {
        let list = s.b.list(shape);
        let apart = s.b.reshape(val, list);
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..shape.len()).collect();
        s.b.transpose(apart, &perm)
    };
    let queries = by_row(s, q, &[0, 0, heads, share, -1]);
    let keys = by_row(s, k, &[0, 0, heads, 1, -1]);
    let values = by_row(s, v, &[0, 0, heads, 1, -1]);
    let decay = s.optional(4).map(|decay| by_row(s, decay, &[0, 0, heads, -1, 1]));
    let beta = s.optional(5).map(|beta| by_row(s, beta, &[0, 0, -1, 1, 1]));
    let state = match s.optional(3) {
        Some(past) => past,
        None => {
            let (batch, heads) = (s.b.extent(q, 0), s.b.list(&[heads]));
            let (size, width) = (s.b.extent(keys, 4), s.b.extent(values, 4));
            zeros(s, dtype, &[batch, heads, size, width])
        }
    };
    let scanned: Vec<Val> =
        [Some(queries), Some(keys), Some(values), decay, beta].into_iter().flatten().collect();
    let mut inner = s.b.nested("Scan");
    let slice = |s: &Scope<'_>, val: Val| {
        let Fact { dtype, shape, .. } = s.b.fact(val).clone();
        Fact::new(dtype, shape.map(|dims| dims.into_iter().skip(1).collect()))
    };
    let held = inner.accept(s.b.fact(state).clone());
    let rows: Vec<Val> = scanned.iter().map(|&val| inner.accept(slice(s, val))).collect();
    let (query, key, value) = (rows[0], rows[1], rows[2]);
    let mut own = rows[3..].iter().copied();
    let (decay, beta) = (decay.and_then(|_| own.next()), beta.and_then(|_| own.next()));
    let mut kept = held;
    if let Some(decay) = decay {
        let factor = inner.op("Exp", &[decay], vec![]);
        kept = inner.op("Mul", &[held, factor], vec![]);
    }
    let mut written = value;
    if let Some(beta) = beta {
        let known = inner.op("MatMul", &[key, kept], vec![]);
        let new = inner.op("Sub", &[value, known], vec![]);
        written = inner.op("Mul", &[new, beta], vec![]);
    }
    let turned = inner.op("Transpose", &[key], vec![ints("perm", &[0, 1, 3, 2])]);
    let added = inner.op("Mul", &[turned, written], vec![]);
    let next = inner.op("Add", &[kept, added], vec![]);
    let answer = inner.op("MatMul", &[query, next], vec![]);
    let answer_dims = inner.fact(answer).shape.clone();
    let inputs: Vec<Val> = std::iter::once(held).chain(rows).collect();
    let body = inner.enclose(&[], &inputs, &[next, answer]);
    let attributes = vec![graph("body", body), int("num_scan_inputs", scanned.len() as i64)];
    let Fact { dtype: state_type, shape: state_dims, .. } = s.b.fact(state).clone();
    let rows = s.b.fact(queries).shape.as_ref().and_then(|dims| dims.first().cloned());
    let rows = rows.unwrap_or(Dim::Any);
    let answers = answer_dims.map(|dims| [&[rows], &dims[..]].concat());
    let facts = vec![Fact::new(state_type, state_dims), Fact::new(Some(dtype), answers)];
    let given: Vec<Option<Val>> = std::iter::once(state).chain(scanned).map(Some).collect();
    let made = s.b.emit_nested("Scan", &given, attributes, facts);
    let (state, answers) = (made[0], made[1]);
    let turned = s.b.transpose(answers, &[1, 0, 2, 3, 4]);
    let joined = s.b.list(&[0, 0, -1]);
    let joined = s.b.reshape(turned, joined);
    let scaled = match s.attributes().float_or("scale", 0.0) {
        0.0 => {
            let size = s.b.extent_number(keys, 4);
            let size = s.b.cast(size, dtype);
            let root = s.b.op("Sqrt", &[size], vec![]);
            s.b.div(joined, root)
        }
        scale => s.b.scale(joined, f64::from(scale))?,
    };
    s.through(&[(0, scaled), (1, state)])
}

/// `y = a·σ(α·a)·b`.
fn swi_glu(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (a, b) = (s.input(0)?, s.input(1)?);
    let alpha = f64::from(s.attributes().float_or("alpha", 1.0));
    let scaled = s.b.scale(a, alpha)?;
    let gate = s.b.op("Sigmoid", &[scaled], vec![]);
    let gated = s.b.mul(a, gate);
    let made = s.b.mul(gated, b);
    s.through(&[(0, made)])
}

/// The cache and what is written into it.
fn scatter_flow(index: usize) -> Flow {
    if index < 2 { Flow::Gradient } else { Flow::Stop }
}

/// Rows written into a cache, each batch entry from its own place on: scattered.
fn tensor_scatter(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (cache, update) = (s.input(0)?, s.input(1)?);
    let rank = s.b.rank(cache)?;
    let axis = axis_within(s.attributes().int_or("axis", -2), rank);
    let axis = axis.ok_or_else(|| s.attributes().wrong("axis", "is outside of the rank"))? as i64;
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let rows = s.b.extent_number(update, axis);
    let mut places = s.b.op("Range", &[zero, rows, one], vec![]);
    places = s.b.unsqueeze(places, &(1..rank as i64 - axis).collect::<Vec<_>>());
    if let Some(begin) = s.optional(2) {
        let begin = s.b.cast(begin, DataType::I64);
        let begin = s.b.unsqueeze(begin, &(1..rank as i64).collect::<Vec<_>>());
        places = s.b.add(places, begin);
    }
    if s.attributes().text("mode") == Some("circular") {
        let length = s.b.extent_number(cache, axis);
        places = s.b.op("Mod", &[places, length], vec![]);
    }
    let shape = s.b.shape(update);
    let places = s.b.op("Expand", &[places, shape], vec![]);
    let made = s.b.op("ScatterElements", &[cache, places, update], vec![int("axis", axis)]);
    s.through(&[(0, made)])
}
