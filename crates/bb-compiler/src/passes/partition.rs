//! Needs: one module whose ops have their classes.
//! Establishes: targets in place of modules, each with the regions that its class runs; what crosses between
//! them goes through a `Send` and a `Recv` that name the same channel.
//! Example: `Call(peers, x) {class "client", body, each}` on "server" -> `Send(peers, x) {kind "request"}` in
//! `M.server`, a receive region in `M.client` that ends in `Send {kind "reply"}`, and an answer region in `M.server`;
//! [`sources`] says which ops belong to a timer or another source.

mod sources;

use std::mem;

use bb_ir::program::{
    Attribute, Graph, NamedValue, Node, NodeId, OpId, Program, Region, RegionKind, Target, ValueId, domains,
};
use bb_ir::{Diagnostic, ValueType};
use hashbrown::HashMap;

use crate::edit::{prepend, producers, reads, renumber, retain_nodes, take_graph, text, trigger};
use crate::{Context, Diagnostics};

pub(crate) fn partition(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let Some(root) = p.modules.drain(..).next() else { return Ok(()) };
    let mut split = Split { regions: Vec::new(), classes: HashMap::new(), channels: 0 };
    let mut diagnostics = Diagnostics::default();
    let mut regions: Vec<(Option<String>, RegionKind, Graph)> = Vec::new();
    for (class, graph) in by_class(root.body) {
        match sources::split(graph) {
            Ok(parts) => regions.extend(parts.into_iter().map(|(kind, graph)| (class.clone(), kind, graph))),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    for (class, graph) in root.bootstrap.into_iter().flat_map(by_class) {
        if let Some(source) = graph.nodes.iter().find(|node| node.op.is_source()) {
            diagnostics.push(
                Diagnostic::new(format!("{} inside a bootstrap", source.op.name()))
                    .label(source.span.clone(), "a bootstrap is started by the host")
                    .help("record it in the body, where it starts executions of its own"),
            );
        }
        regions.push((class, RegionKind::Bootstrap, graph));
    }
    let places: Vec<(usize, usize)> =
        regions.iter().map(|(class, ..)| split.reserve(class.as_deref().unwrap_or_default())).collect();
    for ((class, kind, graph), place) in regions.into_iter().zip(places) {
        if let Err(diagnostic) = split.lower(place, class.as_deref(), kind, graph) {
            diagnostics.push(diagnostic);
        }
    }
    let alone = split.regions.len() == 1;
    for (class, regions) in split.regions {
        let name = if alone { root.name.clone() } else { format!("{}.{class}", root.name) };
        let regions = regions.into_iter().flatten().collect();
        p.targets.push(Target { name, class, regions });
    }
    diagnostics.into_result()
}

/// The graph split by class, classes in the order in which they first run an op.
fn by_class(graph: Graph) -> Vec<(Option<String>, Graph)> {
    let mut classes: Vec<Option<String>> = Vec::new();
    let mut class_of = |place: &Option<String>| match classes.iter().position(|held| held == place) {
        Some(index) => index,
        None => {
            classes.push(place.clone());
            classes.len() - 1
        }
    };
    let nodes: Vec<usize> = graph.nodes.iter().map(|node| class_of(&node.place)).collect();
    if classes.len() <= 1 {
        return vec![(classes.pop().flatten(), graph)];
    }
    let mut values: Vec<usize> = vec![0; graph.values.len()];
    for (node, &class) in graph.nodes.iter().zip(&nodes).rev() {
        let made = node.outputs.iter().flatten().copied();
        reads(node).chain(made).for_each(|value| values[value.0 as usize] = class);
    }
    let split = |class: usize| {
        let mut part = graph.clone();
        let keep: Vec<bool> = nodes.iter().map(|of| *of == class).collect();
        part.inputs.retain(|value| values[value.0 as usize] == class);
        part.outputs.retain(|output| values[output.value.0 as usize] == class);
        retain_nodes(&mut part, &keep);
        renumber(&mut part);
        part
    };
    classes.iter().enumerate().map(|(index, class)| (class.clone(), split(index))).collect()
}

struct Split {
    /// Per target its class and its regions; a region that is reserved is not there yet.
    regions: Vec<(String, Vec<Option<Region>>)>,
    classes: HashMap<String, usize>,
    channels: i64,
}

impl Split {
    fn reserve(&mut self, class: &str) -> (usize, usize) {
        let next = self.regions.len();
        let target = *self.classes.entry(class.to_owned()).or_insert(next);
        if target == next {
            self.regions.push((class.to_owned(), Vec::new()));
        }
        self.regions[target].1.push(None);
        (target, self.regions[target].1.len() - 1)
    }

    fn channel(&mut self) -> i64 {
        self.channels += 1;
        self.channels - 1
    }

    /// Puts a region in its place, its wire ops lowered.
    fn lower(
        &mut self,
        place: (usize, usize),
        class: Option<&str>,
        kind: RegionKind,
        mut graph: Graph,
    ) -> Result<(), Diagnostic> {
        let mut stands_for: Vec<Option<NodeId>> = Vec::with_capacity(graph.nodes.len());
        for mut node in mem::take(&mut graph.nodes) {
            node.after = node.after.iter().filter_map(|before| stands_for[before.0 as usize]).collect();
            if node.op.is(domains::SYSCALL, "AppEmit") {
                let name = text(&node, "name").to_owned();
                let value = node.inputs.first().copied().flatten();
                graph.outputs.extend(value.map(|value| NamedValue { name, value }));
                stands_for.push(None);
                continue;
            }
            let crosses = node.op.is(domains::WIRE, "Call") || node.op.is(domains::WIRE, "Cast");
            if crosses {
                if node.inputs.len() == 1 {
                    let name = format!("{}/now:{}", graph.name, graph.values.len());
                    let (value, constant) = trigger(&mut graph, name, node.place.clone(), node.span.clone());
                    graph.add_node(constant);
                    node.inputs.push(Some(value));
                }
                node = self.wire_op(place, class, node)?;
            }
            stands_for.push(Some(graph.add_node(node)));
        }
        renumber(&mut graph);
        self.regions[place.0].1[place.1] = Some(Region { kind, graph });
        Ok(())
    }

    /// A `Call` or `Cast` becomes a `Send`; what it starts elsewhere, and its answers here, regions.
    fn wire_op(
        &mut self,
        caller: (usize, usize),
        class: Option<&str>,
        mut node: Node,
    ) -> Result<Node, Diagnostic> {
        let is_call = node.op.is(domains::WIRE, "Call");
        let there = text(&node, "class").to_owned();
        let mode = text(&node, "mode").to_owned();
        let (Some(mut body), false) = (take_graph(&mut node, "body"), there.is_empty()) else {
            return Err(malformed(&node, "it needs a class and a body"));
        };
        if !body.captures.is_empty() {
            return Err(malformed(&node, "its body captures values"));
        }
        node.attributes.remove("class");
        node.op = OpId::new(domains::WIRE, "Send");

        let callee = self.reserve(&there);
        let ports = self.receive(&mut body, &there, &node);
        if ports.len() + 1 != node.inputs.len() {
            return Err(malformed(&node, "its body does not take the values that are sent"));
        }
        node.attributes.insert("ports".to_owned(), Attribute::Ints(ports));
        if !is_call {
            node.attributes.insert("kind".to_owned(), "cast".into());
            body.outputs.clear();
            self.lower(callee, Some(&there), RegionKind::Receive, body)?;
            return Ok(node);
        }

        node.attributes.insert("kind".to_owned(), "request".into());
        let answers = self.reply(&mut body, &there, &node);
        self.lower(callee, Some(&there), RegionKind::Receive, body)?;
        let (answer, captured) = match take_graph(&mut node, "each") {
            Some(each) if mode == "each" => {
                let captured: Vec<ValueId> = each.captures.iter().map(|capture| capture.outer).collect();
                let answer = self.answer(caller.0, class, each, &answers, &node)?;
                node.inputs.extend(captured.iter().copied().map(Some));
                (answer as i64, captured.len() as i64)
            }
            None if mode == "first" => (-1, 0),
            _ => return Err(malformed(&node, "mode \"each\" needs a graph `each`, mode \"first\" has none")),
        };
        node.attributes.insert("answer".to_owned(), answer.into());
        node.attributes.insert("captured".to_owned(), captured.into());
        node.attributes.insert("answer_ports".to_owned(), Attribute::Ints(answers));
        Ok(node)
    }

    /// The body's inputs become values that arrive; gives their channels.
    fn receive(&mut self, body: &mut Graph, class: &str, call: &Node) -> Vec<i64> {
        if body.inputs.is_empty() {
            let name = format!("{}/now:{}", body.name, body.values.len());
            let value = body.add_value(name, ValueType::Trigger);
            body.inputs.push(value);
        }
        let inputs = mem::take(&mut body.inputs);
        let mut ports = Vec::with_capacity(inputs.len());
        let mut received = Vec::with_capacity(inputs.len());
        for input in inputs {
            let port = self.channel();
            ports.push(port);
            received.push(arrival(input, port, Some(class), call));
        }
        prepend(body, received);
        ports
    }

    /// The body's outputs are sent back; gives their channels.
    fn reply(&mut self, body: &mut Graph, class: &str, call: &Node) -> Vec<i64> {
        let mut results: Vec<ValueId> =
            mem::take(&mut body.outputs).into_iter().map(|output| output.value).collect();
        let mut after = Vec::new();
        if results.is_empty() {
            after = last_nodes(body);
            let name = format!("{}/done:{}", body.name, body.values.len());
            let (value, constant) = trigger(body, name, Some(class.to_owned()), call.span.clone());
            body.add_node(constant);
            results.push(value);
        }
        let ports: Vec<i64> = results.iter().map(|_| self.channel()).collect();
        body.add_node(Node {
            op: OpId::new(domains::WIRE, "Send"),
            inputs: results.into_iter().map(Some).collect(),
            attributes: [
                ("kind".to_owned(), Attribute::from("reply")),
                ("ports".to_owned(), Attribute::Ints(ports.clone())),
            ]
            .into(),
            place: Some(class.to_owned()),
            after,
            span: call.span.clone(),
            ..Node::default()
        });
        ports
    }

    /// Makes the region that takes an answer; gives its index within its target.
    fn answer(
        &mut self,
        target: usize,
        class: Option<&str>,
        mut each: Graph,
        ports: &[i64],
        call: &Node,
    ) -> Result<usize, Diagnostic> {
        let mut inputs = mem::take(&mut each.inputs).into_iter();
        let mut arriving: Vec<Node> = Vec::with_capacity(ports.len() + 1);
        let Some(peer) = inputs.next() else {
            return Err(malformed(call, "what takes an answer needs the peer as its first input"));
        };
        arriving.push(Node {
            op: OpId::new(domains::WIRE, "Source"),
            outputs: vec![Some(peer)],
            place: class.map(str::to_owned),
            span: call.span.clone(),
            ..Node::default()
        });
        let mut results: Vec<ValueId> = inputs.collect();
        if results.is_empty() {
            let name = format!("{}/done:{}", each.name, each.values.len());
            results.push(each.add_value(name, ValueType::Trigger));
        }
        if results.len() != ports.len() {
            return Err(malformed(call, "what takes an answer does not take the body's results"));
        }
        arriving
            .extend(results.into_iter().zip(ports).map(|(result, port)| arrival(result, *port, class, call)));
        prepend(&mut each, arriving);
        each.inputs = each.captures.drain(..).map(|capture| capture.inner).collect();
        let class_name = self.regions[target].0.clone();
        let place = self.reserve(&class_name);
        self.lower(place, class, RegionKind::Answer, each)?;
        Ok(place.1)
    }
}

fn arrival(value: ValueId, port: i64, class: Option<&str>, call: &Node) -> Node {
    Node {
        op: OpId::new(domains::WIRE, "Recv"),
        outputs: vec![Some(value)],
        attributes: [("port".to_owned(), Attribute::Int(port))].into(),
        place: class.map(str::to_owned),
        span: call.span.clone(),
        ..Node::default()
    }
}

/// The nodes that nobody waits for.
fn last_nodes(graph: &Graph) -> Vec<NodeId> {
    let makers = producers(graph);
    let mut waited_for = vec![false; graph.nodes.len()];
    for node in graph.nodes.iter().filter(|node| !node.op.is(domains::SYSCALL, "AppEmit")) {
        let read = reads(node).filter_map(|value| makers[value.0 as usize]);
        for before in read.chain(node.after.iter().copied()) {
            waited_for[before.0 as usize] = true;
        }
    }
    let ends = |id: &NodeId| {
        let node = &graph.nodes[id.0 as usize];
        let source = matches!(node.op.name(), "Recv" | "Constant" | "AppEmit");
        !waited_for[id.0 as usize] && !source
    };
    (0..graph.nodes.len() as u32).map(NodeId).filter(ends).collect()
}

fn malformed(node: &Node, what: &str) -> Diagnostic {
    Diagnostic::new(format!("a wire op is not well-formed: {what}")).label(node.span.clone(), "recorded here")
}
