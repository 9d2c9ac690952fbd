//! A graph as ONNX nodes, names and metadata.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Attribute, Graph, Node, Span, ValueId};
use super::types::to_json;
use crate::ValueType;
use crate::metadata;
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, StringStringEntryProto};

/// What of a graph a function and a nested graph have in common.
pub(super) struct Written<'a> {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) nodes: Vec<NodeProto>,
    /// The values that are made, in the order in which they are, with the names that they have in the file.
    pub(super) made: Vec<(&'a str, &'a ValueType)>,
    pub(super) metadata: Vec<StringStringEntryProto>,
}

/// Names of a graph's values in the file, by index.
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    /// A captured value has the name that it has outside, unless another value here has that name.
    fn of(graph: &'a Graph, outer: Option<&Self>) -> Self {
        let mut names: Vec<&str> = graph.values.iter().map(|info| info.name.as_str()).collect();
        let mut taken: BTreeSet<&str> = names.iter().copied().collect();
        for capture in &graph.captures {
            let outside = outer.map_or("", |outer| outer.get(capture.outer));
            if let Some(name) = names.get_mut(capture.inner.0 as usize)
                && taken.insert(outside)
            {
                *name = outside;
            }
        }
        Self(names)
    }

    fn get(&self, id: ValueId) -> &'a str {
        self.0.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn optional(&self, id: &Option<ValueId>) -> String {
        id.map_or("", |id| self.get(id)).to_owned()
    }
}

/// Writes a graph that is not nested in another.
pub(super) fn write(graph: &Graph) -> Written<'_> {
    write_named(graph, None)
}

fn write_named<'a>(graph: &'a Graph, outer: Option<&Names<'a>>) -> Written<'a> {
    let names = Names::of(graph, outer);
    let captured = graph.captures.iter().map(|capture| capture.inner);
    let given = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten().copied());
    let order: Vec<ValueId> = graph.inputs.iter().copied().chain(captured).chain(given).collect();

    let mut metadata = Vec::new();
    let is_canonical = order.len() == graph.values.len()
        && order.iter().enumerate().all(|(index, id)| index == id.0 as usize);
    if !is_canonical {
        metadata::VALUES.write(&mut metadata, &values(graph, &names, &order));
    }
    let outputs: Vec<String> =
        graph.outputs.iter().map(|output| names.get(output.value).to_owned()).collect();
    if graph.outputs.iter().zip(&outputs).any(|(output, name)| output.name != *name) {
        let public = graph.outputs.iter().map(|output| output.name.clone()).collect();
        metadata::OUTPUTS.write(&mut metadata, &public);
    }
    if !graph.captures.is_empty() {
        let captures = graph.captures.iter().map(|capture| {
            let own = graph.values.get(capture.inner.0 as usize).map_or("", |info| &info.name);
            let outside = outer.map_or("", |outer| outer.get(capture.outer));
            (outside.to_owned(), names.get(capture.inner).to_owned(), own.to_owned())
        });
        metadata::CAPTURES.write(&mut metadata, &captures.collect());
    }
    let made = order.iter().filter_map(|id| {
        let info = graph.values.get(id.0 as usize)?;
        Some((names.get(*id), &info.ty))
    });
    Written {
        inputs: graph.inputs.iter().map(|id| names.get(*id).to_owned()).collect(),
        outputs,
        nodes: graph.nodes.iter().map(|node| write_node(node, &names)).collect(),
        made: made.collect(),
        metadata,
    }
}

/// All values in order; those that are not made with their types.
fn values(graph: &Graph, names: &Names<'_>, order: &[ValueId]) -> Vec<(String, Option<serde_json::Value>)> {
    let made: BTreeSet<ValueId> = order.iter().copied().collect();
    let all = graph.values.iter().enumerate().map(|(index, info)| {
        let id = ValueId(index as u32);
        (names.get(id).to_owned(), (!made.contains(&id)).then(|| to_json(&info.ty)))
    });
    all.collect()
}

fn write_node(node: &Node, names: &Names<'_>) -> NodeProto {
    let mut metadata_props = Vec::new();
    if let Some(place) = &node.place {
        metadata::PLACE.write(&mut metadata_props, place);
    }
    if let Some(slot) = &node.slot {
        metadata::SLOT.write(&mut metadata_props, slot);
    }
    if !node.uses.is_empty() {
        metadata::USES.write(&mut metadata_props, &node.uses);
    }
    if !node.after.is_empty() {
        metadata::AFTER.write(&mut metadata_props, &node.after.iter().map(|id| id.0).collect());
    }
    if node.span != Span::default() {
        let span = (node.span.file.to_string(), node.span.line, node.span.column);
        metadata::SPAN.write(&mut metadata_props, &span);
    }
    let values = node.attributes.iter().filter(|(_, attribute)| matches!(attribute, Attribute::Value(_)));
    let values: Vec<String> = values.map(|(name, _)| name.clone()).collect();
    if !values.is_empty() {
        metadata::VALUE_ATTRIBUTES.write(&mut metadata_props, &values);
    }
    let domain = node.op.domain().as_str();
    NodeProto {
        input: node.inputs.iter().map(|id| names.optional(id)).collect(),
        output: node.outputs.iter().map(|id| names.optional(id)).collect(),
        op_type: Some(node.op.name().to_owned()),
        domain: (!domain.is_empty()).then(|| domain.to_owned()),
        attribute: node.attributes.iter().map(|(name, held)| write_attribute(name, held, names)).collect(),
        metadata_props,
        ..NodeProto::default()
    }
}

fn write_attribute(name: &str, attribute: &Attribute, names: &Names<'_>) -> AttributeProto {
    match attribute {
        Attribute::Graph(graph) => AttributeProto {
            name: Some(name.to_owned()),
            g: Some(graph_proto(graph, Some(names))),
            r#type: Some(AttributeType::Graph.into()),
            ..AttributeProto::default()
        },
        plain => plain.to_onnx(name).unwrap_or_default(),
    }
}

impl Graph {
    /// The graph as an ONNX graph of its own, such as a backend prepares.
    ///
    /// ```
    /// use bb_ir::program::{Graph, Node, OpId};
    /// let mut graph = Graph::default();
    /// graph.add_node(Node { op: OpId::new("", "Add"), ..Node::default() });
    /// assert_eq!(graph.to_onnx().node[0].op_type(), "Add");
    /// ```
    pub fn to_onnx(&self) -> GraphProto {
        graph_proto(self, None)
    }
}

fn graph_proto<'a>(graph: &'a Graph, outer: Option<&Names<'a>>) -> GraphProto {
    let Written { inputs, outputs, nodes, made, metadata } = write_named(graph, outer);
    let types: BTreeMap<&str, &ValueType> = made.iter().copied().collect();
    let info = |name: &String| types.get(name.as_str()).unwrap_or(&&ValueType::Any).to_onnx(name);
    let elsewhere: BTreeSet<&str> = inputs.iter().chain(&outputs).map(String::as_str).collect();
    let inner = made.iter().filter(|(name, ty)| **ty != ValueType::Any && !elsewhere.contains(name));
    GraphProto {
        name: Some(graph.name.clone()),
        input: inputs.iter().map(info).collect(),
        output: outputs.iter().map(info).collect(),
        value_info: inner.map(|(name, ty)| ty.to_onnx(name)).collect(),
        node: nodes,
        metadata_props: metadata,
        ..GraphProto::default()
    }
}
