//! Pools: the largest, the mean or the norm of each window.

use bb_runtime::{DataType, Shape};
use smallvec::SmallVec;

use super::types::{Number, by_float, by_number};
use super::window::{Slides, Window, for_each};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("AveragePool", 1, average_pool),
    op("GlobalAveragePool", 1, |_| Ok(global(Pooling::Mean))),
    op("GlobalMaxPool", 1, |_| Ok(global(Pooling::Max))),
    op("LpPool", 2, lp_pool),
    op("MaxPool", 1, max_pool),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Max,
    Mean,
}

fn kernel_of(window: &Window) -> Outcome<Vec<usize>> {
    window.kernel.clone().ok_or_else(|| Fault::attribute("kernel_shape", "is missing"))
}

fn global(pooling: Pooling) -> Kernel {
    Kernel::new(move |io| {
        let input = io.input(0)?;
        let rank = input.shape().rank();
        if rank < 2 {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        }
        let axes: shape::Axes = (2..rank).collect();
        let reduction = match pooling {
            Pooling::Max => super::reduce::Reduction::Max,
            Pooling::Mean => super::reduce::Reduction::Mean,
        };
        let result = super::reduce::reduce_axes(io, input, &axes, true, reduction)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32()
}

fn max_pool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let kernel = kernel_of(&window)?;
    let columns_first = node.flag("storage_order");
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[batch, channels, ref spatial @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        };
        let slides = window.slides(spatial, &kernel)?;
        let outputs: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.output).collect();
        let shape: Shape = [batch, channels].into_iter().chain(outputs.iter().copied()).collect();
        let mut result = io.alloc(input.dtype(), &shape)?;
        if input.dtype() == DataType::F32 && !io.wants(1) {
            let to = result.make_mut::<f32>()?;
            let mut row = io.alloc(DataType::F32, &row_shape(&slides))?;
            let joined = (row.make_mut()?, to);
            join_windows(input.as_slice()?, joined, &slides, &outputs, f32::LOWEST, f32::most);
            io.pool.put(row);
            io.emit(0, result);
            return Ok(());
        }
        let mut places = io.alloc(DataType::I64, &shape)?;
        let strides = shape::strides(spatial);
        let pixels = shape::count(spatial)?;
        let index_strides = if columns_first {
            let reversed: Vec<usize> = spatial.iter().rev().copied().collect();
            shape::strides(&reversed).into_iter().rev().collect()
        } else {
            strides.clone()
        };
        by_number!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            let mut to = result.make_mut::<T>()?.iter_mut().zip(places.make_mut::<i64>()?);
            for plane in 0..batch * channels {
                let from = &from[plane * pixels..(plane + 1) * pixels];
                for_each(&outputs, |place| {
                    let mut best: Option<(T, usize)> = None;
                    for_each(&kernel, |tap| {
                        let (mut offset, mut index) = (0, 0);
                        for (axis, slide) in slides.iter().enumerate() {
                            let Some(at) = slide.source(place[axis], tap[axis]) else { return };
                            offset += at * strides[axis];
                            index += at * index_strides[axis];
                        }
                        let x = from[offset];
                        if best.is_none_or(|(most, _)| x > most || x.is_nan() && !most.is_nan()) {
                            best = Some((x, index));
                        }
                    });
                    if let Some((to, index)) = to.next() {
                        let (most, at) = best.unwrap_or((T::LOWEST, 0));
                        *to = most;
                        *index = (plane * pixels + at) as i64;
                    }
                });
            }
            Ok(())
        })?;
        io.emit(0, result);
        io.emit(1, places);
        Ok(())
    })
    .via_f32())
}

fn average_pool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let count_padding = node.flag("count_include_pad");
    let kernel = kernel_of(&window)?;
    let mut alone = windows(window.clone(), move |values, padded| {
        let sum: f64 = values.iter().sum();
        sum / if count_padding { padded } else { values.len() } as f64
    })?;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let (DataType::F32, &[batch, channels, ref spatial @ ..]) = (input.dtype(), &**input.shape()) else {
            return (alone.run)(io);
        };
        let slides = window.slides(spatial, &kernel)?;
        let outputs: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.output).collect();
        let shape: Shape = [batch, channels].into_iter().chain(outputs.iter().copied()).collect();
        let mut result = io.alloc(DataType::F32, &shape)?;
        let mut shares = io.alloc(DataType::F32, &Shape::new(&outputs))?;
        // One over the elements that each window meets.
        let mut share = shares.make_mut::<f32>()?.iter_mut();
        for_each(&outputs, |place| {
            let met = slides.iter().zip(place).map(|(slide, &place)| slide.taps(place, count_padding));
            if let Some(share) = share.next() {
                *share = 1.0 / met.product::<usize>() as f32;
            }
        });
        let to = result.make_mut::<f32>()?;
        let mut row = io.alloc(DataType::F32, &row_shape(&slides))?;
        join_windows(input.as_slice()?, (row.make_mut()?, &mut *to), &slides, &outputs, 0.0, f32::add);
        io.pool.put(row);
        let shares_of_a_plane = shares.as_slice::<f32>()?;
        for plane in to.chunks_exact_mut(shares_of_a_plane.len().max(1)) {
            simd::update(plane, shares_of_a_plane, f32::mul);
        }
        io.pool.put(shares);
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// The shape of one line of an image.
fn row_shape(slides: &Slides) -> Shape {
    Shape::from([slides.last().map_or(1, |slide| slide.input)])
}

/// Joins the elements that each window meets, line by line: those of the same column first, in memory for one row.
fn join_windows(
    from: &[f32],
    (row, to): (&mut [f32], &mut [f32]),
    slides: &Slides,
    outputs: &[usize],
    start: f32,
    join: impl Fn(f32, f32) -> f32 + Copy,
) {
    to.fill(start);
    let inputs: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.input).collect();
    let taps: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.kernel).collect();
    let (Some((last, outer)), Some((&width, outer_outputs)), Some((_, outer_taps))) =
        (slides.split_last(), outputs.split_last(), taps.split_last())
    else {
        return to.copy_from_slice(from);
    };
    let strides = shape::strides(&inputs);
    let pixels: usize = inputs.iter().product();
    if pixels == 0 || width == 0 {
        return;
    }
    let mut lines = to.chunks_exact_mut(width);
    for from in from.chunks_exact(pixels) {
        for_each(outer_outputs, |place| {
            let Some(to) = lines.next() else { return };
            row.fill(start);
            for_each(outer_taps, |tap| {
                let mut begin = 0;
                for (axis, slide) in outer.iter().enumerate() {
                    let Some(at) = slide.source(place[axis], tap[axis]) else { return };
                    begin += at * strides[axis];
                }
                simd::update(row, &from[begin..begin + last.input], join);
            });
            for tap in 0..last.kernel {
                let shift = tap * last.dilation;
                let first = last.before.saturating_sub(shift).div_ceil(last.stride).min(width);
                let end = (last.input + last.before).saturating_sub(shift).div_ceil(last.stride).min(width);
                if first >= end {
                    continue;
                }
                let from = &row[first * last.stride + shift - last.before..];
                let to = &mut to[first..end];
                if last.stride == 1 {
                    simd::update(to, from, join);
                } else {
                    for (to, &x) in to.iter_mut().zip(from.iter().step_by(last.stride)) {
                        *to = join(*to, x);
                    }
                }
            }
        });
    }
}

fn lp_pool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let p = node.int_or("p", 2) as f64;
    windows(window, move |values, _| values.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
}

/// `f` of the elements that each window meets, and how many it meets with padding.
fn windows(window: Window, f: impl Fn(&[f64], usize) -> f64 + Send + 'static) -> Outcome<Kernel> {
    let kernel = kernel_of(&window)?;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[batch, channels, ref spatial @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        };
        let slides = window.slides(spatial, &kernel)?;
        let outputs: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.output).collect();
        let shape: Shape = [batch, channels].into_iter().chain(outputs.iter().copied()).collect();
        let mut result = io.alloc(input.dtype(), &shape)?;
        let strides = shape::strides(spatial);
        let pixels = shape::count(spatial)?;
        by_float!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            let mut to = result.make_mut::<T>()?.iter_mut();
            let mut met: Vec<f64> = Vec::new();
            for plane in 0..batch * channels {
                let from = &from[plane * pixels..(plane + 1) * pixels];
                for_each(&outputs, |place| {
                    met.clear();
                    let mut padded = 0;
                    for_each(&kernel, |tap| {
                        let mut offset = Some(0);
                        let mut within = true;
                        for (axis, slide) in slides.iter().enumerate() {
                            let at = place[axis] * slide.stride + tap[axis] * slide.dilation;
                            within &= at < slide.before + slide.input + slide.after;
                            let at = slide.source(place[axis], tap[axis]);
                            offset = offset.zip(at).map(|(offset, at)| offset + at * strides[axis]);
                        }
                        padded += usize::from(within);
                        met.extend(offset.map(|offset| from[offset].to_f64()));
                    });
                    if let Some(to) = to.next() {
                        *to = T::from_f64(f(&met, padded));
                    }
                });
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
