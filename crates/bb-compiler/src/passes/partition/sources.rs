//! Which executions the ops of one class belong to: those that the host starts, or those of a source.
//!
//! A source (`Interval`, `Pulse`, `EventSource`, `OnTrigger`, `LifecyclePhase`) heads a region of its own. What reads it, or comes
//! after it, belongs to its region; so does what nobody else reads. What the host gives belongs to the entry.

use bb_ir::Diagnostic;
use bb_ir::program::{Graph, Node, NodeId, RegionKind, ValueId, domains};

use crate::edit::{is_pure, producers, reads, remove_dead, renumber, retain_nodes, short_name, touched};

/// The graph split by what starts its executions: the entry, if there is any, then a part a source.
pub(super) fn split(graph: Graph) -> Result<Vec<(RegionKind, Graph)>, Diagnostic> {
    let sources: Vec<usize> =
        (0..graph.nodes.len()).filter(|&index| graph.nodes[index].op.is_source()).collect();
    if sources.is_empty() {
        return Ok(vec![(RegionKind::Entry, graph)]);
    }
    let assignment = Assignment::of(&graph, &sources)?;
    let mut parts = Vec::with_capacity(sources.len() + 1);
    for part in 0..=sources.len() {
        let mut own = graph.clone();
        if part > 0 {
            own.inputs.clear();
            let name = short_name(graph.nodes[sources[part - 1]].op.name()).to_lowercase();
            own.name = format!("{}/{name}:{part}", graph.name);
        }
        own.outputs.retain(|output| assignment.of_output(output.value) == part);
        let keep: Vec<bool> =
            (0..graph.nodes.len()).map(|node| assignment.nodes[node].is_none_or(|of| of == part)).collect();
        retain_nodes(&mut own, &keep);
        remove_dead(&mut own);
        let is_empty = own.nodes.is_empty() && own.inputs.is_empty() && own.outputs.is_empty();
        if part == 0 && is_empty {
            continue;
        }
        renumber(&mut own);
        parts.push((if part == 0 { RegionKind::Entry } else { RegionKind::Source }, own));
    }
    Ok(parts)
}

/// For each node its part; 0 is the entry. What is made of constants alone is in every part that reads it.
struct Assignment<'g> {
    graph: &'g Graph,
    makers: Vec<Option<NodeId>>,
    nodes: Vec<Option<usize>>,
    floats: Vec<bool>,
    /// For each node, the nodes that read what it gives.
    readers: Vec<Vec<usize>>,
}

impl<'g> Assignment<'g> {
    fn of(graph: &'g Graph, sources: &[usize]) -> Result<Self, Diagnostic> {
        let makers = producers(graph);
        let mut readers = vec![Vec::new(); graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            for maker in reads(node).filter_map(|value| makers[value.0 as usize]) {
                readers[maker.0 as usize].push(index);
            }
        }
        let mut nodes = vec![None; graph.nodes.len()];
        for (part, &source) in sources.iter().enumerate() {
            nodes[source] = Some(part + 1);
        }
        let mut own = Self { graph, makers, nodes, floats: vec![false; graph.nodes.len()], readers };
        for (index, node) in graph.nodes.iter().enumerate() {
            own.floats[index] = node.op.is(domains::SYSCALL, "Constant")
                || (is_pure(node)
                    && node.after.is_empty()
                    && reads(node).next().is_some()
                    && reads(node).all(|value| {
                        own.makers[value.0 as usize].is_some_and(|at| own.floats[at.0 as usize])
                    }));
        }
        while own.forward()? || own.backward()? || own.by_order() {}
        for index in 0..own.nodes.len() {
            if own.nodes[index].is_none() && !own.floats[index] {
                own.nodes[index] = Some(0);
            }
        }
        own.check()?;
        Ok(own)
    }

    /// What reads a value of a part, or was told to come after one, belongs to that part.
    fn forward(&mut self) -> Result<bool, Diagnostic> {
        let mut changed = false;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if self.nodes[index].is_some() || self.floats[index] {
                continue;
            }
            let told = node
                .after
                .iter()
                .map(|before| before.0 as usize)
                .filter(|&before| touched(&self.graph.nodes[before]).is_disjoint(&touched(node)));
            let told = told.filter_map(|before| self.nodes[before]);
            let found: Vec<usize> = reads(node).filter_map(|value| self.part_of(value)).chain(told).collect();
            if let Some(&part) = found.iter().find(|part| **part != 0).or(found.first()) {
                self.nodes[index] = Some(part);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What only one part reads belongs to that part.
    fn backward(&mut self) -> Result<bool, Diagnostic> {
        let mut changed = false;
        for index in (0..self.nodes.len()).rev() {
            if self.nodes[index].is_some() || self.floats[index] {
                continue;
            }
            let mut parts: Vec<usize> =
                self.readers[index].iter().filter_map(|&reader| self.nodes[reader]).collect();
            parts.sort_unstable();
            parts.dedup();
            match parts[..] {
                [] => {}
                [part] => {
                    self.nodes[index] = Some(part);
                    changed = true;
                }
                _ => {
                    let node = &self.graph.nodes[index];
                    let mut error = Diagnostic::new(format!(
                        "what {} gives is read by executions that start apart",
                        node.op.name()
                    ))
                    .label(node.span.clone(), "recorded here");
                    for part in [parts[0], parts[1]] {
                        let reader =
                            self.readers[index].iter().find(|&&reader| self.nodes[reader] == Some(part));
                        if let Some(&reader) = reader {
                            let span = self.graph.nodes[reader].span.clone();
                            error = error.label(span, format!("read by {} here", self.name(part)));
                        }
                    }
                    return Err(error.help("record it once for each of them"));
                }
            }
        }
        Ok(changed)
    }

    /// What only the order of effects ties to a part belongs to it: to that of what comes before, else after.
    fn by_order(&mut self) -> bool {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if self.nodes[index].is_none() && !self.floats[index] {
                let before = node.after.iter().rev().find_map(|before| self.nodes[before.0 as usize]);
                if before.is_some() {
                    self.nodes[index] = before;
                    return true;
                }
            }
        }
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let Some(part) = self.nodes[index] else { continue };
            for before in node.after.iter().rev().map(|before| before.0 as usize) {
                if self.nodes[before].is_none() && !self.floats[before] {
                    self.nodes[before] = Some(part);
                    return true;
                }
            }
        }
        false
    }

    /// No op reads values of two parts.
    fn check(&self) -> Result<(), Diagnostic> {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let Some(part) = self.nodes[index] else { continue };
            for value in reads(node) {
                let Some(other) = self.part_of(value).filter(|other| *other != part) else { continue };
                let name = short_name(&self.graph.value(value).name);
                let mut error = Diagnostic::new(format!(
                    "`{name}` is a value of {} but is used in {}",
                    self.name(other),
                    self.name(part)
                ))
                .label(node.span.clone(), "used here");
                if let Some(maker) = self.makers[value.0 as usize] {
                    error = error.label(self.graph.nodes[maker.0 as usize].span.clone(), "made here");
                }
                return Err(error
                    .help("executions that start apart share components, holds and records, but no values"));
            }
        }
        Ok(())
    }

    /// The part of a value; none if it is not known yet, or if the value is made of constants alone.
    fn part_of(&self, value: ValueId) -> Option<usize> {
        match self.makers[value.0 as usize] {
            Some(maker) => self.nodes[maker.0 as usize],
            None => Some(0),
        }
    }

    fn of_output(&self, value: ValueId) -> usize {
        self.part_of(value).unwrap_or(0)
    }

    fn name(&self, part: usize) -> String {
        if part == 0 {
            return "the execution that the host starts".to_owned();
        }
        let source = self.graph.nodes.iter().filter(|node| node.op.is_source()).nth(part - 1);
        let at = source.map(|node: &Node| node.span.to_string()).unwrap_or_default();
        format!("the execution that {at} starts")
    }
}
