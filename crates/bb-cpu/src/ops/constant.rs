//! Tensors out of attributes, shapes and numbers.

use bb_runtime::{DataType, Shape, Tensor};

use super::types::{Number, by_number, by_width, raw, raw_mut};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("Constant", 1, constant),
    op("ConstantOfShape", 9, constant_of_shape),
    op("EyeLike", 9, eye_like),
    op("OneHot", 9, one_hot),
    op("Range", 11, |_| Ok(range())),
    op("Shape", 1, shape_of),
    op("Size", 1, |_| Ok(size())),
];

fn constant(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let value = if let Some(value) = node.tensor("value")? {
        value
    } else if let Some(value) = node.float("value_float") {
        Tensor::scalar(value)
    } else if let Some(value) = node.int("value_int") {
        Tensor::scalar(value)
    } else if let Some(values) = node.floats("value_floats").filter(|_| node.has("value_floats")) {
        Tensor::from_slice([values.len()], values)?
    } else if let Some(values) = node.ints("value_ints") {
        Tensor::from_slice([values.len()], values)?
    } else {
        return Err(Fault::Unsupported("a value that is no dense tensor of numbers".to_owned()));
    };
    Ok(Kernel::new(move |io| {
        io.emit_shared(0, value.clone());
        Ok(())
    }))
}

fn constant_of_shape(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let value = node.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0.0_f32));
    if value.element_count() != 1 {
        return Err(Fault::attribute("value", "must have one element"));
    }
    Ok(Kernel::new(move |io| {
        let extents: Shape = io.ints(0)?.iter().map(|&value| shape::extent(value)).collect::<Outcome<_>>()?;
        let mut result = io.alloc(value.dtype(), &extents)?;
        by_width!(value.dtype(), T => {
            raw_mut::<T>(&mut result)?.fill(raw::<T>(&value)?[0]);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

fn eye_like(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let dtype = node.dtype("dtype")?;
    let diagonal = node.int_or("k", 0);
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[_, columns] = &**input.shape() else { return Err(Fault::shape("a matrix is expected")) };
        let mut result = io.alloc(dtype.unwrap_or(input.dtype()), input.shape())?;
        by_number!(result.dtype(), T => {
            let to = result.make_mut::<T>()?;
            to.fill(T::ZERO);
            for (row, to) in to.chunks_exact_mut(columns.max(1)).enumerate() {
                let column = i64::try_from(row).unwrap_or(i64::MAX).saturating_add(diagonal);
                if let Some(to) = usize::try_from(column).ok().and_then(|column| to.get_mut(column)) {
                    *to = T::ONE;
                }
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

fn one_hot(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axis = node.int_or("axis", -1);
    Ok(Kernel::new(move |io| {
        let (indices, depth, values) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let depth = super::elementwise::scalar(depth)? as i64;
        let depth_extent = shape::extent(depth)?;
        let axis = shape::axis(axis, indices.shape().rank() + 1)?;
        let (outer, inner) = indices.shape().split_at(axis);
        let extents: Shape = outer.iter().chain([&depth_extent]).chain(inner).copied().collect();
        let inner = shape::count(inner)?;
        let mut result = io.alloc(values.dtype(), &extents)?;
        let wide = super::cast::convert(io.pool, indices, DataType::I64)?;
        by_width!(values.dtype(), T => {
            let &[off, on] = raw::<T>(values)? else { return Err(Fault::shape("values must be [off, on]")) };
            let to = raw_mut::<T>(&mut result)?;
            to.fill(off);
            for (at, &index) in wide.as_slice::<i64>()?.iter().enumerate() {
                let index = if index < 0 { index.saturating_add(depth) } else { index };
                if let Some(index) = usize::try_from(index).ok().filter(|&index| index < depth_extent) {
                    to[at / inner * depth_extent * inner + index * inner + at % inner] = on;
                }
            }
            Ok(())
        })?;
        io.pool.put(wide);
        io.emit(0, result);
        Ok(())
    }))
}

fn range() -> Kernel {
    Kernel::new(|io| {
        let (start, limit, delta) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let dtype = start.dtype();
        for input in [start, limit, delta] {
            if input.dtype() != dtype {
                return Err(Fault::Type(input.dtype()));
            }
            if input.element_count() != 1 {
                return Err(Fault::shape("start, limit and delta must be scalars"));
            }
        }
        by_number!(dtype, T => {
            let (start, limit, delta) = (start.as_slice::<T>()?[0], limit.as_slice::<T>()?[0], delta.as_slice::<T>()?[0]);
            if delta == T::ZERO {
                return Err(Fault::shape("delta is 0"));
            }
            let steps = ((limit.to_f64() - start.to_f64()) / delta.to_f64()).ceil().max(0.0);
            if steps.is_nan() || steps > 1e15 {
                return Err(Fault::shape("the range is endless"));
            }
            let mut result = io.alloc(dtype, &Shape::from([steps as usize]))?;
            for (index, to) in result.make_mut::<T>()?.iter_mut().enumerate() {
                *to = start.add(T::from_f64(index as f64).mul(delta));
            }
            io.emit(0, result);
            Ok(())
        })
    })
    .via_f32()
}

fn shape_of(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (start, end) = (node.int_or("start", 0), node.int("end"));
    Ok(Kernel::new(move |io| {
        let extents = io.input(0)?.shape();
        let rank = extents.rank() as i64;
        let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (clamp(start), clamp(end.unwrap_or(rank)));
        let picked = extents.get(start..end.max(start)).unwrap_or_default();
        let picked: smallvec::SmallVec<[i64; 8]> = picked.iter().map(|&extent| extent as i64).collect();
        io.emit_slice(0, &Shape::from([picked.len()]), &picked)
    })
    .reads_little())
}

fn size() -> Kernel {
    Kernel::new(|io| {
        let count = io.input(0)?.element_count();
        io.emit_slice(0, &Shape::scalar(), &[count as i64])
    })
    .reads_little()
}
