//! Resampling along axes: nearest, linear and cubic.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("Resize", 10, |node| resize(node, 1)),
    op("Resize", 11, |node| resize(node, 2)),
    op("Upsample", 9, |node| resize(node, 1)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Cubic,
    Linear,
    Nearest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    AlignCorners,
    Asymmetric,
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfCropAndResize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearest {
    Ceil,
    Floor,
    PreferCeil,
    PreferFloor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    NotLarger,
    NotSmaller,
    Stretch,
}

#[derive(Clone, Debug)]
struct Resampling {
    mode: Mode,
    coordinates: Coordinates,
    nearest: Nearest,
    policy: Policy,
    cubic: f64,
    excludes_outside: bool,
    antialias: bool,
    outside: f64,
    axes: Option<Vec<i64>>,
    /// Where the scales are; sizes follow them.
    scales_input: usize,
}

fn resize(node: &NodeDef<'_>, scales_input: usize) -> Outcome<Kernel> {
    let old = scales_input == 1;
    let mode = match node.string_or("mode", "nearest")? {
        "cubic" => Mode::Cubic,
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        other => return Err(Fault::attribute("mode", format!("is `{other}`; use nearest, linear or cubic"))),
    };
    let otherwise = if old { "asymmetric" } else { "half_pixel" };
    let coordinates = match node.string_or("coordinate_transformation_mode", otherwise)? {
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize,
        other => return Err(Fault::Unsupported(format!("coordinate_transformation_mode={other}"))),
    };
    let nearest = match node.string_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })? {
        "ceil" => Nearest::Ceil,
        "floor" => Nearest::Floor,
        "round_prefer_ceil" => Nearest::PreferCeil,
        "round_prefer_floor" => Nearest::PreferFloor,
        other => {
            return Err(Fault::attribute("nearest_mode", format!("is `{other}`, which is none of ONNX's")));
        }
    };
    let policy = match node.string_or("keep_aspect_ratio_policy", "stretch")? {
        "not_larger" => Policy::NotLarger,
        "not_smaller" => Policy::NotSmaller,
        "stretch" => Policy::Stretch,
        other => return Err(Fault::attribute("keep_aspect_ratio_policy", format!("is `{other}`"))),
    };
    let job = Resampling {
        mode,
        coordinates,
        nearest,
        policy,
        cubic: f64::from(node.float_or("cubic_coeff_a", -0.75)),
        excludes_outside: node.flag("exclude_outside"),
        antialias: node.flag("antialias"),
        outside: f64::from(node.float_or("extrapolation_value", 0.0)),
        axes: node.ints("axes").map(<[i64]>::to_vec),
        scales_input,
    };
    Ok(Kernel::new(move |io| job.run(io)).via_f32())
}

/// What one axis becomes.
#[derive(Clone, Copy, Debug)]
struct Target {
    input: usize,
    output: usize,
    scale: f64,
    roi: (f64, f64),
}

/// Which elements of an axis make one element of the result; none: it lies outside.
type Taps = Option<Vec<(usize, f64)>>;

impl Resampling {
    fn run(&self, io: &mut Io<'_, '_>) -> Outcome {
        let input = io.input(0)?;
        let own = input.shape().clone();
        let axes = match &self.axes {
            Some(axes) => shape::axes(axes, own.rank())?,
            None => (0..own.rank()).collect(),
        };
        let targets = self.targets(io, &own, &axes)?;
        let mut wide = convert(io.pool, input, DataType::F64)?;
        for (&axis, target) in axes.iter().zip(&targets).rev() {
            let same = target.input == target.output && target.scale == 1.0;
            if same && self.coordinates != Coordinates::TfCropAndResize {
                continue;
            }
            // Without antialias there are four at most; with it about four for each element that the axis shrinks by.
            let each = if self.antialias { (4.0 / target.scale.clamp(1e-9, 1.0)) as usize + 6 } else { 4 };
            let held = size_of::<Taps>() + 2 * each.saturating_mul(size_of::<(usize, f64)>());
            io.reserve(target.output, held)?;
            let rest =
                shape::count(&wide.shape()[..axis])?.saturating_mul(shape::count(&wide.shape()[axis + 1..])?);
            io.charge([target.output, each, rest.saturating_add(16)])?;
            let taps: Vec<Taps> = (0..target.output).map(|place| self.taps(target, place as f64)).collect();
            let next = self.apply(io, &wide, axis, &taps)?;
            io.pool.put(std::mem::replace(&mut wide, next));
        }
        let result = convert(io.pool, &wide, input.dtype())?;
        io.pool.put(wide);
        io.emit(0, result);
        Ok(())
    }

    fn targets(&self, io: &mut Io<'_, '_>, own: &Shape, axes: &[usize]) -> Outcome<Vec<Target>> {
        let numbers = |io: &mut Io<'_, '_>, place: usize| -> Outcome<Option<Vec<f64>>> {
            match io.optional(place).filter(|tensor| tensor.element_count() > 0) {
                None => Ok(None),
                Some(tensor) => {
                    Ok(Some(convert(io.pool, tensor, DataType::F64)?.as_slice::<f64>()?.to_vec()))
                }
            }
        };
        let roi = if self.scales_input == 2 { numbers(io, 1)? } else { None };
        let scales = numbers(io, self.scales_input)?;
        let sizes = if scales.is_none() { numbers(io, self.scales_input + 1)? } else { None };
        let given = scales
            .as_ref()
            .or(sizes.as_ref())
            .ok_or_else(|| Fault::shape("neither scales nor sizes are given"))?;
        if given.len() != axes.len() || given.iter().any(|x| x.is_nan() || *x < 0.0 || *x > 1e9) {
            return Err(Fault::shape(format!("{given:?} for {} axes", axes.len())));
        }
        let mut ratios: Vec<f64> = match (&scales, &sizes) {
            (Some(scales), _) => scales.clone(),
            (None, _) => given.iter().zip(axes).map(|(size, &axis)| size / own[axis] as f64).collect(),
        };
        let keep = sizes.is_some() && self.policy != Policy::Stretch;
        if keep {
            let one = match self.policy {
                Policy::NotLarger => ratios.iter().copied().fold(f64::INFINITY, f64::min),
                _ => ratios.iter().copied().fold(0.0, f64::max),
            };
            ratios.fill(one);
        }
        let mut targets = Vec::with_capacity(axes.len());
        for (place, &axis) in axes.iter().enumerate() {
            let (input, scale) = (own[axis], ratios[place]);
            let output = match &sizes {
                Some(_) if keep => (scale * input as f64 + 0.5).floor() as usize,
                Some(sizes) => sizes[place] as usize,
                None => (scale * input as f64).floor() as usize,
            };
            let at = |index: usize, otherwise: f64| {
                roi.as_ref().and_then(|roi| roi.get(index).copied()).unwrap_or(otherwise)
            };
            let roi = (at(place, 0.0), at(axes.len() + place, 1.0));
            if input == 0 && output > 0 {
                return Err(Fault::shape("an axis without elements cannot grow"));
            }
            targets.push(Target { input, output, scale, roi });
        }
        Ok(targets)
    }

    /// Where `place` of the result lies on the input's axis.
    fn source(&self, target: &Target, place: f64) -> f64 {
        let (input, scale) = (target.input as f64, target.scale);
        let output = scale * input;
        match self.coordinates {
            Coordinates::AlignCorners if output == 1.0 => 0.0,
            Coordinates::AlignCorners => place * (input - 1.0) / (output - 1.0),
            Coordinates::Asymmetric => place / scale,
            Coordinates::PytorchHalfPixel if output == 1.0 => -0.5,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (place + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = target.output as f64 / output;
                input / 2.0 * (1.0 - adjustment) + (place + 0.5) / scale - 0.5
            }
            Coordinates::TfCropAndResize => {
                let (start, end) = target.roi;
                let within = if output == 1.0 {
                    (end - start) * (input - 1.0) / 2.0
                } else {
                    place * (end - start) * (input - 1.0) / (output - 1.0)
                };
                within + start * (input - 1.0)
            }
        }
    }

    fn taps(&self, target: &Target, place: f64) -> Taps {
        let x = self.source(target, place);
        let last = target.input as f64 - 1.0;
        if self.coordinates == Coordinates::TfCropAndResize && !(0.0..=last).contains(&x) {
            return None;
        }
        // The neighbour on the left is the one before an integer, so that the ratio is in (0, 1].
        let left = x.ceil() - 1.0;
        let mut weights = self.weights(x - left, target.scale);
        let first = left - (weights.len() as f64 / 2.0 - 1.0);
        let at = |index: usize| first + index as f64;
        if self.excludes_outside {
            for (index, weight) in weights.iter_mut().enumerate() {
                if !(0.0..=last).contains(&at(index)) {
                    *weight = 0.0;
                }
            }
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        let taps = weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
        Some(taps.map(|(index, &weight)| (at(index).clamp(0.0, last.max(0.0)) as usize, weight)).collect())
    }

    /// Weights of the neighbours around a place that lies `ratio` after the one on its left.
    fn weights(&self, ratio: f64, scale: f64) -> Vec<f64> {
        let a = self.cubic;
        let cubic = |x: f64| {
            let x = x.abs();
            if x <= 1.0 {
                ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
            } else {
                0.0
            }
        };
        let spread = |reach: f64, f: &dyn Fn(f64) -> f64| {
            let scale = scale.min(1.0);
            let start = (-reach / scale).floor() + 1.0;
            let count = (2.0 - 2.0 * start) as usize;
            let weights: Vec<f64> =
                (0..count).map(|index| f(scale * (start + index as f64 - ratio))).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        let whole = ratio == 1.0;
        match (self.mode, self.antialias) {
            (Mode::Cubic, false) => (-1..3).map(|index| cubic(f64::from(index) - ratio)).collect(),
            (Mode::Cubic, true) => spread(2.0, &cubic),
            (Mode::Linear, false) => vec![1.0 - ratio, ratio],
            (Mode::Linear, true) => spread(1.0, &|x: f64| (1.0 - x.abs()).clamp(0.0, 1.0)),
            (Mode::Nearest, _) => {
                let right = whole
                    || match self.nearest {
                        Nearest::Ceil => true,
                        Nearest::Floor => false,
                        Nearest::PreferCeil => ratio >= 0.5,
                        Nearest::PreferFloor => ratio > 0.5,
                    };
                vec![f64::from(u8::from(!right)), f64::from(u8::from(right))]
            }
        }
    }

    fn apply(&self, io: &mut Io<'_, '_>, input: &Tensor, axis: usize, taps: &[Taps]) -> Outcome<Tensor> {
        let own = input.shape();
        let (count, inner) = (own[axis], shape::count(&own[axis + 1..])?);
        let mut extents = own.to_vec();
        extents[axis] = taps.len();
        let mut result = io.alloc(DataType::F64, &Shape::from(extents))?;
        let (from, to) = (input.as_slice::<f64>()?, result.make_mut::<f64>()?);
        if inner == 0 || taps.is_empty() {
            return Ok(result);
        }
        for (row, to) in to.chunks_exact_mut(inner).enumerate() {
            let block = row / taps.len() * count;
            match &taps[row % taps.len()] {
                None => to.fill(self.outside),
                Some(taps) => {
                    to.fill(0.0);
                    for &(at, weight) in taps {
                        let from = &from[(block + at) * inner..(block + at + 1) * inner];
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
                    }
                }
            }
        }
        Ok(result)
    }
}
