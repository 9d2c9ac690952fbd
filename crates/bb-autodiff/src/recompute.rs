//! Memory for time: values of the forward pass that are dropped, and computed again where the backward pass needs them.
//!
//! The forward nodes are divided into segments. What later segments read is kept; all else of a segment that the backward
//! nodes read is computed again, once, before the first of them that reads it. With `k` segments of equal weight what
//! is held at a time falls from all of it to about `1/k` and the values between segments; `k = √n` is the best of one
//! level. (Chen et al., "Training deep nets with sublinear memory cost", 2016, arXiv:1604.06174, section 4.)
//!
//! Random ops, ops with nested graphs and constants are never computed again. A copy computes the same from the same, so
//! the gradients do not change by a bit.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{GraphProto, NodeProto};

use crate::AutodiffError;
use crate::activity::free_names;
use crate::builder::{Builder, is_pure};
use crate::facts::Fact;

/// Which values of the forward pass are computed again in the backward pass.
///
/// ```
/// use bb_autodiff::{Recompute, TrainingOptions};
///
/// let options = TrainingOptions { recompute: Recompute::Budget(64 << 20), ..TrainingOptions::default() };
/// # assert_ne!(options, TrainingOptions::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recompute {
    /// As many as it takes to hold no more than so many bytes at a time, by [`peak_bytes`]; where that cannot be
    /// reached, those with which least is held.
    Budget(usize),
    /// None.
    #[default]
    Nothing,
    /// All but those between so many segments.
    Segments(usize),
    /// All but those between as many segments as the square root of the number of forward nodes.
    SquareRoot,
}

/// How many bytes of values a graph holds at most at a time, if its nodes run in their order and each value is dropped
/// after its last reader.
///
/// Inputs, initializers and constants are not counted. An extent that is not known counts as 1: give the batch size for
/// a number of bytes, leave it open for one a row.
///
/// # Errors
/// [`AutodiffError::Opset`], [`AutodiffError::Order`].
pub fn peak_bytes(graph: &GraphProto, opset: i64) -> Result<usize, AutodiffError> {
    let builder = Builder::open(graph, opset)?;
    Ok(Sizes::of(&builder).peak(&graph.node, &outputs(graph)))
}

fn outputs(graph: &GraphProto) -> BTreeSet<&str> {
    graph.output.iter().filter_map(|output| output.name.as_deref()).collect()
}

/// `graph`, the first `forward` nodes of which are the forward pass, with values computed again; values called `held`
/// are kept as the graph's outputs are.
///
/// # Errors
/// [`AutodiffError::Opset`], [`AutodiffError::Order`].
pub(crate) fn recompute(
    graph: GraphProto,
    opset: i64,
    forward: usize,
    held: &[String],
    how: Recompute,
) -> Result<GraphProto, AutodiffError> {
    if how == Recompute::Nothing {
        return Ok(graph);
    }
    let forward = forward.min(graph.node.len());
    let graph = GraphProto { node: results_early(&graph, forward), ..graph };
    let builder = Builder::open(&graph, opset)?;
    let sizes = Sizes::of(&builder);
    let mut kept = outputs(&graph);
    kept.extend(held.iter().map(String::as_str));
    let pass = Pass { nodes: &graph.node, forward, kept, sizes: &sizes };
    let node = match how {
        Recompute::Nothing => return Ok(graph),
        Recompute::Segments(count) => pass.rewrite(count, &builder),
        Recompute::SquareRoot => pass.rewrite(pass.forward.isqrt(), &builder),
        Recompute::Budget(bytes) => pass.within(bytes, &builder),
    };
    Ok(GraphProto { node, ..graph })
}

/// The nodes of a graph, those of the backward pass that make its outputs as soon as they can run: what they read
/// need not be held until the end.
fn results_early(graph: &GraphProto, forward: usize) -> Vec<NodeProto> {
    let outputs = outputs(graph);
    let mut made_at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(graph.node.len());
    for (index, node) in graph.node.iter().enumerate() {
        let is_result = index >= forward && node.output.iter().all(|name| outputs.contains(name.as_str()));
        let ready = reads(node).into_iter().filter_map(|name| made_at.get(name)).copied().max().unwrap_or(0);
        let place = if is_result { ready.max(forward.saturating_sub(1)) } else { index };
        made_at.extend(node.output.iter().map(|name| (name.as_str(), place)));
        places.push((place, index));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, index)| graph.node[index].clone()).collect()
}

/// The bytes of each value.
struct Sizes {
    bytes: BTreeMap<String, usize>,
}

impl Sizes {
    fn of(builder: &Builder) -> Self {
        let size = |fact: &Fact| {
            let extents = fact
                .shape
                .iter()
                .flatten()
                .map(|dim| if let bb_ir::Dim::Known(extent) = dim { *extent } else { 1 });
            let all = extents.chain(fact.dtype.map(|dtype| dtype.size()));
            // Sums over all values of a graph stay within the word.
            all.fold(1, |all: usize, one| all.saturating_mul(one)).min(1 << 40)
        };
        let mut bytes = BTreeMap::new();
        for node in builder.nodes().iter().filter(|node| node.op_type.as_deref() != Some("Constant")) {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                bytes.insert(name.clone(), builder.find(name).map_or(0, |val| size(builder.fact(val))));
            }
        }
        Self { bytes }
    }

    /// A copy has the size of what it is of.
    fn get(&self, name: &str) -> usize {
        let own = self.bytes.get(name);
        own.or_else(|| self.bytes.get(name.rsplit_once(AGAIN)?.0)).copied().unwrap_or(0)
    }

    fn peak(&self, nodes: &[NodeProto], kept: &BTreeSet<&str>) -> usize {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for name in reads(node) {
                last.insert(name, index);
            }
        }
        let (mut live, mut peak) = (0_usize, 0_usize);
        for (index, node) in nodes.iter().enumerate() {
            let made = || node.output.iter().filter(|name| !name.is_empty());
            live += made().map(|name| self.get(name)).sum::<usize>();
            peak = peak.max(live);
            let unread = made().map(String::as_str).filter(|name| !last.contains_key(name));
            let dead: BTreeSet<&str> =
                reads(node).into_iter().filter(|name| last.get(name) == Some(&index)).chain(unread).collect();
            let dropped = dead.into_iter().filter(|name| !kept.contains(name)).map(|name| self.get(name));
            live -= dropped.sum::<usize>();
        }
        peak
    }
}

/// What the name of a value that is computed again ends in.
const AGAIN: &str = "/again";

fn reads(node: &NodeProto) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> =
        node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    names.extend(captured(node));
    names
}

fn captured(node: &NodeProto) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for attribute in &node.attribute {
        attribute.g.iter().chain(&attribute.graphs).for_each(|inner| free_names(inner, &mut names));
    }
    names
}

/// A forward and a backward pass.
struct Pass<'a> {
    nodes: &'a [NodeProto],
    forward: usize,
    /// The graph's outputs.
    kept: BTreeSet<&'a str>,
    sizes: &'a Sizes,
}

impl<'a> Pass<'a> {
    /// The fewest segments with which no more than `bytes` are held.
    fn within(&self, bytes: usize, builder: &Builder) -> Vec<NodeProto> {
        let (mut best, mut least) = (self.nodes.to_vec(), self.sizes.peak(self.nodes, &self.kept));
        let mut count = 2;
        while least > bytes && count <= self.forward {
            let tried = self.rewrite(count, builder);
            let peak = self.sizes.peak(&tried, &self.kept);
            if peak < least {
                (best, least) = (tried, peak);
            }
            count += count.div_ceil(4);
        }
        best
    }

    /// Values of the forward pass that the backward pass reads.
    fn stashed(&self) -> BTreeSet<&'a str> {
        let made: BTreeSet<&str> =
            self.nodes[..self.forward].iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let backward = self.nodes[self.forward..].iter();
        backward.flat_map(reads).filter(|name| made.contains(name)).collect()
    }

    /// The segment of each forward node: cut where about an equal share of what is stashed lies before, and there where
    /// least is handed on.
    fn segments(&self, count: usize, stashed: &BTreeSet<&str>) -> Vec<usize> {
        let weight = |node: &NodeProto| -> usize {
            let names = node.output.iter().filter(|name| stashed.contains(name.as_str()));
            names.map(|name| self.sizes.get(name)).sum()
        };
        let forward = &self.nodes[..self.forward];
        let mut before = Vec::with_capacity(forward.len());
        let mut sum = 0;
        for node in forward {
            sum += weight(node);
            before.push(sum);
        }
        let crossing = self.crossing();
        let mut cuts = BTreeSet::new();
        for cut in 1..count {
            let target = sum as f64 * cut as f64 / count as f64;
            let half = sum as f64 / count as f64 / 2.0;
            let near = |index: &usize| (before[*index] as f64 - target).abs() <= half;
            let distance = |index: usize| (before[index] as f64 - target).abs();
            let best = (0..forward.len().saturating_sub(1))
                .filter(near)
                .min_by(|&a, &b| crossing[a].cmp(&crossing[b]).then(distance(a).total_cmp(&distance(b))));
            cuts.extend(best);
        }
        let mut segment = 0;
        (0..forward.len())
            .map(|index| {
                let own = segment;
                segment += usize::from(cuts.contains(&index));
                own
            })
            .collect()
    }

    /// For each forward node: the bytes that nodes behind it read of what it and those before it made.
    fn crossing(&self) -> Vec<usize> {
        let forward = &self.nodes[..self.forward];
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in forward.iter().enumerate() {
            reads(node).into_iter().for_each(|name| {
                last.insert(name, index);
            });
        }
        let mut ending = vec![0_usize; forward.len()];
        let mut live = 0_usize;
        let mut crossing = Vec::with_capacity(forward.len());
        for (index, node) in forward.iter().enumerate() {
            for name in node.output.iter().map(String::as_str) {
                if let Some(&end) = last.get(name).filter(|&&end| end > index) {
                    live += self.sizes.get(name);
                    ending[end] += self.sizes.get(name);
                }
            }
            live -= ending[index];
            crossing.push(live);
        }
        crossing
    }

    fn rewrite(&self, count: usize, builder: &Builder) -> Vec<NodeProto> {
        let stashed = self.stashed();
        let segments = self.segments(count.max(1), &stashed);
        let last = segments.last().copied().unwrap_or(0);
        let (forward, backward) = self.nodes.split_at(self.forward);
        let mut maker: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in forward.iter().enumerate() {
            maker.extend(
                node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)),
            );
        }
        // What is not computed again: what is handed on, what cannot be, and what is needed at once.
        let mut kept = self.kept.clone();
        for (index, node) in forward.iter().enumerate() {
            let own = segments[index];
            kept.extend(
                reads(node)
                    .into_iter()
                    .filter(|name| maker.get(name).is_some_and(|&made| segments[made] != own)),
            );
            if own == last || !is_pure(node) || node.op_type.as_deref() == Some("Constant") {
                kept.extend(node.output.iter().map(String::as_str));
            }
        }
        for node in backward {
            kept.extend(captured(node));
        }
        let is_dropped = |name: &str| maker.contains_key(name) && !kept.contains(name);

        // For each segment, the nodes that are computed again.
        let mut again: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut wanted: Vec<&str> = stashed.iter().copied().filter(|name| is_dropped(name)).collect();
        while let Some(name) = wanted.pop() {
            let index = maker[name];
            if again.entry(segments[index]).or_default().insert(index) {
                wanted
                    .extend(forward[index].input.iter().map(String::as_str).filter(|name| is_dropped(name)));
            }
        }

        let mut nodes = forward.to_vec();
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for node in backward {
            let needed: BTreeSet<usize> = node
                .input
                .iter()
                .filter(|name| is_dropped(name))
                .map(|name| segments[maker[name.as_str()]])
                .collect();
            for segment in needed {
                for index in again.remove(&segment).unwrap_or_default() {
                    let mut copy = forward[index].clone();
                    rename(&mut copy.input, &names);
                    for (name, made) in forward[index]
                        .output
                        .iter()
                        .zip(&mut copy.output)
                        .filter(|(name, _)| !name.is_empty())
                    {
                        *made = builder.fresh(&format!("{name}{AGAIN}"));
                        if !kept.contains(name.as_str()) {
                            names.insert(name, made.clone());
                        }
                    }
                    copy.name = copy.output.iter().find(|name| !name.is_empty()).cloned();
                    nodes.push(copy);
                }
            }
            let mut node = node.clone();
            rename(&mut node.input, &names);
            nodes.push(node);
        }
        nodes
    }
}

fn rename(inputs: &mut [String], names: &BTreeMap<&str, String>) {
    for input in inputs {
        if let Some(name) = names.get(input.as_str()) {
            input.clone_from(name);
        }
    }
}
