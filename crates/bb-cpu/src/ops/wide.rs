//! Elements as `f64`, for ops that are seldom and small enough to be computed in it whatever their type is.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::types::{Number, by_number};
use crate::fault::Outcome;
use crate::io::Io;

/// All elements as `f64`.
pub(super) fn numbers(io: &mut Io<'_, '_>, tensor: &Tensor) -> Outcome<Vec<f64>> {
    let wide = convert(io.pool, tensor, DataType::F64)?;
    io.reserve(tensor.element_count(), size_of::<f64>())?;
    let all = wide.as_slice::<f64>()?.to_vec();
    io.pool.put(wide);
    Ok(all)
}

/// A tensor of these numbers; to integers they are rounded towards zero and saturate.
pub(super) fn of_numbers(
    io: &mut Io<'_, '_>,
    dtype: DataType,
    extents: &Shape,
    all: &[f64],
) -> Outcome<Tensor> {
    let mut result = io.alloc(dtype, extents)?;
    by_number!(dtype, T => {
        for (to, &x) in result.make_mut::<T>()?.iter_mut().zip(all) {
            *to = T::from_f64(x);
        }
        Ok(())
    })?;
    Ok(result)
}
