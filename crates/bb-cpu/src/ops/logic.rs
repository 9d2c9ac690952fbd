//! Comparisons, boolean algebra and choice.

use bb_runtime::{DataType, Tensor};

use super::elementwise::binary_new;
use super::legacy::broadcast_by_attributes;
use super::types::{by_number, by_width, raw, raw_mut};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::shape::{self, Walk};
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("And", 1, |node| broadcast_by_attributes(node, boolean(|a, b| a & b))),
    op("And", 7, |_| Ok(boolean(|a, b| a & b))),
    op("Equal", 1, |node| broadcast_by_attributes(node, compare(Comparison::Equal))),
    op("Equal", 7, |_| Ok(compare(Comparison::Equal))),
    op("Greater", 1, |node| broadcast_by_attributes(node, compare(Comparison::Greater))),
    op("Greater", 7, |_| Ok(compare(Comparison::Greater))),
    op("GreaterOrEqual", 12, |_| Ok(compare(Comparison::GreaterOrEqual))),
    op("Less", 1, |node| broadcast_by_attributes(node, compare(Comparison::Less))),
    op("Less", 7, |_| Ok(compare(Comparison::Less))),
    op("LessOrEqual", 12, |_| Ok(compare(Comparison::LessOrEqual))),
    op("Not", 1, |_| Ok(not())),
    op("Or", 1, |node| broadcast_by_attributes(node, boolean(|a, b| a | b))),
    op("Or", 7, |_| Ok(boolean(|a, b| a | b))),
    op("Where", 9, |_| Ok(choose())),
    op("Xor", 1, |node| broadcast_by_attributes(node, boolean(|a, b| a ^ b))),
    op("Xor", 7, |_| Ok(boolean(|a, b| a ^ b))),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A new tensor of booleans out of one of bytes.
fn as_bool(tensor: Tensor) -> Outcome<Tensor> {
    let shape = tensor.shape().clone();
    Ok(Tensor::from_buffer(DataType::Bool, shape, tensor.into_buffer())?)
}

fn compare(comparison: Comparison) -> Kernel {
    Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        if a.dtype() != b.dtype() {
            return Err(Fault::Type(b.dtype()));
        }
        let dtype = if a.dtype() == DataType::Bool { DataType::U8 } else { a.dtype() };
        let result = by_number!(dtype, T => match comparison {
            Comparison::Equal => binary_new::<T, u8>(io, a, b, |a, b| u8::from(a == b)),
            Comparison::Greater => binary_new::<T, u8>(io, a, b, |a, b| u8::from(a > b)),
            Comparison::GreaterOrEqual => binary_new::<T, u8>(io, a, b, |a, b| u8::from(a >= b)),
            Comparison::Less => binary_new::<T, u8>(io, a, b, |a, b| u8::from(a < b)),
            Comparison::LessOrEqual => binary_new::<T, u8>(io, a, b, |a, b| u8::from(a <= b)),
        })?;
        let result = as_bool(result)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

fn boolean(f: fn(u8, u8) -> u8) -> Kernel {
    Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        for input in [a, b] {
            if input.dtype() != DataType::Bool {
                return Err(Fault::Type(input.dtype()));
            }
        }
        let result = binary_new::<u8, u8>(io, a, b, move |a, b| f(u8::from(a != 0), u8::from(b != 0)))?;
        let result = as_bool(result)?;
        io.emit(0, result);
        Ok(())
    })
}

fn not() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        if input.dtype() != DataType::Bool {
            return Err(Fault::Type(input.dtype()));
        }
        let mut result = io.alloc(DataType::Bool, input.shape())?;
        simd::map(input.as_slice::<u8>()?, result.make_mut::<u8>()?, |x| u8::from(x == 0));
        io.emit(0, result);
        Ok(())
    })
}

fn choose() -> Kernel {
    Kernel::new(|io| {
        let (condition, a, b) = (io.input(0)?, io.input(1)?, io.input(2)?);
        if condition.dtype() != DataType::Bool {
            return Err(Fault::Type(condition.dtype()));
        }
        if a.dtype() != b.dtype() {
            return Err(Fault::Type(b.dtype()));
        }
        let shape = shape::broadcast(&shape::broadcast(condition.shape(), a.shape())?, b.shape())?;
        let mut result = io.alloc(a.dtype(), &shape)?;
        let walk = Walk::new(
            &shape,
            [
                &shape::strides(&shape),
                &shape::broadcast_strides(condition.shape(), &shape)?,
                &shape::broadcast_strides(a.shape(), &shape)?,
                &shape::broadcast_strides(b.shape(), &shape)?,
            ],
        );
        let condition = condition.as_slice::<u8>()?;
        by_width!(a.dtype(), T => {
            let (a, b, to) = (raw::<T>(a)?, raw::<T>(b)?, raw_mut::<T>(&mut result)?);
            let count = walk.inner();
            match walk.inner_strides() {
                [_, 1, 1, 1] => walk.rows(&mut |[o, c, i, j]| {
                    let chosen = condition[c..c + count].iter().zip(&a[i..i + count]).zip(&b[j..j + count]);
                    for (to, ((&c, &a), &b)) in to[o..o + count].iter_mut().zip(chosen) {
                        *to = if c != 0 { a } else { b };
                    }
                }),
                [_, 1, 1, 0] => walk.rows(&mut |[o, c, i, j]| {
                    let b = b[j];
                    let chosen = condition[c..c + count].iter().zip(&a[i..i + count]);
                    for (to, (&c, &a)) in to[o..o + count].iter_mut().zip(chosen) {
                        *to = if c != 0 { a } else { b };
                    }
                }),
                _ => walk.each(|[o, c, i, j]| to[o] = if condition[c] != 0 { a[i] } else { b[j] }),
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
}
