//! Conversions between element types.

use bb_runtime::{DataType, Tensor};
use half::{bf16, f16};

use super::types::{Number, by_number};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::pool::Pool;
use crate::simd;

pub(super) const OPS: &[Entry] = &[op("Cast", 6, cast), op("CastLike", 15, |_| Ok(cast_like()))];

fn cast(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let to = node.dtype("to")?.ok_or_else(|| Fault::attribute("to", "is missing"))?;
    Ok(Kernel::new(move |io| {
        let result = convert(io.pool, io.input(0)?, to)?;
        io.emit(0, result);
        Ok(())
    }))
}

fn cast_like() -> Kernel {
    Kernel::new(|io| {
        let to = io.input(1)?.dtype();
        let result = convert(io.pool, io.input(0)?, to)?;
        io.emit(0, result);
        Ok(())
    })
}

/// The same numbers in another type: floats are rounded towards zero to integers and to even to shorter floats,
/// integers wrap, and what is not zero is true.
pub(crate) fn convert(pool: &mut Pool, from: &Tensor, to: DataType) -> Outcome<Tensor> {
    let mut result = pool.take(to, from.shape())?;
    if from.dtype() == to {
        result.buffer_mut().make_mut().copy_from_slice(from.as_bytes());
        return Ok(result);
    }
    match (from.dtype(), to) {
        (DataType::F16, DataType::F32) => {
            simd::map(from.as_slice::<u16>()?, result.make_mut::<f32>()?, |x| f16::from_bits(x).to_f32());
        }
        (DataType::Bf16, DataType::F32) => {
            simd::map(from.as_slice::<u16>()?, result.make_mut::<f32>()?, |x| bf16::from_bits(x).to_f32());
        }
        (DataType::F32, DataType::F16) => {
            simd::map(from.as_slice::<f32>()?, result.make_mut::<u16>()?, |x| f16::from_f32(x).to_bits());
        }
        (DataType::F32, DataType::Bf16) => {
            simd::map(from.as_slice::<f32>()?, result.make_mut::<u16>()?, |x| bf16::from_f32(x).to_bits());
        }
        (DataType::F64, DataType::F16) => {
            simd::map(from.as_slice::<f64>()?, result.make_mut::<u16>()?, |x| f16::from_f64(x).to_bits());
        }
        (DataType::F64, DataType::Bf16) => {
            simd::map(from.as_slice::<f64>()?, result.make_mut::<u16>()?, |x| bf16::from_f64(x).to_bits());
        }
        (DataType::F16 | DataType::Bf16, _) | (_, DataType::F16 | DataType::Bf16) => {
            let wide = convert(pool, from, DataType::F32)?;
            pool.put(result);
            result = convert(pool, &wide, to)?;
            pool.put(wide);
        }
        (DataType::Bool, _) => by_number!(to, R => {
            simd::map(from.as_slice::<u8>()?, result.make_mut::<R>()?, |x| R::from_i64(i64::from(x != 0)));
            Ok(())
        })?,
        (dtype, DataType::Bool) => by_number!(dtype, T => {
            simd::map(from.as_slice::<T>()?, result.make_mut::<u8>()?, |x| u8::from(x != T::ZERO));
            Ok(())
        })?,
        (dtype, _) => by_number!(dtype, T => by_number!(to, R => {
            let integers = !is_float(dtype) && !is_float(to);
            let to = result.make_mut::<R>()?;
            if integers {
                simd::map(from.as_slice::<T>()?, to, |x| R::from_i64(x.to_i64()));
            } else {
                simd::map(from.as_slice::<T>()?, to, |x| R::from_f64(x.to_f64()));
            }
            Ok(())
        }))?,
    }
    Ok(result)
}

fn is_float(dtype: DataType) -> bool {
    matches!(dtype, DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64)
}
