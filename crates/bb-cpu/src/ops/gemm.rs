//! Matrix products.

use bb_runtime::{DataType, Shape, Tensor};
use ndarray::{ArrayView2, ArrayViewMut2, LinalgScalar, linalg::general_mat_mul};

use super::types::{Number, by_number};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::{Io, Workspace};
use crate::node::NodeDef;
use crate::pool::Pool;
use crate::product::{Added, Product, is_small};
use crate::shape::{self, Walk};
use crate::simd;
use crate::tiles::{self, Finish, Grid, Right, Tiles};

pub(super) const OPS: &[Entry] = &[op("Gemm", 1, gemm), op("MatMul", 1, |_| Ok(mat_mul()))];

/// Fewer rows than this are not worth a copy of the right factor.
const FEW_ROWS: usize = 4;

/// A matrix in a slice: rows, columns, and how far apart they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) elements: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) transposed: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix, or, `transposed`, its transpose; `rows` and `columns` are those of the result.
    pub(crate) fn new(elements: &'a [T], rows: usize, columns: usize, transposed: bool) -> Self {
        Self { elements, rows, columns, transposed }
    }

    fn view(&self) -> Outcome<ArrayView2<'a, T>> {
        let view = if self.transposed {
            ArrayView2::from_shape((self.columns, self.rows), self.elements).map(ArrayView2::reversed_axes)
        } else {
            ArrayView2::from_shape((self.rows, self.columns), self.elements)
        };
        view.map_err(|error| Fault::shape(error.to_string()))
    }
}

/// `to = alpha · a · b + beta · to`, all row-major; its multiplications are counted as work first.
pub(crate) fn product<T: Number + LinalgScalar>(
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    beta: T,
    to: &mut [T],
    (pool, workspace): (&mut Pool, &mut Workspace),
) -> Outcome {
    let (rows, columns) = (a.rows, b.columns);
    pool.charge(work_of(rows, a.columns, columns, T::DTYPE))?;
    if a.columns != b.rows {
        return Err(Fault::shape(format!("{} columns times {} rows", a.columns, b.rows)));
    }
    if small_product(alpha, &a, &b, beta, to, workspace) || large_product(alpha, &a, &b, beta, to, workspace)
    {
        return Ok(());
    }
    if const { !matches!(T::DTYPE, DataType::F32 | DataType::F64) } {
        wrapping_product(alpha, (&a.view()?, &b.view()?), beta, to);
        return Ok(());
    }
    let mut to =
        ArrayViewMut2::from_shape((rows, columns), to).map_err(|error| Fault::shape(error.to_string()))?;
    general_mat_mul(alpha, &a.view()?, &b.view()?, beta, &mut to);
    Ok(())
}

/// [`product`] of integers, which wrap.
fn wrapping_product<T: Number>(
    alpha: T,
    (a, b): (&ArrayView2<'_, T>, &ArrayView2<'_, T>),
    beta: T,
    to: &mut [T],
) {
    for (row, to) in a.rows().into_iter().zip(to.chunks_exact_mut(b.ncols().max(1))) {
        to.iter_mut().for_each(|to| *to = beta.mul(*to));
        for (&x, other) in row.iter().zip(b.rows()) {
            let x = alpha.mul(x);
            for (to, &y) in to.iter_mut().zip(other) {
                *to = to.add(x.mul(y));
            }
        }
    }
}

/// The work of a product: vectors take sixteen multiplications of `f32` in the time of one operation.
pub(crate) fn work_of(m: usize, k: usize, n: usize, dtype: DataType) -> u64 {
    let all = [k, n].into_iter().fold(m as u64, |all, extent| all.saturating_mul(extent as u64));
    (all / if dtype == DataType::F32 { 16 } else { 2 }).saturating_add(16)
}

/// Computes [`product`] without a copy of the factors, where that is faster; `false` where it is not.
fn small_product<T: Number>(
    alpha: T,
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    beta: T,
    to: &mut [T],
    workspace: &mut Workspace,
) -> bool {
    let is_turned_for_little = b.transposed && a.rows < 4;
    if T::DTYPE != DataType::F32 || !is_small(b.rows, b.columns) || is_turned_for_little {
        return false;
    }
    let (alpha, beta) = (alpha.to_f64() as f32, beta.to_f64() as f32);
    let (Ok(left), Ok(right), Ok(to)) = (
        bytemuck::try_cast_slice(a.elements),
        bytemuck::try_cast_slice(b.elements),
        bytemuck::try_cast_slice_mut(to),
    ) else {
        return false;
    };
    let added = if beta == 0.0 { Added::Nothing } else { Added::Held(beta) };
    let extents = (a.rows, a.columns, b.columns);
    let (a_by_columns, b_by_columns) = (a.transposed, b.transposed);
    let scratch = &mut workspace.panel;
    Product { alpha, a: left, a_by_columns, b: right, b_by_columns, extents, added, to, scratch }.compute()
}

/// Computes [`product`] tile by tile; `false` where elements are no `f32`.
fn large_product<T: Number>(
    alpha: T,
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    beta: T,
    to: &mut [T],
    workspace: &mut Workspace,
) -> bool {
    if T::DTYPE != DataType::F32 || a.elements.len() != a.rows * a.columns {
        return false;
    }
    let (alpha, held) = (alpha.to_f64() as f32, beta.to_f64() as f32);
    let (Ok(left), Ok(right), Ok(to)) = (
        bytemuck::try_cast_slice(a.elements),
        bytemuck::try_cast_slice(b.elements),
        bytemuck::try_cast_slice_mut(to),
    ) else {
        return false;
    };
    let (m, k, n) = (a.rows, a.columns, b.columns);
    if b.transposed && !a.transposed && m < FEW_ROWS {
        return dots(alpha, left, right, held, (m, k, n), to);
    }
    let Workspace { panel: scratch, left: packed, threads } = workspace;
    packed.elements.clear();
    packed.height = if m < FEW_ROWS { 1 } else { tiles::height() };
    packed.push(left, a.transposed, (m, k), |_| alpha);
    let right = if b.transposed { Right::Columns(right) } else { Right::Rows(right) };
    let grid = Grid { line: n.max(1), width: n.max(1), lines: &[Some(0)] };
    let finish = Finish { held, ..Finish::default() };
    let (height, threads, left) = (packed.height, *threads, &packed.elements);
    Tiles { left, height, right, extents: (m, k, n), grid, finish, to, threads, scratch }.compute()
}

/// A product of rows with columns that stand in memory one by one.
fn dots(
    alpha: f32,
    a: &[f32],
    b: &[f32],
    held: f32,
    (m, k, n): (usize, usize, usize),
    to: &mut [f32],
) -> bool {
    if k == 0 || n == 0 || b.len() != k * n || to.len() != m * n {
        return false;
    }
    for (a, to) in a.chunks_exact(k).zip(to.chunks_exact_mut(n)) {
        for (b, to) in b.chunks_exact(k).zip(to) {
            let sum = alpha * simd::dot(a, b);
            *to = if held == 0.0 { sum } else { sum + held * *to };
        }
    }
    true
}

fn gemm(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (alpha, beta) = (node.float_or("alpha", 1.0), node.float_or("beta", 1.0));
    let (trans_a, trans_b) = (node.flag("transA"), node.flag("transB"));
    Ok(Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        let (&[a0, a1], &[b0, b1]) = (&**a.shape(), &**b.shape()) else {
            return Err(Fault::shape("both factors must be matrices"));
        };
        let (m, k) = if trans_a { (a1, a0) } else { (a0, a1) };
        let (k2, n) = if trans_b { (b1, b0) } else { (b0, b1) };
        if k != k2 || a.dtype() != b.dtype() {
            return Err(Fault::shape(format!("a has {k} columns, b {k2} rows")));
        }
        let shape = Shape::from([m, n]);
        let mut result = io.alloc(a.dtype(), &shape)?;
        let bias = io.optional(2);
        let added = match bias {
            Some(bias) if beta != 0.0 => added(bias, beta, m, n),
            _ => Some(Added::Nothing),
        };
        if let Some(added) = added
            && a.dtype() == DataType::F32
            && is_small(k, n)
        {
            io.pool.charge(work_of(m, k, n, DataType::F32))?;
            let product = Product {
                alpha,
                a: a.as_slice()?,
                a_by_columns: trans_a,
                b: b.as_slice()?,
                b_by_columns: trans_b,
                extents: (m, k, n),
                added,
                to: result.make_mut()?,
                scratch: &mut io.hands.workspace.panel,
            };
            if product.compute() {
                io.emit(0, result);
                return Ok(());
            }
        }
        by_number!(a.dtype(), T => {
            let to = result.make_mut::<T>()?;
            let beta = match bias {
                Some(bias) if beta != 0.0 => {
                    spread::<T>(bias, &shape, to)?;
                    if alpha.fract() == 0.0 && beta.fract() == 0.0 || is_float::<T>() {
                        T::from_f64(f64::from(beta))
                    } else {
                        return Err(Fault::attribute("beta", "is not an integer, the elements are"));
                    }
                }
                _ => {
                    if k == 0 { to.fill(T::ZERO); }
                    T::ZERO
                }
            };
            let (a, b) = (Matrix::new(a.as_slice::<T>()?, m, k, trans_a), Matrix::new(b.as_slice::<T>()?, k, n, trans_b));
            product(T::from_f64(f64::from(alpha)), a, b, beta, to, (&mut *io.pool, &mut io.hands.workspace))
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// A bias that is one row for all rows of a result of `n` columns, or a matrix of its extents.
fn added(bias: &Tensor, beta: f32, m: usize, n: usize) -> Option<Added<'_>> {
    match &**bias.shape() {
        [extent] | [1, extent] if *extent == n => Some(Added::Row(beta, bias.as_slice().ok()?)),
        [rows, columns] if (*rows, *columns) == (m, n) => Some(Added::Matrix(beta, bias.as_slice().ok()?)),
        _ => None,
    }
}

fn is_float<T: Number>() -> bool {
    T::from_f64(0.5) != T::ZERO
}

/// Fills `to`, of shape `shape`, with `from`, broadcast.
fn spread<T: Number>(from: &Tensor, shape: &Shape, to: &mut [T]) -> Outcome {
    let own = from.shape();
    let from = from.as_slice::<T>()?;
    if own == shape {
        to.copy_from_slice(from);
        return Ok(());
    }
    let &[_, columns] = &**shape else { return Err(Fault::shape("a matrix is expected")) };
    if let (&[extent], true) | (&[1, extent], true) = (&**own, columns > 0)
        && extent == columns
    {
        for row in to.chunks_exact_mut(columns) {
            row.copy_from_slice(from);
        }
        return Ok(());
    }
    let walk = Walk::new(shape, [&shape::strides(shape), &shape::broadcast_strides(own, shape)?]);
    walk.each(|[o, i]| to[o] = from[i]);
    Ok(())
}

fn mat_mul() -> Kernel {
    Kernel::new(|io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        let result = multiply(io, a, b)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

/// The matrix product as NumPy's `matmul` defines it: the last two axes, the others broadcast.
pub(crate) fn multiply(io: &mut Io<'_, '_>, a: &Tensor, b: &Tensor) -> Outcome<Tensor> {
    if a.dtype() != b.dtype() {
        return Err(Fault::Type(b.dtype()));
    }
    let (a_shape, b_shape) = (a.shape(), b.shape());
    if a_shape.rank() == 0 || b_shape.rank() == 0 {
        return Err(Fault::shape("a scalar has no matrix product"));
    }
    let (a_batch, m, k) = match a_shape.split_last_chunk::<2>() {
        Some((batch, &[m, k])) => (batch, m, k),
        None => (&[][..], 1, a_shape[0]),
    };
    let (b_batch, k2, n) = match b_shape.split_last_chunk::<2>() {
        Some((batch, &[k, n])) => (batch, k, n),
        None => (&[][..], b_shape[0], 1),
    };
    if k != k2 {
        return Err(Fault::shape(format!("{k} columns times {k2} rows")));
    }
    let batch = shape::broadcast(a_batch, b_batch)?;
    let mut extents = batch.to_vec();
    if a_shape.rank() > 1 {
        extents.push(m);
    }
    if b_shape.rank() > 1 {
        extents.push(n);
    }
    let mut result = io.alloc(a.dtype(), &Shape::from(extents))?;
    by_number!(a.dtype(), T => {
        let (a, b, to) = (a.as_slice::<T>()?, b.as_slice::<T>()?, result.make_mut::<T>()?);
        if k == 0 {
            to.fill(T::ZERO);
            Ok(())
        } else if b_batch.iter().all(|&extent| extent == 1) && a_batch == &*batch {
            // One right factor for all: the batch is more rows.
            let rows = shape::count(a_batch)? * m;
            let (a, b) = (Matrix::new(a, rows, k, false), Matrix::new(b, k, n, false));
            product(T::ONE, a, b, T::ZERO, to, (&mut *io.pool, &mut io.hands.workspace))
        } else {
            let walk = Walk::new(
                &batch,
                [
                    &shape::strides(&batch),
                    &shape::broadcast_strides(a_batch, &batch)?,
                    &shape::broadcast_strides(b_batch, &batch)?,
                ],
            );
            // The products count themselves, their number counts here.
            io.charge([shape::count(&batch)?, 4])?;
            let mut done = Ok(());
            walk.each(|[o, i, j]| {
                if done.is_ok() {
                    let a = Matrix::new(&a[i * m * k..(i + 1) * m * k], m, k, false);
                    let b = Matrix::new(&b[j * k * n..(j + 1) * k * n], k, n, false);
                    let to = &mut to[o * m * n..(o + 1) * m * n];
                    done = product(T::ONE, a, b, T::ZERO, to, (&mut *io.pool, &mut io.hands.workspace));
                }
            });
            done
        }
    })?;
    Ok(result)
}
