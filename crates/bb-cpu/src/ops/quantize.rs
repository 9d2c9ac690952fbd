//! Numbers as small integers with a scale and a zero point, and products of them.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::conv::conv;
use super::elementwise::scalar;
use super::legacy::run_on;
use super::types::{Float, Number, by_float};
use super::wide::{numbers, of_numbers};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape::{self, Walk};

pub(super) const OPS: &[Entry] = &[
    op("ConvInteger", 10, conv_integer),
    op("DequantizeLinear", 10, dequantize),
    op("DynamicQuantizeLinear", 11, |_| Ok(dynamic_quantize())),
    op("MatMulInteger", 10, |_| Ok(mat_mul_integer())),
    op("QLinearConv", 10, quantized_conv),
    op("QLinearMatMul", 10, |_| Ok(quantized_mat_mul())),
    op("QuantizeLinear", 10, quantize),
];

/// The element types that numbers are quantized to.
fn range(dtype: DataType) -> Outcome<(f64, f64)> {
    match dtype {
        DataType::I8 => Ok((-128.0, 127.0)),
        DataType::U8 => Ok((0.0, 255.0)),
        DataType::I16 => Ok((-32768.0, 32767.0)),
        DataType::U16 => Ok((0.0, 65535.0)),
        DataType::I32 => Ok((f64::from(i32::MIN), f64::from(i32::MAX))),
        other => Err(Fault::Type(other)),
    }
}

/// Along which axis scales differ, and how many elements share one.
#[derive(Clone, Copy, Debug)]
struct Spread {
    axis: i64,
    block: usize,
}

impl Spread {
    fn new(node: &NodeDef<'_>) -> Outcome<Self> {
        Ok(Self { axis: node.int_or("axis", 1), block: shape::extent(node.int_or("block_size", 0))? })
    }

    /// For each element of a tensor, which scale is its own.
    fn places(&self, io: &mut Io<'_, '_>, extents: &Shape, scales: &Tensor) -> Outcome<Vec<usize>> {
        let count = shape::count(extents)?;
        io.reserve(count, size_of::<usize>())?;
        io.charge([count, 8])?;
        if scales.element_count() == 1 {
            return Ok(vec![0; count]);
        }
        let axis = shape::axis(self.axis, extents.rank())?;
        let inner = shape::count(&extents[axis + 1..])?;
        let own = scales.shape();
        let (block, groups) = if self.block == 0 {
            (1, 1)
        } else {
            if own.rank() != extents.rank() || own[axis] != extents[axis].div_ceil(self.block) {
                return Err(Fault::shape(format!("scales of shape {own} in blocks of {}", self.block)));
            }
            (self.block, shape::count(&extents[..axis])?)
        };
        if self.block == 0 && own.rank() > 1 {
            return Err(Fault::shape(format!("scales of shape {own} without a size of blocks")));
        }
        let along = if self.block == 0 { own.iter().product() } else { own[axis] };
        let inner_scales = if self.block == 0 { 1 } else { inner };
        let fits = extents[axis].div_ceil(block) <= along
            && along.saturating_mul(inner_scales).saturating_mul(groups) == scales.element_count();
        if !fits {
            return Err(Fault::shape(format!("scales of shape {own} on axis {axis} of {extents}")));
        }
        let places = (0..count).map(|at| {
            let (outer, on_axis, within) =
                (at / inner / extents[axis], at / inner % extents[axis], at % inner);
            if self.block == 0 { on_axis } else { (outer * along + on_axis / block) * inner + within }
        });
        Ok(places.collect())
    }
}

fn zero_points(io: &mut Io<'_, '_>, zero: Option<&Tensor>, count: usize) -> Outcome<Vec<f64>> {
    let Some(zero) = zero else {
        io.reserve(count, size_of::<f64>())?;
        return Ok(vec![0.0; count]);
    };
    if zero.element_count() != count {
        return Err(Fault::shape(format!("{count} scales and {} zero points", zero.element_count())));
    }
    numbers(io, zero)
}

fn quantize(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let spread = Spread::new(node)?;
    let wanted = match node.int_or("output_dtype", 0) {
        0 => None,
        _ => node.dtype("output_dtype")?,
    };
    if node.int_or("precision", 0) > 1 {
        return Err(Fault::Unsupported("precision".to_owned()));
    }
    Ok(Kernel::new(move |io| {
        let (input, scale, zero) = (io.input(0)?, io.input(1)?, io.optional(2));
        let dtype = zero.map(Tensor::dtype).or(wanted).unwrap_or(DataType::U8);
        let (least, most) = range(dtype)?;
        let zeros = zero_points(io, zero, scale.element_count())?;
        let (scales, places) = (numbers(io, scale)?, spread.places(io, input.shape(), scale)?);
        let mut all = numbers(io, input)?;
        for (x, &place) in all.iter_mut().zip(&places) {
            // Divided as the operands' type divides, so that halves are where it puts them.
            let scaled = f64::from(*x as f32 / scales[place] as f32);
            *x = (scaled.round_ties_even() + zeros[place]).clamp(least, most);
        }
        let result = of_numbers(io, dtype, input.shape(), &all)?;
        io.emit(0, result);
        Ok(())
    }))
}

fn dequantize(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let spread = Spread::new(node)?;
    let wanted = match node.int_or("output_dtype", 0) {
        0 => None,
        _ => node.dtype("output_dtype")?,
    };
    Ok(Kernel::new(move |io| {
        let (input, scale) = (io.input(0)?, io.input(1)?);
        range(input.dtype())?;
        let zeros = zero_points(io, io.optional(2), scale.element_count())?;
        let (scales, places) = (numbers(io, scale)?, spread.places(io, input.shape(), scale)?);
        let mut all = numbers(io, input)?;
        for (x, &place) in all.iter_mut().zip(&places) {
            *x = (*x - zeros[place]) * scales[place];
        }
        let to = wanted.unwrap_or(scale.dtype());
        let exact = if to == DataType::F64 { to } else { DataType::F32 };
        let exact = of_numbers(io, exact, input.shape(), &all)?;
        let result = convert(io.pool, &exact, to)?;
        io.pool.put(exact);
        io.emit(0, result);
        Ok(())
    }))
}

/// To `u8`, with scale and zero point that cover all elements and zero.
fn dynamic_quantize() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        let mut result = io.alloc(DataType::U8, input.shape())?;
        let mut scales = io.alloc(input.dtype(), &Shape::scalar())?;
        let zero = by_float!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            let least = from.iter().fold(T::ZERO, |least, &x| if x < least { x } else { least });
            let most = from.iter().fold(T::ZERO, |most, &x| if x > most { x } else { most });
            let scale = most.sub(least).div(T::of(255.0));
            let scaled = |x: T| if scale == T::ZERO { 0.0 } else { x.div(scale).to_f64().round_ties_even() };
            let zero = scaled(least.neg()).clamp(0.0, 255.0);
            for (to, &x) in result.make_mut::<u8>()?.iter_mut().zip(from) {
                *to = (scaled(x) + zero).clamp(0.0, 255.0) as u8;
            }
            scales.make_mut::<T>()?.fill(scale);
            Ok(zero as u8)
        })?;
        io.emit(0, result);
        io.emit(1, scales);
        io.emit_slice(2, &Shape::scalar(), &[zero])
    })
}

/// The integers of a matrix less their zero points, one for all or one a row (`by_row`) or column of the last axes.
fn centred(io: &mut Io<'_, '_>, tensor: &Tensor, zero: Option<&Tensor>, by_row: bool) -> Outcome<Tensor> {
    range(tensor.dtype())?;
    let mut all = numbers(io, tensor)?;
    if let Some(zero) = zero {
        let zeros = numbers(io, zero)?;
        spread_over(tensor.shape(), zero.shape(), by_row, |at, place| all[at] -= zeros[place])?;
    }
    of_numbers(io, DataType::I32, tensor.shape(), &all)
}

/// Calls `each` with the index of every element and of the number that belongs to it.
fn spread_over(extents: &Shape, own: &Shape, by_row: bool, mut each: impl FnMut(usize, usize)) -> Outcome {
    let own: Shape = match &**own {
        &[count] if by_row && count > 1 => Shape::from([count, 1]),
        other => Shape::new(other),
    };
    let own = if own.iter().all(|&extent| extent == 1) { Shape::scalar() } else { own };
    let walk = Walk::new(extents, [&shape::strides(extents), &shape::broadcast_strides(&own, extents)?]);
    walk.each(|[at, place]| each(at, place));
    Ok(())
}

fn mat_mul_integer() -> Kernel {
    Kernel::new(|io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        let a = centred(io, a, io.optional(2), true)?;
        let b = centred(io, b, io.optional(3), false)?;
        let result = super::gemm::multiply(io, &a, &b)?;
        io.pool.put(a);
        io.pool.put(b);
        io.emit(0, result);
        Ok(())
    })
}

fn quantized_mat_mul() -> Kernel {
    Kernel::new(|io| {
        let (a, a_scale, b, b_scale) = (io.input(0)?, io.input(1)?, io.input(3)?, io.input(4)?);
        let (scale, zero) = (io.input(6)?, io.input(7)?);
        let (least, most) = range(zero.dtype())?;
        let left = centred(io, a, io.optional(2), true)?;
        let right = centred(io, b, io.optional(5), false)?;
        let sums = super::gemm::multiply(io, &left, &right)?;
        let mut all = numbers(io, &sums)?;
        for (scale, by_row, divides) in [(a_scale, true, false), (b_scale, false, false), (scale, true, true)]
        {
            let scales = numbers(io, scale)?;
            spread_over(sums.shape(), scale.shape(), by_row, |at, place| {
                if divides { all[at] /= scales[place] } else { all[at] *= scales[place] }
            })?;
        }
        let zeros = numbers(io, zero)?;
        spread_over(sums.shape(), zero.shape(), true, |at, place| {
            all[at] = (all[at].round_ties_even() + zeros[place]).clamp(least, most);
        })?;
        let result = of_numbers(io, zero.dtype(), sums.shape(), &all)?;
        for done in [left, right, sums] {
            io.pool.put(done);
        }
        io.emit(0, result);
        Ok(())
    })
}

/// A convolution of integers less their zero points, exact in `f64`: inputs `x` and `w` with their zero points, then a bias.
struct Convolution {
    kernel: Kernel,
    x: (usize, usize),
    w: (usize, usize),
    bias: usize,
}

impl Convolution {
    fn run(&mut self, io: &mut Io<'_, '_>) -> Outcome<Tensor> {
        let (x, w) = (io.input(self.x.0)?, io.input(self.w.0)?);
        let filters = w.shape().first().copied().unwrap_or(0);
        let mut operands = vec![
            Self::centred(io, x, io.optional(self.x.1), 1)?,
            Self::centred(io, w, io.optional(self.w.1), filters)?,
        ];
        if let Some(bias) = io.optional(self.bias) {
            operands.push(convert(io.pool, bias, DataType::F64)?);
        }
        run_on(io, &mut self.kernel, &operands)?;
        for operand in operands {
            io.pool.put(operand);
        }
        let sums = io.hands.outputs.first_mut().and_then(Option::take);
        sums.ok_or_else(|| Fault::shape("a convolution gave nothing"))
    }

    /// A tensor less its zero point, of which there is one for all or one for each of the `groups` that its first axis has.
    fn centred(
        io: &mut Io<'_, '_>,
        tensor: &Tensor,
        zero: Option<&Tensor>,
        groups: usize,
    ) -> Outcome<Tensor> {
        range(tensor.dtype())?;
        let mut wide = convert(io.pool, tensor, DataType::F64)?;
        if let Some(zero) = zero {
            let zeros = numbers(io, zero)?;
            let each = one_or_each(&zeros, groups, tensor.element_count())?;
            for (at, x) in wide.make_mut::<f64>()?.iter_mut().enumerate() {
                *x -= zeros[if zeros.len() == 1 { 0 } else { at / each }];
            }
        }
        Ok(wide)
    }
}

/// Elements that share each of `numbers`, of which there must be one or `groups`.
fn one_or_each(numbers: &[f64], groups: usize, count: usize) -> Outcome<usize> {
    match numbers.len() {
        1 => Ok(count.max(1)),
        length if length == groups => Ok((count / groups.max(1)).max(1)),
        length => Err(Fault::shape(format!("{length} scales or zero points for {groups} filters"))),
    }
}

fn conv_integer(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let mut convolution = Convolution { kernel: conv(node)?, x: (0, 2), w: (1, 3), bias: usize::MAX };
    Ok(Kernel::new(move |io| {
        let sums = convolution.run(io)?;
        let result = convert(io.pool, &sums, DataType::I32)?;
        io.pool.put(sums);
        io.emit(0, result);
        Ok(())
    }))
}

fn quantized_conv(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let mut convolution = Convolution { kernel: conv(node)?, x: (0, 2), w: (3, 5), bias: 8 };
    Ok(Kernel::new(move |io| {
        let zero = io.input(7)?;
        let (dtype, (least, most)) = (zero.dtype(), range(zero.dtype())?);
        let (zero, x_scale, y_scale) = (scalar(zero)?, scalar(io.input(1)?)?, scalar(io.input(6)?)?);
        let w_scales = numbers(io, io.input(4)?)?;
        let mut sums = convolution.run(io)?;
        let filters = sums.shape().get(1).copied().unwrap_or(0);
        let places: usize = sums.shape().iter().skip(2).product();
        one_or_each(&w_scales, filters, sums.element_count())?;
        for (at, x) in sums.make_mut::<f64>()?.iter_mut().enumerate() {
            let w_scale = w_scales[if w_scales.len() == 1 { 0 } else { at / places % filters }];
            *x = ((*x * x_scale * w_scale / y_scale).round_ties_even() + zero).clamp(least, most);
        }
        let result = convert(io.pool, &sums, dtype)?;
        io.pool.put(sums);
        io.emit(0, result);
        Ok(())
    }))
}
