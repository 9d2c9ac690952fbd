//! Attention whose scores and probabilities a graph inside of the node may change.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::control::{Given, Nested};
use super::gemm::{Matrix, product};
use super::softmax::row;
use super::types::{Float, by_float};
use super::{Entry, Kernel};
use crate::compound::Kind;
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;

/// The domain of this op.
pub(crate) const DOMAIN: &str = "ai.onnx.preview";

pub(super) const OPS: &[Entry] =
    &[Entry { domain: DOMAIN, name: "FlexAttention", since: 1, build: flex_attention }];

/// Extents of queries, keys and values.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    /// Heads of queries that share one of keys and values.
    share: usize,
    rows: usize,
    columns: usize,
    size: usize,
    value_size: usize,
}

impl Sizes {
    fn of(q: &Tensor, k: &Tensor, v: &Tensor) -> Outcome<Self> {
        let (
            &[batch, heads, rows, size],
            &[k_batch, k_heads, columns, k_size],
            &[v_batch, v_heads, v_columns, value_size],
        ) = (&**q.shape(), &**k.shape(), &**v.shape())
        else {
            return Err(Fault::shape("queries, keys and values of rank 4 are expected"));
        };
        let fits = (batch, size) == (k_batch, k_size)
            && (batch, k_heads, columns) == (v_batch, v_heads, v_columns)
            && heads.checked_rem(k_heads) == Some(0);
        if !fits {
            return Err(Fault::shape("queries, keys and values do not agree in batch, heads or sizes"));
        }
        Ok(Self { batch, heads, share: heads / k_heads, rows, columns, size, value_size })
    }

    fn scores(&self) -> Shape {
        Shape::from([self.batch, self.heads, self.rows, self.columns])
    }

    fn result(&self) -> Shape {
        Shape::from([self.batch, self.heads, self.rows, self.value_size])
    }
}

fn flex_attention(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect_tensors(0)?;
    let graph = |name| match node.has(name) {
        false => Ok(None),
        true => {
            let graph = Nested::new(node, name, &[])?;
            graph.gives_tensors(0)?;
            Ok::<_, Fault>(Some(graph))
        }
    };
    let (mut on_scores, mut on_weights) = (graph("score_mod")?, graph("prob_mod")?);
    let scale = node.float("scale").map(f64::from);
    let precision = node.dtype("softmax_precision")?;
    if let Some(other) = precision.filter(|dtype| !matches!(dtype, DataType::F32 | DataType::F64)) {
        return Err(Fault::Unsupported(format!("softmax_precision={other}")));
    }
    Ok(Kernel::new(move |io| {
        let (q, k, v) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let (sizes, dtype) = (Sizes::of(q, k, v)?, q.dtype());
        if let Some(other) = [k.dtype(), v.dtype()].into_iter().find(|other| *other != dtype) {
            return Err(Fault::Type(other));
        }
        let precision = match (precision, dtype) {
            (Some(precision), _) => precision,
            (None, DataType::F64) => DataType::F64,
            (None, DataType::F32 | DataType::F16 | DataType::Bf16) => DataType::F32,
            (None, other) => return Err(Fault::Type(other)),
        };
        let scale = scale.unwrap_or_else(|| 1.0 / (sizes.size as f64).sqrt());
        let (q, k) = (convert(io.pool, q, precision)?, convert(io.pool, k, precision)?);
        let v = convert(io.pool, v, precision)?;
        let scores = by_float!(precision, T => scores::<T>(io, sizes, T::of(scale), &q, &k))?;
        let scores = changed(io, &mut on_scores, scores)?;
        let mut weights = io.alloc(precision, scores.shape())?;
        io.charge([scores.element_count(), 8])?;
        by_float!(precision, T => {
            let (from, to) = (scores.as_slice::<T>()?, weights.make_mut::<T>()?);
            let columns = sizes.columns.max(1);
            from.chunks_exact(columns).zip(to.chunks_exact_mut(columns)).for_each(|(from, to)| row(from, to, false));
            Ok(())
        })?;
        let weights = changed(io, &mut on_weights, weights)?;
        let wide = by_float!(precision, T => weighted::<T>(io, sizes, &weights, &v))?;
        let result = convert(io.pool, &wide, dtype)?;
        for done in [q, k, v, scores, weights, wide] {
            io.pool.put(done);
        }
        io.emit(0, result);
        Ok(())
    })
    .gives([Kind::Tensor]))
}

/// What a graph makes of a tensor; it must keep its shape and type.
fn changed(io: &mut Io<'_, '_>, graph: &mut Option<Nested>, tensor: Tensor) -> Outcome<Tensor> {
    let Some(graph) = graph else { return Ok(tensor) };
    let (dtype, shape) = (tensor.dtype(), tensor.shape().clone());
    let (outputs, _) = graph.run(io, Given { tensors: vec![tensor], compounds: Vec::new() })?;
    match outputs.into_iter().next() {
        Some(made) if made.dtype() == dtype && *made.shape() == shape => Ok(made),
        _ => Err(Fault::shape("a graph that changes scores must keep their shape and type")),
    }
}

/// The scaled products of queries and keys.
fn scores<T: Float + ndarray::LinalgScalar>(
    io: &mut Io<'_, '_>,
    sizes: Sizes,
    scale: T,
    q: &Tensor,
    k: &Tensor,
) -> Outcome<Tensor> {
    let Sizes { batch, heads, share, rows, columns, size, .. } = sizes;
    let mut result = io.alloc(T::DTYPE, &sizes.scores())?;
    let (q, k, to) = (q.as_slice::<T>()?, k.as_slice::<T>()?, result.make_mut::<T>()?);
    io.charge([batch, heads, 16])?;
    for head in 0..batch * heads {
        let q = Matrix::new(&q[head * rows * size..][..rows * size], rows, size, false);
        let k = Matrix::new(&k[head / share * columns * size..][..columns * size], size, columns, true);
        let to = &mut to[head * rows * columns..][..rows * columns];
        product(scale, q, k, T::ZERO, to, (&mut *io.pool, &mut io.hands.workspace))?;
    }
    Ok(result)
}

/// The sums of values by these weights.
fn weighted<T: Float + ndarray::LinalgScalar>(
    io: &mut Io<'_, '_>,
    sizes: Sizes,
    weights: &Tensor,
    v: &Tensor,
) -> Outcome<Tensor> {
    let Sizes { batch, heads, share, rows, columns, value_size, .. } = sizes;
    let mut result = io.alloc(T::DTYPE, &sizes.result())?;
    let (weights, v, to) = (weights.as_slice::<T>()?, v.as_slice::<T>()?, result.make_mut::<T>()?);
    io.charge([batch, heads, 16])?;
    for head in 0..batch * heads {
        let weights = Matrix::new(&weights[head * rows * columns..][..rows * columns], rows, columns, false);
        let v = Matrix::new(
            &v[head / share * columns * value_size..][..columns * value_size],
            columns,
            value_size,
            false,
        );
        let to = &mut to[head * rows * value_size..][..rows * value_size];
        product(T::ONE, weights, v, T::ZERO, to, (&mut *io.pool, &mut io.hands.workspace))?;
    }
    Ok(result)
}
