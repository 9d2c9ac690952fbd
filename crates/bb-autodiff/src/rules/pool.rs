//! Pools.

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{int, ints, string};
use crate::builder::Val;
use crate::facts::{Fact, Window, places};
use bb_ir::DataType;

pub(super) const RULES: &[Rule] = &[
    Rule::all("AveragePool", average),
    Rule::all("GlobalAveragePool", global_average),
    Rule::all("GlobalMaxPool", global_max),
    Rule::all("MaxPool", max),
];

/// `y = max` over each window: `g` is added to zeros where the largest elements stood, which the op's second output
/// says.
fn max(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    if s.b.opset() < 16 {
        return Err(AutodiffError::Opset { needed: 16, opset: s.b.opset() });
    }
    if s.attributes().int_or("storage_order", 0) != 0 {
        return Err(s.unsupported("indices in column-major order have no gradient".to_owned()));
    }
    let (g, x) = (s.upstream()?, s.input(0)?);
    let dtype = s.b.dtype(x)?;
    let shape = s.b.fact(g).shape.clone();
    let places = s.b.demand_output(s.index(), 1, Fact::new(Some(DataType::I64), shape));
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

/// `y = mean` over each window: `g/n`, spread over the window by a transposed convolution with ones.
///
/// `n` is the number of elements of the window, or of those that are not padding: then a convolution of ones counts them.
fn average(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x, y) = (s.upstream()?, s.input(0)?, s.output(0)?);
    let dtype = s.b.dtype(x)?;
    let extents = |s: &Scope<'_>, val: Val| -> Result<Vec<i64>, AutodiffError> {
        let image: Option<Vec<i64>> =
            s.b.fact(val).shape.as_ref().and_then(|dims| places(dims).into_iter().collect());
        image.ok_or_else(|| s.b.undetermined(val, "shape, rows and channels aside,"))
    };
    let (image, windows) = (extents(s, x)?, extents(s, y)?);
    let kernel = s.attributes().ints("kernel_shape").map(<[i64]>::to_vec);
    let kernel = kernel.ok_or_else(|| s.attributes().wrong("kernel_shape", "is missing"))?;
    let known: Vec<Option<i64>> = image.iter().copied().map(Some).collect();
    let window = Window::of(s.attributes(), kernel, &known)
        .ok_or_else(|| s.unsupported("pads, strides or dilations do not fit the image".to_owned()))?;
    let axes = image.len();
    // What the windows reach beyond the padded image, negative where they do not reach its end.
    let beyond: Vec<i64> = (0..axes)
        .map(|axis| {
            let reached = (windows[axis] - 1) * window.strides[axis] + window.reach(axis);
            reached - window.before[axis] - window.after[axis] - image[axis]
        })
        .collect();
    let after: Vec<i64> = (0..axes).map(|axis| window.after[axis] + beyond[axis].max(0)).collect();
    let pads = [&window.before[..], &after].concat();
    let extra: Vec<i64> = beyond.iter().map(|&places| (-places).max(0)).collect();
    let ones_shape: Vec<i64> = [1, 1].iter().chain(&window.kernel).copied().collect();
    let ones_shape = s.b.list(&ones_shape);
    let one = s.b.scalar(dtype, 1.0);
    let ones = s.b.op("Expand", &[one, ones_shape], vec![]);
    let padded = window.before.iter().chain(&after).any(|&places| places != 0);
    let include = s.attributes().flag("count_include_pad", false);
    let share = if !padded || (include && beyond.iter().all(|&places| places <= 0)) {
        s.b.scale(g, 1.0 / window.kernel.iter().product::<i64>() as f64)?
    } else {
        let count = window_counts(s, dtype, &image, &window, &after, ones, include)?;
        s.b.div(g, count)
    };
    let apart: Vec<i64> = [-1, 1].iter().chain(&windows).copied().collect();
    let apart = s.b.list(&apart);
    let apart = s.b.reshape(share, apart);
    let mut attributes =
        vec![ints("strides", &window.strides), ints("dilations", &window.dilations), ints("pads", &pads)];
    if extra.iter().any(|&places| places != 0) {
        attributes.push(ints("output_padding", &extra));
    }
    let spread = s.b.op("ConvTranspose", &[apart, ones], attributes);
    let gradient = s.b.reshape_like(spread, x);
    s.give(0, gradient);
    Ok(())
}

/// How many elements each window averages, as `[1, 1, …]`.
fn window_counts(
    s: &mut Scope<'_>,
    dtype: DataType,
    image: &[i64],
    window: &Window,
    after: &[i64],
    ones: Val,
    include: bool,
) -> Result<Val, AutodiffError> {
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
    Ok(s.b.op("Conv", &[full, ones], attributes))
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
