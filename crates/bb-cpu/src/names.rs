//! Names of values: what each means in a graph, and which ones the graphs inside of nodes read from outside.

use std::collections::{BTreeMap, BTreeSet};

use bb_runtime::BackendError;
use bb_runtime::onnx::{GraphProto, NodeProto};

use crate::io::Source;

/// Which values the graph has so far.
#[derive(Default)]
pub(crate) struct Names<'a> {
    pub(crate) sources: BTreeMap<&'a str, Source>,
}

impl<'a> Names<'a> {
    pub(crate) fn define(&mut self, name: &'a str, source: Source) -> Result<(), BackendError> {
        match self.sources.insert(name, source) {
            None => Ok(()),
            Some(_) => Err(BackendError::Graph { reason: format!("value `{name}` is made twice") }),
        }
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<Source, BackendError> {
        if name.is_empty() {
            return Ok(Source::Absent);
        }
        self.sources.get(name).copied().ok_or_else(|| BackendError::Graph {
            reason: format!(
                "value `{name}` is read before any node makes it; nodes must be in topological order"
            ),
        })
    }
}

/// A count as the index of what comes next.
pub(crate) fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Names that the graphs nested in a node read from outside, graph by graph.
pub(crate) fn captured(node: &NodeProto) -> Vec<String> {
    node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()).flat_map(free_names).collect()
}

/// Names that a graph reads and does not make, in order of appearance.
pub(crate) fn free_names(graph: &GraphProto) -> Vec<String> {
    let mut own: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    own.extend(graph.input.iter().map(|input| input.name()));
    let mut made: BTreeSet<&str> = own.into_iter().collect();
    let mut free: Vec<String> = Vec::new();
    let mut held: BTreeSet<String> = BTreeSet::new();
    let mut note = |name: &str, made: &BTreeSet<&str>| {
        if !name.is_empty() && !made.contains(name) && held.insert(name.to_owned()) {
            free.push(name.to_owned());
        }
    };
    for node in &graph.node {
        for name in &node.input {
            note(name, &made);
        }
        for name in captured(node) {
            note(&name, &made);
        }
        made.extend(node.output.iter().map(String::as_str));
    }
    for output in &graph.output {
        note(output.name(), &made);
    }
    free
}
