//! Whole layers and ops that put elements elsewhere: padding, blocks, order, resampling, recurrence, sums of products.

use bb_ir::{DataType, Dim};

use super::arithmetic::broadcast_dims;
use super::{Fact, Question, Symbol, axis_within, known};
use crate::equation::Equation;

pub(super) fn infer(q: &Question<'_>) -> Option<Vec<Fact>> {
    let any_of_rank = || q.shape(0).map(|dims| vec![Dim::Any; dims.len()]);
    let facts = match q.op {
        "Attention" => attention(q),
        "CenterCropPad" | "MaxUnpool" => vec![Fact::new(q.dtype(0), any_of_rank())],
        "Compress" => {
            let flat = !q.attributes().has("axis");
            vec![Fact::new(q.dtype(0), if flat { Some(vec![Dim::Any]) } else { any_of_rank() })]
        }
        "DepthToSpace" => vec![Fact::new(q.dtype(0), blocks(q, true))],
        "Einsum" => vec![Fact::new(q.dtype(0), einsum(q))],
        "EyeLike" => {
            let dtype = q.attributes().int("dtype").and_then(|dtype| DataType::from_onnx(dtype as i32));
            vec![Fact::new(dtype.or(q.dtype(0)), q.shape(0).map(<[Dim]>::to_vec))]
        }
        "GRU" | "LSTM" | "RNN" => recurrent(q)?,
        "Pad" => vec![Fact::new(q.dtype(0), pad(q).or_else(any_of_rank))],
        "Resize" | "Upsample" => vec![Fact::new(q.dtype(0), resize(q))],
        "SpaceToDepth" => vec![Fact::new(q.dtype(0), blocks(q, false))],
        "TopK" => {
            let shape = top(q);
            vec![Fact::new(q.dtype(0), shape.clone()), Fact::new(Some(DataType::I64), shape)]
        }
        "Unique" => {
            let flat = !q.attributes().has("axis");
            let places = || Fact::new(Some(DataType::I64), Some(vec![Dim::Any]));
            let values = Fact::new(q.dtype(0), if flat { Some(vec![Dim::Any]) } else { any_of_rank() });
            vec![values, places(), places(), places()]
        }
        _ => return None,
    };
    Some(facts)
}

/// Of the first output what is known of the queries, with the size of the values; of the others their types.
fn attention(q: &Question<'_>) -> Vec<Fact> {
    let shape = match (q.shape(0), q.shape(2)) {
        (Some([batch, heads, rows, _]), Some([_, _, _, size])) => {
            Some([batch, heads, rows, size].into_iter().cloned().collect())
        }
        (Some([batch, rows, _]), Some(_)) => Some(vec![batch.clone(), rows.clone(), Dim::Any]),
        _ => None,
    };
    let any = |index: usize| Fact::new(q.dtype(index), Some(vec![Dim::Any; 4]));
    vec![Fact::new(q.dtype(0), shape), any(1), any(2), any(0)]
}

/// `[rows, channels, height, width]` with channels moved to places, or back.
fn blocks(q: &Question<'_>, to_space: bool) -> Option<Vec<Dim>> {
    let [rows, channels, height, width] = q.shape(0)? else { return None };
    let size =
        usize::try_from(q.attributes().int("blocksize")?).ok().filter(|size| (1..=1 << 20).contains(size))?;
    let times = |dim: &Dim, factor: usize| known(dim).map_or(Dim::Any, |extent| Dim::Known(extent * factor));
    let parts = |dim: &Dim, factor: usize| known(dim).map_or(Dim::Any, |extent| Dim::Known(extent / factor));
    let shape = if to_space {
        [parts(channels, size * size), times(height, size), times(width, size)]
    } else {
        [times(channels, size * size), parts(height, size), parts(width, size)]
    };
    Some([std::slice::from_ref(rows), &shape[..]].concat())
}

fn pad(q: &Question<'_>) -> Option<Vec<Dim>> {
    let mut dims = q.shape(0)?.to_vec();
    let pads = q.list("pads", 1)?;
    let axes = match q.input(3) {
        Some(axes) => axes.integers()?,
        None => (0..dims.len() as i64).collect(),
    };
    for (place, &axis) in axes.iter().enumerate() {
        let axis = axis_within(axis, dims.len())?;
        let total = pads.get(place)?.checked_add(*pads.get(axes.len() + place)?)?;
        dims[axis] = match &dims[axis] {
            Dim::Known(extent) => super::dim_of((*extent as i64).saturating_add(total)),
            same if total == 0 => same.clone(),
            _ => Dim::Any,
        };
    }
    Some(dims)
}

fn top(q: &Question<'_>) -> Option<Vec<Dim>> {
    let mut dims = q.shape(0)?.to_vec();
    let axis = axis_within(q.attributes().int_or("axis", -1), dims.len())?;
    let count = match q.input(1) {
        Some(count) => count.contents.as_ref().and_then(|list| list.first()).map_or(Dim::Any, Dim::from),
        None => q.attributes().int("k").map_or(Dim::Any, super::dim_of),
    };
    dims[axis] = count;
    Some(dims)
}

fn resize(q: &Question<'_>) -> Option<Vec<Dim>> {
    let mut dims = q.shape(0)?.to_vec();
    let axes = match q.attributes().ints("axes") {
        Some(axes) => axes.iter().map(|&axis| axis_within(axis, dims.len())).collect::<Option<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    let (scales, sizes) = match q.inputs.len() {
        0..=2 => (q.input(1), None),
        _ => (q.input(2), q.input(3)),
    };
    let stretched = q.attributes().text("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
    let crops = q.attributes().text("coordinate_transformation_mode") == Some("tf_crop_and_resize");
    let scales = scales.and_then(|scales| scales.numbers.as_ref()).filter(|_| !crops);
    let sizes = sizes.and_then(|sizes| sizes.contents.as_ref()).filter(|_| stretched);
    for (place, &axis) in axes.iter().enumerate() {
        let size = sizes.and_then(|sizes| sizes.get(place)).filter(|size| **size != Symbol::Any);
        dims[axis] = match (size, scales.and_then(|scales| scales.get(place)), &dims[axis]) {
            (Some(size), _, _) => Dim::from(size),
            (None, Some(&1.0), same) => same.clone(),
            (None, Some(scale), Dim::Known(extent)) => super::dim_of((*extent as f64 * scale).floor() as i64),
            _ => Dim::Any,
        };
    }
    Some(dims)
}

/// The extents behind the letters of the output.
fn einsum(q: &Question<'_>) -> Option<Vec<Dim>> {
    let shapes: Vec<Option<&[Dim]>> = (0..q.inputs.len()).map(|index| q.shape(index)).collect();
    Equation::read(q.attributes().text("equation")?).extents(&shapes, broadcast_dims)
}

fn recurrent(q: &Question<'_>) -> Option<Vec<Fact>> {
    let (x, weights) = (q.shape(0)?, q.shape(2)?);
    let ([first, second, _], [directions, _, hidden]) = (x, weights) else { return None };
    let batch_first = q.attributes().flag("layout", false);
    let fact = |dims: [&Dim; 4]| Fact::new(q.dtype(0), Some(dims.into_iter().cloned().collect()));
    let state = |batch: &Dim| {
        let dims = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        Fact::new(q.dtype(0), Some(dims.into_iter().cloned().collect()))
    };
    let (all, state) = if batch_first {
        (fact([first, second, directions, hidden]), state(first))
    } else {
        (fact([first, directions, second, hidden]), state(second))
    };
    Some(vec![all, state.clone(), state])
}
