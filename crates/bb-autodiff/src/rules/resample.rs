//! Resampling.
//!
//! Whatever the mode, a resampled image is linear in the image, one axis after the other: `y = x ×₁ W₁ ×₂ W₂ …`. The op
//! itself, on an identity matrix, says what `W` is; the gradient is `g` times each `Wᵀ`.

use bb_ir::{DataType, Dim};

use super::{Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{float, int, ints, small_tensor, tensor};
use crate::builder::Val;
use crate::facts::{axis_within, same_dim};

pub(super) const RULES: &[Rule] = &[Rule::first("Resize", resize), Rule::first("Upsample", resize)];

/// The identity matrix of an extent (a list of one) in the element type of `like`.
pub(super) fn identity(s: &mut Scope<'_>, like: Val, extent: Val) -> Result<Val, AutodiffError> {
    let dtype = s.b.dtype(like)?;
    let shape = s.b.op("Concat", &[extent, extent], vec![int("axis", 0)]);
    let zero = small_tensor(DataType::F32, &[1], &[0.0]).unwrap_or_default();
    let zeros = s.b.op("ConstantOfShape", &[shape], vec![tensor("value", zero)]);
    Ok(s.b.op("EyeLike", &[zeros], vec![int("dtype", i64::from(dtype.to_onnx()))]))
}

/// How the op is told what to make: where its inputs stand.
struct Form {
    axes: Vec<usize>,
    roi: Option<Val>,
    scales: Option<Val>,
    sizes: Option<Val>,
    /// Whether the input for the region stands before that for the scales.
    has_roi: bool,
}

fn form(s: &Scope<'_>, rank: usize) -> Result<Form, AutodiffError> {
    let axes = match s.attributes().ints("axes") {
        Some(axes) => axes
            .iter()
            .map(|&axis| {
                axis_within(axis, rank).ok_or_else(|| s.attributes().wrong("axes", "are outside of the rank"))
            })
            .collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let has_roi = s.op_type() == "Resize" && s.b.opset() >= 11;
    let empty =
        |s: &Scope<'_>, val: &Val| s.b.fact(*val).extents().is_some_and(|extents| extents.contains(&0));
    let given = |index: usize| s.optional(index).filter(|val| !empty(s, val));
    if !has_roi {
        return Ok(Form { axes, roi: None, scales: given(1), sizes: None, has_roi });
    }
    let roi = given(1)
        .filter(|_| s.attributes().text("coordinate_transformation_mode") == Some("tf_crop_and_resize"));
    Ok(Form { axes, roi, scales: given(2), sizes: given(3), has_roi })
}

fn resize(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let rank = s.b.rank(x)?;
    let form = form(s, rank)?;
    if form.scales.is_some_and(|scales| !s.b.fact(scales).may_be_float()) {
        return Err(s.unsupported("its scales are no floats".to_owned()));
    }
    if form.sizes.is_some()
        && s.attributes().text("keep_aspect_ratio_policy").unwrap_or("stretch") != "stretch"
    {
        return keeping_aspect(s, &form);
    }
    let mut gradient = g;
    for (place, &axis) in form.axes.iter().enumerate() {
        if form.roi.is_none() && is_unchanged(s, &form, place, axis) {
            continue;
        }
        let scale = match form.scales {
            Some(scales) => {
                let place = s.b.list(&[place as i64]);
                Some(s.b.op("Gather", &[scales, place], vec![int("axis", 0)]))
            }
            None => None,
        };
        let matrix = matrix(s, &form, place, axis, scale)?;
        gradient = times_transposed(s, gradient, matrix, axis, rank)?;
    }
    if let Some(dims) = s.b.fact(x).shape.clone() {
        s.b.refine(gradient, &dims);
    }
    s.give(0, gradient);
    Ok(())
}

/// Whether the axis stays as it is.
fn is_unchanged(s: &Scope<'_>, form: &Form, place: usize, axis: usize) -> bool {
    if let Some(scales) = form.scales {
        return s.b.fact(scales).numbers.as_ref().and_then(|scales| scales.get(place)) == Some(&1.0);
    }
    let sizes = form.sizes.and_then(|sizes| s.b.fact(sizes).contents.as_ref()?.get(place).map(Dim::from));
    let extent = s.optional(0).and_then(|x| s.b.fact(x).shape.as_ref()?.get(axis));
    extent.zip(sizes).is_some_and(|(extent, size)| same_dim(extent, &size))
}

/// Sizes within which the image keeps its proportions: all axes have one scale, which follows from the extents.
fn keeping_aspect(s: &mut Scope<'_>, form: &Form) -> Result<(), AutodiffError> {
    let (g, x) = (s.upstream()?, s.input(0)?);
    let rank = s.b.rank(x)?;
    let extents = s.b.fact(x).extents().ok_or_else(|| s.b.undetermined(x, "shape"))?;
    let sizes = form.sizes.ok_or_else(|| s.unsupported("sizes are missing".to_owned()))?;
    let sizes = s.b.fact(sizes).integers().ok_or_else(|| s.b.undetermined(sizes, "contents"))?;
    if sizes.len() != form.axes.len() || extents.contains(&0) {
        return Err(s.unsupported("the sizes do not fit the axes".to_owned()));
    }
    let mut gradient = g;
    for (place, &axis) in form.axes.iter().enumerate() {
        let matrix = matrix_beside(s, form, place, (&extents, &sizes))?;
        gradient = times_transposed(s, gradient, matrix, axis, rank)?;
    }
    s.give(0, gradient);
    Ok(())
}

/// `W` of an axis whose scale is that of another one: the identity, along that axis the same everywhere and so the same
/// everywhere after, resampled along both.
fn matrix_beside(
    s: &mut Scope<'_>,
    form: &Form,
    place: usize,
    (extents, sizes): (&[usize], &[i64]),
) -> Result<Val, AutodiffError> {
    let ratio = |place: usize| sizes[place] as f64 / extents[form.axes[place]] as f64;
    let larger = s.attributes().text("keep_aspect_ratio_policy") == Some("not_smaller");
    let decides = (0..form.axes.len()).reduce(|best, other| {
        let is_better = if larger { ratio(other) > ratio(best) } else { ratio(other) < ratio(best) };
        if is_better { other } else { best }
    });
    let (x, axis) = (s.input(0)?, form.axes[place]);
    let rows = s.b.extent(x, axis as i64);
    let mut image = identity(s, x, rows)?;
    let mut attributes = s.all_attributes();
    let dropped = ["axes", "extrapolation_value"];
    attributes.retain(|attribute| !dropped.contains(&attribute.name.as_deref().unwrap_or_default()));
    attributes.push(float("extrapolation_value", 0.0));
    let beside = decides.filter(|&other| other != place);
    let (mut axes, mut wanted) = (vec![1], vec![sizes[place]]);
    if let Some(other) = beside {
        let apart = s.b.unsqueeze(image, &[2]);
        let shape = s.b.list(&[1, 1, extents[form.axes[other]] as i64]);
        image = s.b.op("Expand", &[apart, shape], vec![]);
        axes.push(2);
        wanted.push(sizes[other]);
    }
    attributes.push(ints("axes", &axes));
    let wanted = s.b.list(&wanted);
    // Of the axis beside it the first place is read, which is inside of the whole of it.
    let roi = region(s, form, place, false, beside.is_some())?;
    let matrix = s.b.emit("Resize", &[Some(image), roi, None, Some(wanted)], attributes, 1)[0];
    if beside.is_none() {
        return Ok(matrix);
    }
    let first = s.b.slice(matrix, 2, 0, 1);
    Ok(s.b.squeeze(first, &[2]))
}

/// `W` of an axis: the identity, resampled along its second axis.
fn matrix(
    s: &mut Scope<'_>,
    form: &Form,
    place: usize,
    axis: usize,
    scale: Option<Val>,
) -> Result<Val, AutodiffError> {
    let (x, y) = (s.input(0)?, s.output(0)?);
    let rows = s.b.extent(x, axis as i64);
    let eye = identity(s, x, rows)?;
    let mut attributes = s.all_attributes();
    let dropped = ["axes", "extrapolation_value", "keep_aspect_ratio_policy"];
    attributes.retain(|attribute| !dropped.contains(&attribute.name.as_deref().unwrap_or_default()));
    if form.has_roi {
        attributes.push(float("extrapolation_value", 0.0));
    }
    let pair =
        |s: &mut Scope<'_>, first: Val, second: Val| s.b.op("Concat", &[first, second], vec![int("axis", 0)]);
    let scales = match scale {
        Some(scale) => {
            let one = s.b.filled(DataType::F32, &[1], &[1.0]);
            Some(pair(s, one, scale))
        }
        None => None,
    };
    let mut inputs = vec![Some(eye)];
    if form.has_roi {
        let roi = region(s, form, place, true, false)?;
        inputs.push(roi);
    }
    inputs.push(scales);
    if scales.is_none() {
        let columns = s.b.extent(y, axis as i64);
        inputs.push(Some(pair(s, rows, columns)));
    }
    let matrix = s.b.emit(s.op_type(), &inputs, attributes, 1)[0];
    let dims = [x, y].map(|val| s.b.fact(val).shape.as_ref().map_or(Dim::Any, |dims| dims[axis].clone()));
    s.b.refine(matrix, &dims);
    Ok(matrix)
}

/// The region along the axis at `place`, with the whole of an axis before it and after it, if there are such.
fn region(
    s: &mut Scope<'_>,
    form: &Form,
    place: usize,
    before: bool,
    after: bool,
) -> Result<Option<Val>, AutodiffError> {
    let Some(roi) = form.roi else { return Ok(None) };
    let places = s.b.list(&[place as i64, (form.axes.len() + place) as i64]);
    let own = s.b.op("Gather", &[roi, places], vec![int("axis", 0)]);
    let parts = s.b.split(own, 0, &[1, 1]);
    let dtype = s.b.dtype(roi)?;
    let mut ends = Vec::with_capacity(6);
    for (part, number) in parts.into_iter().zip([0.0, 1.0]) {
        let whole = s.b.filled(dtype, &[1], &[number]);
        ends.extend(Some(whole).filter(|_| before));
        ends.push(part);
        ends.extend(Some(whole).filter(|_| after));
    }
    Ok(Some(s.b.op("Concat", &ends, vec![int("axis", 0)])))
}

/// `val` with `axis` contracted with the second axis of `matrix`.
fn times_transposed(
    s: &mut Scope<'_>,
    val: Val,
    matrix: Val,
    axis: usize,
    rank: usize,
) -> Result<Val, AutodiffError> {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let last = s.b.transpose(val, &perm);
    let turned = s.b.transpose(matrix, &[1, 0]);
    let product = s.b.op("MatMul", &[last, turned], vec![]);
    Ok(s.b.transpose(product, &perm))
}
