//! Pools: the largest, the mean or the norm of each window.

use bb_runtime::{DataType, Shape};
use pulp::{Arch, Simd, WithSimd};
use smallvec::SmallVec;

use super::types::{Number, by_float, by_number};
use super::window::{self, Slide, Slides, Window, for_each};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;
use crate::simd;

pub(super) const OPS: &[Entry] = &[
    op("AveragePool", 1, average_pool),
    op("GlobalAveragePool", 1, |_| Ok(global(Pooling::Mean))),
    op("GlobalLpPool", 2, global_lp_pool),
    op("GlobalMaxPool", 1, |_| Ok(global(Pooling::Max))),
    op("LpPool", 2, lp_pool),
    op("MaxPool", 1, max_pool),
];

/// Strides up to this one are taken by computing a window at every column.
const WIDE_STRIDE: usize = 8;

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
        let planes = batch * channels;
        if input.dtype() == DataType::F32 && !io.wants(1) {
            io.pool.charge(joins(planes, &slides))?;
            let to = result.make_mut::<f32>()?;
            let mut rows = io.alloc(DataType::F32, &row_shape(&slides)?)?;
            let joined = (rows.make_mut()?, to);
            join_windows(input.as_slice()?, joined, &slides, &outputs, f32::LOWEST, f32::most);
            io.pool.put(rows);
            io.emit(0, result);
            return Ok(());
        }
        io.pool.charge(window::work(planes, &slides))?;
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
            for plane in 0..planes {
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
        io.pool.charge(joins(batch * channels, &slides))?;
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
        let mut rows = io.alloc(DataType::F32, &row_shape(&slides)?)?;
        join_windows(input.as_slice()?, (rows.make_mut()?, &mut *to), &slides, &outputs, 0.0, f32::add);
        io.pool.put(rows);
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

/// The shape of the memory that [`join_windows`] works in: two lines, as wide as all windows with their padding reach.
fn row_shape(slides: &Slides) -> Outcome<Shape> {
    let reach = slides.last().map_or(Some(0), |last| {
        let span = last.output.checked_mul(last.stride)?;
        let reach = (last.kernel.max(1) - 1).checked_mul(last.dilation)?;
        span.checked_add(reach)?.max(last.input.checked_add(last.before)?).checked_mul(2)
    });
    Ok(Shape::from([reach.ok_or_else(|| Fault::shape("the windows are larger than memory"))?]))
}

/// The work of [`join_windows`].
fn joins(planes: usize, slides: &Slides) -> u64 {
    let Some((last, outer)) = slides.split_last() else { return planes as u64 };
    let product = |factors: &mut dyn Iterator<Item = usize>| {
        factors.fold(1, |all: u64, factor| all.saturating_mul(factor as u64))
    };
    let lines = product(&mut outer.iter().map(|slide| slide.output)).saturating_mul(planes as u64);
    let taps = product(&mut outer.iter().map(|slide| slide.kernel));
    let (row, width) = (last.input as u64, last.output as u64);
    let a_tap = row.saturating_add(4 * slides.len() as u64);
    // Where strides are short there is a window at every column.
    let columns = width.saturating_mul(last.stride.min(WIDE_STRIDE) as u64);
    let a_line = taps
        .saturating_mul(a_tap)
        .saturating_add((last.kernel as u64).saturating_mul(columns.saturating_add(8)));
    lines.saturating_mul(a_line.saturating_add(row))
}

/// Joins the elements that each window meets, line by line: those of the same column first, in memory for two lines.
fn join_windows(
    from: &[f32],
    (rows, to): (&mut [f32], &mut [f32]),
    slides: &Slides,
    outputs: &[usize],
    start: f32,
    join: impl Fn(f32, f32) -> f32 + Copy,
) {
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
        return to.fill(start);
    }
    rows.fill(start);
    let (row, wide) = rows.split_at_mut(rows.len() / 2);
    let mut lines = to.chunks_exact_mut(width);
    let mut met: SmallVec<[&[f32]; 8]> = SmallVec::new();
    for from in from.chunks_exact(pixels) {
        for_each(outer_outputs, |place| {
            let Some(to) = lines.next() else { return };
            met.clear();
            for_each(outer_taps, |tap| {
                let mut begin = 0;
                for (axis, slide) in outer.iter().enumerate() {
                    let Some(at) = slide.source(place[axis], tap[axis]) else { return };
                    begin += at * strides[axis];
                }
                met.push(&from[begin..begin + last.input]);
            });
            let line = Line { met: &met, slide: last, start, row: &mut *row, wide: &mut *wide, to, join };
            Arch::new().dispatch(line);
        });
    }
}

/// One line of a pool's result.
struct Line<'a, F> {
    /// The image's lines that its windows meet.
    met: &'a [&'a [f32]],
    slide: &'a Slide,
    start: f32,
    /// Holds `start` where there is padding.
    row: &'a mut [f32],
    wide: &'a mut [f32],
    to: &'a mut [f32],
    join: F,
}

impl<F: Fn(f32, f32) -> f32 + Copy> WithSimd for Line<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { met, slide, start, row, wide, to, join } = self;
        let Slide { input, stride, before, kernel, dilation, .. } = *slide;
        let image = &mut row[before..before + input];
        match met.split_first() {
            None => image.fill(start),
            Some((first, rest)) => {
                image.copy_from_slice(first);
                for line in rest {
                    for (to, &x) in image.iter_mut().zip(*line) {
                        *to = join(*to, x);
                    }
                }
            }
        }
        if stride > WIDE_STRIDE || kernel == 0 {
            to.fill(start);
            for tap in 0..kernel {
                for (to, &x) in to.iter_mut().zip(row[tap * dilation..].iter().step_by(stride)) {
                    *to = join(*to, x);
                }
            }
            return;
        }
        // A window at every column, of which each `stride`-th is wanted: vectors have no steps.
        if stride == 1 {
            return join_taps(row, kernel, dilation, to, join);
        }
        let wide = &mut wide[..to.len() * stride];
        join_taps(row, kernel, dilation, wide, join);
        simd::pick_inline(wide, stride, to);
    }
}

/// Joins `kernel` elements from each place of a row on, `dilation` apart.
#[inline(always)]
fn join_taps(row: &[f32], kernel: usize, dilation: usize, to: &mut [f32], join: impl Fn(f32, f32) -> f32) {
    to.copy_from_slice(&row[..to.len()]);
    for tap in 1..kernel {
        for (to, &x) in to.iter_mut().zip(&row[tap * dilation..]) {
            *to = join(*to, x);
        }
    }
}

fn lp_pool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let p = node.int_or("p", 2) as f64;
    windows(window, move |values, _| values.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
}

fn global_lp_pool(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let p = node.int_or("p", 2) as f64;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let &[batch, channels, ref spatial @ ..] = &**input.shape() else {
            return Err(Fault::shape("a batch and a channel axis are expected"));
        };
        let ones = std::iter::repeat_n(1, spatial.len());
        let extents: Shape = [batch, channels].into_iter().chain(ones).collect();
        let pixels = shape::count(spatial)?;
        let mut result = io.alloc(input.dtype(), &extents)?;
        by_float!(input.dtype(), T => {
            let from = input.as_slice::<T>()?;
            for (plane, to) in result.make_mut::<T>()?.iter_mut().enumerate() {
                let powers = from[plane * pixels..][..pixels].iter().map(|x| x.to_f64().abs().powf(p));
                *to = T::from_f64(powers.sum::<f64>().powf(1.0 / p));
            }
            Ok(())
        })?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
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
        // Each element that a window meets goes through a function.
        io.pool.charge(window::work(batch * channels, &slides).saturating_mul(2))?;
        io.reserve(pixels.min(shape::count(&kernel)?), size_of::<f64>())?;
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
