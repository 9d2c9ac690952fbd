//! A convolution with what follows it: a normalization with fixed statistics, a sum with another tensor, an activation.
//!
//! [`groups`] finds them; [`kernel`] makes one kernel of a group. Where the operands are not what it was made for
//! (`f32`), the nodes run one by one as they stand.

use std::collections::{BTreeMap, BTreeSet};

use bb_runtime::onnx::{GraphProto, NodeProto};
use bb_runtime::{BackendError, DataType, Tensor};
use smallvec::SmallVec;

use crate::CpuConfig;
use crate::compound::Around;
use crate::fault::{Fault, Outcome};
use crate::fuse::{Alone, leaves};
use crate::io::{In, Io};
use crate::node::NodeDef;
use crate::ops::Kernel;
use crate::ops::conv::groups_of;
use crate::ops::convolve::{Layer, Norm, Weights};
use crate::ops::elementwise::copy;
use crate::ops::window::Window;

/// What a node of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Add,
    Clip,
    Conv,
    Norm,
    Relu,
}

impl Part {
    fn of(node: &NodeProto, opset: i64) -> Option<Self> {
        let is_onnx = node.domain().is_empty() || node.domain() == "ai.onnx";
        let int = |name| node.attribute.iter().find(|held| held.name() == name).map_or(0, |held| held.i());
        let has_one_output = node.output.iter().filter(|output| !output.is_empty()).count() == 1;
        if !is_onnx || !has_one_output {
            return None;
        }
        match (node.op_type(), node.input.len()) {
            ("Add" | "Sum", 2) if opset >= 8 && node.input.iter().all(|input| !input.is_empty()) => {
                Some(Self::Add)
            }
            ("BatchNormalization", 5) if opset >= 9 && int("training_mode") == 0 => Some(Self::Norm),
            ("Clip", 3) if opset >= 11 && node.input.iter().all(|input| !input.is_empty()) => {
                Some(Self::Clip)
            }
            ("Conv", 2 | 3) => Some(Self::Conv),
            ("Relu", 1) if opset >= 6 => Some(Self::Relu),
            _ => None,
        }
    }
}

/// Convolutions with what follows them, each as ascending node indices, the one that makes the result last.
pub(crate) fn groups(graph: &GraphProto, opset: i64) -> Vec<Vec<usize>> {
    let parts: Vec<Option<Part>> = graph.node.iter().map(|node| Part::of(node, opset)).collect();
    if !parts.contains(&Some(Part::Conv)) {
        return Vec::new();
    }
    let mut readers: BTreeMap<&str, SmallVec<[usize; 2]>> = BTreeMap::new();
    let mut pinned: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    for (at, node) in graph.node.iter().enumerate() {
        pinned.extend(crate::names::captured(node));
        for input in &node.input {
            readers.entry(input).or_default().push(at);
        }
    }
    // The only node that reads the result of node `at`, unless it reads it in another place than its part allows.
    let next = |at: usize| {
        let name = graph.node[at].output.first()?;
        match readers.get(name.as_str()).map(SmallVec::as_slice) {
            Some(&[reader]) if reader > at && !pinned.contains(name) => {
                let reads_it_first = graph.node[reader].input.first() == Some(name);
                (reads_it_first || parts[reader] == Some(Part::Add)).then_some(reader)
            }
            _ => None,
        }
    };
    // What is broadcast to a sum is most often a constant; that of an image is not.
    let constants = constants(graph);
    let adds_a_constant =
        |at: usize| graph.node[at].input.iter().any(|name| constants.contains(name.as_str()));
    let mut groups = Vec::new();
    let mut taken = BTreeSet::new();
    for at in (0..graph.node.len()).filter(|&at| parts[at] == Some(Part::Conv)) {
        let mut members = vec![at];
        let mut last = at;
        for wanted in [&[Part::Norm][..], &[Part::Add], &[Part::Relu, Part::Clip]] {
            let fits = |&reader: &usize| {
                let part = parts[reader].filter(|part| wanted.contains(part));
                part.is_some_and(|part| {
                    part != Part::Add || !adds_a_constant(reader) && !taken.contains(&reader)
                })
            };
            if let Some(reader) = next(last).filter(fits) {
                members.push(reader);
                last = reader;
            }
        }
        if members.len() > 1 {
            taken.extend(members.iter().copied());
            groups.push(members);
        }
    }
    groups
}

/// Values that no input of a graph changes.
fn constants(graph: &GraphProto) -> BTreeSet<&str> {
    let made = graph.node.iter().filter(|node| matches!(node.op_type(), "Constant" | "ConstantOfShape"));
    let made = made.flat_map(|node| &node.output).map(String::as_str);
    graph.initializer.iter().map(|tensor| tensor.name()).chain(made).collect()
}

/// Where a group's operands stand among its leaves.
struct Places {
    input: usize,
    weight: usize,
    bias: Option<usize>,
    /// Scale, shift, mean, variance.
    norm: Option<[usize; 4]>,
    epsilon: f32,
    added: Option<usize>,
    bounds: Bounds,
}

#[derive(Clone, Copy)]
enum Bounds {
    /// The least and the greatest result are operands.
    Clip(usize, usize),
    None,
    Relu,
}

/// One kernel for a group; `None` if the graph reads a value that the group makes in another way than it was found.
pub(crate) fn kernel(
    nodes: &[&NodeProto],
    opsets: &[(String, i64)],
    config: &CpuConfig,
    depth: usize,
) -> Result<Option<Kernel>, BackendError> {
    let names = leaves(nodes);
    let (Some(places), Some(conv)) = (Places::of(nodes, &names), nodes.first()) else { return Ok(None) };
    let def = NodeDef::new(conv, opsets, config, depth, Around::TENSORS.kinds);
    let made = Window::new(&def).and_then(|window| Ok(Layer::new(window, groups_of(&def)?, config.threads)));
    let mut layer = made.map_err(|fault| fault.at(&def.op, &def.name, def.opset, Vec::new))?;
    let mut alone = Alone::new(nodes, &names, opsets, config, depth)?;
    let run = move |io: &mut Io<'_, '_>| {
        if !places.fit(io, &mut layer)? {
            return alone.run(io);
        }
        let mut operands = Operands::default();
        let mut added = None;
        for at in 0..io.input_count() {
            let operand = io.take(at)?;
            if places.added == Some(at) && !places.reads(at) {
                added = Some(operand);
                operands.0.push(None);
            } else {
                operands.0.push(Some(operand));
            }
        }
        if let (Some(at), None) = (places.added, &added) {
            // It is read besides, and so cannot be written over.
            added = Some(In::Owned(copy(io, operands.at(at)?)?));
        }
        let weights = places.weights(&operands, io.epoch(places.lasting()))?;
        let result = layer.run(io, operands.at(places.input)?, weights, added)?;
        for operand in operands.0.into_iter().flatten() {
            io.recycle(operand);
        }
        io.emit(0, result);
        Ok(())
    };
    Ok(Some(Kernel::new(run).in_place()))
}

/// What a group reads, but for what it adds to its result.
#[derive(Default)]
struct Operands<'a>(SmallVec<[Option<In<'a>>; 8]>);

impl Operands<'_> {
    fn at(&self, at: usize) -> Outcome<&Tensor> {
        let held = self.0.get(at).and_then(Option::as_ref);
        held.map(|held| &**held).ok_or_else(|| Fault::shape(format!("operand {at} is missing")))
    }

    fn numbers(&self, at: usize) -> Outcome<&[f32]> {
        Ok(self.at(at)?.as_slice()?)
    }
}

impl Places {
    fn of(nodes: &[&NodeProto], names: &[&str]) -> Option<Self> {
        let place =
            |name: Option<&String>| names.iter().position(|held| Some(*held) == name.map(String::as_str));
        let (conv, rest) = nodes.split_first()?;
        let mut places = Self {
            input: place(conv.input.first())?,
            weight: place(conv.input.get(1))?,
            bias: None,
            norm: None,
            epsilon: 0.0,
            added: None,
            bounds: Bounds::None,
        };
        if conv.input.get(2).is_some_and(|name| !name.is_empty()) {
            places.bias = Some(place(conv.input.get(2))?);
        }
        for (before, node) in nodes.iter().zip(rest) {
            match Part::of(node, i64::MAX)? {
                Part::Add => {
                    places.added =
                        Some(place(node.input.iter().find(|name| before.output.first() != Some(name)))?);
                }
                Part::Clip => {
                    places.bounds = Bounds::Clip(place(node.input.get(1))?, place(node.input.get(2))?)
                }
                Part::Conv => return None,
                Part::Norm => {
                    let at = |index: usize| place(node.input.get(index));
                    places.norm = Some([at(1)?, at(2)?, at(3)?, at(4)?]);
                    let epsilon = node.attribute.iter().find(|attribute| attribute.name() == "epsilon");
                    places.epsilon = epsilon.map_or(1e-5, |attribute| attribute.f());
                }
                Part::Relu => places.bounds = Bounds::Relu,
            }
        }
        Some(places)
    }

    /// Operands that the weights are packed from.
    fn lasting(&self) -> impl Iterator<Item = usize> {
        [self.weight].into_iter().chain(self.bias).chain(self.norm.into_iter().flatten())
    }

    /// Whether operand `at` is read for more than to be added.
    fn reads(&self, at: usize) -> bool {
        let is_bound = matches!(self.bounds, Bounds::Clip(least, most) if least == at || most == at);
        at == self.input || is_bound || self.lasting().any(|other| other == at)
    }

    /// Whether the operands are those the group is made for.
    fn fit(&self, io: &Io<'_, '_>, layer: &mut Layer) -> Outcome<bool> {
        let operand = |at: usize| io.peek(at).ok_or_else(|| Fault::shape(format!("input {at} is missing")));
        for at in 0..io.input_count() {
            if operand(at)?.dtype() != DataType::F32 {
                return Ok(false);
            }
        }
        let Some(added) = self.added else { return Ok(true) };
        let result = layer.plan(io.pool, operand(self.input)?.shape(), operand(self.weight)?.shape())?;
        Ok(*result == *operand(added)?.shape())
    }

    fn weights<'a>(&self, operands: &'a Operands<'_>, epoch: Option<u64>) -> Outcome<Weights<'a>> {
        let numbers = |at: usize| operands.numbers(at);
        let norm = match self.norm {
            None => None,
            Some([scale, shift, mean, variance]) => Some(Norm {
                scale: numbers(scale)?,
                shift: numbers(shift)?,
                mean: numbers(mean)?,
                variance: numbers(variance)?,
                epsilon: self.epsilon,
            }),
        };
        let bound = |at: usize| match *numbers(at)? {
            [bound] => Ok(bound),
            _ => Err(Fault::shape("a bound of Clip must be a scalar")),
        };
        let bounds = match self.bounds {
            Bounds::None => None,
            Bounds::Relu => Some((0.0, f32::INFINITY)),
            Bounds::Clip(least, most) => Some((bound(least)?, bound(most)?)),
        };
        let weight = operands.at(self.weight)?;
        Ok(Weights { weight, bias: self.bias.map(numbers).transpose()?, norm, bounds, epoch })
    }
}
