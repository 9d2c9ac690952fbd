//! Convolutions of `f32`, without unfolding the windows.
//!
//! The image is copied once into lines with their padding, an axis with stride `s` split into `s` images of every
//! `s`-th line. There each tap of the window is the image read from another offset on, so that the convolution is a
//! product of the weights with shifted images; columns where a window would run over the end of a line are dropped
//! when results are stored. A normalization that follows the convolution is part of its weights; a tensor that is
//! added and bounds are part of its store.

use bb_runtime::{DataType, Shape, Tensor};
use smallvec::SmallVec;

use super::elementwise::own;
use super::gemm::work_of;
use super::window::{Slides, Window, for_each};
use crate::fault::{Fault, Outcome};
use crate::io::{In, Io};
use crate::pool::Pool;
use crate::shape::{self, Axes};
use crate::simd;
use crate::tiles::{self, Finish, Grid, Left, Right, SLACK, Tiles};

/// What a layer computes with beside the image.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) norm: Option<Norm<'a>>,
    pub(crate) bounds: Option<(f32, f32)>,
    /// They are the same in every run with this number.
    pub(crate) epoch: Option<u64>,
}

/// A batch normalization with fixed statistics, one number a channel each.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) mean: &'a [f32],
    pub(crate) variance: &'a [f32],
    pub(crate) epsilon: f32,
}

/// A convolution made ready.
pub(crate) struct Layer {
    window: Window,
    groups: usize,
    threads: usize,
    plan: Option<Plan>,
    left: Left,
    bias: Vec<f32>,
    factors: Vec<f32>,
    epoch: Option<u64>,
}

/// What follows from the shapes.
struct Plan {
    input: Shape,
    weight: Shape,
    result: Shape,
    /// Channels and filters of a group.
    channels: usize,
    filters: usize,
    pixels: usize,
    places: usize,
    taps: usize,
    /// The image is read from where it stands.
    plain: bool,
    /// The lines of one channel's copy.
    copies: Vec<Copied>,
    line: usize,
    step: usize,
    plane: usize,
    /// Zeros before each line that are the padding behind the line before, too.
    shared: usize,
    offsets: Vec<usize>,
    span: usize,
    width: usize,
    lines: Vec<Option<usize>>,
    /// Of the products and the copies of a run.
    work: u64,
}

/// A line of the copy: zeros, then `count` elements of the image from `from` on, then zeros.
#[derive(Clone, Copy)]
struct Copied {
    from: usize,
    first: usize,
    count: usize,
}

impl Layer {
    pub(crate) fn new(window: Window, groups: usize, threads: usize) -> Self {
        let (plan, left, epoch) = (None, Left::default(), None);
        Self { window, groups, threads, plan, left, bias: Vec::new(), factors: Vec::new(), epoch }
    }

    /// Plans for these shapes; gives the result's.
    pub(crate) fn plan(&mut self, pool: &Pool, input: &Shape, weight: &Shape) -> Outcome<&Shape> {
        if self.plan.as_ref().is_some_and(|plan| plan.input == *input && plan.weight == *weight) {
            return self.plan.as_ref().map(|plan| &plan.result).ok_or_else(unplanned);
        }
        self.epoch = None;
        let plan = Plan::new(&self.window, self.groups, input, weight, pool)?;
        Ok(&self.plan.insert(plan).result)
    }

    /// The convolution of an image in `f32`, added to a tensor of the result's shape if there is one.
    pub(crate) fn run(
        &mut self,
        io: &mut Io<'_, '_>,
        input: &Tensor,
        weights: Weights<'_>,
        added: Option<In<'_>>,
    ) -> Outcome<Tensor> {
        self.plan(io.pool, input.shape(), weights.weight.shape())?;
        if self.epoch.is_none() || self.epoch != weights.epoch {
            self.pack(&weights)?;
        }
        let plan = self.plan.as_ref().ok_or_else(unplanned)?;
        io.pool.charge(plan.work)?;
        let held = if added.is_some() { 1.0 } else { 0.0 };
        let mut result = match added {
            Some(added) if *added.shape() == plan.result => own(io, added)?,
            Some(added) => {
                return Err(Fault::shape(format!(
                    "{} is added to a result of shape {}",
                    added.shape(),
                    plan.result
                )));
            }
            None => io.alloc(DataType::F32, &plan.result)?,
        };
        let mut copy = match plan.plain {
            true => None,
            false => Some(
                io.alloc(DataType::F32, &Shape::from([plan.channels * plan.plane + plan.shared + SLACK]))?,
            ),
        };
        let (from, to) = (input.as_slice::<f32>()?, result.make_mut::<f32>()?);
        let (own, pixels) = (plan.filters, plan.pixels);
        let block = own.div_ceil(self.left.height) * self.left.height * plan.taps;
        let batch = input.shape()[0];
        for part in 0..batch * self.groups {
            let group = part % self.groups;
            let from = &from[part * plan.channels * pixels..][..plan.channels * pixels];
            let right = match &mut copy {
                None => Right::Rows(from),
                Some(copy) => {
                    let copied = copy.make_mut::<f32>()?;
                    plan.copy(from, copied);
                    Right::Shifted(copied, &plan.offsets)
                }
            };
            let bias = (!self.bias.is_empty()).then(|| &self.bias[group * own..][..own]);
            let tiles = Tiles {
                left: &self.left.elements[group * block..][..block],
                height: self.left.height,
                right,
                extents: (own, plan.taps, plan.span),
                grid: Grid { line: plan.line, width: plan.width, lines: &plan.lines },
                finish: Finish { bias, held, bounds: weights.bounds },
                to: &mut to[part * own * plan.places..][..own * plan.places],
                threads: self.threads,
                scratch: &mut io.hands.workspace.panel,
            };
            if !tiles.compute() {
                return Err(Fault::shape("the image does not fit the plan made for its shape"));
            }
        }
        if let Some(copy) = copy {
            io.pool.put(copy);
        }
        Ok(result)
    }

    fn pack(&mut self, weights: &Weights<'_>) -> Outcome {
        let plan = self.plan.as_ref().ok_or_else(unplanned)?;
        let filters = plan.filters * self.groups;
        let fits = |list: &[f32]| list.len() == filters;
        let norm_fits = weights.norm.is_none_or(|norm| {
            fits(norm.scale) && fits(norm.shift) && fits(norm.mean) && fits(norm.variance)
        });
        if !norm_fits || !weights.bias.is_none_or(fits) {
            return Err(Fault::shape(format!("one bias is needed for each of {filters} filters")));
        }
        self.factors.clear();
        self.bias.clear();
        self.bias.extend(weights.bias.unwrap_or_default());
        if let Some(norm) = weights.norm {
            self.factors.extend(
                norm.scale
                    .iter()
                    .zip(norm.variance)
                    .map(|(scale, variance)| scale / (variance + norm.epsilon).sqrt()),
            );
            self.bias.resize(filters, 0.0);
            for (at, bias) in self.bias.iter_mut().enumerate() {
                *bias = (*bias - norm.mean[at]) * self.factors[at] + norm.shift[at];
            }
        }
        self.left.elements.clear();
        self.left.height = if plan.filters == 1 { 1 } else { tiles::height() };
        let from = weights.weight.as_slice::<f32>()?;
        let size = plan.filters * plan.taps;
        for group in 0..self.groups {
            let factors = &self.factors;
            let factor = |row: usize| factors.get(group * plan.filters + row).copied().unwrap_or(1.0);
            self.left.push(&from[group * size..][..size], false, (plan.filters, plan.taps), factor);
        }
        self.epoch = weights.epoch;
        Ok(())
    }
}

impl Plan {
    fn new(window: &Window, groups: usize, input: &Shape, weight: &Shape, pool: &Pool) -> Outcome<Self> {
        let (&[batch, all, ref spatial @ ..], &[filters, channels, ref kernel @ ..]) = (&**input, &**weight)
        else {
            return Err(Fault::shape("input and weights need a batch and a channel axis"));
        };
        let fits = all == channels.saturating_mul(groups) && filters.is_multiple_of(groups);
        if !fits || window.kernel.as_deref().is_some_and(|held| held != kernel) {
            return Err(Fault::shape(format!("{all} channels in {groups} groups against {filters} filters")));
        }
        let slides = window.slides(spatial, kernel)?;
        let outputs: SmallVec<[usize; 3]> = slides.iter().map(|slide| slide.output).collect();
        let result: Shape = [batch, filters].into_iter().chain(outputs.iter().copied()).collect();
        let places = shape::count(&outputs)?;
        let taps = channels.checked_mul(shape::count(kernel)?).ok_or_else(too_large)?;
        shape::count(&result)?;
        let mut plan = Self {
            input: input.clone(),
            weight: weight.clone(),
            result,
            channels,
            filters: filters / groups,
            pixels: shape::count(spatial)?,
            places,
            taps,
            plain: slides
                .iter()
                .all(|slide| slide.kernel == 1 && slide.stride == 1 && slide.before == 0 && slide.after == 0),
            copies: Vec::new(),
            line: places.max(1),
            step: 1,
            plane: 0,
            shared: 0,
            offsets: Vec::new(),
            span: places,
            width: places.max(1),
            lines: vec![Some(0)],
            work: 0,
        };
        if !plan.plain && places > 0 && taps > 0 {
            plan.lay_out(&slides, spatial, &outputs, pool)?;
        }
        let product = |a: usize, b: usize| (a as u64).saturating_mul(b as u64);
        let copied = if plan.plain { 0 } else { product(plan.channels, plan.plane) };
        let multiplied = work_of(plan.filters, taps, plan.span, DataType::F32);
        plan.work = product(batch, groups).saturating_mul(multiplied.saturating_add(copied));
        Ok(plan)
    }

    /// Where the lines of the copy come from, where each tap begins in it, and where its lines go.
    fn lay_out(&mut self, slides: &Slides, spatial: &[usize], outputs: &[usize], pool: &Pool) -> Outcome {
        let kernel: Axes = slides.iter().map(|slide| slide.kernel).collect();
        // The remainders by the stride that taps have on each axis, and the extents of an image of one of them.
        let remainders: SmallVec<[SmallVec<[usize; 4]>; 3]> = slides
            .iter()
            .map(|slide| {
                let mut met: SmallVec<[usize; 4]> =
                    (0..slide.kernel).map(|tap| tap * slide.dilation % slide.stride).collect();
                met.sort_unstable();
                met.dedup();
                met
            })
            .collect();
        let counts: Axes = remainders.iter().map(SmallVec::len).collect();
        let mut extents = Axes::new();
        for slide in slides {
            let reach = (slide.output - 1)
                .checked_mul(slide.stride)
                .and_then(|reach| reach.checked_add((slide.kernel - 1) * slide.dilation));
            extents.push(reach.ok_or_else(too_large)? / slide.stride + 1);
        }
        let plane = shape::count(&extents)?.checked_mul(shape::count(&counts)?).ok_or_else(too_large)?;
        // What is laid out below is in proportion to the copy.
        let cells = plane.checked_mul(self.channels).and_then(|cells| cells.checked_add(SLACK));
        let bytes = cells.and_then(|cells| cells.checked_mul(size_of::<f32>()));
        pool.admit(bytes.ok_or_else(too_large)?)?;
        let (Some((last, outer)), Some((&line, outer_extents)), Some((&width, outer_outputs))) =
            (slides.split_last(), extents.split_last(), outputs.split_last())
        else {
            return Err(Fault::shape("a window needs an axis"));
        };
        (self.width, self.step) = (width, last.stride);
        let outer_extents = Axes::from_slice(outer_extents);
        let (lines, choice_count, kernel_count) =
            (shape::count(&outer_extents)?, shape::count(&counts)?, shape::count(&kernel)?);
        let (copies, taps) = (lines.saturating_mul(choice_count), kernel_count.saturating_mul(self.channels));
        let held =
            [copies.saturating_mul(size_of::<Copied>()), lines.saturating_mul(16), taps.saturating_mul(8)];
        pool.admit(held.iter().fold(0, |all: usize, &bytes| all.saturating_add(bytes)))?;

        let strides = shape::strides(spatial);
        for_each(&counts, |choice| {
            for_each(&outer_extents, |index| {
                let mut from = Some(0);
                for (axis, slide) in outer.iter().enumerate() {
                    let at = index[axis] * slide.stride + remainders[axis][choice[axis]];
                    let at = at.checked_sub(slide.before).filter(|&at| at < slide.input);
                    from = from.zip(at).map(|(from, at)| from + at * strides[axis]);
                }
                let remainder = remainders[outer.len()][choice[outer.len()]];
                let first = last.before.saturating_sub(remainder).div_ceil(last.stride).min(line);
                let begin =
                    first * last.stride + remainder - last.before.min(first * last.stride + remainder);
                let count = last.input.saturating_sub(begin).div_ceil(last.stride).min(line - first);
                self.copies.push(match from {
                    Some(from) if count > 0 => Copied { from: from + begin, first, count },
                    _ => Copied { from: 0, first: line, count: 0 },
                });
            });
        });

        let padding = |copied: &Copied| copied.first.min(line - copied.first - copied.count);
        let met = self.copies.iter().filter(|copied| copied.count > 0);
        self.shared = met.map(padding).min().unwrap_or(0).min(line.saturating_sub(width));
        self.line = line - self.shared;
        if let Some(extent) = extents.last_mut() {
            *extent = self.line;
        }
        for copied in self.copies.iter_mut().filter(|copied| copied.count == 0) {
            copied.first = self.line;
        }
        let size = shape::count(&extents)?;
        self.plane = size * shape::count(&counts)?;

        let (own, choices) = (shape::strides(&extents), shape::strides(&counts));
        for channel in 0..self.channels {
            for_each(&kernel, |tap| {
                let mut offset = channel * self.plane;
                for (axis, slide) in slides.iter().enumerate() {
                    let at = tap[axis] * slide.dilation;
                    let choice = remainders[axis].binary_search(&(at % slide.stride)).unwrap_or(0);
                    offset += choice * choices[axis] * size + at / slide.stride * own[axis];
                }
                self.offsets.push(offset);
            });
        }
        self.span = outputs.iter().zip(&own).map(|(output, stride)| (output - 1) * stride).sum::<usize>() + 1;

        let goes = shape::strides(outputs);
        self.lines.clear();
        for_each(&outer_extents, |index| {
            let is_kept = index.iter().zip(outer_outputs).all(|(at, output)| at < output);
            self.lines.push(is_kept.then(|| index.iter().zip(&goes).map(|(at, stride)| at * stride).sum()));
        });
        Ok(())
    }

    /// Copies the channels of an image into lines with their padding.
    fn copy(&self, from: &[f32], to: &mut [f32]) {
        to[self.channels * self.plane..][..self.shared].fill(0.0);
        let lines = to.chunks_exact_mut(self.line.max(1));
        let copies =
            (0..self.channels).flat_map(|channel| self.copies.iter().map(move |copied| (channel, copied)));
        for (to, (channel, copied)) in lines.zip(copies) {
            let (before, rest) = to.split_at_mut(copied.first);
            let (middle, after) = rest.split_at_mut(copied.count);
            before.fill(0.0);
            after.fill(0.0);
            let Some(from) = from.get(channel * self.pixels + copied.from..) else { continue };
            if self.step == 1 {
                middle.copy_from_slice(&from[..copied.count]);
            } else {
                simd::pick(from, self.step, middle);
            }
        }
    }
}

fn too_large() -> Fault {
    Fault::shape("the padded image is larger than memory")
}

fn unplanned() -> Fault {
    Fault::shape("the convolution is not planned")
}
