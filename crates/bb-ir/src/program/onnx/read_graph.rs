//! A function or nested graph of an ONNX model as a graph of a program.

use std::collections::BTreeMap;

use super::super::{
    Attribute, Capture, Graph, MAX_GRAPH_DEPTH, NamedValue, Node, NodeId, OpId, Span, ValueId, ValueInfo,
};
use super::types::{from_info, from_json};
use super::{AttributeError, ProgramError};
use crate::metadata::{self, MetadataError};
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, StringStringEntryProto, ValueInfoProto,
};
use crate::wire_codec::DecodeLimits;
use crate::{Value, ValueType};

/// What of a function and of a nested graph is read alike.
pub(super) struct Parts<'a> {
    name: String,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    nodes: &'a [NodeProto],
    infos: Vec<&'a ValueInfoProto>,
    metadata: &'a [StringStringEntryProto],
    /// A part that programs do not use, if there is one.
    unused: Option<&'static str>,
}

impl<'a> Parts<'a> {
    pub(super) fn of_function(function: &'a FunctionProto) -> Self {
        let has_attributes = !function.attribute.is_empty() || !function.attribute_proto.is_empty();
        Self {
            name: function.name().to_owned(),
            inputs: function.input.iter().map(String::as_str).collect(),
            outputs: function.output.iter().map(String::as_str).collect(),
            nodes: &function.node,
            infos: function.value_info.iter().collect(),
            metadata: &function.metadata_props,
            unused: has_attributes.then_some("attributes of a function"),
        }
    }

    fn of_graph(graph: &'a GraphProto) -> Self {
        let has_initializers = !graph.initializer.is_empty() || !graph.sparse_initializer.is_empty();
        Self {
            name: graph.name().to_owned(),
            inputs: graph.input.iter().map(ValueInfoProto::name).collect(),
            outputs: graph.output.iter().map(ValueInfoProto::name).collect(),
            nodes: &graph.node,
            infos: graph.input.iter().chain(&graph.output).chain(&graph.value_info).collect(),
            metadata: &graph.metadata_props,
            unused: has_initializers.then_some("initializers"),
        }
    }
}

/// Reads the graphs of one function.
pub(super) struct Reader<'a> {
    function: &'a str,
}

/// The values of a graph, by the names that they have in the file.
type Names<'a> = BTreeMap<&'a str, ValueId>;

impl<'a> Reader<'a> {
    pub(super) const fn new(function: &'a str) -> Self {
        Self { function }
    }

    pub(super) fn graph(&self, parts: &Parts<'_>) -> Result<Graph, ProgramError> {
        self.nested(parts, &Names::new(), 0)
    }

    fn nested(&self, parts: &Parts<'_>, outer: &Names<'_>, depth: usize) -> Result<Graph, ProgramError> {
        if depth > MAX_GRAPH_DEPTH {
            let limit = MAX_GRAPH_DEPTH;
            return Err(ProgramError::TooDeep { function: self.function.to_owned(), limit });
        }
        if let Some(what) = parts.unused {
            return Err(ProgramError::Unused { function: self.function.to_owned(), what });
        }
        let metadata = |error| self.metadata(error);
        let captures = metadata::CAPTURES.read(parts.metadata).map_err(metadata)?.unwrap_or_default();
        let listed = metadata::VALUES.read(parts.metadata).map_err(metadata)?;
        let public = metadata::OUTPUTS.read(parts.metadata).map_err(metadata)?;
        let name = metadata::GRAPH.read(parts.metadata).map_err(metadata)?;

        let captured = captures.iter().map(|(_, inside, _)| inside.as_str());
        let given = parts.nodes.iter().flat_map(|node| &node.output).map(String::as_str);
        let given = given.filter(|name| !name.is_empty());
        let made: Vec<&str> = parts.inputs.iter().copied().chain(captured).chain(given).collect();
        let types = self.types(parts)?;
        let (mut values, names) = self.values(&made, listed.as_deref(), &types)?;

        let mut graph = Graph { name: name.unwrap_or_else(|| parts.name.clone()), ..Graph::default() };
        for input in &parts.inputs {
            graph.inputs.push(self.find(&names, input)?);
        }
        for (outside, inside, own) in &captures {
            let outer = self.find(outer, outside)?;
            let inner = self.find(&names, inside)?;
            if let Some(info) = values.get_mut(inner.0 as usize) {
                info.name.clone_from(own);
            }
            graph.captures.push(Capture { outer, inner });
        }
        graph.values = values;
        if public.as_ref().is_some_and(|public| public.len() != parts.outputs.len()) {
            return Err(self.unknown(parts.outputs.get(public.map_or(0, |p| p.len())).copied().unwrap_or("")));
        }
        for (index, output) in parts.outputs.iter().enumerate() {
            let name = public.as_ref().map_or(*output, |public| &public[index]).to_owned();
            graph.outputs.push(NamedValue { name, value: self.find(&names, output)? });
        }
        for (index, node) in parts.nodes.iter().enumerate() {
            graph.nodes.push(self.node(index, node, &names, depth)?);
        }
        Ok(graph)
    }

    /// The values in their order, and by name.
    fn values<'n>(
        &self,
        made: &[&'n str],
        listed: Option<&'n [(String, Option<serde_json::Value>)]>,
        types: &BTreeMap<&str, ValueType>,
    ) -> Result<(Vec<ValueInfo>, Names<'n>), ProgramError> {
        let mut is_made: BTreeMap<&str, bool> = BTreeMap::new();
        for &name in made {
            if name.is_empty() {
                return Err(self.unknown(name));
            }
            if is_made.insert(name, false).is_some() {
                return Err(self.twice(name));
            }
        }
        let mut values = Vec::new();
        let mut names = Names::new();
        let mut add = |name: &'n str, values: &mut Vec<ValueInfo>| {
            names.insert(name, ValueId(values.len() as u32));
            let ty = types.get(name).cloned().unwrap_or_default();
            values.push(ValueInfo { name: name.to_owned(), ty });
        };
        let Some(listed) = listed else {
            made.iter().for_each(|name| add(name, &mut values));
            return Ok((values, names));
        };
        for (name, never_made) in listed {
            if let Some(ty) = never_made {
                let ty = from_json(ty).ok_or_else(|| self.bad_type(name))?;
                values.push(ValueInfo { name: name.clone(), ty });
                continue;
            }
            match is_made.insert(name, true) {
                Some(false) => add(name, &mut values),
                Some(true) => return Err(self.twice(name)),
                None => return Err(self.unknown(name)),
            }
        }
        match is_made.iter().find(|(_, is_listed)| !**is_listed) {
            Some((name, _)) => Err(self.unknown(name)),
            None => Ok((values, names)),
        }
    }

    fn types<'n>(&self, parts: &Parts<'n>) -> Result<BTreeMap<&'n str, ValueType>, ProgramError> {
        let mut types = BTreeMap::new();
        for info in &parts.infos {
            let ty = from_info(info).ok_or_else(|| self.bad_type(info.name()))?;
            let held = types.entry(info.name()).or_insert_with(|| ty.clone());
            if *held != ty {
                return Err(self.twice(info.name()));
            }
        }
        Ok(types)
    }

    fn node(
        &self,
        index: usize,
        node: &NodeProto,
        names: &Names<'_>,
        depth: usize,
    ) -> Result<Node, ProgramError> {
        let metadata = |error| self.metadata(error);
        let entries = &node.metadata_props;
        let optional = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => self.find(names, name).map(Some),
        };
        let values = metadata::VALUE_ATTRIBUTES.read(entries).map_err(metadata)?.unwrap_or_default();
        let mut attributes = BTreeMap::new();
        for proto in &node.attribute {
            let is_value = values.iter().any(|name| name == proto.name());
            let attribute = self.attribute(index, proto, is_value, names, depth)?;
            if attributes.insert(proto.name().to_owned(), attribute).is_some() {
                return Err(self.twice(proto.name()));
            }
        }
        let after = metadata::AFTER.read(entries).map_err(metadata)?.unwrap_or_default();
        let span = metadata::SPAN.read(entries).map_err(metadata)?;
        Ok(Node {
            op: OpId::new(node.domain().to_owned(), node.op_type().to_owned()),
            inputs: node.input.iter().map(optional).collect::<Result<_, _>>()?,
            outputs: node.output.iter().map(optional).collect::<Result<_, _>>()?,
            attributes,
            place: metadata::PLACE.read(entries).map_err(metadata)?,
            slot: metadata::SLOT.read(entries).map_err(metadata)?,
            uses: metadata::USES.read(entries).map_err(metadata)?.unwrap_or_default(),
            after: after.into_iter().map(NodeId).collect(),
            span: span.map_or_else(Span::default, |(file, line, column)| Span {
                file: file.into(),
                line,
                column,
            }),
        })
    }

    fn attribute(
        &self,
        node: usize,
        proto: &AttributeProto,
        is_value: bool,
        names: &Names<'_>,
        depth: usize,
    ) -> Result<Attribute, ProgramError> {
        let attribute = || proto.name().to_owned();
        let function = || self.function.to_owned();
        let unknown = || ProgramError::Attribute { function: function(), node, attribute: attribute() };
        if proto.ref_attr_name.as_ref().is_some_and(|name| !name.is_empty()) {
            return Err(unknown());
        }
        Ok(match proto.r#type() {
            AttributeType::String if is_value => {
                let value = Value::decode_with(proto.s(), &DecodeLimits::LOCAL);
                let source =
                    |source| ProgramError::Value { function: function(), attribute: attribute(), source };
                Attribute::Value(value.map_err(source)?)
            }
            AttributeType::Graph => {
                let graph = Parts::of_graph(proto.g.as_ref().ok_or_else(unknown)?);
                Attribute::Graph(self.nested(&graph, names, depth + 1)?)
            }
            _ => Attribute::from_onnx(proto).map_err(|error| match error {
                AttributeError::Tensor(source) => ProgramError::Tensor { function: function(), source },
                _ => unknown(),
            })?,
        })
    }

    fn find(&self, names: &Names<'_>, name: &str) -> Result<ValueId, ProgramError> {
        names.get(name).copied().ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, value: &str) -> ProgramError {
        ProgramError::UnknownValue { function: self.function.to_owned(), value: value.to_owned() }
    }

    fn twice(&self, name: &str) -> ProgramError {
        ProgramError::NameTwice { function: self.function.to_owned(), name: name.to_owned() }
    }

    fn bad_type(&self, value: &str) -> ProgramError {
        ProgramError::Type { function: self.function.to_owned(), value: value.to_owned() }
    }

    fn metadata(&self, source: MetadataError) -> ProgramError {
        ProgramError::Metadata { function: self.function.to_owned(), source }
    }
}
