//! Bits of integers, and the same bits as another type.

use bb_runtime::{DataType, Shape, Tensor};

use super::elementwise::{binary_new, map};
use super::types::by_width;
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;

pub(super) const OPS: &[Entry] = &[
    op("BitCast", 26, bit_cast),
    op("BitShift", 11, shift),
    op("BitwiseAnd", 18, |_| Ok(bitwise(Bitwise::And))),
    op("BitwiseNot", 18, |_| Ok(not())),
    op("BitwiseOr", 18, |_| Ok(bitwise(Bitwise::Or))),
    op("BitwiseXor", 18, |_| Ok(bitwise(Bitwise::Xor))),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bitwise {
    And,
    Or,
    Xor,
}

fn integers_only(dtype: DataType) -> Outcome {
    match dtype {
        DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64 | DataType::Bool => {
            Err(Fault::Type(dtype))
        }
        _ => Ok(()),
    }
}

/// The unsigned type as wide.
fn unsigned(dtype: DataType) -> DataType {
    match dtype.size() {
        1 => DataType::U8,
        2 => DataType::U16,
        4 => DataType::U32,
        _ => DataType::U64,
    }
}

/// The same bytes as a tensor of another type and shape.
fn retype(tensor: Tensor, dtype: DataType, shape: Shape) -> Outcome<Tensor> {
    Ok(Tensor::from_buffer(dtype, shape, tensor.into_buffer())?)
}

fn bitwise(op: Bitwise) -> Kernel {
    Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        integers_only(a.dtype())?;
        if a.dtype() != b.dtype() {
            return Err(Fault::Type(b.dtype()));
        }
        let dtype = a.dtype();
        let (a, b) = (
            retype(a.clone(), unsigned(dtype), a.shape().clone())?,
            retype(b.clone(), unsigned(dtype), b.shape().clone())?,
        );
        let result = by_width!(dtype, T => match op {
            Bitwise::And => binary_new::<T, T>(io, &a, &b, |a, b| a & b),
            Bitwise::Or => binary_new::<T, T>(io, &a, &b, |a, b| a | b),
            Bitwise::Xor => binary_new::<T, T>(io, &a, &b, |a, b| a ^ b),
        })?;
        let shape = result.shape().clone();
        io.emit(0, retype(result, dtype, shape)?);
        Ok(())
    })
}

fn not() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        let dtype = input.dtype();
        integers_only(dtype)?;
        let bits = retype(input.clone(), unsigned(dtype), input.shape().clone())?;
        let result = by_width!(dtype, T => map::<T>(io, crate::io::In::Borrowed(&bits), |x| !x))?;
        let shape = result.shape().clone();
        io.emit(0, retype(result, dtype, shape)?);
        Ok(())
    })
}

fn shift(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let left = match node.string_or("direction", "")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => return Err(Fault::attribute("direction", format!("is `{other}`; use LEFT or RIGHT"))),
    };
    Ok(Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        let dtype = a.dtype();
        if dtype != b.dtype() {
            return Err(Fault::Type(b.dtype()));
        }
        macro_rules! shifted {
            ($t:ty) => {
                binary_new::<$t, $t>(io, a, b, |a, b| {
                    let by = u32::try_from(b).unwrap_or(u32::MAX);
                    let gone = if left { 0 } else { a.checked_shr(<$t>::BITS - 1).unwrap_or(0) };
                    let gone = if <$t>::MIN == 0 { 0 } else { gone };
                    if left { a.checked_shl(by) } else { a.checked_shr(by) }.unwrap_or(gone)
                })?
            };
        }
        let result = match dtype {
            DataType::U8 => shifted!(u8),
            DataType::U16 => shifted!(u16),
            DataType::U32 => shifted!(u32),
            DataType::U64 => shifted!(u64),
            DataType::I8 => shifted!(i8),
            DataType::I16 => shifted!(i16),
            DataType::I32 => shifted!(i32),
            DataType::I64 => shifted!(i64),
            other => return Err(Fault::Type(other)),
        };
        io.emit(0, result);
        Ok(())
    }))
}

fn bit_cast(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let to = node.dtype("to")?.ok_or_else(|| Fault::attribute("to", "is missing"))?;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        if input.dtype().size() != to.size() {
            return Err(Fault::Type(input.dtype()));
        }
        let mut result = io.alloc(to, input.shape())?;
        result.buffer_mut().make_mut().copy_from_slice(input.as_bytes());
        io.emit(0, result);
        Ok(())
    }))
}
