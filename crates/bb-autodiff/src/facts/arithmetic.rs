//! Ops that compute: element-wise ones, reductions, products, losses.

use bb_ir::{DataType, Dim};

use super::{Fact, Question, Symbol, axis_within, same_dim};

pub(super) fn infer(q: &Question<'_>) -> Option<Vec<Fact>> {
    let first = || Fact::new(q.dtype(0), q.shape(0).map(<[Dim]>::to_vec));
    let facts = match q.op {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "Ceil"
        | "Celu"
        | "Clip"
        | "Cos"
        | "Cosh"
        | "CumProd"
        | "CumSum"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Hardmax"
        | "InstanceNormalization"
        | "LRN"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Neg"
        | "Not"
        | "PRelu"
        | "Reciprocal"
        | "Relu"
        | "ReverseSequence"
        | "RotaryEmbedding"
        | "Round"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "ThresholdedRelu"
        | "Trilu"
        | "ScatterElements"
        | "ScatterND"
        | "Scatter"
        | "RMSNormalization"
        | "GroupNormalization" => vec![first()],
        "Dropout" => vec![first(), Fact::new(Some(DataType::Bool), first().shape)],
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" => {
            vec![Fact { contents: computed(q), ..broadcast(q, q.dtype(0)) }]
        }
        "Equal" => vec![Fact { uniform: equal(q), ..broadcast(q, Some(DataType::Bool)) }],
        "And" | "Or" | "Xor" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            vec![broadcast(q, Some(DataType::Bool))]
        }
        "IsNaN" | "IsInf" => vec![Fact::new(Some(DataType::Bool), first().shape)],
        "Max" | "Min" | "Sum" | "Mean" => vec![broadcast(q, q.dtype(0))],
        "Where" => vec![broadcast(q, q.dtype(1).or(q.dtype(2)))],
        "BatchNormalization" => {
            let mut facts = vec![first()];
            for index in [3, 4] {
                facts.push(Fact::new(q.dtype(index), q.shape(index).map(<[Dim]>::to_vec)));
            }
            facts
        }
        "LayerNormalization" => {
            let moments = q.shape(0).and_then(|dims| {
                let axis = axis_within(q.attributes().int_or("axis", -1), dims.len())?;
                Some([&dims[..axis], &vec![Dim::Known(1); dims.len() - axis]].concat())
            });
            let moments = Fact::new(q.dtype(0), moments);
            vec![first(), moments.clone(), moments]
        }
        "MatMul" => vec![Fact::new(q.dtype(0), matmul(q))],
        "Gemm" => vec![Fact::new(q.dtype(0), gemm(q))],
        "SoftmaxCrossEntropyLoss" => vec![Fact::new(q.dtype(0), loss(q)), first()],
        "NegativeLogLikelihoodLoss" => vec![Fact::new(q.dtype(0), loss(q))],
        "ArgMax" | "ArgMin" => {
            let axis = q.attributes().int_or("axis", 0);
            let keep = q.attributes().flag("keepdims", true);
            vec![Fact::new(Some(DataType::I64), q.shape(0).and_then(|dims| reduced(dims, &[axis], keep)))]
        }
        op if op.starts_with("Reduce") => vec![Fact::new(q.dtype(0), reduction(q))],
        _ => return None,
    };
    Some(facts)
}

/// The extents of all inputs broadcast together.
fn broadcast(q: &Question<'_>, dtype: Option<DataType>) -> Fact {
    let shapes: Option<Vec<&[Dim]>> = (0..q.inputs.len()).map(|index| q.shape(index)).collect();
    Fact::new(dtype, shapes.map(|shapes| shapes.iter().fold(Vec::new(), |a, b| broadcast_dims(&a, b))))
}

/// Whether all integers are the same as those that they are compared with (1), or none is (0).
fn equal(q: &Question<'_>) -> Option<f64> {
    let (a, b) = (q.input(0)?.integers()?, q.input(1)?.integers()?);
    let count = a.len().max(b.len());
    if a.is_empty() || b.is_empty() || [a.len(), b.len()].iter().any(|&length| length != 1 && length != count)
    {
        return None;
    }
    let mut same = a.iter().cycle().zip(b.iter().cycle()).take(count).map(|(a, b)| a == b);
    let first = same.next()?;
    same.all(|other| other == first).then_some(if first { 1.0 } else { 0.0 })
}

/// What arithmetic on extents gives.
fn computed(q: &Question<'_>) -> Option<Vec<Symbol>> {
    let (a, b) = (q.input(0)?, q.input(1)?);
    if (a.dtype, b.dtype) != (Some(DataType::I64), Some(DataType::I64)) {
        return None;
    }
    let (a, b) = (a.integers()?, b.integers()?);
    let count = if a.len() == 1 { b.len() } else { a.len() };
    if b.len() != 1 && b.len() != count {
        return None;
    }
    let compute = |(&a, &b): (&i64, &i64)| match q.op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        _ => None,
    };
    let pairs = a.iter().cycle().zip(b.iter().cycle()).take(count);
    pairs.map(|pair| compute(pair).map(Symbol::Known)).collect()
}

/// Two shapes broadcast together, as NumPy does.
pub(crate) fn broadcast_dims(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |own| dims[own].clone())
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => other,
            (Dim::Known(extent), _) | (_, Dim::Known(extent)) => Dim::Known(extent),
            (a, b) if same_dim(&a, &b) => a,
            _ => Dim::Any,
        })
        .collect()
}

fn matmul(q: &Question<'_>) -> Option<Vec<Dim>> {
    let (a, b) = (q.shape(0)?, q.shape(1)?);
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let stack = |dims: &[Dim]| dims[..dims.len().saturating_sub(2)].to_vec();
    let mut dims = broadcast_dims(&stack(a), &stack(b));
    if a.len() > 1 {
        dims.push(a[a.len() - 2].clone());
    }
    if b.len() > 1 {
        dims.push(b[b.len() - 1].clone());
    }
    Some(dims)
}

fn gemm(q: &Question<'_>) -> Option<Vec<Dim>> {
    let (a, b) = (q.shape(0)?, q.shape(1)?);
    let row = usize::from(q.attributes().flag("transA", false));
    let column = usize::from(!q.attributes().flag("transB", false));
    Some(vec![a.get(row)?.clone(), b.get(column)?.clone()])
}

fn loss(q: &Question<'_>) -> Option<Vec<Dim>> {
    if q.attributes().text("reduction").unwrap_or("mean") == "none" {
        q.shape(1).map(<[Dim]>::to_vec)
    } else {
        Some(Vec::new())
    }
}

fn reduction(q: &Question<'_>) -> Option<Vec<Dim>> {
    let dims = q.shape(0)?;
    let keep = q.attributes().flag("keepdims", true);
    let given = q.attributes().has("axes") || q.input(1).is_some();
    let axes = if given { q.list("axes", 1)? } else { Vec::new() };
    if axes.is_empty() {
        if q.attributes().flag("noop_with_empty_axes", false) {
            return Some(dims.to_vec());
        }
        return Some(if keep { vec![Dim::Known(1); dims.len()] } else { Vec::new() });
    }
    reduced(dims, &axes, keep)
}

/// `dims` with `axes` gone, or of extent 1.
fn reduced(dims: &[Dim], axes: &[i64], keep: bool) -> Option<Vec<Dim>> {
    let axes: Option<Vec<usize>> = axes.iter().map(|&axis| axis_within(axis, dims.len())).collect();
    let axes = axes?;
    let mut left = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        if !axes.contains(&axis) {
            left.push(dim.clone());
        } else if keep {
            left.push(Dim::Known(1));
        }
    }
    Some(left)
}
