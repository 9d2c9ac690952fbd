//! Attention, and the rotation of positions into its operands.

use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;
use crate::facts::same_dim;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "Attention", flow: attention_flow, backward: attention, nested: false },
    Rule { op: "RotaryEmbedding", flow: rotary_flow, backward: rotary, nested: false },
];

/// All but the lengths.
fn attention_flow(index: usize) -> Flow {
    if index == 6 { Flow::Stop } else { Flow::Gradient }
}

/// Far below any score, and within the reach of every float type.
const HIDDEN: f64 = -3e4;

/// `softmax(cap(q·kᵀ·scale) + mask)·v`, written out in products and a softmax, which are differentiated. (Vaswani et al.,
/// "Attention is all you need", 2017, section 3.2; the order is that of the ONNX operator definition.)
fn attention(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (q, k, v) = (s.input(0)?, s.input(1)?, s.input(2)?);
    let packed = s.b.rank(q)? == 3;
    let q = apart(s, q, "q_num_heads")?;
    let (new_k, new_v) = (apart(s, k, "kv_num_heads")?, apart(s, v, "kv_num_heads")?);
    let k = match s.optional(4) {
        Some(past) => s.b.op("Concat", &[past, new_k], vec![int("axis", 2)]),
        None => new_k,
    };
    let v = match s.optional(5) {
        Some(past) => s.b.op("Concat", &[past, new_v], vec![int("axis", 2)]),
        None => new_v,
    };
    let (every_k, every_v) = (for_each_head(s, k, q)?, for_each_head(s, v, q)?);
    let turned = s.b.transpose_last(every_k)?;
    let product = s.b.op("MatMul", &[q, turned], vec![]);
    let scores = match s.attributes().find("scale").and_then(|attribute| attribute.f) {
        Some(scale) => s.b.scale(product, f64::from(scale))?,
        None => {
            let dtype = s.b.dtype(q)?;
            let size = s.b.extent_number(q, -1);
            let size = s.b.cast(size, dtype);
            let root = s.b.op("Sqrt", &[size], vec![]);
            s.b.div(product, root)
        }
    };
    let mut stages = vec![scores];
    let cap = f64::from(s.attributes().float_or("softcap", 0.0));
    let capped = if cap > 0.0 {
        let inner = s.b.scale(scores, 1.0 / cap)?;
        let inner = s.b.op("Tanh", &[inner], vec![]);
        s.b.scale(inner, cap)?
    } else {
        scores
    };
    stages.push(capped);
    let mut masked = capped;
    let mut hidden = None;
    if let Some(mask) = s.optional(3) {
        let mask = over_all_keys(s, mask, k)?;
        if s.b.dtype(mask)? == DataType::Bool {
            hidden = Some(s.b.op("Not", &[mask], vec![]));
        } else {
            masked = s.b.add(masked, mask);
        }
    }
    for condition in by_place(s, q, k)? {
        hidden = Some(match hidden {
            Some(hidden) => s.b.op("Or", &[hidden, condition], vec![]),
            None => condition,
        });
    }
    if let Some(hidden) = hidden {
        let least = s.b.scalar_like(q, HIDDEN)?;
        masked = s.b.op("Where", &[hidden, least, masked], vec![]);
    }
    stages.push(masked);
    let mut shares = s.b.op("Softmax", &[masked], vec![int("axis", -1)]);
    if let Some(hidden) = hidden {
        let zero = s.b.scalar_like(q, 0.0)?;
        shares = s.b.op("Where", &[hidden, zero, shares], vec![]);
    }
    stages.push(shares);
    let mut y = s.b.op("MatMul", &[shares, every_v], vec![]);
    if packed {
        y = joined(s, y);
    }
    let shown = usize::try_from(s.attributes().int_or("qk_matmul_output_mode", 0)).unwrap_or(0);
    let shown = stages.get(shown).copied().unwrap_or(scores);
    s.through(&[(0, y), (1, k), (2, v), (3, shown)])
}

/// The mask, which may tell of the first keys only: the others are hidden.
fn over_all_keys(s: &mut Scope<'_>, mask: Val, k: Val) -> Result<Val, AutodiffError> {
    // A mask without axes is the same for all keys.
    let Some(rank) = s.b.fact(mask).rank().filter(|&rank| rank > 0) else { return Ok(mask) };
    let last = |val: Val, axis: usize| s.b.fact(val).shape.as_ref().and_then(|dims| dims.get(axis).cloned());
    if last(mask, rank - 1).zip(last(k, 2)).is_some_and(|(told, keys)| same_dim(&told, &keys)) {
        return Ok(mask);
    }
    let (told, keys) = (s.b.extent_number(mask, -1), s.b.extent_number(k, 2));
    let missing = s.b.sub(keys, told);
    let missing = s.b.unsqueeze(missing, &[0]);
    let none = s.b.list(&vec![0; 2 * rank - 1]);
    let pads = s.b.op("Concat", &[none, missing], vec![int("axis", 0)]);
    let mut inputs = vec![mask, pads];
    if s.b.dtype(mask)? != DataType::Bool {
        inputs.push(s.b.scalar_like(mask, HIDDEN)?);
    }
    Ok(s.b.op("Pad", &inputs, vec![]))
}

/// `[batch, heads, rows, size]`, of `[batch, rows, heads · size]` too, the attribute `count` saying how many heads.
fn apart(s: &mut Scope<'_>, val: Val, count: &str) -> Result<Val, AutodiffError> {
    if s.b.rank(val)? == 4 {
        return Ok(val);
    }
    let heads = s.attributes().int(count).filter(|&count| count > 0);
    let heads = heads.ok_or_else(|| s.attributes().wrong(count, "is missing"))?;
    let shape = s.b.list(&[0, 0, heads, -1]);
    let split = s.b.reshape(val, shape);
    Ok(s.b.transpose(split, &[0, 2, 1, 3]))
}

/// `[batch, rows, heads · size]` of `[batch, heads, rows, size]`.
fn joined(s: &mut Scope<'_>, val: Val) -> Val {
    let turned = s.b.transpose(val, &[0, 2, 1, 3]);
    let shape = s.b.list(&[0, 0, -1]);
    s.b.reshape(turned, shape)
}

/// Keys or values for each head of the queries, of which several may share one.
fn for_each_head(s: &mut Scope<'_>, val: Val, q: Val) -> Result<Val, AutodiffError> {
    let heads = |val: Val| s.b.fact(val).shape.as_ref().and_then(|dims| dims.get(1).cloned());
    let (own, all) = match (heads(val), heads(q)) {
        (Some(Dim::Known(own)), Some(Dim::Known(all))) if own > 0 => (own, all),
        _ => return Err(s.b.undetermined(val, "number of heads")),
    };
    if own == all {
        return Ok(val);
    }
    let wide = s.b.unsqueeze(val, &[2]);
    let times = s.b.list(&[1, 1, (all / own) as i64, 1, 1]);
    let wide = s.b.op("Expand", &[wide, times], vec![]);
    let (rows, size) = (s.b.extent(val, 2), s.b.extent(val, 3));
    let front = s.b.list(&[0, all as i64]);
    let shape = s.b.op("Concat", &[front, rows, size], vec![int("axis", 0)]);
    let joined = s.b.reshape(wide, shape);
    if let Some(mut dims) = s.b.fact(val).shape.clone() {
        dims[1] = Dim::Known(all);
        s.b.refine(joined, &dims);
    }
    Ok(joined)
}

/// Which keys a query does not see because of where they stand, each to be broadcast to `[batch, heads, queries, keys]`.
fn by_place(s: &mut Scope<'_>, q: Val, k: Val) -> Result<Vec<Val>, AutodiffError> {
    let causal = s.attributes().flag("is_causal", false);
    // A larger one leaves out nothing.
    let window = |name: &str| s.attributes().int(name).filter(|size| (0..1 << 40).contains(size));
    let (left, right) = (window("left_window_size"), window("right_window_size"));
    let lengths = s.optional(6);
    if !causal && left.is_none() && right.is_none() && lengths.is_none() {
        return Ok(Vec::new());
    }
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let (rows, count) = (s.b.extent_number(q, 2), s.b.extent_number(k, 2));
    let keys = s.b.op("Range", &[zero, count, one], vec![]);
    let queries = s.b.op("Range", &[zero, rows, one], vec![]);
    let queries = s.b.unsqueeze(queries, &[1]);
    let lengths = match lengths {
        Some(lengths) => {
            let lengths = s.b.cast(lengths, DataType::I64);
            Some(s.b.unsqueeze(lengths, &[1, 2, 3]))
        }
        None => None,
    };
    // Keys that stand before the first query.
    let before = match (s.optional(4), lengths) {
        (Some(past), _) => Some(s.b.extent_number(past, 2)),
        (None, Some(lengths)) => Some(s.b.sub(lengths, rows)),
        (None, None) => None,
    };
    let places = match before {
        Some(before) => s.b.add(queries, before),
        None => queries,
    };
    let mut conditions = Vec::new();
    if causal {
        conditions.push(s.b.op("Greater", &[keys, places], vec![]));
    }
    if let Some(left) = left {
        let size = s.b.scalar(DataType::I64, left as f64);
        let first = s.b.sub(places, size);
        conditions.push(s.b.op("Less", &[keys, first], vec![]));
    }
    if let Some(right) = right {
        let size = s.b.scalar(DataType::I64, right as f64);
        let last = s.b.add(places, size);
        conditions.push(s.b.op("Greater", &[keys, last], vec![]));
    }
    if let Some(lengths) = lengths {
        conditions.push(s.b.op("GreaterOrEqual", &[keys, lengths], vec![]));
    }
    Ok(conditions)
}

/// Sines and cosines are tables, which are seldom trained.
fn rotary_flow(index: usize) -> Flow {
    match index {
        0 => Flow::Gradient,
        3 => Flow::Stop,
        _ => Flow::Asked,
    }
}

/// Pairs turned by an angle: turned back. (Su et al., "RoFormer", 2021.)
fn rotary(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.wants(1) || s.wants(2) {
        let made = rotated(s)?;
        return s.through(&[(0, made)]);
    }
    let (g, sines) = (s.upstream()?, s.input(2)?);
    let back = s.b.neg(sines);
    let inputs = [Some(g), s.optional(1), Some(back), s.optional(3)];
    let used = if inputs[3].is_some() { 4 } else { 3 };
    let gradient = s.b.emit("RotaryEmbedding", &inputs[..used], s.all_attributes(), 1)[0];
    s.give(0, gradient);
    Ok(())
}

/// The rotation, written out: of each pair `a, b` it makes `c·a - s·b, s·a + c·b`.
fn rotated(s: &mut Scope<'_>) -> Result<Val, AutodiffError> {
    let x = s.input(0)?;
    let packed = s.b.rank(x)? == 3;
    let heads = apart(s, x, "num_heads")?;
    let size = s.attributes().int_or("rotary_embedding_dim", 0);
    let turned = if size > 0 { s.b.slice(heads, 3, 0, size) } else { heads };
    let interleaved = s.attributes().flag("interleaved", false);
    let (axis, apart) = if interleaved { (4, [0, 0, 0, -1, 2]) } else { (3, [0, 0, 0, 2, -1]) };
    let shape = s.b.list(&apart);
    let pairs = s.b.reshape(turned, shape);
    let parts = s.b.split(pairs, axis, &[1, 1]);
    let (cosines, sines) = (table(s, 1, axis)?, table(s, 2, axis)?);
    let product = |s: &mut Scope<'_>, table: Val, part: usize| s.b.mul(table, parts[part]);
    let (first, second) = (product(s, cosines, 0), product(s, sines, 1));
    let (third, fourth) = (product(s, sines, 0), product(s, cosines, 1));
    let halves = [s.b.sub(first, second), s.b.add(third, fourth)];
    let pairs = s.b.op("Concat", &halves, vec![int("axis", axis)]);
    let mut y = s.b.reshape_like(pairs, turned);
    if size > 0 {
        let rest = s.b.slice(heads, 3, size, i64::MAX);
        y = s.b.op("Concat", &[y, rest], vec![int("axis", 3)]);
    }
    Ok(if packed { joined(s, y) } else { y })
}

/// A table for each row, broadcast along the heads and `axis`, along which pairs are.
fn table(s: &mut Scope<'_>, index: usize, axis: i64) -> Result<Val, AutodiffError> {
    let mut table = s.input(index)?;
    if let Some(places) = s.optional(3) {
        table = s.b.op("Gather", &[table, places], vec![int("axis", 0)]);
    }
    Ok(s.b.unsqueeze(table, &[1, axis]))
}
