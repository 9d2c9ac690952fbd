//! Reading images between their pixels: which pixels a place means, and with which weights.
//!
//! What is read is a sum of pixels, weighted by where the place lies between them; written out in `Gather` and arithmetic
//! it has a gradient to the image and one to the places.

use bb_ir::{DataType, Dim};

use super::Scope;
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::Val;

/// How a place between pixels is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Cubic,
    Linear,
    Nearest,
}

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    Border,
    Reflection,
    Zeros,
}

/// Pixels of an axis and their weights, each `[images, places, taps]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    pub(super) index: Val,
    pub(super) weight: Val,
    pub(super) count: i64,
}

/// How an axis is read.
pub(super) struct Reader {
    mode: Mode,
    beyond: Beyond,
    dtype: DataType,
    /// The last pixel, and the places at which the image ends, as numbers of `dtype`.
    last: Val,
    least: Val,
    most: Val,
}

impl Reader {
    /// Of an axis of `extent` pixels (an `i64` of rank 0), in places of type `dtype`. With `corners` the image ends at
    /// the centres of its outermost pixels, not at their outer edges.
    pub(super) fn new(
        s: &mut Scope<'_>,
        (mode, beyond, corners): (Mode, Beyond, bool),
        extent: Val,
        dtype: DataType,
    ) -> Self {
        let extent = s.b.cast(extent, dtype);
        let one = s.b.scalar(dtype, 1.0);
        let last = s.b.sub(extent, one);
        let (least, most) = if corners {
            (s.b.scalar(dtype, 0.0), last)
        } else {
            let half = s.b.scalar(dtype, 0.5);
            (s.b.scalar(dtype, -0.5), s.b.add(last, half))
        };
        Self { mode, beyond, dtype, last, least, most }
    }

    /// The pixels that the places `at`, `[images, places, 1]`, mean.
    pub(super) fn taps(&self, s: &mut Scope<'_>, at: Val) -> Taps {
        let at = if self.mode == Mode::Nearest { s.b.op("Round", &[at], vec![]) } else { at };
        let at = match self.beyond {
            Beyond::Zeros => at,
            Beyond::Border => {
                let (low, high) =
                    (s.b.op("Less", &[at, self.least], vec![]), s.b.op("Greater", &[at, self.most], vec![]));
                let outside = s.b.op("Or", &[low, high], vec![]);
                let within = self.within(s, at);
                s.b.op("Where", &[outside, within, at], vec![])
            }
            Beyond::Reflection => self.reflect(s, at),
        };
        if self.mode == Mode::Nearest {
            let one = s.b.filled(self.dtype, &[1, 1, 1], &[1.0]);
            let (index, weight) = self.pixel(s, at, one);
            return Taps { index, weight, count: 1 };
        }
        let floor = s.b.op("Floor", &[at], vec![]);
        let part = s.b.sub(at, floor);
        let one = s.b.scalar(self.dtype, 1.0);
        let rest = s.b.sub(one, part);
        let (offsets, weights) = match self.mode {
            Mode::Cubic => {
                let (far, further) = (s.b.add(part, one), s.b.add(rest, one));
                let weights =
                    vec![self.far(s, far), self.near(s, part), self.near(s, rest), self.far(s, further)];
                (vec![-1.0, 0.0, 1.0, 2.0], weights)
            }
            _ => (vec![0.0, 1.0], vec![rest, part]),
        };
        let count = offsets.len() as i64;
        let offsets = s.b.filled(self.dtype, &[1, 1, count], &offsets);
        let pixels = s.b.add(floor, offsets);
        let weights = s.b.op("Concat", &weights, vec![int("axis", 2)]);
        let (index, weight) = self.pixel(s, pixels, weights);
        Taps { index, weight, count }
    }

    /// `at` moved to the nearest pixel that there is.
    fn within(&self, s: &mut Scope<'_>, at: Val) -> Val {
        let zero = s.b.scalar(self.dtype, 0.0);
        let low = s.b.op("Max", &[at, zero], vec![]);
        s.b.op("Min", &[low, self.last], vec![])
    }

    /// `at` thrown back at either end as often as needed.
    fn reflect(&self, s: &mut Scope<'_>, at: Val) -> Val {
        let (zero, one, two) =
            (s.b.scalar(self.dtype, 0.0), s.b.scalar(self.dtype, 1.0), s.b.scalar(self.dtype, 2.0));
        let range = s.b.sub(self.most, self.least);
        let has_range = s.b.op("Greater", &[range, zero], vec![]);
        let range = s.b.op("Where", &[has_range, range, one], vec![]);
        let away = s.b.sub(at, self.least);
        let turns = s.b.div(away, range);
        let turns = s.b.op("Floor", &[turns], vec![]);
        let whole = s.b.mul(turns, range);
        let rest = s.b.sub(away, whole);
        let pairs = s.b.div(turns, two);
        let pairs = s.b.op("Floor", &[pairs], vec![]);
        let even = s.b.mul(pairs, two);
        let odd = s.b.sub(turns, even);
        // Up from the least place on even turns, down from the greatest on odd ones.
        let doubled = s.b.mul(odd, two);
        let direction = s.b.sub(one, doubled);
        let (moved, start) = (s.b.mul(direction, rest), s.b.mul(odd, range));
        let moved = s.b.add(moved, start);
        let thrown = s.b.add(self.least, moved);
        s.b.op("Where", &[has_range, thrown, self.least], vec![])
    }

    /// Which pixels the whole numbers `pixels` are, and their weights: zero for those that are not there.
    fn pixel(&self, s: &mut Scope<'_>, pixels: Val, weights: Val) -> (Val, Val) {
        let pixels = match self.beyond {
            Beyond::Reflection => {
                let thrown = self.reflect(s, pixels);
                s.b.op("Round", &[thrown], vec![])
            }
            _ => pixels,
        };
        let there = self.within(s, pixels);
        let weights = if self.beyond == Beyond::Zeros {
            let moved = s.b.op("Equal", &[there, pixels], vec![]);
            let is_there = s.b.cast(moved, self.dtype);
            s.b.mul(weights, is_there)
        } else {
            weights
        };
        (s.b.cast(there, DataType::I64), weights)
    }

    /// Weight of a pixel less than one away (Keys, "Cubic convolution interpolation", 1981, with a = -0.75).
    fn near(&self, s: &mut Scope<'_>, x: Val) -> Val {
        self.polynomial(s, x, &[1.25, -2.25, 0.0, 1.0])
    }

    /// Weight of a pixel more than one and less than two away.
    fn far(&self, s: &mut Scope<'_>, x: Val) -> Val {
        self.polynomial(s, x, &[-0.75, 3.75, -6.0, 3.0])
    }

    fn polynomial(&self, s: &mut Scope<'_>, x: Val, coefficients: &[f64]) -> Val {
        let mut sum = s.b.scalar(self.dtype, coefficients[0]);
        for &coefficient in &coefficients[1..] {
            let product = s.b.mul(sum, x);
            let next = s.b.scalar(self.dtype, coefficient);
            sum = s.b.add(product, next);
        }
        sum
    }
}

/// The pixels of an image of several axes: of each axis one, the weights multiplied. `extents` are those of the axes, as
/// `i64` of rank 0.
pub(super) fn combined(s: &mut Scope<'_>, axes: &[Taps], extents: &[Val]) -> Option<Taps> {
    let (&first, rest) = axes.split_first()?;
    Some(rest.iter().zip(&extents[1..]).fold(first, |all, (own, &extent)| {
        let count = all.count * own.count;
        let shape = s.b.list(&[0, 0, count]);
        let spread = |s: &mut Scope<'_>, outer: Val, inner: Val| {
            (s.b.unsqueeze(outer, &[3]), s.b.unsqueeze(inner, &[2]))
        };
        let line = s.b.mul(all.index, extent);
        let (outer, inner) = spread(s, line, own.index);
        let index = s.b.add(outer, inner);
        let (outer, inner) = spread(s, all.weight, own.weight);
        let weight = s.b.mul(outer, inner);
        Taps { index: s.b.reshape(index, shape), weight: s.b.reshape(weight, shape), count }
    }))
}

/// All pixels of an image `[images, channels, …]` in rows: `[pixels of all images, channels]`.
pub(super) fn rows_of_pixels(s: &mut Scope<'_>, x: Val) -> Result<Val, AutodiffError> {
    let rank = s.b.rank(x)?;
    if rank < 2 {
        return Err(s.b.undetermined(x, "axis of channels"));
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.remove(1);
    perm.push(1);
    let turned = s.b.transpose(x, &perm);
    let channels = s.b.extent(x, 1);
    let free = s.b.list(&[-1]);
    let shape = s.b.op("Concat", &[free, channels], vec![int("axis", 0)]);
    let rows = s.b.reshape(turned, shape);
    let dim = |val: Val, axis: usize| s.b.fact(val).shape.as_ref().and_then(|dims| dims.get(axis).cloned());
    let (channels, count) = (dim(x, 1).unwrap_or(Dim::Any), dim(rows, 0).unwrap_or(Dim::Any));
    s.b.refine(rows, &[count, channels]);
    Ok(rows)
}

/// What is read: for each of `[images, places]` the rows of `pixels` at `index` times `weight`, both `[images, places,
/// taps]`, summed: `[images, places, channels]`.
pub(super) fn read(s: &mut Scope<'_>, pixels: Val, index: Val, weight: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(pixels)?;
    let taken = s.b.op("Gather", &[pixels, index], vec![int("axis", 0)]);
    let weight = s.b.cast(weight, dtype);
    let weight = s.b.unsqueeze(weight, &[2]);
    let sum = s.b.op("MatMul", &[weight, taken], vec![]);
    Ok(s.b.squeeze(sum, &[2]))
}

/// For each of `count` images (an `i64` of rank 0) its first row of pixels: `[count, 1, 1]`.
pub(super) fn first_rows(s: &mut Scope<'_>, count: Val, size: Val) -> Val {
    let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
    let images = s.b.op("Range", &[zero, count, one], vec![]);
    let first = s.b.mul(images, size);
    s.b.unsqueeze(first, &[1, 2])
}
