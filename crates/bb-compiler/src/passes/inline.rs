//! Needs: a recorded program whose modules call one another.
//! Establishes: the root module alone, every call replaced by the ops of the module that it called; its bootstrap
//! has those of the modules that it calls, see [`bootstraps`].
//! Example: `y = module::Relu(x)` -> `Relu:1/relu = Relu(x)`, and `Relu:1/relu` wherever `y` was read.

mod bootstraps;

use std::mem;

use bb_ir::Diagnostic;
use bb_ir::program::{Attribute, Graph, Node, NodeId, Program, ValueId, domains};
use hashbrown::HashMap;

use crate::edit::{is_tensor_op, nested, nested_mut, order_effects, renumber, touched};
use crate::{Context, Diagnostics};

pub(crate) fn inline(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let (mut bootstrap, called) = bootstraps::gather(p);
    p.modules.extend(called);
    let mut inliner = Inliner {
        index: p.modules.iter().enumerate().map(|(index, module)| (module.name.clone(), index)).collect(),
        bodies: p.modules.iter_mut().map(|module| State::Recorded(mem::take(&mut module.body))).collect(),
        names: p.modules.iter().map(|module| module.name.clone()).collect(),
        diagnostics: Diagnostics::default(),
    };
    if inliner.module(0, &mut Vec::new()).is_some()
        && let State::Inlined(body) = &mut inliner.bodies[0]
    {
        p.modules[0].body = mem::take(body);
    }
    if let Some(graph) = &mut bootstrap {
        inliner.graph(graph, &mut Vec::new(), &mut HashMap::new());
    }
    if let Some(root) = p.modules.first_mut() {
        root.bootstrap = bootstrap;
        p.modules.truncate(1);
    }
    inliner.diagnostics.into_result()
}

enum State {
    Recorded(Graph),
    /// Being worked on: a call of it is a call of itself.
    Open,
    Inlined(Graph),
}

struct Inliner {
    index: HashMap<String, usize>,
    names: Vec<String>,
    bodies: Vec<State>,
    diagnostics: Diagnostics,
}

impl Inliner {
    /// Inlines all calls in a module; `None` if that is not possible.
    fn module(&mut self, index: usize, path: &mut Vec<usize>) -> Option<()> {
        match mem::replace(&mut self.bodies[index], State::Open) {
            State::Recorded(mut graph) => {
                path.push(index);
                let mut counts = HashMap::new();
                let result = self.graph(&mut graph, path, &mut counts);
                path.pop();
                self.bodies[index] = State::Inlined(graph);
                result
            }
            State::Open => None,
            inlined @ State::Inlined(_) => {
                self.bodies[index] = inlined;
                Some(())
            }
        }
    }

    fn graph(
        &mut self,
        graph: &mut Graph,
        path: &mut Vec<usize>,
        counts: &mut HashMap<String, u32>,
    ) -> Option<()> {
        let calls = graph.nodes.iter().any(|node| node.op.domain().as_str() == domains::MODULE);
        if !calls && graph.nodes.iter().all(|node| nested(node).next().is_none()) {
            return Some(());
        }
        let mut stands_for: Vec<Vec<NodeId>> = Vec::with_capacity(graph.nodes.len());
        let mut alias: HashMap<ValueId, ValueId> = HashMap::new();
        let mut sound = Some(());
        for mut node in mem::take(&mut graph.nodes) {
            for value in node.inputs.iter_mut().flatten() {
                *value = resolve(&alias, *value);
            }
            node.after = node.after.iter().flat_map(|before| stands_for[before.0 as usize].clone()).collect();
            if node.op.domain().as_str() != domains::MODULE {
                for nested in nested_mut(&mut node) {
                    for capture in &mut nested.captures {
                        capture.outer = resolve(&alias, capture.outer);
                    }
                    if self.graph(nested, path, counts).is_none() {
                        sound = None;
                    }
                }
                stands_for.push(vec![graph.add_node(node)]);
                continue;
            }
            let Some(callee) = self.callee(&node, path) else {
                sound = None;
                stands_for.push(Vec::new());
                continue;
            };
            let count = counts.entry(self.names[callee].clone()).or_insert(0);
            *count += 1;
            let prefix = format!("{}:{count}/", self.names[callee]);
            let State::Inlined(body) = &self.bodies[callee] else { return None };
            let copied = copy(graph, body, &node, &prefix, &mut alias, &mut self.diagnostics);
            stands_for.push(copied);
        }
        for output in &mut graph.outputs {
            output.value = resolve(&alias, output.value);
        }
        if calls {
            rename_gradients(graph, &alias);
            order_effects(graph);
            renumber(graph);
        }
        sound
    }

    fn callee(&mut self, node: &Node, path: &mut Vec<usize>) -> Option<usize> {
        let name = node.op.name();
        let Some(&callee) = self.index.get(name) else {
            let error = Diagnostic::new(format!("module `{name}` is called but is not in the program"))
                .label(node.span.clone(), "called here")
                .note(format!("the program's modules: {}", self.names.join(", ")));
            self.diagnostics.push(error);
            return None;
        };
        if let Some(start) = path.iter().position(|&open| open == callee) {
            let mut names: Vec<&str> = path[start..].iter().map(|&open| self.names[open].as_str()).collect();
            names.push(name);
            let error = Diagnostic::new(format!("module `{name}` calls itself"))
                .label(node.span.clone(), "called again here")
                .note(format!("the calls: {}", names.join(" -> ")))
                .help("a program is a graph without loops: repeat inside an op, or between executions");
            self.diagnostics.push(error);
            return None;
        }
        self.module(callee, path)?;
        let State::Inlined(body) = &self.bodies[callee] else { return None };
        if body.inputs.len() != node.inputs.len() || body.outputs.len() != node.outputs.len() {
            let error = Diagnostic::new(format!(
                "module `{name}` takes {} inputs and gives {} outputs; the call has {} and {}",
                body.inputs.len(),
                body.outputs.len(),
                node.inputs.len(),
                node.outputs.len()
            ))
            .label(node.span.clone(), "called here");
            self.diagnostics.push(error);
            return None;
        }
        Some(callee)
    }
}

fn resolve(alias: &HashMap<ValueId, ValueId>, value: ValueId) -> ValueId {
    alias.get(&value).copied().unwrap_or(value)
}

/// Copies a module's ops in place of a call of it; gives the nodes that stand for the call in `after`.
fn copy(
    graph: &mut Graph,
    body: &Graph,
    call: &Node,
    prefix: &str,
    alias: &mut HashMap<ValueId, ValueId>,
    diagnostics: &mut Diagnostics,
) -> Vec<NodeId> {
    let given: HashMap<ValueId, Option<ValueId>> =
        body.inputs.iter().copied().zip(call.inputs.iter().copied()).collect();
    let mut values: Vec<Option<ValueId>> = Vec::with_capacity(body.values.len());
    for (index, info) in body.values.iter().enumerate() {
        values.push(match given.get(&ValueId(index as u32)) {
            Some(outer) => *outer,
            None => Some(graph.add_value(format!("{prefix}{}", info.name), info.ty.clone())),
        });
    }
    let first = graph.nodes.len() as u32;
    let mut read = vec![false; body.nodes.len()];
    let makers = crate::edit::producers(body);
    for inner in &body.nodes {
        let mut node = inner.clone();
        for value in &inner.inputs {
            if let Some(maker) = value.and_then(|value| makers[value.0 as usize]) {
                read[maker.0 as usize] = true;
            }
        }
        node.inputs.iter_mut().for_each(|value| *value = value.and_then(|value| values[value.0 as usize]));
        node.outputs.iter_mut().for_each(|value| *value = value.and_then(|value| values[value.0 as usize]));
        node.after.iter_mut().for_each(|before| before.0 += first);
        match (&node.place, &call.place) {
            (Some(inner), Some(outer)) if inner != outer => diagnostics.push(
                Diagnostic::new(format!(
                    "module `{}` is called on \"{outer}\" but has a part on \"{inner}\"",
                    call.op.name()
                ))
                .label(call.span.clone(), format!("called on \"{outer}\" here"))
                .label(node.span.clone(), format!("this part runs on \"{inner}\""))
                .help("call it outside of `g.on(…)`: it says itself where its parts run"),
            ),
            (None, Some(outer)) => node.place = Some(outer.clone()),
            _ => {}
        }
        for nested in nested_mut(&mut node) {
            prefix_names(nested, prefix);
            nested.captures.retain_mut(|capture| match values[capture.outer.0 as usize] {
                Some(outer) => {
                    capture.outer = outer;
                    true
                }
                None => false,
            });
        }
        if node.op.domain().as_str() == domains::ONNX_TRAINING {
            rename_gradient(&mut node, |name| {
                let index = body.values.iter().position(|info| info.name == name)?;
                values[index].map(|value| graph.value(value).name.clone())
            });
        }
        graph.add_node(node);
    }
    for (output, inner) in call.outputs.iter().zip(&body.outputs) {
        if let (Some(output), Some(inner)) = (output, values[inner.value.0 as usize]) {
            alias.insert(*output, inner);
        }
    }
    let all = || (0..body.nodes.len()).map(|index| NodeId(first + index as u32));
    let effects: Vec<NodeId> = all().filter(|id| !touched(&graph.nodes[id.0 as usize]).is_empty()).collect();
    for &id in &effects {
        graph.nodes[id.0 as usize].after.extend(&call.after);
    }
    if !effects.is_empty() {
        return effects;
    }
    for id in all().filter(|id| !is_tensor_op(&graph.nodes[id.0 as usize])).collect::<Vec<_>>() {
        graph.nodes[id.0 as usize].after.extend(&call.after);
    }
    all().filter(|id| !read[(id.0 - first) as usize]).collect()
}

fn prefix_names(graph: &mut Graph, prefix: &str) {
    graph.name.insert_str(0, prefix);
    for info in &mut graph.values {
        info.name.insert_str(0, prefix);
    }
    for node in &mut graph.nodes {
        if node.op.domain().as_str() == domains::ONNX_TRAINING {
            rename_gradient(node, |name| Some(format!("{prefix}{name}")));
        }
        nested_mut(node).for_each(|nested| prefix_names(nested, prefix));
    }
}

/// `Gradient` names values in its attributes.
fn rename_gradient(node: &mut Node, rename: impl Fn(&str) -> Option<String>) {
    for attribute in node.attributes.values_mut() {
        let names: &mut [String] = match attribute {
            Attribute::Str(name) => std::slice::from_mut(name),
            Attribute::Strs(names) => names,
            _ => continue,
        };
        for name in names {
            if let Some(new) = rename(name) {
                *name = new;
            }
        }
    }
}

/// Names of values that were outputs of calls become the names of what they are now.
fn rename_gradients(graph: &mut Graph, alias: &HashMap<ValueId, ValueId>) {
    if !graph.nodes.iter().any(|node| node.op.domain().as_str() == domains::ONNX_TRAINING) {
        return;
    }
    let names: HashMap<String, String> = alias
        .iter()
        .map(|(from, to)| (graph.value(*from).name.clone(), graph.value(*to).name.clone()))
        .collect();
    for node in graph.nodes.iter_mut().filter(|node| node.op.domain().as_str() == domains::ONNX_TRAINING) {
        rename_gradient(node, |name| names.get(name).cloned());
    }
}
