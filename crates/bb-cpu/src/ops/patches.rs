//! Pieces of images put back together, cut out and padded; determinants.

use bb_runtime::Shape;

use super::types::{Number, by_float, by_width, raw, raw_mut};
use super::wide::{numbers, of_numbers};
use super::window::{Window, for_each};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape::{self, Axes, Walk};

pub(super) const OPS: &[Entry] = &[
    op("CenterCropPad", 18, center_crop_pad),
    op("Col2Im", 18, col_to_image),
    op("Det", 11, |_| Ok(determinant())),
    op("MaxUnpool", 9, max_unpool),
];

fn center_crop_pad(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let axes = node.ints("axes").map(<[i64]>::to_vec);
    Ok(Kernel::new(move |io| {
        let (input, wanted) = (io.input(0)?, io.ints(1)?);
        let own = input.shape();
        let axes = match &axes {
            Some(axes) => shape::axes(axes, own.rank())?,
            None => (0..own.rank()).collect(),
        };
        if axes.len() != wanted.len() {
            return Err(Fault::shape(format!("{} extents for {} axes", wanted.len(), axes.len())));
        }
        let mut extents = own.to_vec();
        for (&axis, &extent) in axes.iter().zip(&wanted) {
            extents[axis] = shape::extent(extent)?;
        }
        let extents = Shape::from(extents);
        let mut result = io.alloc(input.dtype(), &extents)?;
        result.buffer_mut().make_mut().fill(0);
        // What both have, and where it begins in each.
        let both: Axes = own.iter().zip(extents.iter()).map(|(&a, &b)| a.min(b)).collect();
        let (from_strides, to_strides) = (shape::strides(own), shape::strides(&extents));
        let begin = |of: &[usize], strides: &[usize]| -> usize {
            of.iter()
                .zip(&both)
                .zip(strides)
                .map(|((extent, both), stride)| (extent - both) / 2 * stride)
                .sum()
        };
        let (from_begin, to_begin) = (begin(own, &from_strides), begin(&extents, &to_strides));
        by_width!(input.dtype(), T => {
            let from = raw::<T>(input)?;
            let to = raw_mut::<T>(&mut result)?;
            Walk::new(&both, [&from_strides, &to_strides]).each(|[i, o]| to[to_begin + o] = from[from_begin + i]);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    }))
}

/// Adds up the windows that a convolution unfolds.
fn col_to_image(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    Ok(Kernel::new(move |io| {
        let (input, image, kernel) = (io.input(0)?, io.ints(1)?, io.ints(2)?);
        let whole =
            |list: &[i64]| list.iter().map(|&extent| shape::extent(extent)).collect::<Outcome<Axes>>();
        let (spatial, kernel) = (whole(&image)?, whole(&kernel)?);
        let &[batch, rows, places] = &**input.shape() else {
            return Err(Fault::shape("windows of shape [batch, channels · taps, places] are expected"));
        };
        let slides = window.slides(&spatial, &kernel)?;
        let outputs: Axes = slides.iter().map(|slide| slide.output).collect();
        let taps = shape::count(&kernel)?;
        if taps == 0 || !rows.is_multiple_of(taps) || shape::count(&outputs)? != places {
            return Err(Fault::shape(format!(
                "{rows} rows of {places} windows do not make an image of {image:?}"
            )));
        }
        let channels = rows / taps;
        let extents: Shape = [batch, channels].into_iter().chain(spatial.iter().copied()).collect();
        let mut result = io.alloc(input.dtype(), &extents)?;
        let (strides, pixels) = (shape::strides(&spatial), shape::count(&spatial)?);
        io.pool.charge(super::window::work(batch * channels, &slides))?;
        by_float!(input.dtype(), T => {
            let (from, to) = (input.as_slice::<T>()?, result.make_mut::<T>()?);
            to.fill(T::ZERO);
            let mut values = from.iter();
            for plane in 0..batch * channels {
                let to = &mut to[plane * pixels..][..pixels];
                for_each(&kernel, |tap| {
                    for_each(&outputs, |place| {
                        let Some(&value) = values.next() else { return };
                        let mut offset = Some(0);
                        for (axis, slide) in slides.iter().enumerate() {
                            let at = slide.source(place[axis], tap[axis]);
                            offset = offset.zip(at).map(|(offset, at)| offset + at * strides[axis]);
                        }
                        if let Some(offset) = offset {
                            to[offset] = to[offset].add(value);
                        }
                    });
                });
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// By elimination with the largest pivot of each column.
fn determinant() -> Kernel {
    Kernel::new(|io| {
        let input = io.input(0)?;
        let Some((outer, &[rows, columns])) = input.shape().split_last_chunk::<2>() else {
            return Err(Fault::shape("square matrices are expected"));
        };
        if rows != columns {
            return Err(Fault::shape(format!(
                "matrices of {rows} rows and {columns} columns are not square"
            )));
        }
        let extents = Shape::new(outer);
        let count = shape::count(outer)?;
        io.reserve(count, 2 * size_of::<f64>())?;
        io.charge([count, rows, rows, rows])?;
        let mut matrices = numbers(io, input)?;
        let mut all = vec![1.0; count];
        for (at, result) in all.iter_mut().enumerate() {
            let matrix = &mut matrices[at * rows * rows..][..rows * rows];
            for column in 0..rows {
                let size = |row: &usize| matrix[row * rows + column].abs();
                let pivot = (column..rows).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
                if pivot != column {
                    *result = -*result;
                    for at in 0..rows {
                        matrix.swap(pivot * rows + at, column * rows + at);
                    }
                }
                let divisor = matrix[column * rows + column];
                *result *= divisor;
                for row in column + 1..rows {
                    if divisor == 0.0 {
                        break;
                    }
                    let factor = matrix[row * rows + column] / divisor;
                    for at in column..rows {
                        matrix[row * rows + at] -= factor * matrix[column * rows + at];
                    }
                }
            }
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

/// Puts the elements that a pool took back to where it took them from.
fn max_unpool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let kernel = window.kernel.clone().ok_or_else(|| Fault::attribute("kernel_shape", "is missing"))?;
    Ok(Kernel::new(move |io| {
        let (input, places, wanted) = (io.input(0)?, io.input(1)?, io.optional_ints(2)?);
        let &[batch, channels, ref spatial @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        };
        if spatial.len() != kernel.len() || places.shape() != input.shape() {
            return Err(Fault::shape("the window and the indices must fit the input"));
        }
        let at = |list: &Option<Vec<usize>>, axis: usize, otherwise: usize| {
            list.as_ref().and_then(|list| list.get(axis).copied()).unwrap_or(otherwise)
        };
        let mut inferred = vec![batch, channels];
        for (axis, &extent) in spatial.iter().enumerate() {
            let pads = at(&window.pads, axis, 0) + at(&window.pads, axis + spatial.len(), 0);
            let full = extent
                .saturating_sub(1)
                .saturating_mul(at(&window.strides, axis, 1))
                .saturating_add(kernel[axis]);
            inferred.push(full.saturating_sub(pads));
        }
        let extents = match &wanted {
            Some(wanted) => wanted.iter().map(|&extent| shape::extent(extent)).collect::<Outcome<Shape>>()?,
            None => Shape::new(&inferred),
        };
        if extents.rank() != inferred.len() || extents.iter().zip(&inferred).any(|(a, b)| a < b) {
            return Err(Fault::shape(format!("{inferred:?} does not fit an output of shape {extents}")));
        }
        let mut result = io.alloc(input.dtype(), &extents)?;
        let (own, to_strides) = (shape::strides(&inferred), shape::strides(&extents));
        let count = shape::count(&inferred)?;
        io.charge([input.element_count(), 4, extents.rank()])?;
        by_width!(input.dtype(), T => {
            let (from, to) = (raw::<T>(input)?, raw_mut::<T>(&mut result)?);
            to.fill(0);
            for (&x, &place) in from.iter().zip(places.as_slice::<i64>()?) {
                let place = usize::try_from(place).ok().filter(|&place| place < count);
                let place = place.ok_or_else(|| Fault::shape("an index lies outside the output"))?;
                let offset: usize = own
                    .iter()
                    .zip(&inferred)
                    .zip(&to_strides)
                    .map(|((stride, extent), to)| place / stride % extent * to)
                    .sum();
                to[offset] = x;
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
