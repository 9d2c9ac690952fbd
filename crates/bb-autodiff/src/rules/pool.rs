//! Pools.

use super::indexing::{RANGE, SCATTER_ADDS, added_at, require};
use super::resample::identity;
use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{float, int, ints, string};
use crate::builder::Val;
use crate::facts::{Fact, Window, places, times};
use bb_ir::DataType;
use bb_ir::onnx::AttributeProto;

pub(super) const RULES: &[Rule] = &[
    Rule::all("AveragePool", average),
    Rule::all("GlobalAveragePool", global_average),
    Rule::all("GlobalLpPool", global_lp),
    Rule::all("GlobalMaxPool", global_max),
    Rule::all("LpPool", lp),
    Rule::all("MaxPool", max),
    Rule::first("MaxUnpool", unpool),
];

/// `y = max` over each window: `g` is added to zeros where the largest elements stood, which the op's second output
/// says.
fn max(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.b.opset() < SCATTER_ADDS {
        return max_by_taps(s);
    }
    let (g, x) = (s.upstream()?, s.input(0)?);
    let dtype = s.b.dtype(x)?;
    let shape = s.b.fact(g).shape.clone();
    let places = if s.attributes().int_or("storage_order", 0) == 0 {
        s.b.demand_output(s.index(), 1, Fact::new(Some(DataType::I64), shape))
    } else {
        // Of which the places count down the columns: once more, along the rows.
        let mut attributes = s.all_attributes();
        attributes.retain(|attribute| attribute.name.as_deref() != Some("storage_order"));
        s.b.emit("MaxPool", &[Some(x)], attributes, 2)[1]
    };
    let flat = s.b.list(&[-1]);
    let (targets, updates) = (s.b.reshape(places, flat), s.b.reshape(g, flat));
    let zero = s.b.scalar(dtype, 0.0);
    let size = s.b.size(x, DataType::I64);
    let size = s.b.unsqueeze(size, &[0]);
    let zeros = s.b.op("Expand", &[zero, size], vec![]);
    let attributes = vec![int("axis", 0), string("reduction", "add")];
    let sum = s.b.op("ScatterElements", &[zeros, targets, updates], attributes);
    let gradient = s.b.reshape_like(sum, x);
    s.give(0, gradient);
    Ok(())
}

/// As [`max`], before operator set 16, where nothing scatters and adds: the windows are unfolded by a convolution whose
/// filters have a one each, the tap of the largest element says which of them gets `g`, and the transposed convolution folds.
fn max_by_taps(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let layout = Layout::of(s, x, y)?;
    let Layout { image, windows, window, after, .. } = &layout;
    let pads: Vec<i64> = [0, 0].iter().chain(&window.before).chain(&[0, 0]).chain(after).copied().collect();
    let lowest = if dtype == DataType::F16 { -6e4 } else { -3e38 };
    let padded = if pads.iter().all(|&places| places == 0) {
        x
    } else if s.b.opset() < 11 {
        s.b.op("Pad", &[x], vec![ints("pads", &pads), float("value", lowest)])
    } else {
        let (pads, lowest) = (s.b.list(&pads), s.b.scalar(dtype, f64::from(lowest)));
        s.b.op("Pad", &[x, pads, lowest], vec![])
    };
    let whole = (0..image.len()).map(|axis| image[axis] + window.before[axis] + after[axis]);
    let shape: Vec<i64> = [-1, 1].into_iter().chain(whole).collect();
    let shape = s.b.list(&shape);
    let planes = s.b.reshape(padded, shape);
    let taps = times(&window.kernel);
    let taps = taps.ok_or_else(|| s.unsupported("the window is larger than memory".to_owned()))?;
    let count = s.b.list(&[taps]);
    let filters = identity(s, x, count)?;
    let shape: Vec<i64> = [taps, 1].iter().chain(&window.kernel).copied().collect();
    let shape = s.b.list(&shape);
    let filters = s.b.reshape(filters, shape);
    let slide = vec![ints("strides", &window.strides), ints("dilations", &window.dilations)];
    let unfolded = s.b.op("Conv", &[planes, filters], slide);
    let largest = s.b.op("ArgMax", &[unfolded], vec![int("axis", 1), int("keepdims", 0)]);
    let (depth, values) = (s.b.scalar(DataType::I64, taps as f64), s.b.filled(dtype, &[2], &[0.0, 1.0]));
    let hot = s.b.op("OneHot", &[largest, depth, values], vec![int("axis", 1)]);
    let shape: Vec<i64> = [-1, 1].iter().chain(windows).copied().collect();
    let shape = s.b.list(&shape);
    let own = s.b.reshape(g, shape);
    let share = s.b.mul(hot, own);
    let folded = s.b.op("ConvTranspose", &[share, filters], layout.fold());
    let gradient = s.b.reshape_like(folded, x);
    s.give(0, gradient);
    Ok(())
}

/// Elements put where indices into the whole of `y` say: `g` taken from there.
///
/// With the extents of `y` given, the indices are those into a smaller output, which lies at the front of `y`: the op itself
/// then says where each element went.
fn unpool(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, indices) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let flat = s.b.list(&[-1]);
    if s.optional(2).is_none() {
        let flat = s.b.reshape(g, flat);
        let gradient = s.b.op("Gather", &[flat, indices], vec![int("axis", 0)]);
        s.give(0, gradient);
        return Ok(());
    }
    require(s, RANGE)?;
    // Elements are numbered from 1 on, and what lies between them is added up at 0, which is left out.
    let (one, step) = (s.b.scalar(DataType::I64, 1.0), s.b.scalar(DataType::I64, 1.0));
    let size = s.b.size(x, DataType::I64);
    let end = s.b.add(size, one);
    let numbers = s.b.op("Range", &[one, end, step], vec![]);
    let shape = s.b.shape(x);
    let numbers = s.b.reshape_to(numbers, shape);
    let inputs = [Some(numbers), Some(indices), s.optional(2)];
    let moved = s.b.emit("MaxUnpool", &inputs, s.all_attributes(), 1)[0];
    let end = s.b.unsqueeze(end, &[0]);
    let sum = added_at(s, x, end, moved, g)?;
    let sum = s.b.slice(sum, 0, 1, i64::MAX);
    let gradient = s.b.reshape_like(sum, x);
    s.give(0, gradient);
    Ok(())
}

/// How the windows of a pool lie on its image.
struct Layout {
    /// Extents of the image's places, and of the windows'.
    image: Vec<i64>,
    windows: Vec<i64>,
    window: Window,
    /// What the windows reach beyond the padded image, negative where they do not reach its end.
    beyond: Vec<i64>,
    /// Padding at the end that the windows reach.
    after: Vec<i64>,
}

impl Layout {
    fn of(s: &Scope<'_>, x: Val, y: Val) -> Result<Self, AutodiffError> {
        let extents = |val: Val| -> Result<Vec<i64>, AutodiffError> {
            let image: Option<Vec<i64>> =
                s.b.fact(val).shape.as_ref().and_then(|dims| places(dims).into_iter().collect());
            image.ok_or_else(|| s.b.undetermined(val, "shape, rows and channels aside,"))
        };
        let (image, windows) = (extents(x)?, extents(y)?);
        let kernel = s.attributes().ints("kernel_shape").map(<[i64]>::to_vec);
        let kernel = kernel.ok_or_else(|| s.attributes().wrong("kernel_shape", "is missing"))?;
        let known: Vec<Option<i64>> = image.iter().copied().map(Some).collect();
        let window = Window::of(s.attributes(), kernel, &known)
            .ok_or_else(|| s.unsupported("pads, strides or dilations do not fit the image".to_owned()))?;
        if windows.len() != image.len() {
            return Err(s.unsupported("input and output differ in rank".to_owned()));
        }
        let beyond: Vec<i64> = (0..image.len())
            .map(|axis| {
                let reached = (windows[axis] - 1) * window.strides[axis] + window.reach(axis);
                reached - window.before[axis] - window.after[axis] - image[axis]
            })
            .collect();
        let after = (0..image.len()).map(|axis| window.after[axis] + beyond[axis].max(0)).collect();
        Ok(Self { image, windows, window, beyond, after })
    }

    /// Ones in the shape of the window.
    fn ones(&self, s: &mut Scope<'_>, dtype: DataType) -> Val {
        let shape: Vec<i64> = [1, 1].iter().chain(&self.window.kernel).copied().collect();
        let shape = s.b.list(&shape);
        let one = s.b.scalar(dtype, 1.0);
        s.b.op("Expand", &[one, shape], vec![])
    }

    /// What makes a transposed convolution of numbers a window an image of the extents of the pool's.
    fn fold(&self) -> Vec<AttributeProto> {
        let pads = [&self.window.before[..], &self.after].concat();
        let mut attributes = vec![
            ints("strides", &self.window.strides),
            ints("dilations", &self.window.dilations),
            ints("pads", &pads),
        ];
        let extra: Vec<i64> = self.beyond.iter().map(|&places| (-places).max(0)).collect();
        if extra.iter().any(|&places| places != 0) {
            attributes.push(ints("output_padding", &extra));
        }
        attributes
    }

    /// `share`, a number a window, added up at every place of `x` that the window covers.
    fn spread(&self, s: &mut Scope<'_>, share: Val, x: Val) -> Result<Val, AutodiffError> {
        let dtype = s.b.dtype(x)?;
        let ones = self.ones(s, dtype);
        let apart: Vec<i64> = [-1, 1].iter().chain(&self.windows).copied().collect();
        let apart = s.b.list(&apart);
        let apart = s.b.reshape(share, apart);
        let spread = s.b.op("ConvTranspose", &[apart, ones], self.fold());
        Ok(s.b.reshape_like(spread, x))
    }
}

/// `y = mean` over each window: `g/n`, spread over the window by a transposed convolution with ones.
///
/// `n` is the number of elements of the window, or of those that are not padding: then a convolution of ones counts them.
fn average(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let layout = Layout::of(s, x, y)?;
    let padded = layout.window.before.iter().chain(&layout.after).any(|&places| places != 0);
    let include = s.attributes().flag("count_include_pad", false);
    let share = if !padded || (include && layout.beyond.iter().all(|&places| places <= 0)) {
        s.b.scale(g, 1.0 / layout.window.kernel.iter().map(|&extent| extent as f64).product::<f64>())?
    } else {
        let ones = layout.ones(s, dtype);
        let count = window_counts(s, dtype, &layout, ones, include);
        s.b.div(g, count)
    };
    let gradient = layout.spread(s, share, x)?;
    s.give(0, gradient);
    Ok(())
}

/// `y = (Σ |x|ᵖ)^(1/p)` over each window: `g·y¹⁻ᵖ`, spread over the window, times `|x|ᵖ⁻¹·sign x`.
fn lp(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, y) = (s.input(0)?, s.output(0)?);
    let layout = Layout::of(s, x, y)?;
    let share = norm_share(s)?;
    let wide = layout.spread(s, share, x)?;
    give_norm(s, wide)
}

/// As [`lp`], over all places of a channel.
fn global_lp(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let share = norm_share(s)?;
    give_norm(s, share)
}

/// `g·y¹⁻ᵖ`, zero where `y` is.
fn norm_share(s: &mut Scope<'_>) -> Result<Val, AutodiffError> {
    let (g, y) = (s.upstream()?, s.output(0)?);
    let p = s.attributes().int_or("p", 2);
    let (zero, one) = (s.b.scalar_like(y, 0.0)?, s.b.scalar_like(y, 1.0)?);
    let positive = s.b.op("Greater", &[y, zero], vec![]);
    let safe = s.b.op("Where", &[positive, y, one], vec![]);
    let exponent = s.b.scalar_like(y, 1.0 - p as f64)?;
    let power = s.b.op("Pow", &[safe, exponent], vec![]);
    Ok(s.b.mul(g, power))
}

/// Gives `wide·|x|ᵖ⁻¹·sign x`.
fn give_norm(s: &mut Scope<'_>, wide: Val) -> Result<(), AutodiffError> {
    let x = s.input(0)?;
    let p = s.attributes().int_or("p", 2);
    let slope = if p == 2 {
        x
    } else {
        let (size, sign) = (s.b.op("Abs", &[x], vec![]), s.b.op("Sign", &[x], vec![]));
        let exponent = s.b.scalar_like(x, p as f64 - 1.0)?;
        let power = s.b.op("Pow", &[size, exponent], vec![]);
        s.b.mul(power, sign)
    };
    let gradient = s.b.mul(wide, slope);
    s.give(0, gradient);
    Ok(())
}

/// How many elements each window averages, as `[1, 1, …]`.
fn window_counts(s: &mut Scope<'_>, dtype: DataType, layout: &Layout, ones: Val, include: bool) -> Val {
    let Layout { image, window, after, .. } = layout;
    // Padding that counts is part of the image; what the last window reaches beyond it never counts.
    let counted: Vec<i64> = (0..image.len())
        .map(
            |axis| if include { image[axis] + window.before[axis] + window.after[axis] } else { image[axis] },
        )
        .collect();
    let pads: Vec<i64> = if include {
        let beyond = (0..image.len()).map(|axis| after[axis] - window.after[axis]);
        vec![0; image.len()].into_iter().chain(beyond).collect()
    } else {
        window.before.iter().chain(after).copied().collect()
    };
    let shape: Vec<i64> = [1, 1].iter().chain(&counted).copied().collect();
    let shape = s.b.list(&shape);
    let one = s.b.scalar(dtype, 1.0);
    let full = s.b.op("Expand", &[one, shape], vec![]);
    let attributes =
        vec![ints("strides", &window.strides), ints("dilations", &window.dilations), ints("pads", &pads)];
    s.b.op("Conv", &[full, ones], attributes)
}

/// The axes of the places.
fn place_axes(s: &Scope<'_>, x: Val) -> Result<Vec<i64>, AutodiffError> {
    Ok((2..s.b.rank(x)? as i64).collect())
}

/// `y = mean` over all places of a channel: `g/n` at each.
fn global_average(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let (from, to) = (s.b.size(x, dtype), s.b.size(y, dtype));
    let count = s.b.div(from, to);
    let share = s.b.div(g, count);
    let gradient = s.b.expand_like(share, x);
    s.give(0, gradient);
    Ok(())
}

/// `y = max` over all places of a channel: `g` to the largest, in equal parts where several are.
fn global_max(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let passed_over = s.b.op("Less", &[x, y], vec![]);
    let hit = s.b.op("Not", &[passed_over], vec![]);
    let hit = s.b.cast(hit, dtype);
    let axes = place_axes(s, x)?;
    let count = s.b.reduce_sum(hit, &axes, true);
    let share = s.b.div(g, count);
    let gradient = s.b.mul(share, hit);
    s.give(0, gradient);
    Ok(())
}
