//! Images read at places between their pixels.

use bb_runtime::{Shape, Tensor};
use smallvec::SmallVec;

use super::wide::{numbers, of_numbers};
use super::window::Window;
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape::{self, Axes};

pub(super) const OPS: &[Entry] = &[
    op("AffineGrid", 20, affine_grid),
    op("DeformConv", 19, deform_conv),
    op("GridSample", 16, grid_sample),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Cubic,
    Linear,
    Nearest,
}

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Border,
    Reflection,
    Zeros,
}

/// Pixels of an axis with their weights.
type Taps = SmallVec<[(Option<usize>, f64); 4]>;

/// How an axis is read.
#[derive(Clone, Copy, Debug)]
struct Reader {
    mode: Mode,
    beyond: Beyond,
    /// -1 and 1 are the centres of the outermost pixels, not their outer edges.
    corners: bool,
}

impl Reader {
    /// The pixel of an axis that index `at` means.
    fn pixel(&self, at: f64, extent: usize) -> Option<usize> {
        let last = extent.checked_sub(1)? as f64;
        let at = match self.beyond {
            Beyond::Zeros => at,
            Beyond::Border => at.clamp(0.0, last),
            Beyond::Reflection => self.reflect(at, extent).clamp(0.0, last),
        };
        (0.0..=last).contains(&at).then_some(at as usize)
    }

    fn reflect(&self, at: f64, extent: usize) -> f64 {
        let (least, most) =
            if self.corners { (0.0, extent as f64 - 1.0) } else { (-0.5, extent as f64 - 0.5) };
        let range = most - least;
        if range <= 0.0 || !at.is_finite() || (least..=most).contains(&at) {
            return at.clamp(least, most.max(least));
        }
        let away = if at < least { least - at } else { at - most };
        let turns = (away / range).floor();
        let rest = away - turns * range;
        if (turns % 2.0 == 0.0) == (at < least) { least + rest } else { most - rest }
    }

    /// Pixels and weights for the place `at`, in pixels.
    fn taps(&self, at: f64, extent: usize) -> Taps {
        let last = extent as f64 - 1.0;
        let (least, most) = if self.corners { (0.0, last) } else { (-0.5, last + 0.5) };
        let at = if self.mode == Mode::Nearest { at.round_ties_even() } else { at };
        let at = match self.beyond {
            _ if (least..=most).contains(&at) => at,
            Beyond::Border => at.clamp(0.0, last.max(0.0)),
            Beyond::Reflection => self.reflect(at, extent),
            Beyond::Zeros => at,
        };
        let floor = at.floor();
        let part = at - floor;
        match self.mode {
            Mode::Nearest => SmallVec::from_slice(&[(self.pixel(at, extent), 1.0)]),
            Mode::Linear => [(floor, 1.0 - part), (floor + 1.0, part)]
                .into_iter()
                .map(|(at, weight)| (self.pixel(at, extent), weight))
                .collect(),
            Mode::Cubic => cubic(part)
                .into_iter()
                .enumerate()
                .map(|(tap, weight)| (self.pixel(floor - 1.0 + tap as f64, extent), weight))
                .collect(),
        }
    }
}

/// Weights of a cubic convolution (Keys, 1981) with a = -0.75.
fn cubic(x: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)]
}

/// The sum over all axes' taps.
fn read(plane: &[f64], strides: &[usize], taps: &[Taps]) -> f64 {
    let (Some((stride, strides)), Some((own, taps))) = (strides.split_first(), taps.split_first()) else {
        return plane.first().copied().unwrap_or(0.0);
    };
    let parts = own.iter().filter_map(|(at, weight)| {
        let rest = plane.get((*at)? * stride..)?;
        Some(weight * read(rest, strides, taps))
    });
    parts.sum()
}

fn grid_sample(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let mode = match node.string_or("mode", if node.opset >= 20 { "linear" } else { "bilinear" })? {
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(Fault::attribute("mode", format!("is `{other}`"))),
    };
    let beyond = match node.string_or("padding_mode", "zeros")? {
        "zeros" => Beyond::Zeros,
        "border" => Beyond::Border,
        "reflection" => Beyond::Reflection,
        other => return Err(Fault::attribute("padding_mode", format!("is `{other}`"))),
    };
    let reader = Reader { mode, beyond, corners: node.flag("align_corners") };
    Ok(Kernel::new(move |io| {
        let (input, grid) = (io.input(0)?, io.input(1)?);
        let (&[batch, channels, ref spatial @ ..], &[grid_batch, ref outputs @ .., axes]) =
            (&**input.shape(), &**grid.shape())
        else {
            return Err(Fault::shape("an image and a grid are expected"));
        };
        if batch != grid_batch || axes != spatial.len() || outputs.len() != axes || axes == 0 {
            return Err(Fault::shape(format!("a grid of shape {} over {}", grid.shape(), input.shape())));
        }
        let extents: Shape = [batch, channels].into_iter().chain(outputs.iter().copied()).collect();
        let count = shape::count(&extents)?;
        io.reserve(count, size_of::<f64>())?;
        let (pixels, places) = (numbers(io, input)?, numbers(io, grid)?);
        let (size, cells) = (shape::count(spatial)?, shape::count(outputs)?);
        let strides = shape::strides(spatial);
        let width = if reader.mode == Mode::Cubic { 4_usize } else { 2 };
        let each =
            u32::try_from(axes).map_or(usize::MAX, |axes| width.saturating_pow(axes)).saturating_mul(4);
        io.charge([batch, cells, channels.saturating_add(axes).saturating_add(1), each])?;
        let mut all = vec![0.0; count];
        let mut taps: SmallVec<[Taps; 3]> = SmallVec::new();
        for place in 0..batch * cells {
            let (image, cell) = (place / cells, place % cells);
            taps.clear();
            // The grid names the last axis first.
            for (axis, &extent) in spatial.iter().enumerate() {
                let at = places[place * axes + axes - 1 - axis];
                let at = if reader.corners {
                    (at + 1.0) / 2.0 * (extent as f64 - 1.0)
                } else {
                    ((at + 1.0) * extent as f64 - 1.0) / 2.0
                };
                taps.push(reader.taps(at, extent));
            }
            for channel in 0..channels {
                let plane = &pixels[(image * channels + channel) * size..][..size];
                all[(image * channels + channel) * cells + cell] = read(plane, &strides, &taps);
            }
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

fn affine_grid(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let corners = node.flag("align_corners");
    Ok(Kernel::new(move |io| {
        let (theta, size) = (io.input(0)?, io.ints(1)?);
        let size = size.iter().map(|&extent| shape::extent(extent)).collect::<Outcome<Axes>>()?;
        let (&[batch, rows, columns], &[size_batch, _, ref spatial @ ..]) = (&**theta.shape(), &*size) else {
            return Err(Fault::shape("matrices of shape [batch, axes, axes + 1] and a size are expected"));
        };
        let axes = spatial.len();
        if batch != size_batch || rows != axes || columns != axes + 1 {
            return Err(Fault::shape(format!("matrices of shape {} for {axes} axes", theta.shape())));
        }
        let extents: Shape = [batch].into_iter().chain(spatial.iter().copied()).chain([axes]).collect();
        let count = shape::count(&extents)?;
        io.reserve(count, size_of::<f64>())?;
        let matrices = numbers(io, theta)?;
        let cells = shape::count(spatial)?;
        let strides = shape::strides(spatial);
        io.charge([count, 4, axes])?;
        let mut all = Vec::with_capacity(count);
        for place in 0..batch * cells {
            let matrix = &matrices[place / cells * rows * columns..][..rows * columns];
            let at = |axis: usize| {
                let (index, extent) = (place % cells / strides[axis] % spatial[axis], spatial[axis] as f64);
                match corners {
                    true if extent > 1.0 => 2.0 * index as f64 / (extent - 1.0) - 1.0,
                    true => -1.0,
                    false => (2.0 * index as f64 + 1.0) / extent - 1.0,
                }
            };
            for row in matrix.chunks_exact(columns) {
                // The matrix names the last axis first.
                let sum: f64 = (0..axes).map(|axis| row[axes - 1 - axis] * at(axis)).sum();
                all.push(sum + row[axes]);
            }
        }
        let result = of_numbers(io, theta.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}

/// A convolution whose taps are moved by offsets, and weighed by a mask (Dai et al., 2017; Zhu et al., 2018).
fn deform_conv(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let window = Window::new(node)?;
    let groups = super::conv::groups_of(node)?;
    let offset_groups = shape::extent(node.int_or("offset_group", 1))?.max(1);
    let reader = Reader { mode: Mode::Linear, beyond: Beyond::Zeros, corners: true };
    Ok(Kernel::new(move |io| {
        let (input, weight, offset) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let (bias, mask) = (io.optional(3), io.optional(4));
        let (&[batch, channels, height, width], &[filters, own, down, across]) =
            (&**input.shape(), &**weight.shape())
        else {
            return Err(Fault::Unsupported("other than two spatial axes".to_owned()));
        };
        let slides = window.slides(&[height, width], &[down, across])?;
        let (rows, columns) = (slides[0].output, slides[1].output);
        let taps = down * across;
        let fits = channels == own.saturating_mul(groups)
            && filters.is_multiple_of(groups)
            && channels.is_multiple_of(offset_groups)
            && **offset.shape() == [batch, offset_groups * taps * 2, rows, columns]
            && mask.is_none_or(|mask| **mask.shape() == [batch, offset_groups * taps, rows, columns])
            && bias.is_none_or(|bias| bias.element_count() == filters);
        if !fits {
            return Err(Fault::shape("weights, offsets, mask or bias do not fit the image"));
        }
        let extents = Shape::from([batch, filters, rows, columns]);
        let count = shape::count(&extents)?;
        io.reserve(count, size_of::<f64>())?;
        let (pixels, weights, moves) = (numbers(io, input)?, numbers(io, weight)?, numbers(io, offset)?);
        let optional = |io: &mut crate::io::Io<'_, '_>, tensor: Option<&Tensor>| {
            tensor.map(|held| numbers(io, held)).transpose()
        };
        let (bias, mask) = (optional(io, bias)?, optional(io, mask)?);
        let mut all = vec![0.0; count];
        let (cells, size) = (rows * columns, height * width);
        let each = (filters / groups).saturating_add(32);
        io.charge([
            batch,
            cells.saturating_add(1),
            channels.saturating_add(1),
            taps.saturating_add(1),
            each,
        ])?;
        let (filters_a_group, channels_a_move) = (filters / groups, (channels / offset_groups).max(1));
        for image in 0..if count == 0 { 0 } else { batch } {
            for cell in 0..cells {
                for channel in 0..channels {
                    let (moved, group) = (channel / channels_a_move, channel / own);
                    let plane = &pixels[(image * channels + channel) * size..][..size];
                    for tap in 0..taps {
                        let offset = |axis: usize| {
                            moves
                                [((image * offset_groups + moved) * taps * 2 + tap * 2 + axis) * cells + cell]
                        };
                        let place = |axis: usize, index: usize, tap: usize| {
                            let slide = slides[axis];
                            (index * slide.stride + tap * slide.dilation) as f64 - slide.before as f64
                                + offset(axis)
                        };
                        let y = place(0, cell / columns, tap / across);
                        let x = place(1, cell % columns, tap % across);
                        let met = [reader.taps(y, height), reader.taps(x, width)];
                        let weigh = mask.as_ref().map_or(1.0, |mask| {
                            mask[((image * offset_groups + moved) * taps + tap) * cells + cell]
                        });
                        let x = read(plane, &[width, 1], &met) * weigh;
                        for filter in group * filters_a_group..(group + 1) * filters_a_group {
                            let weight = weights[(filter * own + channel % own) * taps + tap];
                            all[(image * filters + filter) * cells + cell] += weight * x;
                        }
                    }
                }
            }
        }
        if let Some(bias) = bias {
            for (at, x) in all.iter_mut().enumerate() {
                *x += bias[at / cells % filters];
            }
        }
        let result = of_numbers(io, input.dtype(), &extents, &all)?;
        io.emit(0, result);
        Ok(())
    })
    .via_f32())
}
