//! Needs: one module.
//! Establishes: every op has its peer class, or none has one because the program names none; values stay on
//! their class; what touches one slot on one class is ordered.
//! Example: `x = input; on server: y = Relu(x); output y` -> `x` is an input of "server".

use std::collections::BTreeSet;

use bb_ir::Diagnostic;
use bb_ir::program::{Attribute, Graph, Node, Program, Span, ValueId, domains};
use hashbrown::HashMap;

use crate::edit::{nested_mut, order_effects, producers, reads, retain_nodes, short_name, text};
use crate::{Context, Diagnostics};

pub(crate) fn place(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for module in &mut p.modules {
        place_module_graph(&mut module.body, &mut diagnostics);
        let classes: BTreeSet<&String> =
            module.body.nodes.iter().filter_map(|node| node.place.as_ref()).collect();
        let Some(bootstrap) = &mut module.bootstrap else { continue };
        match (classes.len(), classes.first()) {
            (1, Some(only)) => {
                for node in bootstrap.nodes.iter_mut().filter(|node| node.place.is_none()) {
                    node.place = Some((*only).clone());
                }
            }
            (0, _) if uses_classes(bootstrap) => {
                let placed = bootstrap.nodes.iter().find(|node| node.place.is_some());
                let span = placed.or(bootstrap.nodes.first()).map(|node| node.span.clone());
                diagnostics.push(
                    Diagnostic::new(format!(
                        "the bootstrap of `{}` names a class or crosses the wire, but its body names no class",
                        module.name
                    ))
                    .label(span.unwrap_or_default(), "recorded here")
                    .help("say in the body too where it runs: `g.on(\"class\", |g| …)`"),
                );
                continue;
            }
            _ if !uses_classes(bootstrap) && classes.len() > 1 => {
                if let Some(node) = bootstrap.nodes.first() {
                    let classes = classes.into_iter().cloned().collect();
                    diagnostics.push(unplaced(node, &classes));
                }
                continue;
            }
            _ => {}
        }
        place_module_graph(bootstrap, &mut diagnostics);
    }
    diagnostics.into_result()
}

fn place_module_graph(graph: &mut Graph, diagnostics: &mut Diagnostics) {
    if uses_classes(graph) {
        place_graph(graph, diagnostics);
    }
    order_effects(graph);
}

/// Whether any op names a class or crosses the wire.
fn uses_classes(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| node.place.is_some() || node.op.domain().as_str() == domains::WIRE)
}

fn place_graph(graph: &mut Graph, diagnostics: &mut Diagnostics) {
    place_readers(graph);
    copy_constants(graph);
    let mut places = place_readers(graph);
    // Backward: or else where what it gives is read. An input belongs to its first reader.
    let makers = producers(graph);
    for node in graph.nodes.iter_mut().rev() {
        if node.place.is_none() {
            node.place = node.outputs.iter().flatten().find_map(|value| places[value.0 as usize].clone());
        }
        for value in reads(node) {
            let held = &mut places[value.0 as usize];
            if held.is_none() || (makers[value.0 as usize].is_none() && node.place.is_some()) {
                held.clone_from(&node.place);
            }
        }
    }
    // And forward again, for what the way back placed.
    let classes: BTreeSet<String> = graph.nodes.iter().filter_map(|node| node.place.clone()).collect();
    let only = if classes.len() == 1 { classes.first().cloned() } else { None };
    for node in &mut graph.nodes {
        if node.place.is_none() {
            let read = node.inputs.iter().flatten().find_map(|value| places[value.0 as usize].clone());
            node.place = read.or_else(|| only.clone());
        }
        if node.place.is_none() {
            diagnostics.push(unplaced(node, &classes));
        }
        for value in node.outputs.iter().flatten() {
            places[value.0 as usize].clone_from(&node.place);
        }
    }
    check_edges(graph, &places, &classes, diagnostics);
    for node in &mut graph.nodes {
        let class = text(node, "class").to_owned();
        let here = node.place.clone();
        for (name, attribute) in &mut node.attributes {
            let Attribute::Graph(nested) = attribute else { continue };
            let place = if name == "body" { Some(class.clone()) } else { here.clone() };
            place_nested(nested, &place);
        }
    }
}

/// Forward: an op without a class of its own runs where what it reads is; gives each value's class.
fn place_readers(graph: &mut Graph) -> Vec<Option<String>> {
    let mut places: Vec<Option<String>> = vec![None; graph.values.len()];
    for node in &mut graph.nodes {
        if node.place.is_none() {
            let read = reads(node).find_map(|value| places[value.0 as usize].clone());
            node.place = read;
        }
        for value in node.outputs.iter().flatten() {
            places[value.0 as usize].clone_from(&node.place);
        }
    }
    places
}

/// Nested graphs run at one class as a whole.
fn place_nested(graph: &mut Graph, place: &Option<String>) {
    for node in &mut graph.nodes {
        node.place.clone_from(place);
        let class = text(node, "class").to_owned();
        for (name, attribute) in &mut node.attributes {
            let Attribute::Graph(nested) = attribute else { continue };
            let place = if name == "body" { Some(class.clone()) } else { place.clone() };
            place_nested(nested, &place);
        }
    }
    for node in &mut graph.nodes {
        for nested in nested_mut(node) {
            order_effects(nested);
        }
    }
}

/// A constant that several classes read is made on each of them.
fn copy_constants(graph: &mut Graph) {
    let makers = producers(graph);
    let mut made: HashMap<(ValueId, String), ValueId> = HashMap::new();
    let mut copies: Vec<(ValueId, ValueId, String)> = Vec::new();
    for index in 0..graph.nodes.len() {
        let Some(place) = graph.nodes[index].place.clone() else { continue };
        for input in 0..graph.nodes[index].inputs.len() {
            let Some(value) = graph.nodes[index].inputs[input] else { continue };
            let Some(maker) = makers.get(value.0 as usize).copied().flatten() else { continue };
            let maker = &graph.nodes[maker.0 as usize];
            if !maker.op.is(domains::SYSCALL, "Constant") || maker.place.is_some() {
                continue;
            }
            let copy = match made.get(&(value, place.clone())) {
                Some(copy) => *copy,
                None => {
                    let info = graph.value(value).clone();
                    let copy = graph.add_value(format!("{}@{place}", info.name), info.ty);
                    made.insert((value, place.clone()), copy);
                    copies.push((value, copy, place.clone()));
                    copy
                }
            };
            graph.nodes[index].inputs[input] = Some(copy);
        }
    }
    let nodes: Vec<Node> = copies
        .into_iter()
        .filter_map(|(value, copy, place)| {
            let maker = graph.nodes.get(makers[value.0 as usize]?.0 as usize)?;
            Some(Node { outputs: vec![Some(copy)], place: Some(place), ..maker.clone() })
        })
        .collect();
    crate::edit::prepend(graph, nodes);
    let mut read = vec![false; graph.values.len()];
    graph.nodes.iter().flat_map(reads).for_each(|value| read[value.0 as usize] = true);
    graph.outputs.iter().for_each(|output| read[output.value.0 as usize] = true);
    let keep: Vec<bool> = graph
        .nodes
        .iter()
        .map(|node| {
            let copied = node.place.is_none() && node.op.is(domains::SYSCALL, "Constant");
            !copied || node.outputs.iter().flatten().any(|value| read[value.0 as usize])
        })
        .collect();
    retain_nodes(graph, &keep);
}

fn check_edges(
    graph: &Graph,
    places: &[Option<String>],
    classes: &BTreeSet<String>,
    diagnostics: &mut Diagnostics,
) {
    let makers = producers(graph);
    let mut first_use: Vec<Option<Span>> = vec![None; graph.values.len()];
    for node in &graph.nodes {
        for value in reads(node) {
            let held = &places[value.0 as usize];
            let (Some(there), Some(here)) = (held, &node.place) else { continue };
            let maker = makers[value.0 as usize].map(|maker| graph.nodes[maker.0 as usize].span.clone());
            if there == here {
                first_use[value.0 as usize].get_or_insert_with(|| node.span.clone());
                continue;
            }
            let name = short_name(&graph.value(value).name);
            let error = Diagnostic::new(format!("`{name}` is on \"{there}\" but used on \"{here}\""))
                .label(node.span.clone(), format!("used on \"{here}\" here"));
            let (span, what) = match maker {
                Some(span) => (span, "made"),
                None => (first_use[value.0 as usize].clone().unwrap_or_default(), "used"),
            };
            diagnostics.push(
                error
                    .label(span, format!("{what} on \"{there}\" here"))
                    .help(format!("take it across: `g.call(peers, {name}).at(\"{here}\", |g, {name}| …)`")),
            );
        }
    }
    if classes.len() > 1 {
        for input in graph.inputs.iter().filter(|input| places[input.0 as usize].is_none()) {
            let name = &graph.value(*input).name;
            let listed: Vec<String> = classes.iter().map(|class| format!("\"{class}\"")).collect();
            diagnostics.push(
                Diagnostic::new(format!("input `{name}` belongs to no class: nothing reads it"))
                    .help(format!("read it on one of {}, or leave it out", listed.join(", "))),
            );
        }
    }
}

fn unplaced(node: &Node, classes: &BTreeSet<String>) -> Diagnostic {
    let error =
        Diagnostic::new(format!("{} has no place", node.op.name())).label(node.span.clone(), "recorded here");
    if classes.is_empty() {
        return error.help("a program that crosses the wire says where it starts: `g.on(\"class\", |g| …)`");
    }
    let listed: Vec<String> = classes.iter().map(|class| format!("\"{class}\"")).collect();
    error.help(format!("record it within `g.on(…)` of one of {}", listed.join(", ")))
}
