//! Sequences and optional values inside graphs of tensors: what they hold, what is refused, and what they may cost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, NodeProto, TypeProto, ValueInfoProto, type_proto, type_proto::Value as Type,
};
use bb_runtime::{Backend, BackendError, BackendGraph, Component, DataType, Executable, Tensor};
use common::{graph, node, prepare, single, with_constants, with_int};

const OPSET: i64 = 22;

fn run(graph: &BackendGraph, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
    let mut ready = prepare(graph)?;
    let first = ready.run(inputs)?;
    assert_eq!(first, ready.run(inputs)?, "a second run gives the same");
    Ok(first.into_vec())
}

fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..Default::default() }
}

/// A graph to stand inside of a node.
fn inner(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> GraphProto {
    GraphProto {
        node: nodes,
        input: inputs.iter().map(|name| named(name)).collect(),
        output: outputs.iter().map(|name| named(name)).collect(),
        ..Default::default()
    }
}

fn with_graph(mut node: NodeProto, name: &str, graph: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto { name: Some(name.to_owned()), g: Some(graph), ..Default::default() });
    node
}

fn of_type(elem_type: DataType) -> TypeProto {
    let tensor = type_proto::Tensor { elem_type: Some(elem_type.to_onnx()), shape: None };
    TypeProto { value: Some(Type::TensorType(tensor)), ..Default::default() }
}

/// An optional value of this type that is absent.
fn absent(output: &str, ty: TypeProto) -> NodeProto {
    let mut node = node("Optional", &[], &[output]);
    node.attribute.push(AttributeProto { name: Some("type".to_owned()), tp: Some(ty), ..Default::default() });
    node
}

fn sequence_of(elem_type: TypeProto) -> TypeProto {
    let sequence = type_proto::Sequence { elem_type: Some(Box::new(elem_type)) };
    TypeProto { value: Some(Type::SequenceType(Box::new(sequence))), ..Default::default() }
}

/// Numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % most.max(1) as u64) as usize
    }
}

#[test]
fn random_programs_of_sequences_hold_what_lists_hold() {
    for seed in 0..300_u64 {
        let mut chance = Chance(seed);
        let tensor = |at: usize| single(&[1 + at % 3, 2], at);
        let (mut nodes, mut constants) = (Vec::new(), Vec::<(String, Tensor)>::new());
        // Every sequence so far, with what it holds: older ones are read on beside their changed copies.
        let mut held: Vec<(String, Vec<usize>)> = vec![("s".to_owned(), Vec::new())];
        nodes.push(node("SequenceEmpty", &[], &["s"]));
        let mut fails = false;
        for step in 0..1 + chance.below(12) {
            let (from, mut list) = held[chance.below(held.len())].clone();
            let (to, tensor_name, place) = (format!("s{step}"), format!("t{step}"), format!("p{step}"));
            let count = list.len();
            // Now and then a position outside.
            let most = count + usize::from(chance.below(20) == 0);
            let position = chance.below(2 * most + 1) as i64 - most as i64;
            constants.push((place.clone(), Tensor::scalar(position)));
            let at = if position < 0 { position + count as i64 } else { position };
            let made = match chance.below(6) {
                0 => {
                    fails |= !(0..count as i64).contains(&at);
                    (!fails).then(|| list.remove(at as usize));
                    node("SequenceErase", &[&from, &place], &[&to])
                }
                1 => {
                    fails |= list.pop().is_none();
                    node("SequenceErase", &[&from], &[&to])
                }
                2 => {
                    list.push(step);
                    node("SequenceInsert", &[&from, &tensor_name], &[&to])
                }
                _ => {
                    fails |= !(0..=count as i64).contains(&at);
                    (!fails).then(|| list.insert(at as usize, step));
                    node("SequenceInsert", &[&from, &tensor_name, &place], &[&to])
                }
            };
            constants.push((tensor_name, tensor(step)));
            nodes.push(made);
            held.push((to, list));
            if fails {
                break;
            }
        }
        let mut outputs = Vec::new();
        let mut wanted = Vec::new();
        for (name, list) in &held {
            let length = format!("{name}/length");
            nodes.push(node("SequenceLength", &[name], &[&length]));
            outputs.push(length);
            wanted.push(Tensor::scalar(list.len() as i64));
            for (at, &of) in list.iter().enumerate() {
                let (place, element) = (format!("{name}/place{at}"), format!("{name}/{at}"));
                let back = at as i64 - list.len() as i64;
                constants.push((
                    place.clone(),
                    Tensor::scalar(if chance.below(2) == 0 { back } else { at as i64 }),
                ));
                nodes.push(node("SequenceAt", &[name, &place], &[&element]));
                outputs.push(element);
                wanted.push(tensor(of));
            }
        }
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let constants: Vec<(&str, Tensor)> =
            constants.iter().map(|(name, held)| (name.as_str(), held.clone())).collect();
        let got = run(&with_constants(graph(nodes, &[], &outputs, OPSET), &constants), &[]);
        match got {
            Err(BackendError::Shape { .. }) if fails => {}
            got => assert_eq!(got.unwrap(), wanted, "seed {seed}"),
        }
    }
}

#[test]
fn what_is_split_is_whole_again_when_it_is_concatenated() {
    for seed in 0..200_u64 {
        let mut chance = Chance(seed);
        let rank = 1 + chance.below(4);
        let extents: Vec<usize> = (0..rank).map(|_| 1 + chance.below(5)).collect();
        let axis = chance.below(rank) as i64 - if chance.below(2) == 0 { 0 } else { rank as i64 };
        let extent = extents[axis.rem_euclid(rank as i64) as usize];
        let (mut lengths, mut left) = (Vec::new(), extent);
        while left > 0 {
            lengths.push(chance.below(left + 1) as i64);
            left -= lengths.last().copied().unwrap_or(0) as usize;
        }
        let form = chance.below(4);
        let split = match form {
            0 => None,
            1 => Some(Tensor::scalar(1 + chance.below(extent) as i64)),
            _ => Some(Tensor::from_slice([lengths.len()], &lengths).unwrap()),
        };
        let inputs: &[&str] = if split.is_some() { &["x", "split"] } else { &["x"] };
        let stacked = form == 0 && chance.below(2) == 0;
        let apart = with_int(node("SplitToSequence", inputs, &["s"]), "axis", axis);
        let apart = with_int(apart, "keepdims", i64::from(!stacked));
        let again = with_int(node("ConcatFromSequence", &["s"], &["y"]), "axis", axis);
        let again = with_int(again, "new_axis", i64::from(stacked));
        let made = graph(vec![apart, again], inputs, &["y"], OPSET);
        let x = single(&extents, seed as usize);
        let given: Vec<Tensor> = [x.clone()].into_iter().chain(split).collect();
        assert_eq!(run(&made, &given).unwrap(), [x], "seed {seed}");
    }
}

#[test]
fn an_empty_sequence_has_a_length_and_no_element() {
    let empty = || node("SequenceEmpty", &[], &["s"]);
    let length = graph(vec![empty(), node("SequenceLength", &["s"], &["n"])], &[], &["n"], OPSET);
    assert_eq!(run(&length, &[]).unwrap(), [Tensor::scalar(0_i64)]);
    let readers = [
        node("SequenceAt", &["s", "p"], &["y"]),
        with_int(node("ConcatFromSequence", &["s"], &["y"]), "axis", 0),
        node("SequenceErase", &["s"], &["t"]),
    ];
    for reader in readers {
        let op = reader.op_type().to_owned();
        let nodes = vec![empty(), reader, node("SequenceLength", &["t"], &["y"])];
        let nodes = if op == "SequenceErase" { nodes } else { nodes[..2].to_vec() };
        let error = run(&graph(nodes, &["p"], &["y"], OPSET), &[Tensor::scalar(0_i64)]).unwrap_err();
        assert!(matches!(&error, BackendError::Shape { op: at, .. } if at.name() == op), "{error}");
    }
}

#[test]
fn an_element_of_another_type_is_refused_as_soon_as_its_type_is_known() {
    let nodes = vec![
        node("SequenceConstruct", &["x", "x"], &["s"]),
        node("SequenceInsert", &["s", "y"], &["t"]),
        node("SequenceLength", &["t"], &["n"]),
    ];
    let made = graph(nodes, &["x", "y"], &["n"], OPSET);
    let whole = Tensor::scalar(1_i64);
    let is_refused = |error: &BackendError| matches!(error, BackendError::Type { op, dtype: DataType::I64, .. } if op.name() == "SequenceInsert");
    let late = run(&made, &[single(&[2], 0), whole]).unwrap_err();
    assert!(is_refused(&late), "{late}");
    let mut typed = made.graph().clone();
    typed.input[0].r#type = Some(of_type(DataType::F32));
    typed.input[1].r#type = Some(of_type(DataType::I64));
    let opset = bb_runtime::onnx::OperatorSetIdProto { domain: None, version: Some(OPSET) };
    let early = prepare(&BackendGraph::new(typed, &[opset])).err().unwrap();
    assert!(is_refused(&early), "{early}");
}

#[test]
fn a_sequence_where_a_tensor_belongs_is_refused_with_the_op_before_a_run() {
    let make = || node("SequenceConstruct", &["x"], &["s"]);
    let body = |made: &str| {
        let nodes = vec![
            node("Identity", &["on"], &["go"]),
            node("SequenceAt", &["held", "i"], &["e"]),
            node("Identity", &["held"], &["f"]),
        ];
        inner(nodes, &["i", "on", "held"], &["go", made])
    };
    let wrong = [
        node("Add", &["s", "x"], &["y"]),
        node("Shape", &["s"], &["y"]),
        node("SequenceAt", &["x", "x"], &["y"]),
        node("SequenceInsert", &["s", "s"], &["y"]),
        node("Scan", &["s"], &["y"]),
        with_graph(node("Loop", &["", "", "s"], &["y"]), "body", body("e")),
        with_graph(node("Loop", &["", "s", "s"], &["y"]), "body", body("f")),
    ];
    for reader in wrong {
        let op = reader.op_type().to_owned();
        let error = prepare(&graph(vec![make(), reader], &["x"], &["y"], OPSET)).err().unwrap();
        assert!(
            matches!(&error, BackendError::Unsupported { op: at, .. } if at.name().starts_with(&op)),
            "{error}"
        );
    }
}

#[test]
fn a_graph_takes_and_gives_tensors_alone() {
    let made = graph(vec![node("SequenceConstruct", &["x"], &["s"])], &["x"], &["s"], OPSET);
    let error = prepare(&made).err().unwrap();
    assert!(matches!(&error, BackendError::Graph { reason } if reason.contains("`s`")), "{error}");
    let mut taking =
        graph(vec![node("SequenceLength", &["s"], &["n"])], &["s"], &["n"], OPSET).graph().clone();
    taking.input[0].r#type = Some(sequence_of(of_type(DataType::F32)));
    let opset = bb_runtime::onnx::OperatorSetIdProto { domain: None, version: Some(OPSET) };
    let error = prepare(&BackendGraph::new(taking, &[opset])).err().unwrap();
    assert!(matches!(&error, BackendError::Graph { reason } if reason.contains("`s`")), "{error}");
}

/// Inserts `x` as often as input `n` says, and gives how many there are and all of them stacked.
fn growing() -> BackendGraph {
    let nodes = vec![node("Identity", &["on"], &["go"]), node("SequenceInsert", &["held", "x"], &["longer"])];
    let body = inner(nodes, &["i", "on", "held"], &["go", "longer"]);
    let nodes = vec![
        node("SequenceEmpty", &[], &["s"]),
        with_graph(node("Loop", &["n", "", "s"], &["all"]), "body", body),
        node("SequenceLength", &["all"], &["count"]),
        with_int(with_int(node("ConcatFromSequence", &["all"], &["y"]), "axis", 0), "new_axis", 1),
    ];
    graph(nodes, &["n", "x"], &["count", "y"], OPSET)
}

fn limited(graph: &BackendGraph, memory_limit: usize) -> Box<dyn Executable> {
    let config = CpuConfig { memory_limit, ..CpuConfig::default() };
    CpuBackend::new(&config).unwrap().prepare(graph).unwrap()
}

#[test]
fn a_sequence_that_grows_in_a_loop_holds_no_more_than_the_limit_even_of_nothing() {
    let (nothing, row) = (Tensor::zeros(DataType::F32, [0]).unwrap(), single(&[64], 3));
    for x in [nothing, row] {
        let mut ready = limited(&growing(), 1 << 20);
        for _ in 0..3 {
            let outputs = ready.run(&[Tensor::scalar(100_i64), x.clone()]).unwrap();
            assert_eq!(outputs[0], Tensor::scalar(100_i64));
            assert_eq!(outputs[1].shape().to_vec(), [100, x.element_count()]);
            let error = ready.run(&[Tensor::scalar(i64::MAX), x.clone()]).unwrap_err();
            assert!(matches!(error, BackendError::Memory { .. }), "{error}");
        }
    }
}

#[test]
fn run_after_run_nothing_is_left_of_the_sequences_before() {
    // What one run holds fits, what two runs held would not.
    let x = single(&[1000], 1);
    let mut ready = limited(&growing(), 1 << 20);
    for _ in 0..50 {
        let outputs = ready.run(&[Tensor::scalar(100_i64), x.clone()]).unwrap();
        assert_eq!(outputs[1].shape().to_vec(), [100, 1000]);
        assert_eq!(outputs[1].as_slice::<f32>().unwrap()[99_000..], *x.as_slice::<f32>().unwrap());
    }
}

#[test]
fn what_a_loop_takes_out_of_a_sequence_is_counted_no_longer() {
    let nodes = vec![
        node("Identity", &["on"], &["go"]),
        node("SequenceInsert", &["held", "x"], &["longer"]),
        node("Identity", &["longer"], &["same"]),
        node("SequenceErase", &["longer", "first"], &["shorter"]),
        node("SequenceAt", &["same", "last"], &["x2"]),
        node("SequenceConstruct", &["x2", "x"], &["other"]),
        node("SequenceLength", &["other"], &["two"]),
    ];
    let body = inner(nodes, &["i", "on", "held"], &["go", "shorter", "two"]);
    let nodes = vec![
        node("SequenceConstruct", &["x", "x"], &["s"]),
        with_graph(node("Loop", &["n", "", "s"], &["all", "twos"]), "body", body),
        node("SequenceLength", &["all"], &["count"]),
    ];
    let constants = [("first", Tensor::scalar(0_i64)), ("last", Tensor::scalar(-1_i64))];
    let made = with_constants(graph(nodes, &["n", "x"], &["count", "twos"], OPSET), &constants);
    let mut ready = limited(&made, 1 << 20);
    // Each iteration puts 4 kB in and takes as much out: 12 MB in all, of which little may be held at a time.
    let outputs = ready.run(&[Tensor::scalar(3000_i64), single(&[1000], 1)]).unwrap();
    assert_eq!(outputs[0], Tensor::scalar(2_i64));
    assert_eq!(outputs[1], Tensor::from_slice([3000], &[2_i64; 3000]).unwrap());
}

#[test]
fn a_map_calls_its_graph_for_each_element_and_reads_what_is_around_it() {
    let body = inner(
        vec![node("Mul", &["e", "other"], &["p"]), node("Add", &["p", "bias"], &["q"])],
        &["e", "other"],
        &["q"],
    );
    let nodes = |second: &'static str| {
        vec![
            node("SequenceConstruct", &["a", "b"], &["s"]),
            node("SequenceConstruct", &["b", "a", "a"], &["three"]),
            node("SequenceConstruct", &["b", "a"], &["two"]),
            with_graph(node("SequenceMap", &["s", second], &["m"]), "body", body.clone()),
            with_int(node("ConcatFromSequence", &["m"], &["y"]), "axis", 0),
        ]
    };
    let vector = |numbers: &[f32]| Tensor::from_slice([numbers.len()], numbers).unwrap();
    let inputs = [vector(&[1.0, 2.0]), vector(&[3.0]), vector(&[10.0]), vector(&[2.0])];
    let made = |second| graph(nodes(second), &["a", "b", "bias", "t"], &["y"], OPSET);
    assert_eq!(run(&made("t"), &inputs).unwrap(), [vector(&[12.0, 14.0, 16.0])]);
    assert_eq!(run(&made("two"), &inputs).unwrap(), [vector(&[13.0, 16.0, 13.0, 16.0])]);
    let error = run(&made("three"), &inputs).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { op, .. } if op.name() == "SequenceMap"), "{error}");
}

#[test]
fn a_map_of_no_element_gives_an_empty_sequence_of_the_type_that_its_graph_declares() {
    let mut body = inner(vec![node("Shape", &["e"], &["n"])], &["e"], &["n"]);
    body.output[0].r#type = Some(of_type(DataType::I64));
    let nodes = vec![
        node("SequenceEmpty", &[], &["s"]),
        with_graph(node("SequenceMap", &["s"], &["m"]), "body", body),
        node("SequenceInsert", &["m", "x"], &["t"]),
        with_int(node("ConcatFromSequence", &["t"], &["y"]), "axis", 0),
    ];
    let made = graph(nodes, &["x"], &["y"], OPSET);
    let whole = Tensor::from_slice([2], &[4_i64, 5]).unwrap();
    assert_eq!(run(&made, std::slice::from_ref(&whole)).unwrap(), [whole]);
    assert!(matches!(run(&made, &[single(&[2], 0)]).unwrap_err(), BackendError::Type { .. }));
}

#[test]
fn branches_choose_between_values_that_may_be_absent() {
    let there =
        inner(vec![node("SequenceConstruct", &["x"], &["s"]), node("Optional", &["s"], &["o"])], &[], &["o"]);
    let not_there = inner(vec![absent("o", sequence_of(of_type(DataType::F32)))], &[], &["o"]);
    let choice = with_graph(node("If", &["on"], &["v"]), "then_branch", there);
    let choice = with_graph(choice, "else_branch", not_there);
    let has = graph(
        vec![choice.clone(), node("OptionalHasElement", &["v"], &["has"])],
        &["on", "x"],
        &["has"],
        OPSET,
    );
    let nodes =
        vec![choice, node("OptionalGetElement", &["v"], &["s"]), node("SequenceAt", &["s", "p"], &["y"])];
    let element =
        with_constants(graph(nodes, &["on", "x", "p"], &["y"], OPSET), &[("p", Tensor::scalar(-1_i64))]);
    let flag = |on: bool| {
        let mut flag = Tensor::zeros(DataType::Bool, []).unwrap();
        flag.buffer_mut().make_mut().fill(u8::from(on));
        flag
    };
    let x = single(&[3], 1);
    for on in [true, false] {
        let got = run(&has, &[flag(on), x.clone()]).unwrap();
        assert_eq!(got[0].as_bytes(), [u8::from(on)]);
    }
    assert_eq!(run(&element, &[flag(true), x.clone()]).unwrap(), std::slice::from_ref(&x));
    let error = run(&element, &[flag(false), x]).unwrap_err();
    assert!(matches!(&error, BackendError::Shape { op, .. } if op.name() == "OptionalGetElement"), "{error}");
}

#[test]
fn an_optional_tensor_is_that_tensor_or_an_error() {
    let held = vec![node("Optional", &["x"], &["o"]), node("OptionalGetElement", &["o"], &["y"])];
    let x = single(&[2, 2], 5);
    assert_eq!(
        run(&graph(held, &["x"], &["y"], OPSET), std::slice::from_ref(&x)).unwrap(),
        std::slice::from_ref(&x)
    );
    let none = vec![absent("o", of_type(DataType::F32)), node("OptionalGetElement", &["o"], &["y"])];
    assert!(matches!(run(&graph(none, &[], &["y"], OPSET), &[]).unwrap_err(), BackendError::Shape { .. }));
}
