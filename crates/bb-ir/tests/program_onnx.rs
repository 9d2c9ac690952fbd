//! Programs as ONNX models: lossless, canonical, and hostile models refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use bb_ir::onnx::ModelProto;
use bb_ir::program::{
    Attribute, Binding, Capture, Graph, MAX_GRAPH_DEPTH, Module, NamedValue, Node, NodeId, OpId, Program,
    ProgramError, Region, RegionKind, Role, Span, Target, ValueId, domains,
};
use bb_ir::{DataType, Dim, ValueType};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;

fn value_type() -> impl Strategy<Value = ValueType> {
    let dim =
        prop_oneof![(0..9_usize).prop_map(Dim::Known), "[A-Z]{0,2}".prop_map(Dim::Named), Just(Dim::Any),];
    let dtype = proptest::option::of(proptest::sample::select(DataType::ALL.to_vec()));
    let simple = [
        ValueType::Any,
        ValueType::Trigger,
        ValueType::Bool,
        ValueType::I64,
        ValueType::U64,
        ValueType::F64,
        ValueType::Str,
        ValueType::Bytes,
        ValueType::Tensors,
        ValueType::Peer,
        ValueType::Peers,
        ValueType::Addresses,
    ];
    let leaf = prop_oneof![
        proptest::sample::select(simple.to_vec()),
        (dtype, proptest::option::of(vec(dim, 0..3)))
            .prop_map(|(dtype, shape)| ValueType::Tensor { dtype, shape }),
        common::text().prop_map(ValueType::Custom),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| vec(inner, 0..3).prop_map(ValueType::Tuple))
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<i64>().prop_map(Attribute::Int),
        (-1e9_f32..1e9).prop_map(Attribute::Float),
        common::text().prop_map(Attribute::Str),
        vec(any::<i64>(), 0..4).prop_map(Attribute::Ints),
        vec(-1e9_f32..1e9, 0..4).prop_map(Attribute::Floats),
        vec(common::text(), 0..3).prop_map(Attribute::Strs),
        common::tensor().prop_map(Attribute::Tensor),
        common::value().prop_map(Attribute::Value),
    ]
}

/// What a graph is made of; indices are taken modulo what there is.
#[derive(Clone, Debug)]
struct Draft {
    inputs: Vec<ValueType>,
    nodes: Vec<DraftNode>,
    outputs: Vec<(bool, u8)>,
    /// Adds values that nothing makes, and puts the values in another order.
    shuffled: bool,
}

#[derive(Clone, Debug)]
struct DraftNode {
    inputs: Vec<Option<u8>>,
    outputs: Vec<Option<ValueType>>,
    attributes: BTreeMap<String, Attribute>,
    place: Option<String>,
    slot: Option<String>,
    uses: Vec<String>,
    after: Vec<u8>,
    nested: Option<(Vec<u8>, Box<Draft>)>,
}

fn draft() -> impl Strategy<Value = Draft> {
    draft_of(draft_of(Just(None).boxed()).prop_map(Some).boxed())
}

fn draft_of(nested: BoxedStrategy<Option<Draft>>) -> BoxedStrategy<Draft> {
    let nested = (vec(any::<u8>(), 0..4), nested)
        .prop_map(|(captures, draft)| draft.map(|draft| (captures, Box::new(draft))));
    let node = (
        (
            vec(proptest::option::weighted(0.8, any::<u8>()), 0..4),
            vec(proptest::option::weighted(0.8, value_type()), 0..3),
        ),
        btree_map("[a-z]{1,5}", attribute(), 0..3),
        (proptest::option::of("[a-z.]{0,5}"), proptest::option::of("[a-z]{0,5}"), vec("[a-z]{0,4}", 0..3)),
        vec(any::<u8>(), 0..3),
        nested,
    );
    let node = node.prop_map(|((inputs, outputs), attributes, (place, slot, uses), after, nested)| {
        DraftNode { inputs, outputs, attributes, place, slot, uses, after, nested }
    });
    (vec(value_type(), 0..3), vec(node, 0..5), vec(any::<(bool, u8)>(), 0..3), any::<bool>())
        .prop_map(|(inputs, nodes, outputs, shuffled)| Draft { inputs, nodes, outputs, shuffled })
        .boxed()
}

fn pick(from: &[ValueId], index: u8) -> Option<ValueId> {
    from.get(usize::from(index) % from.len().max(1)).copied()
}

fn build(draft: &Draft, path: &str, captures: &[ValueId], outer: Option<&Graph>) -> Graph {
    let mut graph = Graph { name: format!("graph {path}"), ..Graph::default() };
    let mut made = Vec::new();
    let name = |graph: &Graph| format!("{path}v{}", graph.values.len());
    for ty in &draft.inputs {
        let id = graph.add_value(name(&graph), ty.clone());
        graph.inputs.push(id);
        made.push(id);
    }
    for &outside in captures {
        let ty = outer.map(|outer| outer.value(outside).ty.clone()).unwrap_or_default();
        let inner = graph.add_value(name(&graph), ty);
        graph.captures.push(Capture { outer: outside, inner });
        made.push(inner);
    }
    for (index, draft) in draft.nodes.iter().enumerate() {
        let mut attributes = draft.attributes.clone();
        if let Some((captured, nested)) = &draft.nested {
            let captured: Vec<ValueId> = captured.iter().filter_map(|index| pick(&made, *index)).collect();
            let nested = build(nested, &format!("{path}{index}/"), &captured, Some(&graph));
            attributes.insert("nested".to_owned(), Attribute::Graph(nested));
        }
        let after: std::collections::BTreeSet<u32> =
            draft.after.iter().filter(|_| index > 0).map(|after| u32::from(*after) % index as u32).collect();
        let inputs = draft.inputs.iter().map(|input| input.and_then(|input| pick(&made, input))).collect();
        let mut outputs = Vec::new();
        for ty in &draft.outputs {
            outputs.push(ty.clone().map(|ty| graph.add_value(name(&graph), ty)));
        }
        made.extend(outputs.iter().flatten());
        graph.add_node(Node {
            op: OpId::new(if index % 2 == 0 { "" } else { domains::SYSCALL }, format!("Op{index}")),
            inputs,
            outputs,
            attributes,
            place: draft.place.clone(),
            slot: draft.slot.clone(),
            uses: draft.uses.clone(),
            after: after.into_iter().map(NodeId).collect(),
            span: if index % 3 == 0 { Span::default() } else { Span::of(std::panic::Location::caller()) },
        });
    }
    for (index, (own_name, value)) in draft.outputs.iter().enumerate() {
        let Some(value) = pick(&made, *value) else { continue };
        let own = graph.value(value).name.clone();
        let taken = graph.outputs.iter().any(|output| output.name == own);
        let name = if *own_name && !taken { own } else { format!("out {index}") };
        graph.outputs.push(NamedValue { name, value });
    }
    if draft.shuffled {
        shuffle(&mut graph);
    }
    graph
}

/// Puts the values in reverse order, after one that nothing makes.
fn shuffle(graph: &mut Graph) {
    graph.add_value("", ValueType::Tuple(vec![ValueType::Peer]));
    graph.values.reverse();
    let last = graph.values.len() as u32 - 1;
    let turn = |id: &mut ValueId| id.0 = last - id.0;
    graph.inputs.iter_mut().for_each(turn);
    graph.captures.iter_mut().for_each(|capture| turn(&mut capture.inner));
    graph.outputs.iter_mut().for_each(|output| turn(&mut output.value));
    for node in &mut graph.nodes {
        node.inputs.iter_mut().flatten().for_each(turn);
        node.outputs.iter_mut().flatten().for_each(turn);
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(nested) = attribute {
                nested.captures.iter_mut().for_each(|capture| turn(&mut capture.outer));
            }
        }
    }
}

fn program() -> impl Strategy<Value = Program> {
    let kind = proptest::sample::select(RegionKind::ALL.to_vec());
    let modules = vec((draft(), proptest::option::of(draft())), 0..3);
    let targets = vec(("[a-z.]{0,4}", vec((kind, draft()), 0..3)), 0..3);
    let role = proptest::option::of(proptest::sample::select(Role::ALL.to_vec()));
    let binding = (common::text(), role, btree_map("[a-z]{1,3}", "[a-z]{1,3}", 0..2))
        .prop_map(|(type_name, role, dependencies)| Binding { type_name, role, dependencies });
    let bindings = btree_map("[a-z.]{0,5}", binding, 0..3);
    (common::text(), modules, targets, bindings, vec(common::text(), 0..3), any::<i64>()).prop_map(
        |(name, modules, targets, bindings, passes, opset)| Program {
            name,
            modules: modules
                .iter()
                .enumerate()
                .map(|(index, (body, bootstrap))| Module {
                    name: format!("Module {index}"),
                    body: build(body, "", &[], None),
                    bootstrap: bootstrap.as_ref().map(|draft| build(draft, "", &[], None)),
                })
                .collect(),
            targets: targets
                .into_iter()
                .enumerate()
                .map(|(index, (class, regions))| Target {
                    name: format!("Target.{index}"),
                    class,
                    regions: regions
                        .iter()
                        .map(|(kind, draft)| Region { kind: *kind, graph: build(draft, "", &[], None) })
                        .collect(),
                })
                .collect(),
            bindings,
            passes,
            opset,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_program_comes_back_as_it_was(program in program()) {
        prop_assert_eq!(program.verify(), Ok(()));
        let model = program.to_onnx();
        let bytes = model.encode_to_vec();
        let back = Program::from_onnx_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &program);
        prop_assert_eq!(back.to_onnx(), model);
    }

    #[test]
    fn a_damaged_model_is_refused_or_is_a_sound_program(
        program in program(),
        edits in vec(any::<(u8, u16, u8)>(), 1..6),
    ) {
        let mut bytes = program.to_onnx().encode_to_vec();
        common::mutate(&mut bytes, &edits);
        if let Ok(read) = Program::from_onnx_bytes(&bytes) {
            prop_assert_eq!(read.verify(), Ok(()));
            prop_assert_eq!(Program::from_onnx(&read.to_onnx()).unwrap(), read);
        }
    }
}

fn with_body(body: Graph) -> Program {
    let module = Module { name: "M".into(), body, bootstrap: None };
    Program { name: "M".into(), modules: vec![module], opset: 21, ..Program::default() }
}

#[test]
fn a_captured_value_has_the_name_that_it_has_outside() {
    let mut graph = Graph::default();
    let x = graph.add_value("x", ValueType::Any);
    graph.inputs.push(x);
    let mut inner = Graph::default();
    let seen = inner.add_value("seen", ValueType::Any);
    inner.captures.push(Capture { outer: x, inner: seen });
    inner.outputs.push(NamedValue { name: "0".into(), value: seen });
    graph
        .add_node(Node { attributes: [("g".to_owned(), Attribute::Graph(inner))].into(), ..Node::default() });
    let program = with_body(graph);
    let model = program.to_onnx();
    let nested = model.functions[0].node[0].attribute[0].g.as_ref().unwrap();
    assert_eq!(nested.output[0].name(), "x");
    assert_eq!(Program::from_onnx(&model), Ok(program));
}

#[test]
fn a_model_of_another_tool_is_no_program() {
    assert_eq!(Program::from_onnx(&ModelProto::default()), Err(ProgramError::NotProgram));
    assert!(matches!(Program::from_onnx_bytes(&[0xff; 9]), Err(ProgramError::NotProtobuf { .. })));
}

#[test]
fn graphs_nested_too_deep_are_refused() {
    let wrap = |graph| {
        let mut outer = Graph::default();
        let attributes = [("g".to_owned(), Attribute::Graph(graph))].into();
        outer.add_node(Node { attributes, ..Node::default() });
        outer
    };
    let deepest = (0..MAX_GRAPH_DEPTH).fold(Graph::default(), |graph, _| wrap(graph));
    let program = with_body(deepest.clone());
    assert_eq!(Program::from_onnx(&program.to_onnx()), Ok(program));
    let error = Program::from_onnx(&with_body(wrap(deepest)).to_onnx()).unwrap_err();
    assert_eq!(error, ProgramError::TooDeep { function: "M".into(), limit: MAX_GRAPH_DEPTH });
}

#[test]
fn a_program_that_breaks_a_rule_is_refused() {
    let mut graph = Graph::default();
    let x = graph.add_value("x", ValueType::Any);
    graph.inputs.push(x);
    graph.add_node(Node { after: vec![NodeId(0)], ..Node::default() });
    let error = Program::from_onnx(&with_body(graph).to_onnx()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program is not well-formed: in `M`, node 0: it runs after node 0, which does not come before it"
    );
}
