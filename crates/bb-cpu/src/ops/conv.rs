//! Convolutions: those of `f32` by [`Layer`], those of `f64` as matrix products over unfolded windows.

use bb_runtime::{DataType, Shape, Tensor};
use smallvec::SmallVec;

use super::convolve::{Layer, Weights};
use super::gemm::{Matrix, product};
use super::types::{Number, by_float};
use super::window::{AutoPad, Slide, Slides, Window, for_each};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[op("Conv", 1, conv), op("ConvTranspose", 1, conv_transpose)];

type Extents = SmallVec<[usize; 3]>;

pub(crate) fn groups_of(node: &NodeDef<'_>) -> Outcome<usize> {
    match shape::extent(node.int_or("group", 1))? {
        0 => Err(Fault::attribute("group", "is 0")),
        groups => Ok(groups),
    }
}

pub(super) fn conv(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let groups = groups_of(node)?;
    let mut layer = Layer::new(window.clone(), groups, node.config.threads);
    Ok(Kernel::new(move |io| {
        let (input, weight, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
        if input.dtype() == DataType::F32 {
            let bias = bias.map(Tensor::as_slice).transpose()?;
            let epoch = io.epoch(1..io.input_count());
            let result =
                layer.run(io, input, Weights { weight, bias, norm: None, bounds: None, epoch }, None)?;
            io.emit(0, result);
            return Ok(());
        }
        let (&[batch, channels, ref spatial @ ..], &[filters, per_group, ref kernel @ ..]) =
            (&**input.shape(), &**weight.shape())
        else {
            return Err(Fault::shape("input and weights need a batch and a channel axis"));
        };
        let fits = channels == per_group.saturating_mul(groups) && filters.is_multiple_of(groups);
        if !fits || window.kernel.as_deref().is_some_and(|held| held != kernel) {
            return Err(Fault::shape(format!(
                "{channels} channels in {groups} groups against {filters} filters"
            )));
        }
        if bias.is_some_and(|bias| bias.element_count() != filters) {
            return Err(Fault::shape(format!("one bias is needed for each of {filters} filters")));
        }
        let slides = window.slides(spatial, kernel)?;
        let outputs: Extents = slides.iter().map(|slide| slide.output).collect();
        let shape: Shape = [batch, filters].into_iter().chain(outputs.iter().copied()).collect();
        let mut result = io.alloc(input.dtype(), &shape)?;
        let places = shape::count(&outputs)?;
        let taps =
            per_group.checked_mul(shape::count(kernel)?).ok_or_else(|| Fault::shape("too many weights"))?;
        let pixel_count = shape::count(spatial)?;
        let cells =
            taps.checked_mul(places).ok_or_else(|| Fault::shape("the windows are larger than memory"))?;
        let plain = slides.iter().all(|slide| {
            slide.kernel == 1
                && slide.stride == 1
                && slide.before == 0
                && slide.after == 0
                && slide.output == slide.input
        });
        {
            type T = f64;
            let mut unfolded = io.scratch::<T>(if plain { 0 } else { cells })?;
            let (from, weight) = (input.as_slice::<T>()?, weight.as_slice::<T>()?);
            let bias = bias.map(|bias| bias.as_slice::<T>()).transpose()?;
            let to = result.make_mut::<T>()?;
            let own = filters / groups;
            io.charge([batch, groups, cells.saturating_add(8), kernel.len().max(1)])?;
            for block in 0..batch * groups {
                let group = block % groups;
                let first = (block / groups * channels + group * per_group) * pixel_count;
                let from = &from[first..first + per_group * pixel_count];
                let columns = if plain {
                    from
                } else {
                    let columns = unfolded.make_mut::<T>()?;
                    unfold(from, per_group, &slides, &outputs, columns);
                    &*columns
                };
                let start = (block / groups * filters + group * own) * places;
                let to = &mut to[start..start + own * places];
                let weight = &weight[group * own * taps..(group + 1) * own * taps];
                let beta = match bias {
                    Some(bias) if places > 0 => {
                        for (row, &bias) in to.chunks_exact_mut(places).zip(&bias[group * own..]) {
                            row.fill(bias);
                        }
                        T::ONE
                    }
                    _ => {
                        to.fill(T::ZERO);
                        T::ZERO
                    }
                };
                let (weight, columns) =
                    (Matrix::new(weight, own, taps, false), Matrix::new(columns, taps, places, false));
                product(T::ONE, weight, columns, beta, to, (&mut *io.pool, &mut io.hands.workspace))?;
            }
            io.pool.put(unfolded);
        }
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// One row for each channel and tap of the window, one column for each place of the output.
fn unfold<T: Number>(from: &[T], channels: usize, slides: &Slides, outputs: &[usize], to: &mut [T]) {
    let kernel: Extents = slides.iter().map(|slide| slide.kernel).collect();
    let inputs: Extents = slides.iter().map(|slide| slide.input).collect();
    let strides = shape::strides(&inputs);
    let places: usize = outputs.iter().product();
    let pixels: usize = inputs.iter().product();
    let Some((last, outer)) = slides.split_last() else {
        to.copy_from_slice(from);
        return;
    };
    let (Some((&width, outer_outputs)), true) = (outputs.split_last(), places > 0) else { return };
    if pixels == 0 {
        to.fill(T::ZERO);
        return;
    }
    let mut rows = to.chunks_exact_mut(places);
    for channel in 0..channels {
        let from = &from[channel * pixels..(channel + 1) * pixels];
        for_each(&kernel, |tap| {
            let Some(row) = rows.next() else { return };
            let mut lines = row.chunks_exact_mut(width);
            for_each(outer_outputs, |place| {
                let Some(line) = lines.next() else { return };
                let mut offset = Some(0);
                for (axis, slide) in outer.iter().enumerate() {
                    let at = slide.source(place[axis], tap[axis]);
                    offset = offset.zip(at).map(|(offset, at)| offset + at * strides[axis]);
                }
                match offset {
                    None => line.fill(T::ZERO),
                    Some(offset) => {
                        copy_line(&from[offset..offset + last.input], last, tap[tap.len() - 1], line)
                    }
                }
            });
        });
    }
}

fn copy_line<T: Number>(from: &[T], slide: &Slide, tap: usize, to: &mut [T]) {
    let shift = tap * slide.dilation;
    if slide.stride == 1 {
        let first = slide.before.saturating_sub(shift).min(to.len());
        let source = (first + shift).saturating_sub(slide.before).min(from.len());
        let count = from.len().saturating_sub(source).min(to.len() - first);
        to[..first].fill(T::ZERO);
        to[first..first + count].copy_from_slice(&from[source..source + count]);
        to[first + count..].fill(T::ZERO);
        return;
    }
    for (place, to) in to.iter_mut().enumerate() {
        *to = slide.source(place, tap).map_or(T::ZERO, |at| from[at]);
    }
}

fn conv_transpose(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let groups = groups_of(node)?;
    let extra = node.ints("output_padding").unwrap_or_default().to_vec();
    let wanted = node.ints("output_shape").map(<[i64]>::to_vec);
    Ok(Kernel::new(move |io| {
        let (input, weight, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
        let (&[batch, channels, ref spatial @ ..], &[weight_channels, per_group, ref kernel @ ..]) =
            (&**input.shape(), &**weight.shape())
        else {
            return Err(Fault::shape("input and weights need a batch and a channel axis"));
        };
        let filters = per_group.saturating_mul(groups);
        if channels != weight_channels || !channels.is_multiple_of(groups) || kernel.len() != spatial.len() {
            return Err(Fault::shape(format!("{channels} channels in {groups} groups")));
        }
        if bias.is_some_and(|bias| bias.element_count() != filters) {
            return Err(Fault::shape(format!("one bias is needed for each of {filters} filters")));
        }
        // Seen from the output, the input is what a convolution with this window would give.
        let mut slides = Slides::new();
        let at = |list: &Option<Vec<usize>>, axis: usize, otherwise| {
            list.as_ref().map_or(otherwise, |list| list.get(axis).copied().unwrap_or(otherwise))
        };
        for (axis, (&input, &kernel)) in spatial.iter().zip(kernel).enumerate() {
            let (stride, dilation) = (at(&window.strides, axis, 1), at(&window.dilations, axis, 1));
            let extra = shape::extent(extra.get(axis).copied().unwrap_or(0))?;
            let full = (input.max(1) - 1)
                .checked_mul(stride)
                .and_then(|full| (kernel.max(1) - 1).checked_mul(dilation)?.checked_add(full)?.checked_add(1 + extra))
                .ok_or_else(|| Fault::shape("the result is larger than memory"))?;
            let split = |total: usize| match window.auto_pad {
                AutoPad::SameUpper => (total / 2, total - total / 2),
                _ => (total - total / 2, total / 2),
            };
            let (before, output) = match &wanted {
                Some(wanted) => {
                    let list = &wanted[wanted.len().saturating_sub(spatial.len())..];
                    let output = shape::extent(list.get(axis).copied().unwrap_or(0))?;
                    let (before, _) = split(full.saturating_sub(output));
                    (before, output)
                }
                None => match window.auto_pad {
                    AutoPad::NotSet => {
                        let (before, after) = (at(&window.pads, axis, 0), at(&window.pads, axis + spatial.len(), 0));
                        (before, full.saturating_sub(before).saturating_sub(after))
                    }
                    AutoPad::Valid => (0, full),
                    AutoPad::SameLower | AutoPad::SameUpper => {
                        let output = input.saturating_mul(stride);
                        (split(full.saturating_sub(output)).0, output)
                    }
                },
            };
            slides.push(Slide { input: output, output: input, kernel, stride, dilation, before, after: 0 });
        }
        let shape: Shape = [batch, filters].into_iter().chain(slides.iter().map(|slide| slide.input)).collect();
        let mut result = io.alloc(input.dtype(), &shape)?;
        let pixels = shape::count(spatial)?;
        let places = shape::count(&shape[2..])?;
        let taps = per_group.checked_mul(shape::count(kernel)?).ok_or_else(|| Fault::shape("too many weights"))?;
        let own = channels / groups;
        let cells = taps.checked_mul(pixels).ok_or_else(|| Fault::shape("the windows are larger than memory"))?;
        by_float!(input.dtype(), T => {
            let mut columns = io.scratch::<T>(cells)?;
            let (from, weight) = (input.as_slice::<T>()?, weight.as_slice::<T>()?);
            let bias = bias.map(|bias| bias.as_slice::<T>()).transpose()?;
            let to = result.make_mut::<T>()?;
            for (row, to) in to.chunks_exact_mut(places.max(1)).enumerate() {
                to.fill(bias.map_or(T::ZERO, |bias| bias[row % filters]));
            }
            let held = columns.make_mut::<T>()?;
            io.charge([batch, groups, cells.saturating_add(8), 2 * kernel.len().max(1)])?;
            for block in 0..batch * groups {
                let group = block % groups;
                let first = (block / groups * channels + group * own) * pixels;
                let from = Matrix::new(&from[first..first + own * pixels], own, pixels, false);
                let weight = Matrix::new(&weight[group * own * taps..(group + 1) * own * taps], taps, own, true);
                product(T::ONE, weight, from, T::ZERO, held, (&mut *io.pool, &mut io.hands.workspace))?;
                let start = (block / groups * filters + group * per_group) * places;
                fold(held, per_group, &slides, spatial, &mut to[start..start + per_group * places]);
            }
            io.pool.put(columns);
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// Adds each cell of the unfolded windows to the place it came from.
fn fold<T: Number>(from: &[T], channels: usize, slides: &Slides, places: &[usize], to: &mut [T]) {
    let kernel: Extents = slides.iter().map(|slide| slide.kernel).collect();
    let extents: Extents = slides.iter().map(|slide| slide.input).collect();
    let strides = shape::strides(&extents);
    let size: usize = extents.iter().product();
    let mut cells = from.iter();
    for channel in 0..channels {
        let to = &mut to[channel * size..(channel + 1) * size];
        for_each(&kernel, |tap| {
            for_each(places, |place| {
                let Some(&cell) = cells.next() else { return };
                let mut offset = Some(0);
                for (axis, slide) in slides.iter().enumerate() {
                    let at = slide.source(place[axis], tap[axis]);
                    offset = offset.zip(at).map(|(offset, at)| offset + at * strides[axis]);
                }
                if let Some(offset) = offset {
                    to[offset] = to[offset].add(cell);
                }
            });
        });
    }
}
