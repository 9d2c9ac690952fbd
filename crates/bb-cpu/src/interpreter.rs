//! A prepared graph: kernels in order over dense slots.

mod step;

use std::collections::{BTreeMap, BTreeSet};

use bb_runtime::onnx::{GraphProto, NodeProto, ValueInfoProto, type_proto};
use bb_runtime::{BackendError, BackendGraph, DataType, Executable, Outputs, Shape, Tensor};
use smallvec::SmallVec;

use self::step::{MAX_RANK, Place, Step};
use crate::CpuConfig;
use crate::compound::{Around, Compound, Compounds, Kind, Kinds};
use crate::fault::Fault;
use crate::fixed::{self, Known};
use crate::fuse;
use crate::io::{Hands, Source};
use crate::layers;
use crate::names::{Names, captured, free_names, index};
use crate::node::NodeDef;
use crate::ops::{self, Kernel};
use crate::pool::{self, Pool};
use crate::typing;

/// How deep graphs may be nested.
const MAX_DEPTH: usize = 16;

/// A prepared graph.
pub(crate) struct Interpreter {
    steps: Vec<Step>,
    slots: Vec<Option<Tensor>>,
    /// Slots that keep their tensor from run to run.
    fixed: Vec<bool>,
    constants: Vec<Tensor>,
    /// Where each comes from, and whether it is the last that comes from there.
    outputs: Vec<(Source, bool)>,
    /// What each output is.
    kinds: Vec<Kind>,
    /// Inputs that are tensors.
    input_count: usize,
    /// Where inputs stand that are no tensors, in order.
    compound_inputs: Vec<u32>,
    has_fixed: bool,
    /// Bytes in fixed slots.
    fixed_bytes: usize,
    /// Types and shapes of the inputs for which the fixed slots are filled.
    signature: Option<Vec<(DataType, Shape)>>,
    /// The work of calling all kernels and of reading the constants.
    base_work: u64,
    /// How often each input is read.
    input_readers: Vec<u64>,
    /// Grows when fixed slots are filled again.
    epoch: u64,
    hands: Hands,
}

/// A graph that stands in no other one, with the buffers that it and the graphs inside of it use.
pub(crate) struct Whole {
    graph: Interpreter,
    pool: Pool,
}

impl Whole {
    /// Makes a graph ready to run.
    pub(crate) fn of(graph: &BackendGraph, config: &CpuConfig) -> Result<Self, BackendError> {
        let proto = graph.graph();
        if let Some(input) = proto.input.iter().find(|input| !may_be_tensor(input)) {
            let reason = format!("input `{}` is no tensor; give tensors, and make it of them", input.name());
            return Err(BackendError::Graph { reason });
        }
        let graph = Interpreter::prepare(proto, graph.opsets(), config, 0, Around::TENSORS)?;
        let mut outputs = proto.output.iter().zip(&graph.kinds);
        if let Some((output, kind)) = outputs.find(|(_, kind)| **kind != Kind::Tensor) {
            let name = output.name();
            let reason = format!("output `{name}` is {kind}; a graph gives tensors, so read those out of it");
            return Err(BackendError::Graph { reason });
        }
        Ok(Self { graph, pool: Pool::new(config.memory_limit, config.work_limit) })
    }
}

impl Executable for Whole {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
        let mut outputs = Outputs::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    fn run_into(&mut self, inputs: &[Tensor], outputs: &mut Outputs) -> Result<(), BackendError> {
        let Self { graph, pool } = self;
        if inputs.len() != graph.input_count {
            return Err(BackendError::InputCount { expected: graph.input_count, got: inputs.len() });
        }
        pool.begin(graph.fixed_bytes);
        for tensor in outputs.drain(..) {
            pool.keep(tensor);
        }
        graph.run_within(inputs, outputs, pool)
    }
}

impl Interpreter {
    /// Makes a graph ready to run that is nested `depth` deep.
    pub(crate) fn prepare(
        graph: &GraphProto,
        opsets: &[(String, i64)],
        config: &CpuConfig,
        depth: usize,
        around: Around<'_>,
    ) -> Result<Self, BackendError> {
        typing::check(graph, opsets)?;
        let mut fused = BTreeMap::new();
        let mut inner = BTreeSet::new();
        let opset = opsets.iter().find(|(domain, _)| domain.is_empty()).map_or(1, |(_, version)| *version);
        let mut taken = vec![false; graph.node.len()];
        for members in layers::groups(graph, opset) {
            let nodes: Vec<&NodeProto> = members.iter().map(|&member| &graph.node[member]).collect();
            if let (Some(kernel), Some((root, rest))) =
                (layers::kernel(&nodes, opsets, config, depth)?, members.split_last())
            {
                fused.insert(*root, (kernel, fuse::leaves(&nodes)));
                inner.extend(rest.iter().copied());
                members.iter().for_each(|&member| taken[member] = true);
            }
        }
        for members in fuse::groups(graph, opset, taken) {
            let nodes: Vec<&NodeProto> = members.iter().map(|&member| &graph.node[member]).collect();
            if let (Some(kernel), Some((root, rest))) =
                (fuse::kernel(&nodes, opsets, config, depth)?, members.split_last())
            {
                fused.insert(*root, (kernel, fuse::leaves(&nodes)));
                inner.extend(rest.iter().copied());
            }
        }
        Self::prepare_with(graph, opsets, config, (depth, around), fused, &inner)
    }

    /// Makes a graph of tensors ready to run, node by node.
    pub(crate) fn prepare_unfused(
        graph: &GraphProto,
        opsets: &[(String, i64)],
        config: &CpuConfig,
        depth: usize,
    ) -> Result<Self, BackendError> {
        let place = (depth, Around::TENSORS);
        Self::prepare_with(graph, opsets, config, place, BTreeMap::new(), &BTreeSet::new())
    }

    fn prepare_with(
        graph: &GraphProto,
        opsets: &[(String, i64)],
        config: &CpuConfig,
        (depth, around): (usize, Around<'_>),
        mut fused: BTreeMap<usize, (Kernel, Vec<&str>)>,
        inner: &BTreeSet<usize>,
    ) -> Result<Self, BackendError> {
        if depth > MAX_DEPTH {
            let reason = format!("graphs are nested more than {MAX_DEPTH} deep");
            return Err(BackendError::Graph { reason });
        }
        let mut names = Names::default();
        let mut constants = Vec::new();
        for proto in &graph.initializer {
            names.define(proto.name(), Source::Constant(index(constants.len())))?;
            if proto.dims.len() > MAX_RANK {
                let (name, rank) = (proto.name(), proto.dims.len());
                let reason = format!("initializer `{name}` has {rank} axes, at most {MAX_RANK} are taken");
                return Err(BackendError::Graph { reason });
            }
            constants.push(Tensor::from_onnx(proto).map_err(|error| BackendError::Graph {
                reason: format!("initializer `{}`: {error}", proto.name()),
            })?);
        }
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            return Err(BackendError::Graph {
                reason: format!("initializer `{name}` is sparse; make it dense"),
            });
        }
        let mut kinds = Kinds::default();
        let (mut input_count, mut compound_inputs) = (0, Vec::new());
        let captures = if depth > 0 { free_names(graph) } else { Vec::new() };
        let own: Vec<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
        let own = own.into_iter().filter(|name| !names.sources.contains_key(name)).collect::<Vec<_>>();
        let given = own.iter().enumerate().map(|(at, &name)| (name, around.inputs.get(at).copied()));
        let given = given.map(|(name, kind)| (name, kind.unwrap_or(Kind::Tensor)));
        for (name, kind) in given.chain(captures.iter().map(|name| (name.as_str(), around.kinds.of(name)))) {
            if kind == Kind::Tensor {
                names.define(name, Source::Input(index(input_count)))?;
                input_count += 1;
            } else {
                let slot = index(compound_inputs.len());
                names.define(name, Source::Slot(slot))?;
                kinds.note(name, kind);
                compound_inputs.push(slot);
            }
        }
        let mut steps = Vec::with_capacity(graph.node.len());
        let mut slot_count = compound_inputs.len();
        let mut known_slots = vec![Known::default(); slot_count];
        let mut are_compound = vec![true; slot_count];
        for (at, proto) in graph.node.iter().enumerate() {
            if inner.contains(&at) {
                continue;
            }
            let def = NodeDef::new(proto, opsets, config, depth, &kinds);
            let tree = fused.remove(&at);
            let is_tree = tree.is_some();
            let (mut kernel, read) = match tree {
                Some((kernel, leaves)) => (kernel, leaves.into_iter().map(str::to_owned).collect()),
                None => {
                    let kernel = ops::build(&def)
                        .map_err(|fault| fault.at(&def.op, &def.name, def.opset, Vec::new))?;
                    (kernel, proto.input.iter().cloned().chain(captured(proto)).collect::<Vec<_>>())
                }
            };
            let gives = kernel.gives.take();
            if gives.is_none() {
                let compound = read.iter().map(|name| kinds.of(name)).enumerate();
                if let Some((at, kind)) = compound.into_iter().find(|(_, kind)| *kind != Kind::Tensor) {
                    let fault = Fault::Unsupported(format!("{kind} as input {at}"));
                    return Err(fault.at(&def.op, &def.name, def.opset, Vec::new));
                }
            }
            let inputs = read.iter().map(|name| names.resolve(name)).collect::<Result<SmallVec<_>, _>>()?;
            let known: Vec<Known> = inputs
                .iter()
                .map(|source| match *source {
                    Source::Absent | Source::Constant(_) => Known { shape: true, value: true },
                    Source::Input(_) => Known { shape: true, value: false },
                    Source::Slot(slot) => known_slots.get(slot as usize).copied().unwrap_or_default(),
                })
                .collect();
            let result = match def.op.domain().is_onnx() {
                true => fixed::results(def.op.name(), is_tree, &known),
                false => Known::default(),
            };
            let place = Place { op: def.op, name: def.name, opset: def.opset };
            let mut outputs = SmallVec::new();
            for (at, name) in proto.output.iter().enumerate() {
                outputs.push(if name.is_empty() {
                    None
                } else {
                    let slot = index(slot_count);
                    slot_count += 1;
                    known_slots.push(result);
                    let kind = gives.iter().flatten().nth(at).copied().unwrap_or(Kind::Tensor);
                    kinds.note(name, kind);
                    are_compound.push(kind != Kind::Tensor);
                    names.define(name, Source::Slot(slot))?;
                    Some(slot)
                });
            }
            let fixed = result.value;
            let lasting = known.iter().take(64).enumerate().filter(|(_, known)| known.value);
            let lasting = lasting.fold(0, |bits, (at, _)| bits | 1 << at);
            let release = SmallVec::new();
            steps.push(Step {
                kernel,
                inputs,
                dying: 0,
                outputs,
                readers: 0,
                lasting,
                release,
                fixed,
                place,
            });
        }
        let outputs =
            graph.output.iter().map(|output| names.resolve(output.name())).collect::<Result<Vec<_>, _>>()?;
        let kinds = graph.output.iter().map(|output| kinds.of(output.name())).collect();
        let slots = std::iter::repeat_with(|| None).take(slot_count).collect();
        let mut steps = find_deaths(steps, &known_slots, &outputs);
        let mut hands = Hands::default();
        hands.workspace.threads = config.threads;
        if are_compound.contains(&true) {
            steps.iter_mut().for_each(|step| step.release_compounds(&are_compound));
            hands.compounds = Compounds::with_slots(slot_count);
        }
        let (base_work, input_readers) = count_readers(&mut steps, &constants, slot_count, input_count);
        let mut met = vec![false; slot_count];
        let mut outputs: Vec<(Source, bool)> = outputs
            .into_iter()
            .rev()
            .map(|source| match source {
                Source::Slot(slot) => (source, !std::mem::replace(&mut met[slot as usize], true)),
                other => (other, true),
            })
            .collect();
        outputs.reverse();
        let has_fixed = steps.iter().any(|step| step.fixed);
        let fixed = known_slots.iter().map(|known| known.value).collect();
        Ok(Self {
            steps,
            slots,
            fixed,
            constants,
            outputs,
            kinds,
            input_count,
            compound_inputs,
            has_fixed,
            fixed_bytes: 0,
            signature: None,
            base_work,
            input_readers,
            epoch: 0,
            hands,
        })
    }

    /// What each output is.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Runs the graph as [`Self::run_within`] does, on inputs of which these are no tensors; gives such outputs.
    pub(crate) fn run_with(
        &mut self,
        (inputs, compounds): (&[Tensor], Vec<Compound>),
        outputs: &mut Outputs,
        pool: &mut Pool,
    ) -> Result<Vec<Compound>, BackendError> {
        let (expected, got) = (self.compound_inputs.len(), compounds.len());
        if expected != got {
            return Err(BackendError::InputCount { expected, got });
        }
        for (&slot, value) in self.compound_inputs.iter().zip(compounds) {
            self.hands.compounds.put(slot, value, pool);
        }
        let done = self.run_within(inputs, outputs, pool);
        let given = self.hands.compounds.take_given();
        self.hands.compounds.release_all(pool);
        done.map(|()| given)
    }

    /// Runs the graph with buffers from `pool`, which goes on counting its outputs that are tensors.
    pub(crate) fn run_within(
        &mut self,
        inputs: &[Tensor],
        outputs: &mut Outputs,
        pool: &mut Pool,
    ) -> Result<(), BackendError> {
        if inputs.len() != self.input_count {
            return Err(BackendError::InputCount { expected: self.input_count, got: inputs.len() });
        }
        let read = inputs.iter().zip(&self.input_readers).filter(|(_, readers)| **readers > 0);
        let work = read.fold(self.base_work, |all, (input, &readers)| {
            let own = pool::operations(input.buffer().len(), input.dtype(), input.shape());
            all.saturating_add(own.saturating_mul(readers))
        });
        if let (Err(fault), Some(step)) = (pool.charge(work), self.steps.first()) {
            return Err(step.error(fault, Vec::new));
        }
        let done = self.run_steps(inputs, pool).and_then(|()| self.collect(inputs, outputs, pool));
        if done.is_err() {
            self.signature = None;
            self.fixed_bytes = 0;
            for slot in &mut self.slots {
                if let Some(tensor) = slot.take() {
                    pool.put(tensor);
                }
            }
            self.hands.compounds.release_all(pool);
        }
        done
    }

    fn run_steps(&mut self, inputs: &[Tensor], pool: &mut Pool) -> Result<(), BackendError> {
        let Self { steps, slots, constants, hands, signature, has_fixed, epoch, .. } = self;
        let mut skip_fixed = false;
        if *has_fixed {
            let known = signature.iter().flatten().map(|(dtype, shape)| (*dtype, shape));
            skip_fixed =
                signature.is_some() && known.eq(inputs.iter().map(|input| (input.dtype(), input.shape())));
            if !skip_fixed {
                *signature = None;
                *epoch += 1;
            }
        }
        for step in steps {
            if !(skip_fixed && step.fixed) {
                step.run(inputs, slots, constants, (hands, pool, *epoch))?;
            }
        }
        if *has_fixed && !skip_fixed {
            let fixed = slots.iter().zip(&self.fixed).filter(|(_, fixed)| **fixed);
            self.fixed_bytes =
                fixed.filter_map(|(slot, _)| slot.as_ref()).map(|held| held.as_bytes().len()).sum();
            *signature = Some(inputs.iter().map(|input| (input.dtype(), input.shape().clone())).collect());
        }
        Ok(())
    }

    fn collect(
        &mut self,
        inputs: &[Tensor],
        outputs: &mut Outputs,
        pool: &mut Pool,
    ) -> Result<(), BackendError> {
        for (place, &(source, is_last)) in self.outputs.iter().enumerate() {
            let (tensor, is_shared) = match source {
                Source::Absent => (None, false),
                Source::Constant(at) => (self.constants.get(at as usize).cloned(), true),
                Source::Input(at) => (inputs.get(at as usize).cloned(), true),
                Source::Slot(at) if self.fixed[at as usize] || !is_last => {
                    (self.slots[at as usize].clone(), true)
                }
                Source::Slot(at) => (self.slots[at as usize].take(), false),
            };
            let Some(tensor) = tensor else {
                if self.hands.compounds.give(source, is_last, pool) {
                    continue;
                }
                let reason = format!("output {place} was not made by the node it comes from");
                return Err(BackendError::Graph { reason });
            };
            if is_shared {
                pool.adopt(&tensor);
            }
            outputs.push(tensor);
        }
        Ok(())
    }
}

fn may_be_tensor(input: &ValueInfoProto) -> bool {
    let ty = input.r#type.as_ref().and_then(|ty| ty.value.as_ref());
    matches!(ty, None | Some(type_proto::Value::TensorType(_)))
}

/// Notes how often each step's results are read; gives the work of calling all kernels and of reading the constants, and
/// how often each input is read. So nothing of it is counted step by step.
fn count_readers(
    steps: &mut [Step],
    constants: &[Tensor],
    slot_count: usize,
    input_count: usize,
) -> (u64, Vec<u64>) {
    let (mut slots, mut inputs) = (vec![0_u64; slot_count], vec![0_u64; input_count]);
    let mut base = 0_u64;
    for step in &*steps {
        base = base.saturating_add(pool::CALL);
        for source in step.inputs.iter().filter(|_| step.kernel.reads_inputs) {
            match *source {
                Source::Absent => {}
                Source::Constant(at) => {
                    let held = &constants[at as usize];
                    let own = pool::operations(held.buffer().len(), held.dtype(), held.shape());
                    base = base.saturating_add(own);
                }
                Source::Input(at) => inputs[at as usize] += 1,
                Source::Slot(at) => slots[at as usize] += 1,
            }
        }
    }
    for step in steps {
        step.readers = step.outputs.iter().flatten().map(|&slot| slots[slot as usize]).max().unwrap_or(0);
    }
    (base, inputs)
}

/// Drops steps that nobody reads, and finds the step at which each slot dies.
fn find_deaths(steps: Vec<Step>, known: &[Known], outputs: &[Source]) -> Vec<Step> {
    let mut read = vec![false; known.len()];
    let mut kept: Vec<Step> = Vec::with_capacity(steps.len());
    // Outputs leave at the end, and what is fixed stays for the next run.
    let mut stays: Vec<bool> = known.iter().map(|known| known.value).collect();
    for source in outputs {
        if let Source::Slot(slot) = source {
            read[*slot as usize] = true;
            stays[*slot as usize] = true;
        }
    }
    for mut step in steps.into_iter().rev() {
        for output in &mut step.outputs {
            if output.is_some_and(|slot| !read[slot as usize]) {
                *output = None;
            }
        }
        if step.outputs.iter().all(Option::is_none) {
            continue;
        }
        for (at, source) in step.inputs.iter().enumerate() {
            let Source::Slot(slot) = *source else { continue };
            if !read[slot as usize] && !stays[slot as usize] {
                step.release.push(slot);
                if at < 64 && step.inputs.iter().filter(|other| **other == *source).count() == 1 {
                    step.dying |= 1 << at;
                }
            }
            read[slot as usize] = true;
        }
        kept.push(step);
    }
    kept.reverse();
    kept
}
