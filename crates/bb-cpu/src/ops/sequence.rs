//! Sequences of tensors: made, changed, read, mapped.

use bb_runtime::{DataType, Shape, Tensor};

use super::control::{Given, Nested, lend, share};
use super::layout::join;
use super::{Entry, Kernel, op};
use crate::compound::{Compound, ENTRY, Kind, Sequence};
use crate::fault::{Fault, Outcome};
use crate::io::{In, Io};
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("ConcatFromSequence", 11, concat_from),
    op("SequenceAt", 11, at),
    op("SequenceConstruct", 11, construct),
    op("SequenceEmpty", 11, empty),
    op("SequenceErase", 11, erase),
    op("SequenceInsert", 11, insert),
    op("SequenceLength", 11, length),
    op("SequenceMap", 17, map),
    op("SplitToSequence", 11, split_to),
];

fn empty(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let dtype = node.dtype("dtype")?.unwrap_or(DataType::F32);
    Ok(Kernel::new(move |io| {
        io.emit_compound(0, Compound::Sequence(Sequence::empty(dtype)));
        Ok(())
    })
    .gives([Kind::Sequence]))
}

fn construct(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect_tensors(0)?;
    let count = node.input_count();
    Ok(Kernel::new(move |io| {
        let first = io.peek(0).ok_or_else(|| Fault::shape("a sequence is made of at least one tensor"))?;
        let mut sequence = Sequence::empty(first.dtype());
        for index in 0..count {
            let tensor = keep(io, index)?;
            sequence.push(tensor, io.pool)?;
        }
        io.emit_compound(0, Compound::Sequence(sequence));
        Ok(())
    })
    .in_place()
    .gives([Kind::Sequence]))
}

/// Input `index`, a tensor, held for longer than the kernel runs; for kernels that work in place.
pub(super) fn keep(io: &mut Io<'_, '_>, index: usize) -> Outcome<Tensor> {
    Ok(match io.take(index)? {
        In::Owned(tensor) => tensor,
        In::Borrowed(tensor) => {
            io.pool.adopt(tensor);
            tensor.clone()
        }
    })
}

/// The place among `count` that a node names, counted from the back if it is below 0; `otherwise` if it names none.
fn place(given: Option<&[i64]>, count: usize, otherwise: usize, most: usize) -> Outcome<usize> {
    let place = match given {
        None => Some(otherwise),
        Some(&[place]) if place < 0 => {
            usize::try_from(place.unsigned_abs()).ok().and_then(|back| count.checked_sub(back))
        }
        Some(&[place]) => usize::try_from(place).ok(),
        Some(_) => return Err(Fault::shape("a position must be a scalar")),
    };
    place.filter(|&place| place <= most).ok_or_else(|| {
        let given = given.and_then(|given| given.first()).copied().unwrap_or(-1);
        Fault::shape(format!("position {given} is outside a sequence of {count} tensors"))
    })
}

/// A position in a sequence of `count` tensors; an empty one has none.
fn element(given: Option<&[i64]>, count: usize) -> Outcome<usize> {
    match count.checked_sub(1) {
        Some(last) => place(given, count, last, last),
        None => Err(Fault::shape("the sequence is empty")),
    }
}

fn insert(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    node.expect_tensors(1)?;
    Ok(Kernel::new(move |io| {
        let mut sequence = io.take_sequence(0)?;
        let tensor = keep(io, 1)?;
        let given = match io.peek(2) {
            Some(_) => Some(io.take_ints(2)?),
            None => None,
        };
        let count = sequence.tensors().len();
        let at = place(given.as_deref(), count, count, count)?;
        sequence.insert(at, tensor, io.pool)?;
        io.emit_compound(0, Compound::Sequence(sequence));
        Ok(())
    })
    .in_place()
    .gives([Kind::Sequence]))
}

fn erase(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    node.expect_tensors(1)?;
    Ok(Kernel::new(move |io| {
        let given = io.optional_ints(1)?;
        let mut sequence = io.take_sequence(0)?;
        let at = element(given.as_deref(), sequence.tensors().len())?;
        sequence.remove(at, io.pool)?;
        io.emit_compound(0, Compound::Sequence(sequence));
        Ok(())
    })
    .gives([Kind::Sequence]))
}

fn at(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    node.expect_tensors(1)?;
    Ok(Kernel::new(move |io| {
        let given = io.ints(1)?;
        let sequence = io.sequence(0)?;
        let at = element(Some(&given), sequence.tensors().len())?;
        let tensor = sequence.tensors()[at].clone();
        io.emit_shared(0, tensor);
        Ok(())
    })
    .gives([Kind::Tensor]))
}

fn length(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    Ok(Kernel::new(move |io| {
        let count = io.sequence(0)?.tensors().len();
        io.emit_slice(0, &Shape::scalar(), &[i64::try_from(count).unwrap_or(i64::MAX)])
    })
    .gives([Kind::Tensor]))
}

fn concat_from(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    let axis = node.int("axis").ok_or_else(|| Fault::attribute("axis", "is missing"))?;
    let stacked = node.flag("new_axis");
    Ok(Kernel::new(move |io| {
        let held = io.sequence(0)?.clone();
        let Some(first) = held.tensors().first() else { return Err(Fault::shape("the sequence is empty")) };
        let axis = shape::axis(axis, first.shape().rank() + usize::from(stacked))?;
        io.charge([held.tensors().len(), 4])?;
        io.reserve(held.tensors().len(), if stacked { ENTRY } else { size_of::<&Tensor>() })?;
        let result = if stacked {
            let widened = held.tensors().iter().map(|tensor| {
                let mut extents = tensor.shape().to_vec();
                extents.insert(axis.min(extents.len()), 1);
                Ok(tensor.reshaped(extents)?)
            });
            let widened = widened.collect::<Outcome<Vec<Tensor>>>()?;
            join(io, &widened.iter().collect::<Vec<_>>(), axis)?
        } else {
            join(io, &held.tensors().iter().collect::<Vec<_>>(), axis)?
        };
        io.emit(0, result);
        Ok(())
    })
    .gives([Kind::Tensor]))
}

fn split_to(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect_tensors(0)?;
    let axis = node.int_or("axis", 0);
    let keeps = node.int_or("keepdims", 1) != 0;
    Ok(Kernel::new(move |io| {
        let input = io.input(0)?;
        let axis = shape::axis(axis, input.shape().rank())?;
        let extent = input.shape()[axis];
        let split = io.optional_ints(1)?;
        let is_list = io.optional(1).is_some_and(|split| split.shape().rank() > 0);
        let (each, count) = match split.as_deref() {
            Some(lengths) if is_list => (0, lengths.len()),
            Some(&[length]) if length > 0 => {
                (shape::extent(length)?, extent.div_ceil(shape::extent(length)?))
            }
            Some(_) => return Err(Fault::shape("`split` must be a scalar above 0 or a list")),
            None => (1, extent),
        };
        // Before anything is made, so that an axis without elements beside it is not walked for long.
        io.charge([count, 16])?;
        io.pool.admit(count.saturating_mul(ENTRY))?;
        let mut sequence = Sequence::empty(input.dtype());
        let mut begin = 0_usize;
        for part in 0..count {
            let length = match split.as_deref() {
                Some(lengths) if is_list => shape::extent(lengths[part])?,
                _ => each.min(extent - begin),
            };
            let end = begin.checked_add(length).filter(|&end| end <= extent);
            let end = end.ok_or_else(|| Fault::shape(format!("the parts are longer than {extent}")))?;
            let tensor = cut(io, input, axis, begin..end, keeps || split.is_some())?;
            sequence.push(tensor, io.pool)?;
            begin = end;
        }
        if begin != extent {
            return Err(Fault::shape(format!("the parts have length {begin}, not {extent}")));
        }
        io.emit_compound(0, Compound::Sequence(sequence));
        Ok(())
    })
    .gives([Kind::Sequence]))
}

/// Part of a tensor along an axis, of one element without that axis if it is not kept.
fn cut(
    io: &mut Io<'_, '_>,
    input: &Tensor,
    axis: usize,
    range: std::ops::Range<usize>,
    keeps: bool,
) -> Outcome<Tensor> {
    let mut extents = input.shape().to_vec();
    let unit = shape::count(&extents[axis + 1..])? * input.dtype().size();
    let (row, part) = (extents[axis] * unit, range.len() * unit);
    if keeps {
        extents[axis] = range.len();
    } else {
        extents.remove(axis);
    }
    let mut result = io.alloc(input.dtype(), &Shape::from(extents))?;
    if part > 0 {
        let rows = input.as_bytes().chunks_exact(row);
        for (to, from) in result.buffer_mut().make_mut().chunks_exact_mut(part).zip(rows) {
            to.copy_from_slice(&from[range.start * unit..range.end * unit]);
        }
    }
    Ok(result)
}

fn map(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect(0, Kind::Sequence)?;
    let kinds: Vec<Kind> = (0..node.input_count()).map(|index| node.kind(index)).collect();
    if let Some(at) = kinds.iter().position(|kind| !matches!(kind, Kind::Sequence | Kind::Tensor)) {
        node.expect(at, Kind::Sequence)?;
    }
    let mut body = Nested::new(node, "body", &[])?;
    body.gives_tensors(0)?;
    let output_count = node.output_count();
    if body.declared.len() < output_count {
        return Err(Fault::attribute("body", "gives fewer values than the node has outputs"));
    }
    Ok(Kernel::new(move |io| {
        let mut sequences = Vec::new();
        for index in (0..kinds.len()).filter(|&index| kinds[index] == Kind::Sequence) {
            let Compound::Sequence(sequence) = share(io, index)? else {
                return Err(Fault::shape(format!("input {index} is absent")));
            };
            sequences.push(sequence);
        }
        let count = sequences.first().map_or(0, |sequence| sequence.tensors().len());
        if sequences.iter().any(|sequence| sequence.tensors().len() != count) {
            return Err(Fault::shape("the sequences differ in length"));
        }
        let mut results: Vec<Option<Sequence>> = vec![None; output_count];
        for at in 0..count {
            let mut tensors = Vec::with_capacity(kinds.len());
            let mut elements = sequences.iter().map(|sequence| &sequence.tensors()[at]);
            for (index, kind) in kinds.iter().enumerate() {
                tensors.push(match elements.next().filter(|_| *kind == Kind::Sequence) {
                    Some(element) => {
                        io.pool.adopt(element);
                        element.clone()
                    }
                    None => lend(io, index)?,
                });
            }
            let (outputs, _) = body.run(io, Given { tensors, compounds: Vec::new() })?;
            for (result, tensor) in results.iter_mut().zip(outputs) {
                let result = result.get_or_insert_with(|| Sequence::empty(tensor.dtype()));
                result.push(tensor, io.pool)?;
            }
        }
        for sequence in sequences {
            Compound::Sequence(sequence).release(io.pool);
        }
        for (place, result) in results.into_iter().enumerate() {
            let result = result.unwrap_or_else(|| Sequence::empty(body.declared[place].0));
            io.emit_compound(place, Compound::Sequence(result));
        }
        Ok(())
    })
    .gives(vec![Kind::Sequence; output_count]))
}
