//! From a compiled program to its dense form.
//!
//! Needs the regions of a compiled program. Establishes dense indices: constants and arrivals become sites that
//! are filled when a frame starts, graph outputs become ops that emit, and each remaining node one op.

mod attributes;
mod dispatch;
mod syscalls;

use std::collections::BTreeMap;
use std::sync::Arc;

use bb_ir::program::{Graph, Program, RegionKind, ValueId};

use self::attributes::Attributes;
use super::dense::{
    Argument, CONSTANT, Dispatch, EAGER, Lowered, NO_SITE, Op, Region, Run, Send, SendKind, Site, Slot, Span,
    Target,
};
use super::frame::EagerOp;
use super::syscall::{Source, Syscall};
use crate::error::UnresolvedOp;
use crate::{Name, Role, Value};

/// The dense form of all targets.
pub(crate) fn lower(program: &Arc<Program>) -> Lowered {
    let slot_ids: BTreeMap<&str, u32> =
        program.bindings.keys().enumerate().map(|(index, name)| (name.as_str(), index as u32)).collect();
    let slots = program
        .bindings
        .iter()
        .map(|(name, binding)| Slot {
            name: Name::from(name.as_str()),
            type_name: Name::from(binding.type_name.as_str()),
            dependencies: binding
                .dependencies
                .iter()
                .filter_map(|(dependency, slot)| {
                    Some((Name::from(dependency.as_str()), *slot_ids.get(slot.as_str())?))
                })
                .collect(),
        })
        .collect();
    let targets = (0..program.targets.len()).map(|target| lower_target(program, &slot_ids, target)).collect();
    Lowered { slots, targets }
}

fn lower_target(
    program: &Arc<Program>,
    slots: &BTreeMap<&str, u32>,
    index: usize,
) -> Result<Arc<Target>, Vec<UnresolvedOp>> {
    let target = &program.targets[index];
    let module = Name::from(target.name.as_str());
    let mut unresolved = Vec::new();
    let mut uses = Vec::new();
    let mut regions: Vec<Arc<Region>> = Vec::with_capacity(target.regions.len());
    let mut first_run = 0;
    for region in 0..target.regions.len() {
        let lowering = Lowering {
            program,
            slots,
            target: index,
            region,
            module: &module,
            graph: &target.regions[region].graph,
            unresolved: &mut unresolved,
            uses: &mut uses,
        };
        let lowered = lowering.run(first_run);
        first_run += lowered.runs.len() as u32;
        regions.push(Arc::new(lowered));
    }
    if !unresolved.is_empty() {
        return Err(unresolved);
    }
    let entry = regions.iter().position(|region| region.kind == RegionKind::Entry).map(|index| index as u32);
    let mut ports: Vec<(u32, u32, u32)> =
        regions
            .iter()
            .flat_map(|region| {
                region.arguments.iter().enumerate().filter_map(|(argument, held)| {
                    held.port.map(|port| (port, region.index, argument as u32))
                })
            })
            .collect();
    ports.sort_unstable();
    uses.sort_unstable();
    uses.dedup();
    Ok(Arc::new(Target {
        name: module,
        index: index as u32,
        regions: regions.into(),
        entry,
        ports: ports.into(),
        uses: uses.into(),
    }))
}

/// The lowering of one region.
struct Lowering<'a> {
    program: &'a Arc<Program>,
    slots: &'a BTreeMap<&'a str, u32>,
    target: usize,
    region: usize,
    module: &'a Name,
    graph: &'a Graph,
    unresolved: &'a mut Vec<UnresolvedOp>,
    uses: &'a mut Vec<(u32, Role)>,
}

/// What a node becomes.
enum Lowers {
    Argument { port: u32 },
    Constant(Value),
    Op(Dispatch),
    Source(Source),
}

#[derive(Default)]
struct Parts {
    sends: Vec<Send>,
    runs: Vec<Run>,
    syscalls: Vec<Syscall>,
    eager: Vec<EagerOp>,
}

impl Lowering<'_> {
    fn run(mut self, first_run: u32) -> Region {
        let graph = self.graph;
        let mut parts = Parts::default();
        let mut constants = Vec::new();
        let mut arguments: Vec<(ValueId, Option<u32>)> = graph.inputs.iter().map(|&id| (id, None)).collect();
        let mut source = None;
        // For each value: where ops find it.
        let mut constant_of: BTreeMap<ValueId, u32> = BTreeMap::new();
        // For each node: its op.
        let mut op_of: Vec<Option<u32>> = Vec::with_capacity(graph.nodes.len());
        let mut nodes = Vec::with_capacity(graph.nodes.len() + graph.outputs.len());
        let mut dispatches = Vec::with_capacity(nodes.capacity());
        for (index, node) in graph.nodes.iter().enumerate() {
            let lowered = self.lower_node(index, &mut parts, dispatches.len() as u32);
            let output = node.outputs.first().copied().flatten();
            op_of.push(None);
            match (lowered, output) {
                (Ok(Lowers::Constant(value)), Some(output)) => {
                    constant_of.insert(output, CONSTANT | constants.len() as u32);
                    constants.push(value);
                }
                (Ok(Lowers::Argument { port }), Some(output)) => arguments.push((output, Some(port))),
                (Ok(Lowers::Source(found)), Some(output)) => {
                    arguments.push((output, None));
                    if source.replace(found).is_some() {
                        self.unresolve(index, "its region has another source already".to_owned());
                    }
                }
                (Ok(Lowers::Constant(_)), None) => {}
                (Ok(Lowers::Argument { .. } | Lowers::Source(_)), None) => {
                    self.unresolve(index, "it needs an output".to_owned());
                }
                (Ok(Lowers::Op(dispatch)), _) => {
                    op_of[index] = Some(dispatches.len() as u32);
                    nodes.push(index as u32);
                    dispatches.push(dispatch);
                }
                (Err(reason), _) => self.unresolve(index, reason),
            }
        }
        let kind = self.program.targets[self.target].regions[self.region].kind;
        if source.is_some() != (kind == RegionKind::Source) {
            let node = graph.nodes.iter().position(|node| node.op.is_source()).unwrap_or(0);
            if node < graph.nodes.len() {
                self.unresolve(
                    node,
                    format!("it starts executions of its own, which a region of kind {} cannot", kind.name()),
                );
            }
        }
        let given_count = arguments.iter().filter(|(_, port)| port.is_none()).count() as u32;
        let emits: Box<[Name]> =
            graph.outputs.iter().map(|output| Name::from(output.name.as_str())).collect();
        let first_emit = dispatches.len();
        dispatches.extend((0..emits.len() as u32).map(Dispatch::Emit));

        let mut edges = Edges::of(graph, &op_of, &nodes, &constant_of, first_emit);
        let eager = edges.set_eager(graph, parts.eager, &nodes);
        let (places, place_count) = edges.places(graph, &arguments, &nodes);
        let assembled = Assembled::of(graph, &edges, &places, &dispatches, &nodes, &constant_of);
        let mut consumers = assembled.consumers;
        let arguments = arguments
            .iter()
            .map(|&(value, port)| {
                let info = graph.value(value);
                Argument {
                    name: Name::from(info.name.as_str()),
                    ty: info.ty.clone(),
                    port,
                    site: edges.site(value, &places, &mut consumers),
                }
            })
            .collect();
        let replies = parts.sends.iter().any(|send| matches!(send.kind, SendKind::Reply));
        let roots = (0..dispatches.len() as u32).filter(|&op| edges.missing[op as usize] == 0).collect();
        Region {
            program: Arc::clone(self.program),
            target: self.target as u32,
            index: self.region as u32,
            module: self.module.clone(),
            kind,
            ops: assembled.ops.into(),
            nodes: nodes.into(),
            inputs: assembled.inputs.into(),
            outputs: assembled.outputs.into(),
            consumers: consumers.into(),
            missing: edges.missing.into(),
            roots,
            place_count,
            constants: constants.into(),
            arguments,
            given_count,
            sends: parts.sends.into(),
            runs: parts.runs.into(),
            first_run,
            emits,
            syscalls: parts.syscalls.into(),
            eager: eager.into(),
            source,
            replies,
        }
    }

    fn unresolve(&mut self, node: usize, reason: String) {
        let node = &self.graph.nodes[node];
        self.unresolved.push(UnresolvedOp {
            target: self.module.to_string(),
            op: node.op.clone(),
            reason,
            span: node.span.clone(),
        });
    }
}

/// Who reads what, and who waits for whom.
struct Edges {
    /// For each value: the ops that read it, once a read.
    readers: Vec<Vec<u32>>,
    /// For each op: the ops that it releases when it is over.
    successors: Vec<Vec<u32>>,
    /// For each op: how many inputs and predecessors it waits for, or that it is eager.
    missing: Vec<u32>,
}

impl Edges {
    fn of(
        graph: &Graph,
        op_of: &[Option<u32>],
        nodes: &[u32],
        constants: &BTreeMap<ValueId, u32>,
        first_emit: usize,
    ) -> Self {
        let op_count = first_emit + graph.outputs.len();
        let mut edges = Self {
            readers: vec![Vec::new(); graph.values.len()],
            successors: vec![Vec::new(); op_count],
            missing: vec![0; op_count],
        };
        for (op, &node) in nodes.iter().enumerate() {
            let node = &graph.nodes[node as usize];
            for value in node.inputs.iter().flatten() {
                edges.read(*value, op, constants);
            }
            for before in &node.after {
                if let Some(before) = op_of.get(before.0 as usize).copied().flatten() {
                    edges.successors[before as usize].push(op as u32);
                    edges.missing[op] += 1;
                }
            }
        }
        for (index, output) in graph.outputs.iter().enumerate() {
            edges.read(output.value, first_emit + index, constants);
        }
        edges
    }

    /// Takes the eager ops out of the counting.
    fn set_eager(&mut self, graph: &Graph, mut eager: Vec<EagerOp>, nodes: &[u32]) -> Vec<EagerOp> {
        for held in &mut eager {
            let read = graph.nodes[nodes[held.op as usize] as usize].inputs.iter().flatten();
            let read = read.filter(|value| self.readers[value.0 as usize].contains(&held.op)).count() as u32;
            held.after = self.missing[held.op as usize] - read;
            self.missing[held.op as usize] = EAGER;
        }
        eager
    }

    fn read(&mut self, value: ValueId, op: usize, constants: &BTreeMap<ValueId, u32>) {
        if !constants.contains_key(&value) {
            self.readers[value.0 as usize].push(op as u32);
            self.missing[op] += 1;
        }
    }

    /// Gives each value that is read a place in the frame.
    ///
    /// What an eager op reads lends nothing: it may come when the op is over. A value that only the op before reads lends its place to that op's first output: the op has taken it
    /// out before it writes, whatever the order in which other ops run.
    fn places(&self, graph: &Graph, arguments: &[(ValueId, Option<u32>)], nodes: &[u32]) -> (Vec<u32>, u32) {
        let mut places = vec![NO_SITE; graph.values.len()];
        let mut count = 0;
        let mut fresh = |places: &mut Vec<u32>, value: ValueId| {
            if !self.readers[value.0 as usize].is_empty() {
                places[value.0 as usize] = count;
                count += 1;
            }
        };
        for (value, _) in arguments {
            fresh(&mut places, *value);
        }
        for (op, &node) in nodes.iter().enumerate() {
            let node = &graph.nodes[node as usize];
            let is_eager = self.missing[op] & EAGER != 0;
            let mut lent = node
                .inputs
                .iter()
                .flatten()
                .filter(|value| !is_eager && self.readers[value.0 as usize].len() == 1)
                .map(|value| places[value.0 as usize])
                .filter(|&place| place != NO_SITE)
                .collect::<Vec<_>>()
                .into_iter();
            for &output in node.outputs.iter().flatten() {
                match lent.next() {
                    Some(place) if !self.readers[output.0 as usize].is_empty() => {
                        places[output.0 as usize] = place;
                    }
                    _ => fresh(&mut places, output),
                }
            }
        }
        (places, count)
    }

    fn site(&self, value: ValueId, places: &[u32], consumers: &mut Vec<u32>) -> Site {
        let readers = &self.readers[value.0 as usize];
        let span = append(consumers, readers);
        Site { place: places[value.0 as usize], reads: readers.len() as u32, consumers: span }
    }
}

struct Assembled {
    ops: Vec<Op>,
    inputs: Vec<u32>,
    outputs: Vec<Site>,
    consumers: Vec<u32>,
}

impl Assembled {
    fn of(
        graph: &Graph,
        edges: &Edges,
        places: &[u32],
        dispatches: &[Dispatch],
        nodes: &[u32],
        constants: &BTreeMap<ValueId, u32>,
    ) -> Self {
        let mut all =
            Self { ops: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), consumers: Vec::new() };
        let place_of = |value: ValueId| constants.get(&value).copied().unwrap_or(places[value.0 as usize]);
        for (op, &dispatch) in dispatches.iter().enumerate() {
            let (first_input, first_output) = (all.inputs.len() as u32, all.outputs.len() as u32);
            match nodes.get(op) {
                Some(&node) => {
                    let node = &graph.nodes[node as usize];
                    all.inputs.extend(node.inputs.iter().map(|input| input.map_or(NO_SITE, place_of)));
                    for output in &node.outputs {
                        let site = match output {
                            Some(value) => edges.site(*value, places, &mut all.consumers),
                            None => Site { place: NO_SITE, reads: 0, consumers: Span::default() },
                        };
                        all.outputs.push(site);
                    }
                }
                None => all.inputs.push(place_of(graph.outputs[op - nodes.len()].value)),
            }
            let successors = append(&mut all.consumers, &edges.successors[op]);
            all.ops.push(Op {
                dispatch,
                inputs: Span { start: first_input, end: all.inputs.len() as u32 },
                outputs: Span { start: first_output, end: all.outputs.len() as u32 },
                successors,
            });
        }
        all
    }
}

fn append(all: &mut Vec<u32>, items: &[u32]) -> Span {
    let start = all.len() as u32;
    all.extend_from_slice(items);
    Span { start, end: all.len() as u32 }
}
