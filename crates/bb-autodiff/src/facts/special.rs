//! Images read between their pixels, signals, quantized numbers, and ops that go on where an earlier run stopped.

use bb_ir::{DataType, Dim};

use super::{Fact, Question, axis_within, dim_of, known, times};

pub(super) fn infer(q: &Question<'_>) -> Option<Vec<Fact>> {
    let first = || Fact::new(q.dtype(0), q.shape(0).map(<[Dim]>::to_vec));
    let facts = match q.op {
        "AffineGrid" => vec![Fact::new(q.dtype(0), affine_grid(q))],
        "BlackmanWindow" | "HammingWindow" | "HannWindow" => {
            vec![Fact::new(made_type(q), Some(vec![Dim::Any]))]
        }
        "CausalConvWithState" => vec![first(), Fact::new(q.dtype(0), causal_state(q))],
        "Col2Im" => vec![Fact::new(q.dtype(0), col_to_image(q))],
        "ConvInteger" | "MatMulInteger" => vec![Fact::new(Some(DataType::I32), None)],
        "DFT" => vec![Fact::new(q.dtype(0), transform(q))],
        "DequantizeLinear" => {
            let named = q.attributes().int("output_dtype").filter(|&code| code != 0);
            let named = named.and_then(|code| DataType::from_onnx(code as i32));
            vec![Fact { dtype: named.or(q.dtype(1)), ..first() }]
        }
        "Det" => {
            let outer =
                q.shape(0).and_then(|dims| dims.len().checked_sub(2).map(|outer| dims[..outer].to_vec()));
            vec![Fact::new(q.dtype(0), outer)]
        }
        "DynamicQuantizeLinear" => vec![
            Fact { dtype: Some(DataType::U8), ..first() },
            Fact::new(q.dtype(0), Some(Vec::new())),
            Fact::new(Some(DataType::U8), Some(Vec::new())),
        ],
        "GridSample" => vec![Fact::new(q.dtype(0), grid_sample(q))],
        "LinearAttention" => linear_attention(q),
        "MelWeightMatrix" => vec![Fact::new(made_type(q), Some(vec![Dim::Any; 2]))],
        "NonMaxSuppression" => vec![Fact::new(Some(DataType::I64), Some(vec![Dim::Any, Dim::Known(3)]))],
        "QuantizeLinear" => vec![Fact { dtype: q.dtype(2), ..first() }],
        "RoiAlign" => vec![Fact::new(q.dtype(0), roi_align(q))],
        "STFT" => vec![Fact::new(q.dtype(0), short_transform(q))],
        "SwiGLU" | "TensorScatter" => vec![first()],
        _ => return None,
    };
    Some(facts)
}

/// The element type that attribute `output_datatype` names.
fn made_type(q: &Question<'_>) -> Option<DataType> {
    match q.attributes().int("output_datatype") {
        Some(code) => DataType::from_onnx(code as i32),
        None => Some(DataType::F32),
    }
}

fn affine_grid(q: &Question<'_>) -> Option<Vec<Dim>> {
    let theta = q.shape(0)?;
    let rows = theta.get(1)?;
    let places = match q.input(1).and_then(|size| size.contents.as_ref()) {
        Some(size) => size.iter().skip(2).map(Dim::from).collect(),
        None => vec![Dim::Any; known(rows).filter(|rows| (2..=3).contains(rows))?],
    };
    Some([&theta[..1], &places, std::slice::from_ref(rows)].concat())
}

fn causal_state(q: &Question<'_>) -> Option<Vec<Dim>> {
    let ([batch, channels, _], [_, _, taps]) = (q.shape(0)?, q.shape(1)?) else { return None };
    let before = known(taps).map_or(Dim::Any, |taps| Dim::Known(taps.saturating_sub(1)));
    Some(vec![batch.clone(), channels.clone(), before])
}

fn col_to_image(q: &Question<'_>) -> Option<Vec<Dim>> {
    let [batch, rows, _] = q.shape(0)? else { return None };
    let image = q.input(1)?.contents.as_ref()?;
    let taps = q.input(2).and_then(Fact::integers).and_then(|kernel| times(&kernel));
    let channels = known(rows).zip(taps).and_then(|(rows, taps)| (rows as i64).checked_div(taps));
    let channels = channels.map_or(Dim::Any, dim_of);
    Some([batch.clone(), channels].into_iter().chain(image.iter().map(Dim::from)).collect())
}

fn transform(q: &Question<'_>) -> Option<Vec<Dim>> {
    let mut dims = q.shape(0)?.to_vec();
    let (inverse, onesided) = (q.attributes().flag("inverse", false), q.attributes().flag("onesided", false));
    // From operator set 20 on the axis is an input, and the attribute is gone.
    let axis = match (q.input(2), q.attributes().int("axis")) {
        (Some(axis), _) => axis.integers().and_then(|list| list.first().copied()),
        (None, axis) => axis,
    };
    *dims.last_mut()? = Dim::Known(if inverse && onesided { 1 } else { 2 });
    let Some(axis) = axis.and_then(|axis| axis_within(axis, dims.len())) else {
        let rank = dims.len();
        dims[..rank - 1].fill(Dim::Any);
        return Some(dims);
    };
    let length = match q.input(1) {
        Some(length) => length.integers().and_then(|list| list.first().copied()).map_or(Dim::Any, dim_of),
        None if inverse && onesided => Dim::Any,
        None => dims[axis].clone(),
    };
    dims[axis] = match length {
        Dim::Known(length) if onesided && !inverse => Dim::Known(length / 2 + 1),
        _ if onesided && !inverse => Dim::Any,
        length => length,
    };
    Some(dims)
}

fn grid_sample(q: &Question<'_>) -> Option<Vec<Dim>> {
    let (x, grid) = (q.shape(0)?, q.shape(1)?);
    Some([x.get(..2)?, grid.get(1..grid.len().checked_sub(1)?)?].concat())
}

fn linear_attention(q: &Question<'_>) -> Vec<Fact> {
    let shape = match q.shape(0) {
        Some([batch, rows, _]) => Some(vec![batch.clone(), rows.clone(), Dim::Any]),
        _ => None,
    };
    let state = q.shape(3).map_or_else(|| vec![Dim::Any; 4], <[Dim]>::to_vec);
    vec![Fact::new(q.dtype(0), shape), Fact::new(q.dtype(3).or(q.dtype(0)), Some(state))]
}

fn roi_align(q: &Question<'_>) -> Option<Vec<Dim>> {
    let side = |name: &str| dim_of(q.attributes().int_or(name, 1));
    let (count, channels) = (q.shape(1)?.first()?.clone(), q.shape(0)?.get(1)?.clone());
    Some(vec![count, channels, side("output_height"), side("output_width")])
}

fn short_transform(q: &Question<'_>) -> Option<Vec<Dim>> {
    Some(vec![q.shape(0)?.first()?.clone(), Dim::Any, Dim::Any, Dim::Known(2)])
}
