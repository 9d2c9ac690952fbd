//! Element-wise nodes fused into one loop.
//!
//! [`groups`] finds trees of element-wise nodes whose inner values nothing outside reads; [`kernel`] makes one kernel of
//! such a tree. It runs block by block: each instruction reads blocks of leaves or registers and writes a register,
//! the last one the result. Where the operands are not what a tree was made for (`f32`, booleans as conditions), the
//! nodes run one by one as they stand.

mod block;
mod op;

use std::collections::{BTreeMap, BTreeSet};

use bb_runtime::onnx::{GraphProto, NodeProto, ValueInfoProto};
use bb_runtime::{BackendError, DataType, Outputs, Shape, Tensor};
use smallvec::SmallVec;

use self::block::{Leaf, run_block};
use self::op::{Kind, Op};
use crate::CpuConfig;
use crate::fault::{Fault, Outcome};
use crate::interpreter::Interpreter;
use crate::io::{In, Io};
use crate::ops::Kernel;
use crate::shape;

/// Elements a block: four registers of it stay in the first-level cache.
const BLOCK: usize = 1024;

/// Nodes a tree may have.
const MAX_NODES: usize = 256;

/// Results up to this size may compute an operand that is broadcast once an element.
const SMALL: usize = 4096;

/// Trees of at least two fusable nodes, each as ascending node indices, the root last.
///
/// Nodes marked in `taken` are in other groups.
pub(crate) fn groups(graph: &GraphProto, opset: i64, mut taken: Vec<bool>) -> Vec<Vec<usize>> {
    let ops: Vec<Option<Op>> = graph.node.iter().map(|node| Op::of(node, opset)).collect();
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pinned: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    for (at, node) in graph.node.iter().enumerate() {
        pinned.extend(crate::names::captured(node));
        for input in &node.input {
            readers.entry(input).or_default().push(at);
        }
        for output in &node.output {
            makers.insert(output, at);
        }
    }
    let mut groups = Vec::new();
    for root in (0..graph.node.len()).rev() {
        if taken[root] || ops[root].is_none_or(|op| op.result() != Kind::F32) {
            continue;
        }
        let mut members = vec![root];
        let mut next = 0;
        while let Some(&reader) = members.get(next) {
            next += 1;
            for (place, input) in graph.node[reader].input.iter().enumerate() {
                let Some(&maker) = makers.get(input.as_str()) else { continue };
                let fits = match (ops[reader], ops[maker]) {
                    (Some(reader), Some(maker)) => reader.operand(place) == maker.result(),
                    _ => false,
                };
                let inner = !pinned.contains(input.as_str())
                    && readers
                        .get(input.as_str())
                        .is_some_and(|all| all.iter().all(|at| members.contains(at)));
                let free = maker < reader && !taken[maker] && !members.contains(&maker);
                if fits && inner && free && members.len() < MAX_NODES {
                    members.push(maker);
                }
            }
        }
        if members.len() > 1 {
            members.sort_unstable();
            for &member in &members {
                taken[member] = true;
            }
            groups.push(members);
        }
    }
    groups
}

/// Where an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Leaf(usize),
    Register(usize),
}

struct Instruction {
    op: Op,
    from: SmallVec<[From; 3]>,
    to: usize,
}

/// A tree made ready.
struct Fused {
    instructions: Vec<Instruction>,
    /// What each leaf is taken for.
    leaves: Vec<Kind>,
    registers: Vec<Vec<f32>>,
    /// A block of each leaf that cannot be read from where it stands.
    blocks: Vec<Vec<f32>>,
    plan: Option<Plan>,
}

/// What follows from the shapes of the leaves.
struct Plan {
    shapes: Vec<Shape>,
    shape: Shape,
    repeats: Vec<Repeat>,
    runs_fused: bool,
}

/// How a leaf is read as the result's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// As it is.
    None,
    /// One element throughout.
    Scalar,
    /// All of it, again and again: it has the result's last axes.
    Cycle,
    /// In some other way; it is expanded first.
    Expand,
}

/// The names that a tree reads, in order of appearance.
pub(crate) fn leaves<'a>(nodes: &[&'a NodeProto]) -> Vec<&'a str> {
    let made: BTreeSet<&str> = nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let mut leaves: Vec<&str> = Vec::new();
    for input in nodes.iter().flat_map(|node| &node.input) {
        if !made.contains(input.as_str()) && !leaves.contains(&input.as_str()) {
            leaves.push(input);
        }
    }
    leaves
}

/// One kernel for a tree; `None` if its operands contradict each other.
pub(crate) fn kernel(
    nodes: &[&NodeProto],
    opsets: &[(String, i64)],
    config: &CpuConfig,
    depth: usize,
) -> Result<Option<Kernel>, BackendError> {
    let names = leaves(nodes);
    let Some(mut fused) = Fused::new(nodes, &names) else { return Ok(None) };
    let mut alone = Alone::new(nodes, &names, opsets, config, depth)?;
    let run = move |io: &mut Io<'_, '_>| {
        if fused.fits(io)? {
            return fused.run(io);
        }
        alone.run(io)
    };
    Ok(Some(Kernel::new(run).in_place()))
}

/// Nodes that are fused where their operands allow it, as they run where those do not.
pub(crate) struct Alone(Interpreter);

impl Alone {
    /// `names` are the values that the nodes read, as [`leaves`] gives them.
    pub(crate) fn new(
        nodes: &[&NodeProto],
        names: &[&str],
        opsets: &[(String, i64)],
        config: &CpuConfig,
        depth: usize,
    ) -> Result<Self, BackendError> {
        let value = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
        let graph = GraphProto {
            node: nodes.iter().map(|&node| node.clone()).collect(),
            input: names.iter().map(|name| value(name)).collect(),
            output: nodes.last().iter().flat_map(|node| &node.output).map(|name| value(name)).collect(),
            ..Default::default()
        };
        Interpreter::prepare_unfused(&graph, opsets, config, depth).map(Self)
    }

    pub(crate) fn run(&mut self, io: &mut Io<'_, '_>) -> Outcome {
        let mut inputs: SmallVec<[Tensor; 8]> = SmallVec::new();
        for place in 0..io.input_count() {
            inputs.push(match io.take(place)? {
                In::Owned(tensor) => tensor,
                In::Borrowed(tensor) => {
                    io.pool.adopt(tensor);
                    tensor.clone()
                }
            });
        }
        let mut outputs = Outputs::new();
        self.0.run_within(&inputs, &mut outputs, io.pool)?;
        for input in inputs {
            io.pool.put(input);
        }
        for tensor in outputs {
            io.emit(0, tensor);
        }
        Ok(())
    }
}

impl Fused {
    fn new(nodes: &[&NodeProto], names: &[&str]) -> Option<Self> {
        let mut kinds: Vec<Option<Kind>> = vec![None; names.len()];
        let mut places: BTreeMap<&str, From> =
            names.iter().enumerate().map(|(at, &name)| (name, From::Leaf(at))).collect();
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            for input in &node.input {
                last.insert(input, at);
            }
        }
        let mut free: Vec<usize> = Vec::new();
        let mut register_count = 0;
        let mut instructions = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let op = Op::of(node, i64::MAX)?;
            let mut from = SmallVec::new();
            for (place, input) in node.input.iter().enumerate() {
                let source = *places.get(input.as_str())?;
                if let From::Leaf(leaf) = source {
                    let kind = op.operand(place);
                    if *kinds[leaf].get_or_insert(kind) != kind {
                        return None;
                    }
                }
                from.push(source);
            }
            // The result's register is never one that the instruction reads.
            let to = free.pop().unwrap_or_else(|| {
                register_count += 1;
                register_count - 1
            });
            let mut dying: SmallVec<[usize; 3]> = SmallVec::new();
            for input in &node.input {
                if let Some(From::Register(register)) = places.get(input.as_str())
                    && last.get(input.as_str()) == Some(&at)
                    && !dying.contains(register)
                {
                    dying.push(*register);
                }
            }
            free.extend(dying);
            places.insert(node.output.first()?, From::Register(to));
            instructions.push(Instruction { op, from, to });
        }
        let leaves: Vec<Kind> = kinds.into_iter().map(|kind| kind.unwrap_or(Kind::F32)).collect();
        let (registers, blocks) = (vec![Vec::new(); register_count], vec![Vec::new(); leaves.len()]);
        Some(Self { instructions, leaves, registers, blocks, plan: None })
    }

    /// Whether the operands are those the tree is fused for; plans for their shapes if they are new.
    fn fits(&mut self, io: &Io<'_, '_>) -> Outcome<bool> {
        for (place, kind) in self.leaves.iter().enumerate() {
            let dtype = io.peek(place).map(Tensor::dtype);
            let wanted = if *kind == Kind::Bool { DataType::Bool } else { DataType::F32 };
            if dtype != Some(wanted) {
                return Ok(false);
            }
        }
        let shapes = || (0..io.input_count()).filter_map(|place| io.peek(place)).map(Tensor::shape);
        if let Some(plan) = &self.plan
            && plan.shapes.iter().eq(shapes())
        {
            return Ok(plan.runs_fused);
        }
        let shapes: Vec<Shape> = shapes().cloned().collect();
        let mut shape = Shape::scalar();
        for one in &shapes {
            shape = shape::broadcast(&shape, one)?;
        }
        let count = shape::count(&shape)?;
        let repeats = shapes.iter().map(|one| repeat(one, &shape)).collect();
        let runs_fused = count <= SMALL || self.computes_nothing_twice(&shapes, count)?;
        self.plan = Some(Plan { shapes, shape, repeats, runs_fused });
        Ok(runs_fused)
    }

    fn computes_nothing_twice(&self, shapes: &[Shape], count: usize) -> Outcome<bool> {
        let mut held: Vec<Shape> = vec![Shape::scalar(); self.registers.len()];
        for instruction in &self.instructions {
            let mut shape = Shape::scalar();
            for from in &instruction.from {
                shape = shape::broadcast(
                    &shape,
                    match *from {
                        From::Leaf(leaf) => &shapes[leaf],
                        From::Register(register) => &held[register],
                    },
                )?;
            }
            if shape::count(&shape)? != count {
                return Ok(false);
            }
            held[instruction.to] = shape;
        }
        Ok(true)
    }

    fn run(&mut self, io: &mut Io<'_, '_>) -> Outcome {
        let Self { instructions, leaves: kinds, registers, blocks, plan: Some(plan) } = self else {
            return Err(Fault::shape("the tree is not planned"));
        };
        let count = shape::count(&plan.shape)?;
        io.charge([count, instructions.len()])?;
        let block = BLOCK.min(count);
        let mut inputs: SmallVec<[In<'_>; 8]> = SmallVec::new();
        for place in 0..io.input_count() {
            let input = io.take(place)?;
            inputs.push(match plan.repeats[place] {
                Repeat::Expand => expand(io, input, &plan.shape)?,
                _ => input,
            });
        }
        for register in &mut *registers {
            if register.len() < block {
                register.resize(block, 0.0);
            }
        }
        let mut result = io.alloc(DataType::F32, &plan.shape)?;
        let to = result.make_mut::<f32>()?;
        {
            let mut leaves: SmallVec<[Leaf<'_>; 8]> = SmallVec::new();
            for (((input, kind), &repeat), held) in inputs.iter().zip(kinds).zip(&plan.repeats).zip(blocks) {
                let (numbers, flags): (&[f32], &[u8]) = match kind {
                    Kind::F32 => (input.as_slice()?, &[]),
                    Kind::Bool => (&[], input.as_slice()?),
                };
                leaves.push(Leaf::new(numbers, flags, repeat, held, block));
            }
            for start in (0..count).step_by(block.max(1)) {
                let end = count.min(start + block);
                for leaf in &mut leaves {
                    leaf.load(start, end);
                }
                run_block(instructions, registers, &leaves, start, &mut to[start..end]);
            }
        }
        for input in inputs {
            io.recycle(input);
        }
        io.emit(0, result);
        Ok(())
    }
}

/// How a leaf of shape `from` becomes one of shape `to`.
fn repeat(from: &Shape, to: &Shape) -> Repeat {
    let count: usize = from.iter().product();
    let mut own: &[usize] = from;
    while let [1, rest @ ..] = own {
        own = rest;
    }
    if count == to.iter().product::<usize>() {
        Repeat::None
    } else if count == 1 {
        Repeat::Scalar
    } else if to.ends_with(own) {
        Repeat::Cycle
    } else {
        Repeat::Expand
    }
}

fn expand<'a>(io: &mut Io<'_, '_>, input: In<'a>, shape: &Shape) -> Outcome<In<'a>> {
    let strides = shape::broadcast_strides(input.shape(), shape)?;
    let mut wide = io.alloc(input.dtype(), shape)?;
    if input.dtype() == DataType::Bool {
        crate::ops::layout::gather_strided(
            input.as_slice::<u8>()?,
            0,
            &strides,
            wide.make_mut::<u8>()?,
            shape,
        );
    } else {
        crate::ops::layout::gather_strided(
            input.as_slice::<f32>()?,
            0,
            &strides,
            wide.make_mut::<f32>()?,
            shape,
        );
    }
    io.recycle(input);
    Ok(In::Owned(wide))
}
