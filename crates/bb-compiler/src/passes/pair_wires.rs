//! Needs: regions whose sends and receives name channels.
//! Establishes: ports in place of channels, numbered from 1 in the order of targets, regions and nodes; each
//! port receives at one place, and what is sent to it has its type.
//! Example: `Recv {port = 7}` of the first region -> `Recv {port = 1}`, and so in the `Send` that feeds it.

use std::collections::BTreeMap;

use bb_ir::program::{Attribute, Graph, Node, Program, ValueId, domains};
use bb_ir::{Diagnostic, ValueType};

use crate::edit::{region_graphs, text};
use crate::{Context, Diagnostics};

pub(crate) fn pair_wires(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut ports: BTreeMap<i64, (i64, ValueType)> = BTreeMap::new();
    for graph in region_graphs(p) {
        for node in &graph.nodes {
            for (channel, ty) in received(graph, node) {
                let port = ports.len() as i64 + 1;
                if ports.insert(channel, (port, ty)).is_some() {
                    diagnostics.push(
                        Diagnostic::new(format!("channel {channel} receives at two places"))
                            .label(node.span.clone(), "the second here"),
                    );
                }
            }
        }
    }
    for graph in region_graphs(p) {
        let Graph { nodes, values, .. } = graph;
        for node in nodes {
            let leading = usize::from(text(node, "kind") != "reply");
            let sent: Vec<ValueType> = node
                .inputs
                .iter()
                .skip(leading)
                .map(|value| value.map_or(ValueType::Any, |value| values[value.0 as usize].ty.clone()))
                .collect();
            let is_send = node.op.is(domains::WIRE, "Send");
            let span = node.span.clone();
            for (name, attribute) in &mut node.attributes {
                match (name.as_str(), attribute) {
                    ("port", Attribute::Int(channel)) => {
                        if let Some((port, _)) = ports.get(channel) {
                            *channel = *port;
                        }
                    }
                    ("ports" | "answer_ports", Attribute::Ints(channels)) if is_send => {
                        for (index, channel) in channels.iter_mut().enumerate() {
                            let Some((port, ty)) = ports.get(channel) else {
                                diagnostics.push(
                                    Diagnostic::new(format!("nothing receives on channel {channel}"))
                                        .label(span.clone(), "sent here"),
                                );
                                continue;
                            };
                            *channel = *port;
                            let sent = if name == "ports" { sent.get(index) } else { None };
                            if let Some(sent) = sent.filter(|sent| !fits(sent, ty)) {
                                diagnostics.push(
                                    Diagnostic::new(format!("{sent} is sent where {ty} is received"))
                                        .label(span.clone(), "sent here"),
                                );
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    diagnostics.into_result()
}

/// The channels that a node receives on, with what they receive.
fn received(graph: &Graph, node: &Node) -> Vec<(i64, ValueType)> {
    let ty = |value: Option<ValueId>| value.map_or(ValueType::Any, |value| graph.value(value).ty.clone());
    if node.op.is(domains::WIRE, "Recv") {
        let channel = node.attributes.get("port").and_then(Attribute::as_int);
        let output = node.outputs.first().copied().flatten();
        return channel.map(|channel| (channel, ty(output))).into_iter().collect();
    }
    if node.op.is(domains::WIRE, "Send") && text(node, "mode") == "first" {
        let channels = node.attributes.get("answer_ports").and_then(Attribute::as_ints).unwrap_or_default();
        let results = node.outputs.iter().skip(1).copied().map(ty).chain(std::iter::repeat(ValueType::Any));
        return channels.iter().copied().zip(results).collect();
    }
    Vec::new()
}

/// Whether what is sent may be what is received, as far as is known.
fn fits(sent: &ValueType, received: &ValueType) -> bool {
    super::types::merge(sent, received).is_some()
}
