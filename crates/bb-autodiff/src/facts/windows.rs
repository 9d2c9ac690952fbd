//! Ops that slide a window over the places of an image: convolutions and pools.

use bb_ir::{DataType, Dim};

use super::{Fact, Question, dim_of, known};
use crate::attributes::Attributes;

pub(super) fn infer(q: &Question<'_>) -> Option<Vec<Fact>> {
    let facts = match q.op {
        "Conv" | "DeformConv" => vec![Fact::new(q.dtype(0), convolution(q))],
        "ConvTranspose" => vec![Fact::new(q.dtype(0), transposed(q))],
        "AveragePool" | "LpPool" => vec![Fact::new(q.dtype(0), pool(q))],
        "MaxPool" => {
            let shape = pool(q);
            vec![Fact::new(q.dtype(0), shape.clone()), Fact::new(Some(DataType::I64), shape)]
        }
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let shape = q.shape(0).map(|dims| {
                let places = dims.len().saturating_sub(2);
                [&dims[..dims.len() - places], &vec![Dim::Known(1); places]].concat()
            });
            vec![Fact::new(q.dtype(0), shape)]
        }
        _ => return None,
    };
    Some(facts)
}

/// Numbers beyond it make no window that anybody has memory for.
const MOST: i64 = 1 << 30;

/// Whether a number of a window, or an extent that it slides along, is one that anybody has memory for.
pub(crate) fn is_sensible(value: &i64) -> bool {
    (-MOST..=MOST).contains(value)
}

/// The product of extents, if it can be counted.
pub(crate) fn times(extents: &[i64]) -> Option<i64> {
    extents.iter().try_fold(1, |all: i64, &extent| all.checked_mul(extent))
}

/// How a window slides along the axes of the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Extents of the window.
    pub(crate) kernel: Vec<i64>,
    /// Places from one window to the next.
    pub(crate) strides: Vec<i64>,
    /// Places from one element of the window to the next.
    pub(crate) dilations: Vec<i64>,
    /// Places added at the front of each axis.
    pub(crate) before: Vec<i64>,
    /// Places added at the end of each axis.
    pub(crate) after: Vec<i64>,
}

impl Window {
    /// The window of a convolution or pool over an image of these extents (`None` where not known, which is
    /// enough unless padding is automatic).
    pub(crate) fn of(attributes: Attributes<'_>, kernel: Vec<i64>, image: &[Option<i64>]) -> Option<Self> {
        let axes = kernel.len();
        if image.len() != axes {
            return None;
        }
        let list = |name: &str, default: i64| match attributes.ints(name) {
            Some(values) if values.len() == axes => Some(values.to_vec()),
            Some(_) => None,
            None => Some(vec![default; axes]),
        };
        let (strides, dilations) = (list("strides", 1)?, list("dilations", 1)?);
        let given =
            attributes.ints("pads").into_iter().flatten().chain(&kernel).chain(image.iter().flatten());
        if strides.iter().chain(&dilations).any(|&step| step < 1)
            || !strides.iter().chain(&dilations).chain(given).all(is_sensible)
        {
            return None;
        }
        let mut window = Self { kernel, strides, dilations, before: vec![0; axes], after: vec![0; axes] };
        match attributes.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => {
                if let Some(pads) = attributes.ints("pads") {
                    if pads.len() != 2 * axes {
                        return None;
                    }
                    window.before = pads[..axes].to_vec();
                    window.after = pads[axes..].to_vec();
                }
            }
            "VALID" => {}
            same => {
                for (axis, extent) in image.iter().enumerate() {
                    let extent = (*extent)?;
                    let stride = window.strides[axis];
                    let windows = (extent + stride - 1) / stride;
                    let total = ((windows - 1) * stride + window.reach(axis) - extent).max(0);
                    let less = total / 2;
                    let front = if same == "SAME_LOWER" { total - less } else { less };
                    window.before[axis] = front;
                    window.after[axis] = total - front;
                }
            }
        }
        Some(window)
    }

    /// Places from the first element of the window to behind its last.
    pub(crate) fn reach(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// How many windows fit along an axis of this extent.
    fn count(&self, axis: usize, extent: i64, ceil: bool) -> i64 {
        let padded = extent + self.before[axis] + self.after[axis];
        let stride = self.strides[axis];
        let room = padded - self.reach(axis);
        let mut count = room.div_euclid(stride) + 1;
        if ceil && room.rem_euclid(stride) != 0 && count * stride < extent + self.before[axis] {
            count += 1;
        }
        count.max(0)
    }

    /// The padding, front of all axes first, as the attribute `pads` has it.
    pub(crate) fn pads(&self) -> Vec<i64> {
        [&self.before[..], &self.after[..]].concat()
    }
}

/// The extents of the places of an image of shape `[rows, channels, …]`.
pub(crate) fn places(dims: &[Dim]) -> Vec<Option<i64>> {
    dims.iter().skip(2).map(|dim| known(dim).map(|extent| extent as i64)).collect()
}

/// The window extents of a convolution: the weights' own, or, where these are not known, the attribute.
pub(crate) fn kernel(attributes: Attributes<'_>, weights: Option<&[Dim]>) -> Option<Vec<i64>> {
    let own = weights.and_then(|dims| places(dims).into_iter().collect());
    own.or_else(|| attributes.ints("kernel_shape").map(<[i64]>::to_vec))
}

fn convolution(q: &Question<'_>) -> Option<Vec<Dim>> {
    let dims = q.shape(0)?;
    let image = places(dims);
    let window = Window::of(q.attributes(), kernel(q.attributes(), q.shape(1))?, &image)?;
    let channels = q.shape(1).and_then(|dims| dims.first().cloned()).unwrap_or(Dim::Any);
    let mut shape = vec![dims.first()?.clone(), channels];
    for (axis, extent) in image.iter().enumerate() {
        shape.push(extent.map_or(Dim::Any, |extent| dim_of(window.count(axis, extent, false))));
    }
    Some(shape)
}

fn pool(q: &Question<'_>) -> Option<Vec<Dim>> {
    let dims = q.shape(0)?;
    let image = places(dims);
    let window = Window::of(q.attributes(), kernel(q.attributes(), None)?, &image)?;
    let ceil = q.attributes().flag("ceil_mode", false);
    let mut shape = vec![dims.first()?.clone(), dims.get(1)?.clone()];
    for (axis, extent) in image.iter().enumerate() {
        shape.push(extent.map_or(Dim::Any, |extent| dim_of(window.count(axis, extent, ceil))));
    }
    Some(shape)
}

fn transposed(q: &Question<'_>) -> Option<Vec<Dim>> {
    let (dims, weights) = (q.shape(0)?, q.shape(1)?);
    let group = q.attributes().int_or("group", 1);
    let channels =
        known(weights.get(1)?).map_or(Dim::Any, |extent| dim_of((extent as i64).saturating_mul(group)));
    let mut shape = vec![dims.first()?.clone(), channels];
    let image = places(dims);
    if let Some(extents) = q.attributes().ints("output_shape") {
        shape.extend(extents.iter().rev().take(image.len()).rev().map(|&extent| dim_of(extent)));
        return Some(shape);
    }
    let automatic = matches!(q.attributes().text("auto_pad"), Some("SAME_UPPER" | "SAME_LOWER"));
    let extra = q.attributes().ints("output_padding");
    let attributes = if automatic { None } else { Some(q.attributes()) };
    let kernel = kernel(q.attributes(), Some(weights))?;
    let strides = q.attributes().ints("strides").map_or_else(|| vec![1; kernel.len()], <[i64]>::to_vec);
    let window = attributes.and_then(|attributes| Window::of(attributes, kernel, &image));
    for (axis, extent) in image.iter().enumerate() {
        shape.push(match (extent, &window) {
            (Some(extent), None) if automatic => dim_of(extent.saturating_mul(*strides.get(axis)?)),
            (Some(extent), Some(window)) => {
                let extra = extra.and_then(|extra| extra.get(axis)).copied().unwrap_or(0).clamp(-MOST, MOST);
                let full = (extent.max(&1) - 1) * window.strides[axis] + window.reach(axis) + extra;
                dim_of(full - window.before[axis] - window.after[axis])
            }
            _ => Dim::Any,
        });
    }
    Some(shape)
}
