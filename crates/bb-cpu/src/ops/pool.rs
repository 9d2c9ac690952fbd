//! Pools: the largest, the mean or the norm of each window.

use bb_runtime::{DataType, Shape};
use smallvec::SmallVec;

use super::types::{Number, by_float, by_number};
use super::window::{Window, for_each};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

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
        let axes: Vec<usize> = (2..rank).collect();
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
    windows(window, move |values, padded| {
        let sum: f64 = values.iter().sum();
        sum / if count_padding { padded } else { values.len() } as f64
    })
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
