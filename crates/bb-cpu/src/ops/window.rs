//! Windows that slide over the spatial axes: what convolutions and pools share.

use smallvec::SmallVec;

use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;
use crate::shape;

/// How padding is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AutoPad {
    NotSet,
    SameLower,
    SameUpper,
    Valid,
}

/// Attributes of a window, as far as the node gives them.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) auto_pad: AutoPad,
    pub(crate) kernel: Option<Vec<usize>>,
    pub(crate) strides: Option<Vec<usize>>,
    pub(crate) dilations: Option<Vec<usize>>,
    pub(crate) pads: Option<Vec<usize>>,
    pub(crate) ceil: bool,
}

/// One spatial axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slide {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) before: usize,
    pub(crate) after: usize,
}

impl Slide {
    /// The place of the input that the window's `offset` meets at `place` of the output; `None` in the padding.
    pub(crate) fn source(&self, place: usize, offset: usize) -> Option<usize> {
        (place * self.stride + offset * self.dilation).checked_sub(self.before).filter(|&at| at < self.input)
    }

    /// How many elements the window meets at `place` of the output, with those of the `padding` or without.
    pub(crate) fn taps(&self, place: usize, padding: bool) -> usize {
        let (least, end) = if padding {
            (0, self.before + self.input + self.after)
        } else {
            (self.before, self.before + self.input)
        };
        // Taps stand at `begin`, `begin + dilation`, …
        let begin = place * self.stride;
        let before = |bound: usize| bound.saturating_sub(begin).div_ceil(self.dilation).min(self.kernel);
        before(end) - before(least)
    }
}

pub(crate) type Slides = SmallVec<[Slide; 3]>;

/// The work of looking at each tap of each window of `planes` images, one by one.
pub(crate) fn work(planes: usize, slides: &Slides) -> u64 {
    let factors =
        slides.iter().flat_map(|slide| [slide.output, slide.kernel]).chain([planes, slides.len() + 2]);
    factors.fold(1, |all: u64, factor| all.saturating_mul(factor as u64))
}

impl Window {
    pub(crate) fn new(node: &NodeDef<'_>) -> Outcome<Self> {
        let list = |name: &'static str, least: i64| -> Outcome<Option<Vec<usize>>> {
            let Some(values) = node.ints(name) else { return Ok(None) };
            if values.iter().any(|&value| value < least || value > i64::from(i32::MAX)) {
                return Err(Fault::attribute(name, format!("is {values:?}; each must be at least {least}")));
            }
            values.iter().map(|&value| shape::extent(value)).collect::<Outcome<_>>().map(Some)
        };
        let auto_pad = match node.string_or("auto_pad", "NOTSET")? {
            "NOTSET" => AutoPad::NotSet,
            "SAME_LOWER" => AutoPad::SameLower,
            "SAME_UPPER" => AutoPad::SameUpper,
            "VALID" => AutoPad::Valid,
            other => {
                return Err(Fault::attribute("auto_pad", format!("is `{other}`, which is none of ONNX's")));
            }
        };
        Ok(Self {
            auto_pad,
            kernel: list("kernel_shape", 1)?,
            strides: list("strides", 1)?,
            dilations: list("dilations", 1)?,
            pads: list("pads", 0)?,
            ceil: node.flag("ceil_mode"),
        })
    }

    fn at(list: Option<&[usize]>, axis: usize, otherwise: usize) -> Outcome<usize> {
        match list {
            None => Ok(otherwise),
            Some(list) => list
                .get(axis)
                .copied()
                .ok_or_else(|| Fault::shape("the window has fewer axes than the input")),
        }
    }

    /// The slides over `spatial` extents of a window of `kernel` extents.
    pub(crate) fn slides(&self, spatial: &[usize], kernel: &[usize]) -> Outcome<Slides> {
        if spatial.len() != kernel.len() {
            return Err(Fault::shape(format!("a window of {kernel:?} over {spatial:?}")));
        }
        let mut slides = Slides::new();
        for (axis, (&input, &kernel)) in spatial.iter().zip(kernel).enumerate() {
            let stride = Self::at(self.strides.as_deref(), axis, 1)?;
            let dilation = Self::at(self.dilations.as_deref(), axis, 1)?;
            let reach = (kernel.max(1) - 1)
                .checked_mul(dilation)
                .and_then(|reach| reach.checked_add(1))
                .ok_or_else(|| Fault::shape("the window is larger than memory"))?;
            let (before, after) = match self.auto_pad {
                AutoPad::NotSet => (
                    Self::at(self.pads.as_deref(), axis, 0)?,
                    Self::at(self.pads.as_deref(), axis + spatial.len(), 0)?,
                ),
                AutoPad::Valid => (0, 0),
                AutoPad::SameLower | AutoPad::SameUpper => {
                    let output = input.div_ceil(stride);
                    let total = (output.max(1) - 1)
                        .saturating_mul(stride)
                        .saturating_add(reach)
                        .saturating_sub(input);
                    let small = total / 2;
                    if self.auto_pad == AutoPad::SameUpper {
                        (small, total - small)
                    } else {
                        (total - small, small)
                    }
                }
            };
            let span = input.checked_add(before).and_then(|span| span.checked_add(after));
            let span = span.ok_or_else(|| Fault::shape("the padding is larger than memory"))?;
            let Some(room) = span.checked_sub(reach) else {
                return Err(Fault::shape(format!("a window of {reach} over {span}")));
            };
            let mut output = room / stride + 1;
            if self.ceil && !room.is_multiple_of(stride) && output * stride < input + before {
                // One more window, if it begins within the input or the padding before it.
                output += 1;
            }
            slides.push(Slide { input, output, kernel, stride, dilation, before, after });
        }
        Ok(slides)
    }
}

/// Calls `each` with every index below `extents`, in order.
pub(crate) fn for_each(extents: &[usize], mut each: impl FnMut(&[usize])) {
    if extents.contains(&0) {
        return;
    }
    let mut index: SmallVec<[usize; 3]> = smallvec::smallvec![0; extents.len()];
    loop {
        each(&index);
        let mut axis = extents.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return };
            axis = next;
            index[axis] += 1;
            if index[axis] < extents[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}
