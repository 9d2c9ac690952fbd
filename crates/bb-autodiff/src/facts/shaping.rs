//! Ops that move, select or make elements, and the small integers that shapes are computed with.

use bb_ir::{DataType, Dim};

use super::{Fact, Question, Symbol, axis_within, known, same_dim};
use crate::attributes::Attributes;

pub(super) fn infer(q: &Question<'_>) -> Option<Vec<Fact>> {
    let fact = match q.op {
        "Cast" => Fact {
            dtype: q.attributes().int("to").and_then(|to| DataType::from_onnx(to as i32)),
            ..numeric(q.input(0))
        },
        "CastLike" => Fact { dtype: q.dtype(1), ..numeric(q.input(0)) },
        "Concat" => concat(q),
        "Constant" => constant(q.attributes()),
        "ConstantOfShape" => constant_of_shape(q),
        "Expand" => expand(q),
        "Flatten" => Fact::new(q.dtype(0), flatten(q)),
        "Gather" => gather(q),
        "GatherND" => Fact::new(q.dtype(0), gather_nd(q)),
        "GatherElements" => Fact::new(q.dtype(0), q.shape(1).map(<[Dim]>::to_vec)),
        "Identity" => q.input(0)?.clone(),
        "OneHot" => Fact::new(q.dtype(2), one_hot(q)),
        "Range" => Fact::new(q.dtype(0), Some(vec![range(q).unwrap_or(Dim::Any)])),
        "NonZero" => {
            let rank = q.shape(0).map_or(Dim::Any, |dims| Dim::Known(dims.len()));
            Fact::new(Some(DataType::I64), Some(vec![rank, Dim::Any]))
        }
        "Reshape" => reshape(q),
        "Shape" => shape(q),
        "Size" => Fact {
            contents: q
                .input(0)
                .and_then(Fact::element_count)
                .map(|count| vec![i64::try_from(count).map_or(Symbol::Any, Symbol::Known)]),
            ..Fact::new(Some(DataType::I64), Some(Vec::new()))
        },
        "Slice" => slice(q),
        "Split" => return Some(split(q)),
        "Squeeze" => squeeze(q),
        "Tile" => tile(q),
        "Transpose" => transpose(q),
        "Unsqueeze" => unsqueeze(q),
        _ => return None,
    };
    Some(vec![fact])
}

/// A fact without the number that all elements are, which a change of type may round.
fn numeric(fact: Option<&Fact>) -> Fact {
    Fact { uniform: None, numbers: None, ..fact.cloned().unwrap_or_default() }
}

fn constant(attributes: Attributes<'_>) -> Fact {
    if let Some(tensor) = attributes.tensor("value") {
        return Fact::of_tensor(tensor);
    }
    if let Some(value) = attributes.int("value_int") {
        let contents = Some(vec![Symbol::Known(value)]);
        return Fact { contents, ..Fact::new(Some(DataType::I64), Some(Vec::new())) };
    }
    if let Some(values) = attributes.ints("value_ints") {
        let contents = Some(values.iter().map(|&value| Symbol::Known(value)).collect());
        return Fact { contents, ..Fact::new(Some(DataType::I64), Some(vec![Dim::Known(values.len())])) };
    }
    if let Some(attribute) = attributes.find("value_float") {
        let uniform = attribute.f.map(f64::from);
        return Fact { uniform, ..Fact::new(Some(DataType::F32), Some(Vec::new())) };
    }
    if let Some(attribute) = attributes.find("value_floats") {
        return Fact::new(Some(DataType::F32), Some(vec![Dim::Known(attribute.floats.len())]));
    }
    Fact::default()
}

fn contents_as_dims(fact: Option<&Fact>) -> Option<Vec<Dim>> {
    let contents = fact?.contents.as_ref()?;
    Some(contents.iter().map(Dim::from).collect())
}

fn constant_of_shape(q: &Question<'_>) -> Fact {
    let (dtype, uniform) = match q.attributes().tensor("value") {
        Some(value) => {
            let fact = Fact::of_tensor(value);
            (fact.dtype, fact.uniform)
        }
        None => (Some(DataType::F32), Some(0.0)),
    };
    Fact { uniform, ..Fact::new(dtype, contents_as_dims(q.input(0)).or_else(|| dims_of_length(q, 0))) }
}

/// As many unknown extents as input `index`, a list of them, has elements.
fn dims_of_length(q: &Question<'_>, index: usize) -> Option<Vec<Dim>> {
    match q.shape(index)? {
        [Dim::Known(rank)] if *rank <= super::MAX_RANK => Some(vec![Dim::Any; *rank]),
        _ => None,
    }
}

fn expand(q: &Question<'_>) -> Fact {
    let target = contents_as_dims(q.input(1)).or_else(|| dims_of_length(q, 1));
    let shape = q.shape(0).zip(target).map(|(dims, target)| super::arithmetic::broadcast_dims(dims, &target));
    Fact { uniform: q.input(0).and_then(|fact| fact.uniform), ..Fact::new(q.dtype(0), shape) }
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [one] => one.clone(),
        _ => {
            let extents: Option<Vec<usize>> = dims.iter().map(known).collect();
            extents.and_then(super::product_of).map_or(Dim::Any, Dim::Known)
        }
    }
}

fn flatten(q: &Question<'_>) -> Option<Vec<Dim>> {
    let dims = q.shape(0)?;
    let axis = q.attributes().int_or("axis", 1);
    let axis = if axis == dims.len() as i64 { dims.len() } else { axis_within(axis, dims.len())? };
    Some(vec![product(&dims[..axis]), product(&dims[axis..])])
}

fn gather(q: &Question<'_>) -> Fact {
    let axis = q.attributes().int_or("axis", 0);
    let shape = q.shape(0).zip(q.shape(1)).and_then(|(data, indices)| {
        let axis = axis_within(axis, data.len())?;
        Some([&data[..axis], indices, &data[axis + 1..]].concat())
    });
    let mut fact = Fact::new(q.dtype(0), shape);
    if let (Some(contents), Some(indices)) =
        (q.input(0).and_then(|fact| fact.contents.as_ref()), q.input(1).and_then(Fact::integers))
    {
        let picked = indices.iter().map(|&index| {
            axis_within(index, contents.len()).map_or(Symbol::Any, |index| contents[index].clone())
        });
        fact.contents = Some(picked.collect());
    }
    fact
}

fn gather_nd(q: &Question<'_>) -> Option<Vec<Dim>> {
    let (data, indices) = (q.shape(0)?, q.shape(1)?);
    let batch = usize::try_from(q.attributes().int_or("batch_dims", 0)).ok()?;
    let (depth, rows) = indices.split_last()?;
    Some([rows, data.get(batch + known(depth)?..)?].concat())
}

/// How many integers there are from the first to before the second by steps of the third.
fn range(q: &Question<'_>) -> Option<Dim> {
    let number = |index: usize| q.input(index)?.integers()?.first().copied();
    let (first, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = if step > 0 { limit.checked_sub(first)? } else { first.checked_sub(limit)? };
    let step = step.checked_abs().filter(|&step| step > 0)?;
    Some(super::dim_of(count.max(0).checked_add(step - 1)? / step))
}

fn one_hot(q: &Question<'_>) -> Option<Vec<Dim>> {
    let mut dims = q.shape(0)?.to_vec();
    let depth = contents_as_dims(q.input(1)).and_then(|dims| dims.first().cloned()).unwrap_or(Dim::Any);
    let axis = axis_within(q.attributes().int_or("axis", -1), dims.len() + 1)?;
    dims.insert(axis, depth);
    Some(dims)
}

fn concat(q: &Question<'_>) -> Fact {
    let axis = q.attributes().int_or("axis", 0);
    let mut fact = Fact::new(q.dtype(0), None);
    let shapes: Option<Vec<&[Dim]>> = (0..q.inputs.len()).map(|index| q.shape(index)).collect();
    if let Some(shapes) = shapes
        && let Some(first) = shapes.first()
        && let Some(axis) = axis_within(axis, first.len())
        && shapes.iter().all(|dims| dims.len() == first.len())
    {
        let mut dims = first.to_vec();
        for other in &shapes[1..] {
            for (mine, theirs) in dims.iter_mut().zip(*other) {
                if matches!((&*mine, theirs), (Dim::Any, _) | (Dim::Named(_), Dim::Known(_))) {
                    *mine = theirs.clone();
                }
            }
        }
        let total = shapes.iter().map(|dims| known(&dims[axis])).sum::<Option<usize>>();
        dims[axis] = total.map_or(Dim::Any, Dim::Known);
        fact.shape = Some(dims);
    }
    let contents: Option<Vec<&Vec<Symbol>>> =
        q.inputs.iter().map(|input| input.and_then(|fact| fact.contents.as_ref())).collect();
    let contents = contents.filter(|lists| {
        lists.iter().fold(0, |all: usize, list| all.saturating_add(list.len())) <= super::MAX_CONTENTS
    });
    fact.contents = contents.map(|lists| lists.into_iter().flatten().cloned().collect());
    fact
}

fn shape(q: &Question<'_>) -> Fact {
    let Some(dims) = q.shape(0) else { return Fact::new(Some(DataType::I64), Some(vec![Dim::Any])) };
    let bound = |name: &str, default: usize| {
        let value = q.attributes().int_or(name, default as i64);
        let value = if value < 0 { value + dims.len() as i64 } else { value };
        value.clamp(0, dims.len() as i64) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", dims.len()));
    let dims = &dims[start..end.max(start)];
    let contents = Some(dims.iter().map(Symbol::from).collect());
    Fact { contents, ..Fact::new(Some(DataType::I64), Some(vec![Dim::Known(dims.len())])) }
}

fn reshape(q: &Question<'_>) -> Fact {
    let mut fact = Fact::new(q.dtype(0), dims_of_length(q, 1));
    fact.uniform = q.input(0).and_then(|fact| fact.uniform);
    let Some(contents) = q.input(1).and_then(|fact| fact.contents.clone()) else { return fact };
    let input = q.shape(0);
    let allow_zero = q.attributes().flag("allowzero", false);
    let mut dims: Vec<Dim> = contents
        .iter()
        .enumerate()
        .map(|(axis, symbol)| match symbol {
            Symbol::Known(0) if !allow_zero => {
                input.and_then(|dims| dims.get(axis).cloned()).unwrap_or(Dim::Any)
            }
            symbol => Dim::from(symbol),
        })
        .collect();
    if let Some(free) = contents.iter().position(|symbol| *symbol == Symbol::Known(-1))
        && let Some(input) = input
    {
        dims[free] = remaining(input, &dims, free);
    }
    fact.contents = q.input(0).and_then(|fact| fact.contents.clone()).filter(|_| dims.len() <= 1);
    fact.shape = Some(dims);
    fact
}

/// The extent that is left for axis `free` of `dims` when it holds all elements of `input`.
fn remaining(input: &[Dim], dims: &[Dim], free: usize) -> Dim {
    let mut left: Vec<Dim> = input.to_vec();
    let mut divisor: usize = 1;
    for (axis, dim) in dims.iter().enumerate() {
        match dim {
            _ if axis == free => {}
            Dim::Known(extent) => match divisor.checked_mul(*extent) {
                Some(product) => divisor = product,
                None => return Dim::Any,
            },
            named => match left.iter().position(|other| same_dim(other, named)) {
                Some(position) => {
                    left.remove(position);
                }
                None => return Dim::Any,
            },
        }
    }
    let Some(numbers) = super::product_of(left.iter().filter_map(known)) else { return Dim::Any };
    let mut symbols = left.iter().filter(|dim| known(dim).is_none());
    match (symbols.next(), symbols.next()) {
        (None, _) if divisor != 0 && numbers.is_multiple_of(divisor) => Dim::Known(numbers / divisor),
        (Some(symbol), None) if numbers == divisor && divisor != 0 => symbol.clone(),
        _ => Dim::Any,
    }
}

fn slice(q: &Question<'_>) -> Fact {
    let mut fact = Fact::new(q.dtype(0), q.shape(0).map(|dims| vec![Dim::Any; dims.len()]));
    let (Some(starts), Some(ends)) = (q.list("starts", 1), q.list("ends", 2)) else { return fact };
    let axes = if q.attributes().has("axes") || q.input(3).is_some() {
        let Some(axes) = q.list("axes", 3) else { return fact };
        axes
    } else {
        (0..starts.len() as i64).collect()
    };
    let steps = match q.input(4) {
        Some(steps) => {
            let Some(steps) = steps.integers() else { return fact };
            steps
        }
        None => vec![1; starts.len()],
    };
    let Some(dims) = q.shape(0) else { return fact };
    let mut dims = dims.to_vec();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let Some(axis) = axis_within(axis, dims.len()) else { return fact };
        dims[axis] = match known(&dims[axis]) {
            Some(extent) if step != 0 => Dim::Known(slice_extent(extent, start, end, step).1),
            _ if start == 0 && end == i64::MAX && step == 1 => dims[axis].clone(),
            _ => Dim::Any,
        };
    }
    if let (Some(contents), [start], [end], [1]) =
        (q.input(0).and_then(|fact| fact.contents.as_ref()), &starts[..], &ends[..], &steps[..])
    {
        let (first, count) = slice_extent(contents.len(), *start, *end, 1);
        fact.contents = Some(contents[first..first + count].to_vec());
    }
    fact.shape = Some(dims);
    fact
}

/// First index and number of elements of a slice of an axis, clamped as ONNX defines it.
pub(crate) fn slice_extent(extent: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    let extent = extent as i64;
    let absolute = |value: i64| if value < 0 { value.saturating_add(extent) } else { value };
    let (start, end) = if step > 0 {
        (absolute(start).clamp(0, extent), absolute(end).clamp(0, extent))
    } else {
        (absolute(start).clamp(-1, extent - 1), absolute(end).clamp(-1, extent - 1))
    };
    let span = if step > 0 { end - start } else { start - end };
    let stride = step.checked_abs().unwrap_or(i64::MAX);
    let count = if span <= 0 { 0 } else { (span - 1) / stride + 1 };
    (start.max(0) as usize, count as usize)
}

fn split(q: &Question<'_>) -> Vec<Fact> {
    let count = q.node.output.len();
    let mut facts = vec![Fact::new(q.dtype(0), None); count];
    let Some(dims) = q.shape(0) else { return facts };
    let Some(axis) = axis_within(q.attributes().int_or("axis", 0), dims.len()) else { return facts };
    let given = q.attributes().has("split") || q.input(1).is_some();
    let sizes: Option<Vec<i64>> = if given {
        q.list("split", 1)
    } else {
        known(&dims[axis]).map(|extent| {
            let part = extent.div_ceil(count.max(1));
            (0..count).map(|index| extent.saturating_sub(index * part).min(part) as i64).collect()
        })
    };
    let contents = q.input(0).and_then(|fact| fact.contents.as_ref()).filter(|_| dims.len() == 1);
    let mut first = 0_usize;
    for (index, fact) in facts.iter_mut().enumerate() {
        let size = sizes.as_ref().and_then(|sizes| usize::try_from(*sizes.get(index)?).ok());
        let end = size.and_then(|size| first.checked_add(size));
        fact.contents = contents.zip(end).and_then(|(list, end)| Some(list.get(first..end)?.to_vec()));
        first = end.unwrap_or(usize::MAX);
        let mut dims = dims.to_vec();
        dims[axis] = match sizes.as_ref().and_then(|sizes| sizes.get(index)) {
            Some(&size) => super::dim_of(size),
            None => Dim::Any,
        };
        fact.shape = Some(dims);
    }
    facts
}

fn squeeze(q: &Question<'_>) -> Fact {
    let mut fact = numeric(q.input(0));
    let Some(dims) = q.shape(0) else { return fact };
    let given = q.attributes().has("axes") || q.input(1).is_some();
    let axes: Option<Vec<usize>> = if given {
        q.list("axes", 1).and_then(|axes| axes.iter().map(|&axis| axis_within(axis, dims.len())).collect())
    } else if dims.iter().all(|dim| known(dim).is_some()) {
        Some(
            dims.iter().enumerate().filter(|(_, dim)| **dim == Dim::Known(1)).map(|(axis, _)| axis).collect(),
        )
    } else {
        None
    };
    fact.shape = axes.map(|axes| {
        let left = dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        left.map(|(_, dim)| dim.clone()).collect()
    });
    fact
}

fn unsqueeze(q: &Question<'_>) -> Fact {
    let mut fact = numeric(q.input(0));
    fact.shape = q.shape(0).zip(q.list("axes", 1)).and_then(|(dims, axes)| {
        let rank = dims.len() + axes.len();
        let axes: Option<Vec<usize>> = axes.iter().map(|&axis| axis_within(axis, rank)).collect();
        let axes = axes?;
        let mut rest = dims.iter();
        (0..rank)
            .map(|axis| if axes.contains(&axis) { Some(Dim::Known(1)) } else { rest.next().cloned() })
            .collect()
    });
    if fact.rank().is_none_or(|rank| rank > 1) {
        fact.contents = None;
    }
    fact
}

fn tile(q: &Question<'_>) -> Fact {
    let repeats = q.input(1).and_then(Fact::integers);
    let shape = q.shape(0).map(|dims| {
        let dims = dims.iter().enumerate();
        dims.map(|(axis, dim)| match (dim, repeats.as_ref().and_then(|all| all.get(axis))) {
            (dim, Some(1)) => dim.clone(),
            (Dim::Known(extent), Some(&count)) if count >= 0 => {
                extent.checked_mul(count as usize).map_or(Dim::Any, Dim::Known)
            }
            _ => Dim::Any,
        })
        .collect()
    });
    Fact::new(q.dtype(0), shape)
}

fn transpose(q: &Question<'_>) -> Fact {
    let shape = q.shape(0).and_then(|dims| match q.attributes().ints("perm") {
        Some(perm) => perm.iter().map(|&axis| dims.get(usize::try_from(axis).ok()?).cloned()).collect(),
        None => Some(dims.iter().rev().cloned().collect()),
    });
    Fact::new(q.dtype(0), shape)
}
