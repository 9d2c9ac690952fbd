//! Element types and shapes of ONNX ops; what is not known stays open.

use bb_ir::program::{Attribute, Node};
use bb_ir::{DataType, Dim, Tensor};

use super::merge_dim;

/// What is known of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Known {
    /// Its element type.
    pub(in super::super) dtype: Option<DataType>,
    /// Its extents.
    pub(in super::super) shape: Option<Vec<Dim>>,
    /// Itself, if it is constant.
    pub(in super::super) constant: Option<Tensor>,
}

type Shape = Option<Vec<Dim>>;

impl Known {
    fn new(dtype: Option<DataType>, shape: Shape) -> Self {
        Self { dtype, shape, constant: None }
    }

    fn integers(&self) -> Option<&[i64]> {
        self.constant.as_ref()?.as_slice::<i64>().ok()
    }
}

/// What is known of the outputs of an ONNX op, given what is known of its inputs.
///
/// # Errors
/// Inputs that do not go together, in words.
pub(in super::super) fn outputs(node: &Node, inputs: &[Option<Known>]) -> Result<Vec<Known>, String> {
    let none = Known::default();
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref).unwrap_or(&none);
    let (a, b) = (input(0), input(1));
    let known = match node.op.name() {
        "Abs" | "Ceil" | "Clip" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu" | "HardSigmoid" | "HardSwish"
        | "Identity" | "LeakyRelu" | "Log" | "LogSoftmax" | "Mish" | "Neg" | "Reciprocal" | "Relu"
        | "Round" | "Selu" | "Sigmoid" | "Sign" | "Softmax" | "Softplus" | "Softsign" | "Sqrt" | "Tanh" => {
            Known::new(a.dtype, a.shape.clone())
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" => Known::new(same_dtype(inputs)?, broadcast(a, b)?),
        "Pow" | "PRelu" => Known::new(a.dtype, broadcast(a, b)?),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            same_dtype(inputs)?;
            Known::new(Some(DataType::Bool), broadcast(a, b)?)
        }
        "And" | "Or" | "Xor" => Known::new(Some(DataType::Bool), broadcast(a, b)?),
        "Not" => Known::new(Some(DataType::Bool), a.shape.clone()),
        "MatMul" => Known::new(same_dtype(inputs)?, matmul(a, b)?),
        "Gemm" => Known::new(same_dtype(inputs)?, gemm(node, inputs)?),
        "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" => {
            Known::new(a.dtype, reduce(node, a, inputs.get(1))?)
        }
        "ArgMax" | "ArgMin" => {
            let axis = int(node, "axis").unwrap_or(0);
            let keep = int(node, "keepdims").unwrap_or(1) != 0;
            let shape = a.shape.as_deref().map(|dims| without(dims, &[axis], keep)).transpose()?;
            Known::new(Some(DataType::I64), shape)
        }
        "Reshape" => Known::new(a.dtype, reshape(a, b)?),
        "Transpose" => Known::new(a.dtype, transpose(node, a)?),
        "Cast" => {
            let to = int(node, "to").and_then(|to| i32::try_from(to).ok()).and_then(DataType::from_onnx);
            Known::new(to, a.shape.clone())
        }
        "Constant" => match node.attributes.get("value") {
            Some(Attribute::Tensor(tensor)) => Known {
                dtype: Some(tensor.dtype()),
                shape: Some(tensor.shape().iter().map(|extent| Dim::Known(*extent)).collect()),
                constant: Some(tensor.clone()),
            },
            _ => Known::default(),
        },
        "Shape" => {
            let rank = a.shape.as_ref().map_or(Dim::Any, |dims| Dim::Known(dims.len()));
            Known::new(Some(DataType::I64), Some(vec![rank]))
        }
        "Concat" => Known::new(same_dtype(inputs)?, concat(node, inputs)?),
        "SoftmaxCrossEntropyLoss" => return loss(node, a, b),
        "Gradient" => {
            return Ok(inputs.iter().flatten().map(|x| Known::new(x.dtype, x.shape.clone())).collect());
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![known])
}

fn int(node: &Node, name: &str) -> Option<i64> {
    node.attributes.get(name).and_then(Attribute::as_int)
}

fn same_dtype(inputs: &[Option<Known>]) -> Result<Option<DataType>, String> {
    let mut found = None;
    for dtype in inputs.iter().flatten().filter_map(|known| known.dtype) {
        match found {
            Some(first) if first != dtype => {
                return Err(format!("its inputs are {first} and {dtype}; they must be of one type"));
            }
            _ => found = Some(dtype),
        }
    }
    Ok(found)
}

/// The shape of an element-wise op of two tensors.
fn broadcast(a: &Known, b: &Known) -> Result<Shape, String> {
    let (Some(a), Some(b)) = (&a.shape, &b.shape) else { return Ok(None) };
    broadcast_dims(a, b).map(Some)
}

fn broadcast_dims(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, String> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |own| dims[own].clone())
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (Dim::Known(x), Dim::Known(y)) if x != y => {
                Err(format!("{} and {} do not broadcast: axis {axis} is {x} and {y}", show(a), show(b)))
            }
            (known @ Dim::Known(_), _) | (_, known @ Dim::Known(_)) => Ok(known),
            (a, b) if a == b => Ok(a),
            _ => Ok(Dim::Any),
        })
        .collect()
}

fn matmul(a: &Known, b: &Known) -> Result<Shape, String> {
    let (Some(a), Some(b)) = (&a.shape, &b.shape) else { return Ok(None) };
    let (Some(columns), false) = (a.last(), b.is_empty()) else {
        return Err(format!("{} times {}: neither may be a scalar", show(a), show(b)));
    };
    let rows = &b[b.len().saturating_sub(2)];
    if merge_dim(columns, rows).is_none() {
        return Err(format!(
            "{} times {}: {} columns meet {} rows",
            show(a),
            show(b),
            dim(columns),
            dim(rows)
        ));
    }
    let batch = |dims: &[Dim]| dims[..dims.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast_dims(&batch(a), &batch(b))?;
    if a.len() > 1 {
        shape.push(a[a.len() - 2].clone());
    }
    if b.len() > 1 {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(Some(shape))
}

fn gemm(node: &Node, inputs: &[Option<Known>]) -> Result<Shape, String> {
    let side = |index: usize, flag: &str| {
        let Some(Some(Known { shape: Some(shape), .. })) = inputs.get(index) else { return Ok(None) };
        let [rows, columns] = shape.as_slice() else { return Err(format!("{} is no matrix", show(shape))) };
        let turned = int(node, flag).unwrap_or(0) != 0;
        Ok(Some(if turned { (columns.clone(), rows.clone()) } else { (rows.clone(), columns.clone()) }))
    };
    let (Some(a), Some(b)) = (side(0, "transA")?, side(1, "transB")?) else { return Ok(None) };
    if merge_dim(&a.1, &b.0).is_none() {
        return Err(format!("{} columns meet {} rows", dim(&a.1), dim(&b.0)));
    }
    let shape = vec![a.0, b.1];
    if let Some(Some(Known { shape: Some(c), .. })) = inputs.get(2) {
        broadcast_dims(&shape, c)?;
    }
    Ok(Some(shape))
}

fn reduce(node: &Node, data: &Known, axes: Option<&Option<Known>>) -> Result<Shape, String> {
    let Some(dims) = &data.shape else { return Ok(None) };
    let keep = int(node, "keepdims").unwrap_or(1) != 0;
    let axes: Vec<i64> = match (axes, node.attributes.get("axes").and_then(Attribute::as_ints)) {
        (Some(Some(axes)), _) => match axes.integers() {
            Some(axes) => axes.to_vec(),
            None => return Ok(None),
        },
        (_, Some(axes)) => axes.to_vec(),
        _ if int(node, "noop_with_empty_axes") == Some(1) => return Ok(Some(dims.clone())),
        _ => (0..dims.len() as i64).collect(),
    };
    without(dims, &axes, keep).map(Some)
}

/// The shape without these axes, or with 1 in their place.
fn without(dims: &[Dim], axes: &[i64], keep: bool) -> Result<Vec<Dim>, String> {
    let mut gone = vec![false; dims.len()];
    for axis in axes {
        gone[axis_of(*axis, dims.len())?] = true;
    }
    let shape = dims.iter().zip(gone).filter_map(|(dim, gone)| match (gone, keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    });
    Ok(shape.collect())
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor with {rank} axes"))
}

fn reshape(data: &Known, shape: &Known) -> Result<Shape, String> {
    let Some(asked) = shape.integers() else { return Ok(None) };
    let mut dims = Vec::with_capacity(asked.len());
    for (axis, extent) in asked.iter().enumerate() {
        dims.push(match extent {
            0 => data.shape.as_ref().and_then(|dims| dims.get(axis)).cloned().unwrap_or(Dim::Any),
            -1 => Dim::Any,
            extent => Dim::Known(usize::try_from(*extent).map_err(|_| format!("an extent of {extent}"))?),
        });
    }
    let Some(total) = data.shape.as_deref().and_then(count) else { return Ok(Some(dims)) };
    let free: Vec<usize> = (0..asked.len()).filter(|axis| asked[*axis] == -1).collect();
    let fixed: Vec<Dim> =
        (0..asked.len()).filter(|axis| asked[*axis] != -1).map(|axis| dims[axis].clone()).collect();
    let Some(held) = count(&fixed) else { return Ok(Some(dims)) };
    let misfit = format!("{total} elements do not make {}", show(&dims));
    match free[..] {
        [] if held != total => Err(misfit),
        [axis] if held > 0 && total % held == 0 => {
            dims[axis] = Dim::Known(total / held);
            Ok(Some(dims))
        }
        [_] if held > 0 => Err(misfit),
        _ => Ok(Some(dims)),
    }
}

/// How many elements, if every extent is known.
fn count(dims: &[Dim]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |count, dim| match dim {
        Dim::Known(extent) => count.checked_mul(*extent),
        _ => None,
    })
}

fn transpose(node: &Node, data: &Known) -> Result<Shape, String> {
    let Some(dims) = &data.shape else { return Ok(None) };
    let order = match node.attributes.get("perm").and_then(Attribute::as_ints) {
        Some(order) => order.to_vec(),
        None => (0..dims.len() as i64).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..dims.len() as i64).collect::<Vec<_>>() {
        return Err(format!("{order:?} is no order of the {} axes of {}", dims.len(), show(dims)));
    }
    Ok(Some(order.iter().map(|axis| dims[*axis as usize].clone()).collect()))
}

fn loss(node: &Node, logits: &Known, labels: &Known) -> Result<Vec<Known>, String> {
    if let Some(dtype) = labels.dtype.filter(|dtype| !matches!(dtype, DataType::I32 | DataType::I64)) {
        return Err(format!("labels are i32 or i64, not {dtype}"));
    }
    if let (Some([rows, ..]), Some([labelled, ..])) = (logits.shape.as_deref(), labels.shape.as_deref())
        && merge_dim(rows, labelled).is_none()
    {
        return Err(format!("{} rows have {} labels", dim(rows), dim(labelled)));
    }
    let reduction = node.attributes.get("reduction").and_then(Attribute::as_str);
    let shape = if reduction == Some("none") { labels.shape.clone() } else { Some(Vec::new()) };
    Ok(vec![Known::new(logits.dtype, shape), Known::new(logits.dtype, logits.shape.clone())])
}

fn concat(node: &Node, inputs: &[Option<Known>]) -> Result<Shape, String> {
    let shapes: Option<Vec<&[Dim]>> = inputs.iter().flatten().map(|known| known.shape.as_deref()).collect();
    let Some(shapes) = shapes else { return Ok(None) };
    let Some((first, more)) = shapes.split_first() else { return Ok(None) };
    let axis = axis_of(int(node, "axis").unwrap_or(0), first.len())?;
    let mut joined = first.to_vec();
    for shape in more {
        if shape.len() != joined.len() {
            return Err(format!("{} and {} have different numbers of axes", show(first), show(shape)));
        }
        for (index, (held, other)) in joined.iter_mut().zip(*shape).enumerate() {
            *held = match (&*held, other) {
                (Dim::Known(a), Dim::Known(b)) if index == axis => Dim::Known(a + b),
                _ if index == axis => Dim::Any,
                (a, b) => merge_dim(a, b).ok_or_else(|| {
                    format!("{} and {} differ outside of axis {axis}", show(first), show(shape))
                })?,
            };
        }
    }
    Ok(Some(joined))
}

fn dim(dim: &Dim) -> String {
    match dim {
        Dim::Known(extent) => extent.to_string(),
        Dim::Named(name) => name.clone(),
        Dim::Any => "?".to_owned(),
    }
}

fn show(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(","))
}
