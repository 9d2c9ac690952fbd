//! The bootstrap of the root, with those of the modules that it calls: each once, callees first.
//!
//! Inputs and outputs of a called module's bootstrap are the root's, named `Module/name`.

use std::mem;

use bb_ir::program::{Graph, Module, NamedValue, Node, OpId, Program, domains};

use crate::edit::{nested, prepend};

/// Takes the bootstraps out of the modules: the root's, in which the others are called, and these as modules.
pub(super) fn gather(p: &mut Program) -> (Option<Graph>, Vec<Module>) {
    let Some(root) = p.modules.first_mut() else { return (None, Vec::new()) };
    let own = root.bootstrap.take();
    let mut order = Vec::new();
    follow(p, 0, None, &mut vec![false; p.modules.len()], &mut order);
    let mut modules = Vec::new();
    let mut calls = Vec::new();
    let mut graph = own.clone().unwrap_or_default();
    for (index, place) in order {
        let name = p.modules[index].name.clone();
        let Some(bootstrap) = p.modules[index].bootstrap.take() else { continue };
        let called = format!("{name}.bootstrap");
        let mut call = Node { op: OpId::new(domains::MODULE, called.clone()), place, ..Node::default() };
        call.span = bootstrap.nodes.first().map(|node| node.span.clone()).unwrap_or_default();
        for input in &bootstrap.inputs {
            let info = bootstrap.value(*input);
            let value = graph.add_value(format!("{name}/{}", info.name), info.ty.clone());
            graph.inputs.push(value);
            call.inputs.push(Some(value));
        }
        for (number, output) in bootstrap.outputs.iter().enumerate() {
            let ty = bootstrap.value(output.value).ty.clone();
            let value = graph.add_value(format!("{called}/out:{number}"), ty);
            graph.outputs.push(NamedValue { name: format!("{name}/{}", output.name), value });
            call.outputs.push(Some(value));
        }
        calls.push(call);
        modules.push(Module { name: called, body: bootstrap, bootstrap: None });
    }
    if own.is_none() && calls.is_empty() {
        return (None, modules);
    }
    prepend(&mut graph, calls);
    (Some(graph), modules)
}

/// The modules that a module calls, each after those that it calls itself, with the class of its first call.
fn follow(
    p: &Program,
    index: usize,
    place: Option<&String>,
    seen: &mut [bool],
    order: &mut Vec<(usize, Option<String>)>,
) {
    if mem::replace(&mut seen[index], true) {
        return;
    }
    let mut open: Vec<&Graph> = vec![&p.modules[index].body];
    while let Some(graph) = open.pop() {
        for node in &graph.nodes {
            open.extend(nested(node));
            if node.op.domain().as_str() == domains::MODULE
                && let Some(callee) = p.modules.iter().position(|module| module.name == node.op.name())
            {
                follow(p, callee, node.place.as_ref().or(place), seen, order);
            }
        }
    }
    if index > 0 {
        order.push((index, place.cloned()));
    }
}
