//! Arithmetic and functions, element by element, with broadcasting.

use bb_runtime::{DataType, Element, Shape, Tensor};

use super::legacy::broadcast_by_attributes;
use super::types::{Float, Number, by_float, by_number};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::{In, Io};
use crate::shape::{self, Walk};
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("Abs", 1, |_| unary_number(Unary::Abs)),
    op("Add", 1, |node| broadcast_by_attributes(node, binary(Binary::Add))),
    op("Add", 7, |_| Ok(binary(Binary::Add))),
    op("Div", 1, |node| broadcast_by_attributes(node, binary(Binary::Div))),
    op("Div", 7, |_| Ok(binary(Binary::Div))),
    op("Exp", 1, |_| unary_float(Unary::Exp)),
    op("Log", 1, |_| unary_float(Unary::Log)),
    op("Max", 1, |_| Ok(variadic(Binary::Max))),
    op("Mean", 1, |_| Ok(mean())),
    op("Min", 1, |_| Ok(variadic(Binary::Min))),
    op("Mod", 10, |node| Ok(binary(if node.flag("fmod") { Binary::Rem } else { Binary::Modulo }))),
    op("Mul", 1, |node| broadcast_by_attributes(node, binary(Binary::Mul))),
    op("Mul", 7, |_| Ok(binary(Binary::Mul))),
    op("Neg", 1, |_| unary_number(Unary::Neg)),
    op("Pow", 1, |node| broadcast_by_attributes(node, pow())),
    op("Pow", 7, |_| Ok(pow())),
    op("Reciprocal", 1, |_| unary_float(Unary::Reciprocal)),
    op("Relu", 1, |_| unary_number(Unary::Relu)),
    op("Sigmoid", 1, |_| unary_float(Unary::Sigmoid)),
    op("Sign", 9, |_| unary_number(Unary::Sign)),
    op("Sqrt", 1, |_| unary_float(Unary::Sqrt)),
    op("Sub", 1, |node| broadcast_by_attributes(node, binary(Binary::Sub))),
    op("Sub", 7, |_| Ok(binary(Binary::Sub))),
    op("Sum", 1, |_| Ok(variadic(Binary::Add))),
    op("Tanh", 1, |_| unary_float(Unary::Tanh)),
];

/// A function of two numbers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Div,
    Max,
    Min,
    /// The remainder with the sign of the divisor.
    Modulo,
    Mul,
    /// The remainder with the sign of the dividend.
    Rem,
    Sub,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Abs,
    Exp,
    Log,
    Neg,
    Reciprocal,
    Relu,
    Sigmoid,
    Sign,
    Sqrt,
    Tanh,
}

/// Evaluates an expression with `$f` being the function that a [`Binary`] names; the loop is compiled for each.
macro_rules! by_binary {
    ($op:expr, $T:ty, $f:ident => $body:expr) => {
        match $op {
            Binary::Add => {
                let $f = <$T as Number>::add;
                $body
            }
            Binary::Div => {
                let $f = <$T as Number>::div;
                $body
            }
            Binary::Max => {
                let $f = <$T as Number>::most;
                $body
            }
            Binary::Min => {
                let $f = <$T as Number>::least;
                $body
            }
            Binary::Modulo => {
                let $f = modulo::<$T>;
                $body
            }
            Binary::Mul => {
                let $f = <$T as Number>::mul;
                $body
            }
            Binary::Rem => {
                let $f = <$T as Number>::rem;
                $body
            }
            Binary::Sub => {
                let $f = <$T as Number>::sub;
                $body
            }
        }
    };
}

#[inline(always)]
fn modulo<T: Number>(a: T, b: T) -> T {
    let rest = a.rem(b);
    if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest.add(b) } else { rest }
}

fn binary(op: Binary) -> Kernel {
    Kernel::new(move |io| {
        let (a, b) = (io.take(0)?, io.take(1)?);
        let result = apply(io, op, a, b)?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}

fn variadic(op: Binary) -> Kernel {
    Kernel::new(move |io| {
        let mut result = io.take(0)?;
        if io.input_count() == 1 {
            by_number!(result.dtype(), T => result.as_slice::<T>().map(|_| ()).map_err(Fault::from))?;
        }
        for index in 1..io.input_count() {
            let next = io.take(index)?;
            result = In::Owned(apply(io, op, result, next)?);
        }
        let result = own(io, result)?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}

fn mean() -> Kernel {
    Kernel::new(move |io| {
        let count = io.input_count() as f64;
        let mut result = io.take(0)?;
        for index in 1..io.input_count() {
            let next = io.take(index)?;
            result = In::Owned(apply(io, Binary::Add, result, next)?);
        }
        let mut result = own(io, result)?;
        by_float!(result.dtype(), T => {
            let divisor = T::of(count);
            simd::map_in_place(result.make_mut::<T>()?, |x| x / divisor);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32()
}

/// An input as a tensor that only this kernel holds.
pub(crate) fn own(io: &mut Io<'_, '_>, input: In<'_>) -> Outcome<Tensor> {
    match input {
        In::Owned(mut tensor) => {
            if tensor.buffer_mut().unique_mut().is_some() {
                return Ok(tensor);
            }
            copy(io, &tensor)
        }
        In::Borrowed(tensor) => copy(io, tensor),
    }
}

/// A tensor in new memory.
pub(crate) fn copy(io: &mut Io<'_, '_>, tensor: &Tensor) -> Outcome<Tensor> {
    let mut own = io.alloc(tensor.dtype(), tensor.shape())?;
    own.buffer_mut().make_mut().copy_from_slice(tensor.as_bytes());
    Ok(own)
}

fn apply(io: &mut Io<'_, '_>, op: Binary, a: In<'_>, b: In<'_>) -> Outcome<Tensor> {
    if a.dtype() != b.dtype() {
        return Err(Fault::Type(b.dtype()));
    }
    by_number!(a.dtype(), T => by_binary!(op, T, f => binary_in_place::<T>(io, a, b, f)))
}

/// `f` of two tensors, over one of them if it dies here.
fn binary_in_place<T: Number>(
    io: &mut Io<'_, '_>,
    mut a: In<'_>,
    mut b: In<'_>,
    f: impl Fn(T, T) -> T + Copy,
) -> Outcome<Tensor> {
    let same = a.shape() == b.shape();
    // Only for the types of most models: each further one would be compiled six times over.
    if const { matches!(T::DTYPE, DataType::F32 | DataType::F64) } {
        let into_a = same || b.element_count() == 1 && b.shape().rank() <= a.shape().rank();
        let into_b = same || a.element_count() == 1 && a.shape().rank() <= b.shape().rank();
        if into_a
            && let In::Owned(tensor) = &mut a
            && tensor.buffer_mut().unique_mut().is_some()
        {
            let (to, from) = (tensor.make_mut::<T>()?, b.as_slice::<T>()?);
            io.pool.charge(to.len() as u64)?;
            if same {
                simd::update(to, from, f);
            } else if let [scalar] = *from {
                simd::map_in_place(to, |x| f(x, scalar));
            }
            io.recycle(b);
            return own(io, a);
        }
        if into_b
            && let In::Owned(tensor) = &mut b
            && tensor.buffer_mut().unique_mut().is_some()
        {
            let (to, from) = (tensor.make_mut::<T>()?, a.as_slice::<T>()?);
            io.pool.charge(to.len() as u64)?;
            if same {
                simd::update(to, from, |y, x| f(x, y));
            } else if let [scalar] = *from {
                simd::map_in_place(to, |y| f(scalar, y));
            }
            io.recycle(a);
            return own(io, b);
        }
    }
    let result = if same { zip_new(io, &a, &b, f)? } else { binary_new(io, &a, &b, f)? };
    io.recycle(a);
    io.recycle(b);
    Ok(result)
}

/// `f` of two tensors, in new memory.
pub(super) fn binary_new<T: Element, R: Element>(
    io: &mut Io<'_, '_>,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(T, T) -> R + Copy,
) -> Outcome<Tensor> {
    if a.shape() == b.shape() {
        return zip_new(io, a, b, f);
    }
    let shape = shape::broadcast(a.shape(), b.shape())?;
    let mut result = io.alloc(R::DTYPE, &shape)?;
    broadcast_into(
        a.as_slice::<T>()?,
        a.shape(),
        b.as_slice::<T>()?,
        b.shape(),
        result.make_mut::<R>()?,
        &shape,
        f,
    )?;
    Ok(result)
}

/// `f` of two tensors of one shape, in new memory.
fn zip_new<T: Element, R: Element>(
    io: &mut Io<'_, '_>,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(T, T) -> R + Copy,
) -> Outcome<Tensor> {
    let mut result = io.alloc(R::DTYPE, a.shape())?;
    simd::map2(a.as_slice::<T>()?, b.as_slice::<T>()?, result.make_mut::<R>()?, f);
    Ok(result)
}

fn broadcast_into<T: Copy, R>(
    a: &[T],
    a_shape: &Shape,
    b: &[T],
    b_shape: &Shape,
    to: &mut [R],
    shape: &Shape,
    f: impl Fn(T, T) -> R + Copy,
) -> Outcome {
    let walk = Walk::new(
        shape,
        [
            &shape::strides(shape),
            &shape::broadcast_strides(a_shape, shape)?,
            &shape::broadcast_strides(b_shape, shape)?,
        ],
    );
    let count = walk.inner();
    match walk.inner_strides() {
        [_, 1, 1] => walk.rows(&mut |[o, i, j]| {
            simd::map2(&a[i..i + count], &b[j..j + count], &mut to[o..o + count], f);
        }),
        [_, 1, 0] => walk.rows(&mut |[o, i, j]| {
            let scalar = b[j];
            simd::map(&a[i..i + count], &mut to[o..o + count], |x| f(x, scalar));
        }),
        [_, 0, 1] => walk.rows(&mut |[o, i, j]| {
            let scalar = a[i];
            simd::map(&b[j..j + count], &mut to[o..o + count], |y| f(scalar, y));
        }),
        _ => walk.each(|[o, i, j]| to[o] = f(a[i], b[j])),
    }
    Ok(())
}

/// `f` of each element, over the input if it dies here.
pub(super) fn map<T: Element>(
    io: &mut Io<'_, '_>,
    input: In<'_>,
    f: impl Fn(T) -> T + Copy,
) -> Outcome<Tensor> {
    match input {
        In::Owned(tensor) => {
            let mut tensor = own(io, In::Owned(tensor))?;
            simd::map_in_place(tensor.make_mut::<T>()?, f);
            Ok(tensor)
        }
        other @ In::Borrowed(_) => {
            let mut result = io.alloc(other.dtype(), other.shape())?;
            simd::map(other.as_slice::<T>()?, result.make_mut::<T>()?, f);
            Ok(result)
        }
    }
}

fn unary_number(op: Unary) -> Outcome<Kernel> {
    Ok(Kernel::new(move |io| {
        let input = io.take(0)?;
        let result = by_number!(input.dtype(), T => match op {
            Unary::Abs => map::<T>(io, input, Number::abs),
            Unary::Neg => map::<T>(io, input, |x| x.neg()),
            Unary::Relu => map::<T>(io, input, |x| if x.below_zero() { T::ZERO } else { x }),
            Unary::Sign => map::<T>(io, input, |x| x.sign()),
            _ => Err(Fault::Type(input.dtype())),
        })?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32())
}

fn unary_float(op: Unary) -> Outcome<Kernel> {
    Ok(Kernel::new(move |io| {
        let input = io.take(0)?;
        let result = by_float!(input.dtype(), T => match op {
            Unary::Exp => map::<T>(io, input, <T as Float>::exp),
            Unary::Log => map::<T>(io, input, <T as Float>::ln),
            Unary::Reciprocal => map::<T>(io, input, |x| T::ONE / x),
            Unary::Sigmoid => map::<T>(io, input, |x| T::ONE / (T::ONE + <T as Float>::exp(-x))),
            Unary::Sqrt => map::<T>(io, input, <T as Float>::sqrt),
            Unary::Tanh => map::<T>(io, input, <T as Float>::tanh),
            _ => Err(Fault::Type(input.dtype())),
        })?;
        io.emit(0, result);
        Ok(())
    })
    .in_place()
    .via_f32())
}

/// The exponent may be of another type than the base; the result has the base's.
fn pow() -> Kernel {
    Kernel::new(|io| {
        let (base, exponent) = (io.input(0)?, io.input(1)?);
        let is_square =
            base.dtype() == DataType::F32 && exponent.element_count() == 1 && scalar(exponent)? == 2.0;
        if !is_square {
            io.charge([shape::count(&shape::broadcast(base.shape(), exponent.shape())?)?, 32])?;
        }
        let result = match base.dtype() {
            DataType::F32 if is_square => binary_new::<f32, f32>(io, base, base, |x, _| x * x)?,
            DataType::F32 | DataType::F64 => {
                let wide = super::cast::convert(io.pool, exponent, base.dtype())?;
                let result = by_float!(base.dtype(), T => binary_new::<T, T>(io, base, &wide, T::powf))?;
                io.pool.put(wide);
                result
            }
            dtype => {
                let shape = shape::broadcast(base.shape(), exponent.shape())?;
                let wide = super::cast::convert(io.pool, base, DataType::F64)?;
                let power = super::cast::convert(io.pool, exponent, DataType::F64)?;
                let exact = matches!(exponent.dtype(), DataType::F32 | DataType::F64);
                let result = if exact {
                    binary_new::<f64, f64>(io, &wide, &power, f64::powf)?
                } else {
                    let (a, b) = (
                        super::cast::convert(io.pool, base, DataType::I64)?,
                        super::cast::convert(io.pool, exponent, DataType::I64)?,
                    );
                    let result = binary_new::<i64, i64>(io, &a, &b, integer_power)?;
                    io.pool.put(a);
                    io.pool.put(b);
                    result
                };
                io.pool.put(wide);
                io.pool.put(power);
                let narrow = super::cast::convert(io.pool, &result, dtype)?;
                io.pool.put(result);
                debug_assert_eq!(*narrow.shape(), shape);
                narrow
            }
        };
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

fn integer_power(base: i64, exponent: i64) -> i64 {
    match u32::try_from(exponent) {
        Ok(exponent) => base.wrapping_pow(exponent),
        Err(_) if exponent < 0 => match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        },
        Err(_) => match base {
            0 | 1 => base,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        },
    }
}

/// The only element of a tensor, as a number.
pub(super) fn scalar(tensor: &Tensor) -> Outcome<f64> {
    if tensor.element_count() != 1 {
        return Err(Fault::shape(format!("a scalar is expected, not shape {}", tensor.shape())));
    }
    by_number!(tensor.dtype(), T => Ok(tensor.as_slice::<T>()?[0].to_f64()))
}
