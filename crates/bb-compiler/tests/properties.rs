//! What holds for every program: nothing is lost, nothing runs in a circle, the same program gives the same result.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::collections::BTreeMap;

use bb_compiler::{Compiler, run_pass};
use bb_ir::ValueType;
use bb_ir::program::{Attribute, Graph, Module, NamedValue, Node, OpId, Program, Span, ValueId, domains};
use proptest::prelude::*;

/// What a random node does.
#[derive(Clone, Debug)]
enum Kind {
    Tensor { slot: u8 },
    Pass,
    Component { slot: u8 },
    Call { captures: bool },
    Cast,
}

#[derive(Clone, Debug)]
struct Recipe {
    kind: Kind,
    class: u8,
    reads: Vec<prop::sample::Index>,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let kind = prop_oneof![
        5 => (0_u8..2).prop_map(|slot| Kind::Tensor { slot }),
        2 => Just(Kind::Pass),
        2 => (0_u8..2).prop_map(|slot| Kind::Component { slot }),
        1 => any::<bool>().prop_map(|captures| Kind::Call { captures }),
        1 => Just(Kind::Cast),
    ];
    (kind, 0_u8..3, prop::collection::vec(any::<prop::sample::Index>(), 1..4))
        .prop_map(|(kind, class, reads)| Recipe { kind, class, reads })
}

const CLASSES: [&str; 3] = ["a", "b", "c"];

/// A program of these nodes; each reads values of its class, and each op has its own line as its name.
fn program(recipes: &[Recipe]) -> Program {
    let mut graph = Graph::default();
    let mut held: BTreeMap<u8, Vec<ValueId>> = BTreeMap::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let input = graph.add_value(format!("in{name}"), ValueType::Any);
        graph.inputs.push(input);
        held.insert(class as u8, vec![input]);
        let peers = graph.add_value(format!("peers{name}"), ValueType::Peers);
        graph.add_node(Node {
            op: OpId::new(domains::PEER_SELECTOR, "View"),
            outputs: vec![Some(peers)],
            slot: Some("peers".into()),
            place: Some((*name).into()),
            ..Node::default()
        });
        // Every class reads its input, so that the input has a place.
        let seen = graph.add_value(format!("seen{name}"), ValueType::Any);
        graph.add_node(pass(input, seen, name));
        graph.outputs.push(NamedValue { name: format!("seen{name}"), value: seen });
    }
    for (index, recipe) in recipes.iter().enumerate() {
        let place = CLASSES[recipe.class as usize];
        let values = &held[&recipe.class];
        let reads: Vec<Option<ValueId>> = recipe.reads.iter().map(|read| Some(*read.get(values))).collect();
        let span = Span { file: "random.rs".into(), line: index as u32 + 1, column: 1 };
        let mut node = Node { place: Some(place.into()), span: span.clone(), ..Node::default() };
        let peers = ValueId(u32::from(recipe.class) * 3 + 1);
        let elsewhere = CLASSES[(recipe.class as usize + 1) % 3];
        match recipe.kind {
            Kind::Tensor { slot } => {
                node.op = OpId::new("", format!("Op{index}"));
                node.slot = Some(format!("backend{slot}"));
                node.inputs = reads;
            }
            Kind::Pass => {
                node.op = OpId::new("other", format!("Move{index}"));
                node.inputs = reads;
            }
            Kind::Component { slot } => {
                node.op = OpId::new("test", format!("Method{index}"));
                node.slot = Some(format!("component{slot}"));
                node.inputs = reads;
            }
            Kind::Call { captures } => {
                node.op = OpId::new(domains::WIRE, "Call");
                node.attributes.insert("class".into(), elsewhere.into());
                node.attributes.insert("mode".into(), "each".into());
                node.attributes.insert("quorum".into(), 1_i64.into());
                node.attributes
                    .insert("body".into(), Attribute::Graph(body(index, reads.len(), elsewhere, &span)));
                let outer = captures.then(|| reads[0]).flatten();
                node.attributes
                    .insert("each".into(), Attribute::Graph(each(index, reads.len(), place, outer, &span)));
                node.inputs = std::iter::once(Some(peers)).chain(reads).collect();
            }
            Kind::Cast => {
                node.op = OpId::new(domains::WIRE, "Cast");
                node.attributes.insert("class".into(), elsewhere.into());
                let mut body = body(index, reads.len(), elsewhere, &span);
                body.outputs.clear();
                node.attributes.insert("body".into(), Attribute::Graph(body));
                node.inputs = std::iter::once(Some(peers)).chain(reads).collect();
            }
        }
        if !matches!(recipe.kind, Kind::Cast) {
            let output = graph.add_value(format!("v{index}"), ValueType::Any);
            node.outputs = vec![Some(output)];
            held.entry(recipe.class).or_default().push(output);
            graph.outputs.push(NamedValue { name: format!("v{index}"), value: output });
        }
        graph.add_node(node);
    }
    let module = Module { name: "Random".into(), body: graph, bootstrap: None };
    Program { name: "Random".into(), modules: vec![module], opset: 21, ..Program::default() }
}

fn pass(from: ValueId, to: ValueId, place: &str) -> Node {
    Node {
        op: OpId::new(domains::SYSCALL, "PassThrough"),
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        place: Some(place.into()),
        ..Node::default()
    }
}

fn body(index: usize, count: usize, class: &str, span: &Span) -> Graph {
    let mut graph = Graph::default();
    let inputs: Vec<ValueId> =
        (0..count).map(|input| graph.add_value(format!("b{index}in{input}"), ValueType::Any)).collect();
    graph.inputs.clone_from(&inputs);
    let made = graph.add_value(format!("b{index}out"), ValueType::Any);
    graph.add_node(Node {
        op: OpId::new("test", format!("Body{index}")),
        inputs: inputs.into_iter().map(Some).collect(),
        outputs: vec![Some(made)],
        slot: Some("component0".into()),
        place: Some(class.into()),
        span: span.clone(),
        ..Node::default()
    });
    graph.outputs.push(NamedValue { name: "0".into(), value: made });
    graph
}

fn each(index: usize, _: usize, class: &str, captured: Option<ValueId>, span: &Span) -> Graph {
    let mut graph = Graph::default();
    let peer = graph.add_value(format!("e{index}peer"), ValueType::Peer);
    let result = graph.add_value(format!("e{index}result"), ValueType::Any);
    graph.inputs = vec![peer, result];
    let mut inputs = vec![Some(peer), Some(result)];
    if let Some(outer) = captured {
        let inner = graph.add_value(format!("e{index}captured"), ValueType::Any);
        graph.captures.push(bb_ir::program::Capture { outer, inner });
        inputs.push(Some(inner));
    }
    graph.add_node(Node {
        op: OpId::new("test", format!("Each{index}")),
        inputs,
        slot: Some("component1".into()),
        place: Some(class.into()),
        span: span.clone(),
        ..Node::default()
    });
    graph
}

/// Op names and how often each is there, nested graphs included.
fn ops(graphs: &[&Graph]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut open: Vec<&Graph> = graphs.to_vec();
    while let Some(graph) = open.pop() {
        for node in &graph.nodes {
            open.extend(node.attributes.values().filter_map(Attribute::as_graph));
            let wired = matches!(node.op.domain().as_str(), domains::WIRE | domains::BACKEND);
            if !wired {
                *counts.entry(node.op.to_string()).or_insert(0) += 1;
            }
        }
    }
    counts
}

fn lower(recipes: &[Recipe], passes: &[&str]) -> Program {
    let mut program = program(recipes);
    let compiler = Compiler::new();
    for pass in passes {
        run_pass(pass, &mut program, compiler.context())
            .unwrap_or_else(|error| panic!("{pass}: {error}\n{program}"));
    }
    program
}

const TO_PARTITION: [&str; 5] = ["verify", "inline", "place", "partition", "pair_wires"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partition_keeps_every_op_exactly_once(recipes in prop::collection::vec(recipe(), 0..40)) {
        let before = program(&recipes);
        let after = lower(&recipes, &TO_PARTITION);
        let regions: Vec<&Graph> =
            after.targets.iter().flat_map(|target| target.regions.iter().map(|region| &region.graph)).collect();
        prop_assert_eq!(ops(&[&before.modules[0].body]), ops(&regions));
        for target in &after.targets {
            for node in target.regions.iter().flat_map(|region| &region.graph.nodes) {
                prop_assert_eq!(node.place.as_deref(), Some(target.class.as_str()));
            }
        }
    }

    #[test]
    fn fuse_keeps_every_op_and_makes_no_circle(recipes in prop::collection::vec(recipe(), 0..40)) {
        let before = lower(&recipes, &TO_PARTITION);
        // The pass is verified: a circle would leave a node that reads what comes later.
        let mut passes = TO_PARTITION.to_vec();
        passes.push("fuse");
        let after = lower(&recipes, &passes);
        let regions = |program: &Program| -> Vec<Graph> {
            program.targets.iter().flat_map(|target| target.regions.iter().map(|region| region.graph.clone())).collect()
        };
        let (before, after) = (regions(&before), regions(&after));
        for (before, after) in before.iter().zip(&after) {
            prop_assert_eq!(ops(&[before]), ops(&[after]));
            let waits = reachable(after);
            for (op, needed) in reachable(before) {
                prop_assert!(needed.iter().all(|other| waits[&op].contains(other)), "{} no longer waits", op);
            }
        }
        for node in after.iter().flat_map(|graph| &graph.nodes) {
            prop_assert!(!node.op.domain().is_onnx(), "a tensor op on its own");
        }
    }

    #[test]
    fn the_same_program_gives_the_same_result(recipes in prop::collection::vec(recipe(), 0..20)) {
        let mut passes = TO_PARTITION.to_vec();
        passes.extend(["fuse", "deadlines", "link"]);
        prop_assert_eq!(lower(&recipes, &passes), lower(&recipes, &passes));
    }

    #[test]
    fn the_text_form_loses_nothing_but_numbers(recipes in prop::collection::vec(recipe(), 0..20)) {
        let program = lower(&recipes, &TO_PARTITION);
        let text = format!("{program:#}");
        let mut read = support::parse::program(text.split("\npasses").next().unwrap_or_default());
        read.passes.clone_from(&program.passes);
        prop_assert_eq!(format!("{read:#}"), text);
    }
}

/// For each component method, by name, which others it waits for.
fn reachable(graph: &Graph) -> BTreeMap<String, Vec<String>> {
    let mut makers: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut before: Vec<std::collections::BTreeSet<String>> = Vec::new();
    let mut all = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let mut waits = std::collections::BTreeSet::new();
        let read = node.inputs.iter().flatten().filter_map(|value| makers.get(value).copied());
        for maker in read.chain(node.after.iter().map(|before| before.0 as usize)).collect::<Vec<_>>() {
            waits.extend(before[maker].iter().cloned());
            if graph.nodes[maker].op.domain().as_str() == "test" {
                waits.insert(graph.nodes[maker].op.to_string());
            }
        }
        for output in node.outputs.iter().flatten() {
            makers.insert(*output, index);
        }
        if node.op.domain().as_str() == "test" {
            all.insert(node.op.to_string(), waits.iter().cloned().collect());
        }
        before.push(waits);
    }
    all
}
