//! Graphs inside nodes: choice and loops.

use std::ops::Range;

use bb_runtime::onnx::tensor_shape_proto::dimension::Value as Extent;
use bb_runtime::onnx::{ValueInfoProto, type_proto};
use bb_runtime::{DataType, Outputs, Shape, Tensor};

use super::{Entry, Kernel, op};
use crate::compound::{Around, Compound, Kind};
use crate::fault::{Fault, Outcome};
use crate::interpreter::Interpreter;
use crate::io::Io;
use crate::names::free_names;
use crate::node::NodeDef;
use crate::pool::CALL;
use crate::shape;

pub(super) const OPS: &[Entry] = &[op("If", 1, choose), op("Loop", 1, repeat), op("Scan", 9, scan)];

/// A nested graph, and which inputs of its node are what it reads from outside.
pub(super) struct Nested {
    graph: Interpreter,
    captures: Range<usize>,
    /// What each of the captures is.
    captured: Vec<Kind>,
    /// What the graph declares of its outputs.
    pub(super) declared: Vec<Declared>,
}

/// Values of a nested graph: its tensors in order, and what is no tensor in order.
#[derive(Default)]
pub(super) struct Given {
    pub(super) tensors: Vec<Tensor>,
    pub(super) compounds: Vec<Compound>,
}

/// An element type and extents, 0 where the graph does not tell.
type Declared = (DataType, Vec<usize>);

/// What a graph declares of a value; `f32` of shape `[]` if nothing.
fn declared(value: &ValueInfoProto) -> Declared {
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|held| held.value.as_ref())
    else {
        return (DataType::F32, Vec::new());
    };
    let extents = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match dim.value {
        Some(Extent::DimValue(extent)) => usize::try_from(extent).unwrap_or(0),
        _ => 0,
    });
    (DataType::from_onnx(tensor.elem_type()).unwrap_or(DataType::F32), extents.collect())
}

impl Nested {
    /// The graph in attribute `name`, whose inputs are of these kinds.
    pub(super) fn new(node: &NodeDef<'_>, name: &'static str, inputs: &[Kind]) -> Outcome<Self> {
        let proto = node.graph(name)?;
        let mut first = node.input_count();
        for (other, graph) in node.graphs() {
            let free = free_names(graph);
            if other == name {
                let around = Around { inputs, kinds: node.kinds };
                let graph = Interpreter::prepare(proto, node.opsets, node.config, node.depth + 1, around)?;
                let declared = proto.output.iter().map(declared).collect();
                let captured = free.iter().map(|name| node.kinds.of(name)).collect();
                return Ok(Self { graph, captures: first..first + free.len(), captured, declared });
            }
            first += free.len();
        }
        Err(Fault::attribute(name, "is missing: it must be a graph"))
    }

    /// What each output of the graph is.
    pub(super) fn kinds(&self) -> &[Kind] {
        self.graph.kinds()
    }

    /// Refuses outputs from `first` on that are no tensors.
    pub(super) fn gives_tensors(&self, first: usize) -> Outcome {
        match self.kinds().iter().skip(first).find(|kind| **kind != Kind::Tensor) {
            None => Ok(()),
            Some(kind) => Err(Fault::Unsupported(format!("{kind} as an output of its graph"))),
        }
    }

    /// Runs the graph on `inputs`, which the pool has counted, and on what it captures.
    pub(super) fn run(&mut self, io: &mut Io<'_, '_>, inputs: Given) -> Outcome<(Outputs, Vec<Compound>)> {
        io.pool.charge(CALL)?;
        let Given { mut tensors, mut compounds } = inputs;
        let own = tensors.len();
        for (place, kind) in self.captures.clone().zip(&self.captured) {
            if *kind == Kind::Tensor {
                tensors.push(io.input(place)?.clone());
            } else {
                compounds.push(share(io, place)?);
            }
        }
        let mut outputs = Outputs::new();
        let given = self.graph.run_with((&tensors, compounds), &mut outputs, io.pool)?;
        for input in tensors.drain(..own) {
            io.pool.put(input);
        }
        Ok((outputs, given))
    }
}

/// An input of the node that is no tensor, held once more.
pub(super) fn share(io: &mut Io<'_, '_>, place: usize) -> Outcome<Compound> {
    let held = io.compound(place)?.clone();
    Ok(held.share(io.pool))
}

/// Hands on values of these kinds, in order, as the node's outputs.
fn emit_all(
    io: &mut Io<'_, '_>,
    kinds: &[Kind],
    tensors: impl IntoIterator<Item = Tensor>,
    compounds: Vec<Compound>,
) {
    let (mut tensors, mut compounds) = (tensors.into_iter(), compounds.into_iter());
    for (place, kind) in kinds.iter().enumerate() {
        if *kind == Kind::Tensor {
            tensors.next().into_iter().for_each(|tensor| io.emit(place, tensor));
        } else {
            compounds.next().into_iter().for_each(|value| io.emit_compound(place, value));
        }
    }
    for (at, tensor) in tensors.enumerate() {
        io.emit(kinds.len() + at, tensor);
    }
}

fn choose(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect_tensors(0)?;
    let mut branches = (Nested::new(node, "then_branch", &[])?, Nested::new(node, "else_branch", &[])?);
    let kinds = branches.0.kinds().iter().zip(branches.1.kinds()).map(|kinds| match kinds {
        (one, other) if one == other => Ok(*one),
        (Kind::Sequence, Kind::MaybeSequence) | (Kind::MaybeSequence, Kind::Sequence) => {
            Ok(Kind::MaybeSequence)
        }
        (one, other) => Err(Fault::Unsupported(format!("{one} from one branch and {other} from the other"))),
    });
    let kinds = kinds.collect::<Outcome<Vec<Kind>>>()?;
    branches.0.gives_tensors(kinds.len())?;
    branches.1.gives_tensors(kinds.len())?;
    let gives = kinds.clone();
    Ok(Kernel::new(move |io| {
        let condition = flag(io.input(0)?)?;
        let branch = if condition { &mut branches.0 } else { &mut branches.1 };
        let (tensors, compounds) = branch.run(io, Given::default())?;
        emit_all(io, &kinds, tensors, compounds);
        Ok(())
    })
    .gives(gives))
}

fn flag(tensor: &Tensor) -> Outcome<bool> {
    match (tensor.dtype(), tensor.as_bytes()) {
        (DataType::Bool, [on]) => Ok(*on != 0),
        (DataType::Bool, _) => Err(Fault::shape("a condition must have one element")),
        (other, _) => Err(Fault::Type(other)),
    }
}

/// What a loop collects, one slice an iteration.
struct Collected {
    slices: Vec<Tensor>,
    declared: Declared,
}

/// What a slice holds beside its elements.
const SLICE: usize = size_of::<Tensor>() + 64;

impl Collected {
    /// Nothing yet of what the body's outputs from `first` on will give.
    fn of(body: &Nested, first: usize, count: usize) -> Vec<Self> {
        let declared = |place| body.declared.get(place).cloned().unwrap_or((DataType::F32, Vec::new()));
        (first..first + count).map(|place| Self { slices: Vec::new(), declared: declared(place) }).collect()
    }

    fn push(&mut self, io: &mut Io<'_, '_>, slice: Tensor) -> Outcome {
        io.reserve(1, SLICE)?;
        self.slices.push(slice);
        Ok(())
    }

    /// The slices along a new axis, or, if there are none, nothing of the declared type.
    fn stack(self, io: &mut Io<'_, '_>, axis: i64, reverse: bool) -> Outcome<Tensor> {
        let Some(first) = self.slices.first() else {
            let (dtype, mut extents) = self.declared;
            let axis = shape::axis(axis, extents.len() + 1)?;
            extents.insert(axis, 0);
            return io.alloc(dtype, &Shape::from(extents));
        };
        let axis = shape::axis(axis, first.shape().rank() + 1)?;
        let mut extents = first.shape().to_vec();
        extents.insert(axis, self.slices.len());
        let mut result = io.alloc(first.dtype(), &Shape::from(extents))?;
        let unit = shape::count(&first.shape()[axis..])? * first.dtype().size();
        let count = self.slices.len();
        let to = result.buffer_mut().make_mut();
        for (at, slice) in self.slices.iter().enumerate() {
            if slice.shape() != first.shape() || slice.dtype() != first.dtype() {
                return Err(Fault::shape("what a loop collects changes its shape"));
            }
            let at = if reverse { count - 1 - at } else { at };
            if unit > 0 {
                for (block, from) in slice.as_bytes().chunks_exact(unit).enumerate() {
                    to[(block * count + at) * unit..(block * count + at + 1) * unit].copy_from_slice(from);
                }
            }
        }
        for slice in self.slices {
            io.pool.put(slice);
        }
        Ok(result)
    }
}

fn repeat(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let carried_count = node.input_count().saturating_sub(2);
    let output_count = node.output_count();
    if carried_count > output_count {
        return Err(Fault::attribute("body", "carries more values than the node has outputs"));
    }
    let given: Vec<Kind> = (0..node.input_count().max(2)).map(|at| node.kind(at)).collect();
    let mut body = Nested::new(node, "body", &given)?;
    let (kinds, tensor_count) = carried(node, &given[2..], &body)?;
    let mut gives = kinds.clone();
    gives.resize(output_count, Kind::Tensor);
    Ok(Kernel::new(move |io| {
        let limit = match io.optional_ints(0)?.as_deref() {
            None => i64::MAX,
            Some(&[limit]) => limit,
            Some(_) => return Err(Fault::shape("the trip count must be a scalar")),
        };
        let mut go_on = io.optional(1).map_or(Ok(true), flag)?;
        let mut carried = Given { tensors: Vec::with_capacity(tensor_count), compounds: Vec::new() };
        for (place, kind) in kinds.iter().enumerate() {
            if *kind == Kind::Tensor {
                carried.tensors.push(lend(io, 2 + place)?);
            } else {
                carried.compounds.push(share(io, 2 + place)?);
            }
        }
        // The body's first output is the condition.
        let mut collected = Collected::of(&body, 1 + carried_count, output_count - carried_count);
        let mut iteration = 0_i64;
        while go_on && iteration < limit {
            let mut count = io.alloc(DataType::I64, &Shape::scalar())?;
            count.make_mut::<i64>()?.fill(iteration);
            let mut on = io.alloc(DataType::Bool, &Shape::scalar())?;
            on.buffer_mut().make_mut().fill(1);
            let mut tensors = vec![count, on];
            tensors.append(&mut carried.tensors);
            let compounds = std::mem::take(&mut carried.compounds);
            let (outputs, compounds) = body.run(io, Given { tensors, compounds })?;
            carried.compounds = compounds;
            let mut outputs = outputs.into_iter();
            if let Some(condition) = outputs.next() {
                go_on = flag(&condition)?;
                io.pool.put(condition);
            }
            carried.tensors.extend(outputs.by_ref().take(tensor_count));
            for (collected, slice) in collected.iter_mut().zip(outputs) {
                collected.push(io, slice)?;
            }
            iteration += 1;
        }
        emit_all(io, &kinds, carried.tensors, carried.compounds);
        for (place, collected) in collected.into_iter().enumerate() {
            let stacked = collected.stack(io, 0, false)?;
            io.emit(carried_count + place, stacked);
        }
        Ok(())
    })
    .gives(gives))
}

/// What a loop carries from iteration to iteration, and how many of it are tensors, where this is given to it.
fn carried(node: &NodeDef<'_>, given: &[Kind], body: &Nested) -> Outcome<(Vec<Kind>, usize)> {
    (0..2).try_for_each(|at| node.expect(at, Kind::Tensor))?;
    let (condition, made) = match body.kinds() {
        [] => (Kind::Tensor, &[][..]),
        [condition, made @ ..] => (*condition, made),
    };
    body.gives_tensors(1 + given.len())?;
    let made = made.iter().copied().chain(std::iter::repeat(Kind::Tensor));
    let kinds = given.iter().copied().zip(made).map(|kinds| match kinds {
        (given, made) if given == made => Ok(made),
        // What may be absent at first is there after an iteration.
        (Kind::MaybeSequence, Kind::Sequence) => Ok(Kind::Sequence),
        (given, made) => Err(Fault::Unsupported(format!("{given} of which its graph makes {made}"))),
    });
    let kinds = kinds.collect::<Outcome<Vec<Kind>>>()?;
    if condition != Kind::Tensor {
        return Err(Fault::Unsupported(format!("{condition} as the condition")));
    }
    let tensor_count = kinds.iter().filter(|kind| **kind == Kind::Tensor).count();
    Ok((kinds, tensor_count))
}

/// An input of the node, held once more.
pub(super) fn lend(io: &mut Io<'_, '_>, place: usize) -> Outcome<Tensor> {
    let input = io.input(place)?.clone();
    io.pool.adopt(&input);
    Ok(input)
}

fn scan(node: &NodeDef<'_>) -> Outcome<Kernel> {
    node.expect_tensors(0)?;
    let mut body = Nested::new(node, "body", &[])?;
    body.gives_tensors(0)?;
    let scanned = shape::extent(node.int_or("num_scan_inputs", 1))?;
    let list = |name| node.ints(name).map(<[i64]>::to_vec).unwrap_or_default();
    let (input_axes, input_directions) = (list("scan_input_axes"), list("scan_input_directions"));
    let (output_axes, output_directions) = (list("scan_output_axes"), list("scan_output_directions"));
    let Some(carried_count) = node.input_count().checked_sub(scanned) else {
        return Err(Fault::attribute("num_scan_inputs", "is more than the node has inputs"));
    };
    let Some(collected_count) = node.output_count().checked_sub(carried_count) else {
        return Err(Fault::attribute("num_scan_inputs", "leaves more state than the node has outputs"));
    };
    Ok(Kernel::new(move |io| {
        let mut carried = Vec::with_capacity(carried_count);
        for place in 0..carried_count {
            carried.push(lend(io, place)?);
        }
        let mut length = None;
        for place in 0..scanned {
            let input = io.input(carried_count + place)?;
            let axis = shape::axis(input_axes.get(place).copied().unwrap_or(0), input.shape().rank())?;
            let extent = input.shape()[axis];
            if *length.get_or_insert(extent) != extent {
                return Err(Fault::shape("scanned inputs differ in length"));
            }
        }
        let length = length.unwrap_or(0);
        let mut collected = Collected::of(&body, carried_count, collected_count);
        for iteration in 0..length {
            let mut tensors = std::mem::take(&mut carried);
            for place in 0..scanned {
                let input = io.input(carried_count + place)?;
                let axis = shape::axis(input_axes.get(place).copied().unwrap_or(0), input.shape().rank())?;
                let backwards = input_directions.get(place) == Some(&1);
                let at = if backwards { length - 1 - iteration } else { iteration };
                tensors.push(take_slice(io, input, axis, at)?);
            }
            let (outputs, _) = body.run(io, Given { tensors, compounds: Vec::new() })?;
            let mut outputs = outputs.into_iter();
            carried.extend(outputs.by_ref().take(carried_count));
            for (collected, slice) in collected.iter_mut().zip(outputs) {
                collected.push(io, slice)?;
            }
        }
        for (place, tensor) in carried.into_iter().enumerate() {
            io.emit(place, tensor);
        }
        for (place, collected) in collected.into_iter().enumerate() {
            let backwards = output_directions.get(place) == Some(&1);
            let stacked = collected.stack(io, output_axes.get(place).copied().unwrap_or(0), backwards)?;
            io.emit(carried_count + place, stacked);
        }
        Ok(())
    })
    .gives(vec![Kind::Tensor; node.output_count()]))
}

/// The part of a tensor at one place of an axis, without that axis.
fn take_slice(io: &mut Io<'_, '_>, input: &Tensor, axis: usize, at: usize) -> Outcome<Tensor> {
    let mut extents = input.shape().to_vec();
    let extent = extents.remove(axis);
    let unit = shape::count(&extents[axis..])? * input.dtype().size();
    let mut result = io.alloc(input.dtype(), &Shape::from(extents))?;
    if unit > 0 {
        for (block, to) in result.buffer_mut().make_mut().chunks_exact_mut(unit).enumerate() {
            let first = (block * extent + at) * unit;
            to.copy_from_slice(&input.as_bytes()[first..first + unit]);
        }
    }
    Ok(result)
}
