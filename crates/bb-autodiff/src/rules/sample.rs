//! Images read at places between their pixels.
//!
//! Each op is written out in [`taps`](super::taps), and that is differentiated.

use bb_ir::{DataType, Dim};

use super::indexing::{RANGE, require};
use super::taps::{Beyond, Mode, Reader, Taps, combined, first_rows, read, rows_of_pixels};
use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{int, ints};
use crate::builder::Val;
use crate::facts::{is_sensible, times};

pub(super) const RULES: &[Rule] = &[
    Rule::first("AffineGrid", affine_grid),
    Rule::all("DeformConv", deform_conv),
    Rule::all("GridSample", grid_sample),
    Rule { op: "RoiAlign", flow: roi_flow, backward: roi_align, nested: false },
];

fn too_large(s: &Scope<'_>) -> AutodiffError {
    s.unsupported("the extents are larger than memory".to_owned())
}

/// Places in at least single precision: `val`, made wider if it is of half.
fn places(s: &mut Scope<'_>, val: Val) -> Result<(Val, DataType), AutodiffError> {
    let dtype = match s.b.dtype(val)? {
        DataType::F16 | DataType::Bf16 => DataType::F32,
        wide => wide,
    };
    Ok((s.b.cast(val, dtype), dtype))
}

/// `y = places · θᵀ` with the places of an image that stays as it is, which the op itself says: `gᵀ · places`.
fn affine_grid(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, theta, size) = (s.upstream()?, s.input(0)?, s.input(1)?);
    let dtype = s.b.dtype(theta)?;
    let axes = s.b.rank(g)?.saturating_sub(2);
    let rows = axes as i64;
    let mut same = vec![0.0; axes * (axes + 1)];
    (0..axes).for_each(|axis| same[axis * (axes + 2)] = 1.0);
    let same = s.b.filled(dtype, &[1, rows, rows + 1], &same);
    let one = s.b.list(&[1]);
    let rest = s.b.slice(size, 0, 1, i64::MAX);
    let size = s.b.op("Concat", &[one, rest], vec![int("axis", 0)]);
    let base = s.b.op("AffineGrid", &[same, size], s.all_attributes());
    let flat = s.b.list(&[-1, rows]);
    let base = s.b.reshape(base, flat);
    let count = s.b.op("Shape", &[base], vec![]);
    let first = s.b.list(&[0]);
    let count = s.b.op("Gather", &[count, first], vec![int("axis", 0)]);
    let shape = s.b.op("Concat", &[count, one], vec![int("axis", 0)]);
    let ones = s.b.scalar(dtype, 1.0);
    let ones = s.b.op("Expand", &[ones, shape], vec![]);
    let base = s.b.op("Concat", &[base, ones], vec![int("axis", 1)]);
    let apart = s.b.list(&[0, -1, rows]);
    let g = s.b.reshape(g, apart);
    let turned = s.b.transpose(g, &[0, 2, 1]);
    let gradient = s.b.op("MatMul", &[turned, base], vec![]);
    s.give(0, gradient);
    Ok(())
}

/// Pixels at the places of a grid, whose last axis names the image's axes from the last one on; -1 and 1 are its ends.
fn grid_sample(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    // Of an image without places there is nothing to read.
    if s.b.is_empty(s.input(0)?) {
        return Ok(());
    }
    let (x, grid, y) = (s.input(0)?, s.input(1)?, s.output(0)?);
    let mode = match s.attributes().text("mode").unwrap_or("linear") {
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(s.attributes().wrong("mode", format!("is `{other}`"))),
    };
    let beyond = match s.attributes().text("padding_mode").unwrap_or("zeros") {
        "zeros" => Beyond::Zeros,
        "border" => Beyond::Border,
        "reflection" => Beyond::Reflection,
        other => return Err(s.attributes().wrong("padding_mode", format!("is `{other}`"))),
    };
    let corners = s.attributes().flag("align_corners", false);
    let axes = s.b.rank(x)?.saturating_sub(2);
    let (grid, dtype) = places(s, grid)?;
    let apart = s.b.list(&[0, -1, axes as i64]);
    let grid = s.b.reshape(grid, apart);
    let (half, one) = (s.b.scalar(dtype, 0.5), s.b.scalar(dtype, 1.0));
    let (mut each, mut extents, mut size) = (Vec::with_capacity(axes), Vec::with_capacity(axes), None);
    for axis in 0..axes {
        let extent = s.b.extent_number(x, 2 + axis as i64);
        let from = (axes - 1 - axis) as i64;
        let at = s.b.slice(grid, 2, from, from + 1);
        let at = s.b.add(at, one);
        let at = s.b.mul(at, half);
        let pixels = s.b.cast(extent, dtype);
        let at = if corners {
            let last = s.b.sub(pixels, one);
            s.b.mul(at, last)
        } else {
            let at = s.b.mul(at, pixels);
            s.b.sub(at, half)
        };
        let reader = Reader::new(s, (mode, beyond, corners), extent, dtype);
        each.push(reader.taps(s, at));
        size = Some(size.map_or(extent, |size| s.b.mul(size, extent)));
        extents.push(extent);
    }
    let (Some(taps), Some(size)) = (combined(s, &each, &extents), size) else {
        return Err(s.unsupported("the image has no axes to sample along".to_owned()));
    };
    let batch = s.b.extent_number(x, 0);
    let first = first_rows(s, batch, size);
    let index = s.b.add(taps.index, first);
    let pixels = rows_of_pixels(s, x)?;
    let sampled = read(s, pixels, index, taps.weight)?;
    let turned = s.b.transpose(sampled, &[0, 2, 1]);
    let made = s.b.reshape_like(turned, y);
    s.through(&[(0, made)])
}

/// The image and the corners of the regions.
fn roi_flow(index: usize) -> Flow {
    if index < 2 { Flow::Gradient } else { Flow::Stop }
}

/// One axis of the regions' cells: pixels and weights `[regions, cells, taps]`, and how many samples a cell has.
struct Cells {
    index: Val,
    weight: Val,
    /// Whether a tap is one of a sample that is taken; the weight of one that is not is zero.
    taken: Val,
    /// `[regions, 1, 1]`.
    count: Val,
    cells: i64,
}

/// The mean or the maximum of samples in each cell of each region. (He et al., "Mask R-CNN", 2017.)
fn roi_align(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    // Of an image without places there is nothing to read.
    if s.b.is_empty(s.input(0)?) {
        return Ok(());
    }
    require(s, RANGE)?;
    let (x, y) = (s.input(0)?, s.output(0)?);
    let takes_most = s.attributes().text("mode") == Some("max");
    let rows = cells(s, 2, "output_height", [1, 3])?;
    let columns = cells(s, 3, "output_width", [0, 2])?;
    let (height, width) = (s.b.extent_number(x, 2), s.b.extent_number(x, 3));
    let cells = times(&[rows.cells, columns.cells]).ok_or_else(|| too_large(s))?;
    let shape = s.b.list(&[0, cells, -1]);
    let crossed = |s: &mut Scope<'_>, op: &str, a: Val, b: Val| {
        let (a, b) = (s.b.unsqueeze(a, &[2, 4]), s.b.unsqueeze(b, &[1, 3]));
        let all = s.b.op(op, &[a, b], vec![]);
        s.b.reshape(all, shape)
    };
    let line = s.b.mul(rows.index, width);
    let index = crossed(s, "Add", line, columns.index);
    let size = s.b.mul(height, width);
    let image = s.input(2)?;
    let image = s.b.cast(image, DataType::I64);
    let first = s.b.mul(image, size);
    let first = s.b.unsqueeze(first, &[1, 2]);
    let index = s.b.add(index, first);
    let weight = crossed(s, "Mul", rows.weight, columns.weight);
    let pixels = rows_of_pixels(s, x)?;
    let dtype = s.b.dtype(x)?;
    let count = s.b.mul(rows.count, columns.count);
    let sampled = if takes_most {
        let pixels = s.b.op("Gather", &[pixels, index], vec![int("axis", 0)]);
        let weight = s.b.cast(weight, dtype);
        let weight = s.b.unsqueeze(weight, &[3]);
        let products = s.b.mul(pixels, weight);
        let taken = crossed(s, "And", rows.taken, columns.taken);
        let taken = s.b.unsqueeze(taken, &[3]);
        let least = s.b.scalar(dtype, -3e4);
        let products = s.b.op("Where", &[taken, products, least], vec![]);
        let axis = s.b.list(&[2]);
        let most = if s.b.opset() >= 18 {
            s.b.op("ReduceMax", &[products, axis], vec![int("keepdims", 0)])
        } else {
            s.b.op("ReduceMax", &[products], vec![ints("axes", &[2]), int("keepdims", 0)])
        };
        let zero = s.b.scalar_like(count, 0.0)?;
        let any = s.b.op("Greater", &[count, zero], vec![]);
        let zero = s.b.scalar(dtype, 0.0);
        s.b.op("Where", &[any, most, zero], vec![])
    } else {
        let one = s.b.scalar_like(count, 1.0)?;
        let count = s.b.op("Max", &[count, one], vec![]);
        let weight = s.b.div(weight, count);
        read(s, pixels, index, weight)?
    };
    let turned = s.b.transpose(sampled, &[0, 2, 1]);
    let made = s.b.reshape_like(turned, y);
    s.through(&[(0, made)])
}

/// The cells along axis `axis` of the image; the regions begin and end at the numbers in the places `sides`.
fn cells(s: &mut Scope<'_>, axis: i64, name: &str, sides: [i64; 2]) -> Result<Cells, AutodiffError> {
    let (x, regions) = (s.input(0)?, s.input(1)?);
    let (regions, dtype) = places(s, regions)?;
    let cells = s.attributes().int_or(name, 1);
    let ratio = s.attributes().int_or("sampling_ratio", 0);
    let scale = f64::from(s.attributes().float_or("spatial_scale", 1.0));
    let default = if s.b.opset() >= 16 { "half_pixel" } else { "output_half_pixel" };
    let half = s.attributes().text("coordinate_transformation_mode").unwrap_or(default) == "half_pixel";
    let (zero, one) = (s.b.scalar(dtype, 0.0), s.b.scalar(dtype, 1.0));
    let side = |s: &mut Scope<'_>, place: i64| -> Result<Val, AutodiffError> {
        let side = s.b.slice(regions, 1, place, place + 1);
        let side = s.b.unsqueeze(side, &[2]);
        let side = s.b.scale(side, scale)?;
        let shift = s.b.scalar(dtype, if half { 0.5 } else { 0.0 });
        Ok(s.b.sub(side, shift))
    };
    let (begin, end) = (side(s, sides[0])?, side(s, sides[1])?);
    let mut long = s.b.sub(end, begin);
    if !half {
        long = s.b.op("Max", &[long, one], vec![]);
    }
    let cell = s.b.scale(long, 1.0 / cells as f64)?;
    // Samples a cell, of each region as many as pixels or of all the same; the most of them is how many are laid out.
    let (count, most) = if ratio > 0 {
        (s.b.scalar(dtype, ratio as f64), s.b.scalar(DataType::I64, ratio as f64))
    } else {
        let pixels = s.b.op("Ceil", &[cell], vec![]);
        let pixels = s.b.op("Max", &[pixels, zero], vec![]);
        let limit = s.b.scalar(dtype, 256.0);
        let pixels = s.b.op("Min", &[pixels, limit], vec![]);
        let most = s.b.op("ReduceMax", &[pixels], vec![int("keepdims", 0)]);
        (pixels, s.b.cast(most, DataType::I64))
    };
    let numbers = |s: &mut Scope<'_>, count: Val, axes: &[i64]| {
        let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
        let range = s.b.op("Range", &[zero, count, one], vec![]);
        let range = s.b.cast(range, dtype);
        s.b.unsqueeze(range, axes)
    };
    let all = s.b.scalar(DataType::I64, cells as f64);
    let (place, sample) = (numbers(s, all, &[0, 2]), numbers(s, most, &[0, 1]));
    let middle = s.b.scalar(dtype, 0.5);
    let within = s.b.add(sample, middle);
    let safe = s.b.op("Max", &[count, one], vec![]);
    let within = s.b.div(within, safe);
    let within = s.b.add(place, within);
    let within = s.b.mul(within, cell);
    let at = s.b.add(begin, within);
    let extent = s.b.extent_number(x, axis);
    let extent = s.b.cast(extent, dtype);
    let minus = s.b.scalar(dtype, -1.0);
    let (low, high) = (s.b.op("Less", &[at, minus], vec![]), s.b.op("Greater", &[at, extent], vec![]));
    let outside = s.b.op("Or", &[low, high], vec![]);
    let taken = s.b.op("Less", &[sample, count], vec![]);
    let shape = s.b.shape(at);
    let taken = s.b.op("Expand", &[taken, shape], vec![]);
    let missing = s.b.op("Not", &[taken], vec![]);
    let nothing = s.b.op("Or", &[outside, missing], vec![]);
    // Before the first pixel stands the first, behind the last the last.
    let at = s.b.op("Max", &[at, zero], vec![]);
    let last = s.b.sub(extent, one);
    let at = s.b.op("Min", &[at, last], vec![]);
    let floor = s.b.op("Floor", &[at], vec![]);
    let next = s.b.add(floor, one);
    let next = s.b.op("Min", &[next, last], vec![]);
    let part = s.b.sub(at, floor);
    let rest = s.b.sub(one, part);
    let pair = |s: &mut Scope<'_>, a: Val, b: Val| {
        let (a, b) = (s.b.unsqueeze(a, &[3]), s.b.unsqueeze(b, &[3]));
        let both = s.b.op("Concat", &[a, b], vec![int("axis", 3)]);
        let shape = s.b.list(&[0, cells, -1]);
        s.b.reshape(both, shape)
    };
    let (part, rest) =
        (s.b.op("Where", &[nothing, zero, part], vec![]), s.b.op("Where", &[nothing, zero, rest], vec![]));
    let weight = pair(s, rest, part);
    let index = pair(s, floor, next);
    let index = s.b.cast(index, DataType::I64);
    let taken = pair(s, taken, taken);
    Ok(Cells { index, weight, taken, count, cells })
}

/// A convolution whose taps are moved by offsets and weighed by a mask. (Dai et al., 2017; Zhu et al., 2018.)
fn deform_conv(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (x, w, offset, y) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0)?);
    if s.b.rank(x)? != 4 {
        return Err(s.unsupported("the image must have two axes of places".to_owned()));
    }
    let (group, moved) = (s.attributes().int_or("group", 1), s.attributes().int_or("offset_group", 1).max(1));
    let extent = |s: &Scope<'_>, val: Val, axis: usize| -> Result<i64, AutodiffError> {
        match s.b.fact(val).shape.as_ref().and_then(|dims| dims.get(axis)) {
            Some(Dim::Known(extent)) if is_sensible(&(*extent as i64)) => Ok(*extent as i64),
            Some(Dim::Known(_)) => Err(too_large(s)),
            _ => Err(s.b.undetermined(val, "shape, axis 0 of the image aside,")),
        }
    };
    let (channels, height, width) = (extent(s, x, 1)?, extent(s, x, 2)?, extent(s, x, 3)?);
    let (filters, kernel) = (extent(s, w, 0)?, [extent(s, w, 2)?, extent(s, w, 3)?]);
    let (rows, columns, taps) = (extent(s, y, 2)?, extent(s, y, 3)?, kernel[0] * kernel[1]);
    let cells = rows * columns;
    let list = |s: &Scope<'_>, name: &str, default: i64| {
        let given = s.attributes().ints(name).map_or_else(|| vec![default; 2], <[i64]>::to_vec);
        let fits = given.len() >= 2 && given.iter().all(is_sensible);
        if fits { Ok(given) } else { Err(s.attributes().wrong(name, "does not fit the image")) }
    };
    let (strides, dilations) = (list(s, "strides", 1)?, list(s, "dilations", 1)?);
    let pads = list(s, "pads", 0)?;
    let own = channels / moved.max(1);
    let across = times(&[channels / group.max(1), taps]).ok_or_else(|| too_large(s))?;
    let all = times(&[taps, cells]).ok_or_else(|| too_large(s))?;
    let (offset, wide) = places(s, offset)?;
    // Of each offset group an image of its own.
    let apart = s.b.list(&[-1, taps, 2, cells]);
    let offset = s.b.reshape(offset, apart);
    let flat = s.b.list(&[-1, all, 1]);
    let mut each: Vec<Taps> = Vec::with_capacity(2);
    let extents = [height, width].map(|extent| s.b.scalar(DataType::I64, extent as f64));
    for axis in 0..2 {
        let steps = |s: &mut Scope<'_>, count: i64, step: i64, begin: i64, axes: &[i64]| {
            let bounds = [begin, begin + count * step, step];
            let bounds = bounds.map(|number| s.b.scalar(DataType::I64, number as f64));
            let range = s.b.op("Range", &bounds, vec![]);
            let range = s.b.cast(range, wide);
            s.b.unsqueeze(range, axes)
        };
        let (tap_axes, cell_axes) = if axis == 0 { ([1, 2, 3], [0, 1, 3]) } else { ([0, 2, 3], [0, 1, 2]) };
        let tap = steps(s, kernel[axis], dilations[axis], 0, &tap_axes);
        let cell = steps(s, if axis == 0 { rows } else { columns }, strides[axis], -pads[axis], &cell_axes);
        let base = s.b.add(tap, cell);
        let shape = s.b.list(&[kernel[0], kernel[1], rows, columns]);
        let base = s.b.op("Expand", &[base, shape], vec![]);
        let shape = s.b.list(&[1, all, 1]);
        let base = s.b.reshape(base, shape);
        let own = s.b.slice(offset, 2, axis as i64, axis as i64 + 1);
        let own = s.b.reshape(own, flat);
        let at = s.b.add(base, own);
        let reader = Reader::new(s, (Mode::Linear, Beyond::Zeros, true), extents[axis], wide);
        each.push(reader.taps(s, at));
    }
    let met = combined(s, &each, &extents).ok_or_else(|| s.unsupported("there are no taps".to_owned()))?;
    let (batch, each) = (s.b.extent_number(x, 0), s.b.scalar(DataType::I64, moved as f64));
    let (images, size) = (s.b.mul(batch, each), s.b.scalar(DataType::I64, (height * width) as f64));
    let first = first_rows(s, images, size);
    let index = s.b.add(met.index, first);
    let shape = s.b.list(&[-1, own, height, width]);
    let image = s.b.reshape(x, shape);
    let pixels = rows_of_pixels(s, image)?;
    let mut read = read(s, pixels, index, met.weight)?;
    if let Some(mask) = s.optional(4) {
        let mask = s.b.reshape(mask, flat);
        read = s.b.mul(read, mask);
    }
    // `[batch, channels, taps, cells]`, then a product a group.
    let shape = s.b.list(&[-1, moved, taps, cells, own]);
    let read = s.b.reshape(read, shape);
    let turned = s.b.transpose(read, &[0, 1, 4, 2, 3]);
    let shape = s.b.list(&[-1, group, across, cells]);
    let columns = s.b.reshape(turned, shape);
    let shape = s.b.list(&[group, filters / group.max(1), across]);
    let weights = s.b.reshape(w, shape);
    let product = s.b.op("MatMul", &[weights, columns], vec![]);
    let mut made = s.b.reshape_like(product, y);
    if let Some(bias) = s.optional(3) {
        let bias = s.b.unsqueeze(bias, &[0, 2, 3]);
        made = s.b.add(made, bias);
    }
    s.through(&[(0, made)])
}
