//! Cases with one change each: an attribute of another number, an input less, inputs of other shapes.
//!
//! A changed case may be refused. What is not refused must run again as it ran, and its gradients must be as finite
//! differences are, as far as differences tell. Begin with [`changes`]; [`Change::apply`] makes a case of one, [`check`]
//! looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::type_proto::Value as TypeValue;
use bb_runtime::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use bb_runtime::{Backend, BackendGraph, DataType, Shape, Tensor};
use prost::Message;

use crate::archive::Case;
use crate::gradients::{self, Outcome};
use crate::wide;

/// Numbers that attributes and integers of inputs are replaced by.
const NUMBERS: [i64; 13] =
    [0, -1, 1, 2, 3, 7, -7, 1 << 20, (1 << 31) - 1, 1 << 33, (1 << 62) - 1, i64::MAX, i64::MIN];

/// Numbers that attributes of floats are replaced by.
const FLOATS: [f32; 7] = [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 0.5, 2.0];

/// What gradients and differences may differ by: changed cases may be steep, and a mistake is far beyond it.
const TOLERANCE: f64 = 1e-3;

/// Cases of one op, of models with one node.
const CASES_AN_OP: usize = 8;

/// Models of several nodes.
const SEVERAL: usize = 60;

/// Bytes of a model, and elements of its inputs: what is larger takes long and shows no more.
const LARGEST: (usize, usize) = (1 << 13, 1 << 11);

/// One change of a case.
#[derive(Clone, Debug)]
pub struct Change {
    case: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// In place of the one of its name, if a node has it.
    Attribute {
        node: usize,
        attribute: Box<AttributeProto>,
    },
    Dims {
        input: usize,
        dims: Vec<usize>,
    },
    Fill {
        input: usize,
        number: i64,
    },
    FewerInputs {
        node: usize,
        left: usize,
    },
    FewerOutputs {
        node: usize,
    },
    Input {
        node: usize,
        place: usize,
        name: String,
    },
    MoreOutputs {
        node: usize,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute { node, attribute } => {
                write!(f, "node {node}, {} = ", attribute.name())?;
                match attribute.r#type() {
                    AttributeType::Int => write!(f, "{}", attribute.i()),
                    AttributeType::Float => write!(f, "{}", attribute.f()),
                    AttributeType::Ints => write!(f, "{:?}", attribute.ints),
                    _ => write!(f, "{}", String::from_utf8_lossy(attribute.s())),
                }
            }
            Self::Dims { input, dims } => write!(f, "input {input} of shape {dims:?}"),
            Self::Fill { input, number } => write!(f, "input {input} all {number}"),
            Self::FewerInputs { node, left } => write!(f, "node {node} with {left} inputs"),
            Self::FewerOutputs { node } => write!(f, "node {node} without its last output"),
            Self::Input { node, place, name } => write!(f, "node {node} with input {place} `{name}`"),
            Self::MoreOutputs { node } => write!(f, "node {node} with one more output"),
        }
    }
}

/// All changes of the cases that `passed` names, which is sorted: of some of each op, and of some with several nodes.
pub fn changes(cases: &[Case], passed: &[&str]) -> Vec<Change> {
    let models: Vec<(usize, i64, GraphProto)> = cases
        .iter()
        .enumerate()
        .filter(|(_, case)| case.model.len() <= LARGEST.0 && passed.contains(&case.name.as_str()))
        .filter_map(|(at, case)| Some((at, ModelProto::decode(case.model.as_slice()).ok()?)))
        .filter(|(_, model)| model.functions.is_empty())
        .filter_map(|(at, model)| Some((at, version(&model), model.graph?)))
        .collect();
    let known = known_attributes(&models);
    let (mut forms, mut counts): (BTreeSet<String>, BTreeMap<String, usize>) = Default::default();
    let mut changes = Vec::new();
    for (case, version, graph) in &models {
        let (key, most) = match graph.node.as_slice() {
            [node] => {
                let mut names: Vec<&str> = node.attribute.iter().map(AttributeProto::name).collect();
                names.sort_unstable();
                if !forms.insert(format!("{} {} {names:?}", node.op_type(), node.input.len())) {
                    continue;
                }
                (node.op_type(), CASES_AN_OP)
            }
            nodes if nodes.len() <= 12 => ("(several)", SEVERAL),
            _ => continue,
        };
        let count = counts.entry(key.to_owned()).or_default();
        *count += 1;
        let inputs = tensors(&cases[*case]);
        if *count > most || inputs.iter().map(|(_, held)| held.element_count()).sum::<usize>() > LARGEST.1 {
            continue;
        }
        let mut found = Vec::new();
        let mut place = 0;
        each_node(graph, &mut |node| {
            let of_op = known.get(&(*version, node.op_type()));
            of_node(node, place, of_op, &mut found);
            place += 1;
        });
        let kept = wide::kept_inputs(graph);
        for (input, tensor) in &inputs {
            let is_list = graph.input.get(*input).is_some_and(|info| kept.contains(info.name()));
            of_input(*input, tensor, is_list, &mut found);
        }
        // Where several elements go to one place, nothing says which one stays.
        if graph
            .node
            .iter()
            .any(|node| matches!(node.op_type(), "MaxUnpool" | "Scatter" | "ScatterElements" | "ScatterND"))
        {
            found.retain(|what| !matches!(what, What::Fill { .. }));
        }
        changes.extend(found.into_iter().map(|what| Change { case: *case, what }));
    }
    changes
}

/// The version of ONNX's own operator set.
fn version(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    own.and_then(|set| set.version).unwrap_or(1)
}

/// The forms, encoded, in which an op's cases have an attribute, by its name.
type Forms = BTreeMap<String, BTreeSet<Vec<u8>>>;

/// The attributes of the nodes of all models, by version and op.
fn known_attributes(models: &[(usize, i64, GraphProto)]) -> BTreeMap<(i64, &str), Forms> {
    let mut known: BTreeMap<(i64, &str), Forms> = BTreeMap::new();
    for (_, version, graph) in models {
        each_node(graph, &mut |node| {
            let of_op = known.entry((*version, node.op_type())).or_default();
            for attribute in &node.attribute {
                if attribute.g.is_none() && attribute.t.is_none() {
                    let held = of_op.entry(attribute.name().to_owned()).or_default();
                    held.insert(attribute.encode_to_vec());
                }
            }
        });
    }
    known
}

fn each_node<'a>(graph: &'a GraphProto, look: &mut impl FnMut(&'a NodeProto)) {
    for node in &graph.node {
        look(node);
        for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            each_node(inner, look);
        }
    }
}

/// The node of that number among those that [`each_node`] finds, of which `left` are still to be passed.
fn nth_node<'a>(graph: &'a mut GraphProto, left: &mut usize) -> Option<&'a mut NodeProto> {
    for node in &mut graph.node {
        if *left == 0 {
            return Some(node);
        }
        *left -= 1;
        let inner = node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut());
        for graph in inner {
            if let Some(found) = nth_node(graph, left) {
                return Some(found);
            }
        }
    }
    None
}

fn of_node(held: &NodeProto, node: usize, known: Option<&Forms>, found: &mut Vec<What>) {
    for forms in known.into_iter().flat_map(BTreeMap::values) {
        let forms: Vec<AttributeProto> =
            forms.iter().filter_map(|bytes| AttributeProto::decode(bytes.as_slice()).ok()).collect();
        let Some(first) = forms.first() else { continue };
        let own = held.attribute.iter().find(|attribute| attribute.name == first.name);
        let base = own.unwrap_or(first);
        let mut change = |attribute| found.push(What::Attribute { node, attribute: Box::new(attribute) });
        match base.r#type() {
            AttributeType::Int => {
                NUMBERS.iter().for_each(|&i| change(AttributeProto { i: Some(i), ..base.clone() }));
            }
            AttributeType::Float => {
                FLOATS.iter().for_each(|&f| change(AttributeProto { f: Some(f), ..base.clone() }));
            }
            AttributeType::Ints => {
                let mut with = |ints: Vec<i64>| change(AttributeProto { ints, ..base.clone() });
                for number in NUMBERS {
                    with(vec![number; base.ints.len()]);
                    if let [first, .., _] = &base.ints[..] {
                        let mut ints = base.ints.clone();
                        ints[0] = number;
                        with(ints.clone());
                        ints[0] = *first;
                        ints[base.ints.len() - 1] = number;
                        with(ints);
                    }
                }
                with(vec![]);
                with(base.ints.iter().skip(1).copied().collect());
                with([&base.ints[..], &[1]].concat());
                with([&base.ints[..], &base.ints[..]].concat());
            }
            AttributeType::String => forms.into_iter().for_each(change),
            _ => {}
        }
    }
    let inputs = &held.input;
    for place in 0..inputs.len() {
        found.push(What::Input { node, place, name: String::new() });
        found.push(What::FewerInputs { node, left: place });
        let others = inputs.iter().enumerate().filter(|(other, _)| *other != place);
        found.extend(others.map(|(_, name)| What::Input { node, place, name: name.clone() }));
    }
    if held.output.len() > 1 {
        found.push(What::FewerOutputs { node });
    }
    found.push(What::MoreOutputs { node });
}

/// `is_list`: it is read as a list, whatever its type.
fn of_input(input: usize, tensor: &Tensor, is_list: bool, found: &mut Vec<What>) {
    let own = tensor.shape().to_vec();
    let rank = own.len();
    let mut shapes = vec![vec![], vec![0; rank], vec![1; rank], vec![2; rank + 1], vec![3; rank.max(1) - 1]];
    for (axis, &extent) in own.iter().enumerate() {
        for other in [0, 1, extent + 1] {
            let mut dims = own.clone();
            dims[axis] = other;
            shapes.push(dims);
        }
    }
    if rank < 5 {
        shapes.push(vec![4; rank]);
    }
    // Lists of other ranks, and parameters of them, are lists all the same to some kernels.
    let stays = is_list || (rank == 1 && input > 0) || wide::numbers(tensor).is_none();
    shapes.retain(|dims| *dims != own && (dims.len() == rank || !stays));
    found.extend(shapes.into_iter().map(|dims| What::Dims { input, dims }));
    if matches!(tensor.dtype(), DataType::I64 | DataType::I32) && tensor.element_count() <= 16 {
        found.extend(NUMBERS.iter().map(|&number| What::Fill { input, number }));
    }
}

/// The inputs of a case's first data set that are tensors of ours, each with its number.
fn tensors(case: &Case) -> Vec<(usize, Tensor)> {
    let inputs = case.sets.values().next().into_iter().flat_map(|set| &set.inputs);
    let read = |bytes: &[u8]| Tensor::from_onnx(&TensorProto::decode(bytes).ok()?).ok();
    inputs.filter_map(|(at, bytes)| Some((*at, read(bytes)?))).collect()
}

/// A tensor of other extents, of the elements of `tensor`, again and again; of zeros, if it has none.
fn stretched(tensor: &Tensor, dims: &[usize]) -> Option<Tensor> {
    let mut made = Tensor::zeros(tensor.dtype(), Shape::from(dims)).ok()?;
    let from = tensor.as_bytes();
    if !from.is_empty() {
        for (to, &byte) in made.buffer_mut().make_mut().iter_mut().zip(from.iter().cycle()) {
            *to = byte;
        }
    }
    Some(made)
}

fn filled(tensor: &Tensor, number: i64) -> Option<Tensor> {
    let (shape, count) = (tensor.shape().clone(), tensor.element_count());
    match tensor.dtype() {
        DataType::I64 => Tensor::from_slice(shape, &vec![number; count]).ok(),
        _ => Tensor::from_slice(shape, &vec![i32::try_from(number).ok()?; count]).ok(),
    }
}

impl Change {
    /// Whether differences say how gradients should be, and `reason` is none to have none.
    fn compares(&self, reason: &str) -> bool {
        let is_finite = match &self.what {
            What::Attribute { attribute, .. } => attribute.f().is_finite(),
            // What an op does with a parameter without elements is its own affair.
            What::Dims { input, dims } => *input == 0 || !dims.contains(&0),
            _ => true,
        };
        // The states of a loop that change their shape cannot be collected.
        is_finite && !reason.contains("changes its shape")
    }

    /// The case with the change, and the change as its name; `None` where the change cannot be made.
    pub fn apply(&self, cases: &[Case]) -> Option<Case> {
        let mut case = cases.get(self.case)?.clone();
        let mut model = ModelProto::decode(case.model.as_slice()).ok()?;
        let graph = model.graph.as_mut()?;
        case.name = format!("{}: {}", case.name, self.what);
        let at = |graph, mut node: usize| nth_node(graph, &mut node);
        match &self.what {
            What::Attribute { node, attribute } => {
                let held = &mut at(graph, *node)?.attribute;
                match held.iter_mut().find(|held| held.name == attribute.name) {
                    Some(held) => held.clone_from(&**attribute),
                    None => held.push((**attribute).clone()),
                }
            }
            What::Dims { .. } | What::Fill { .. } => {}
            What::FewerInputs { node, left } => at(graph, *node)?.input.truncate(*left),
            What::FewerOutputs { node } => drop(at(graph, *node)?.output.pop()),
            What::Input { node, place, name } => at(graph, *node)?.input.get_mut(*place)?.clone_from(name),
            What::MoreOutputs { node } => at(graph, *node)?.output.push("one/more".to_owned()),
        }
        let set = case.sets.values_mut().next()?;
        if let What::Dims { input, .. } | What::Fill { input, .. } = &self.what {
            let bytes = set.inputs.get_mut(input)?;
            let tensor = Tensor::from_onnx(&TensorProto::decode(bytes.as_slice()).ok()?).ok()?;
            let made = match &self.what {
                What::Dims { dims, .. } => stretched(&tensor, dims)?,
                What::Fill { number, .. } => filled(&tensor, *number)?,
                _ => tensor,
            };
            *bytes = made.to_onnx("").encode_to_vec();
            wide::declare(graph.input.get_mut(*input)?, &made);
        }
        // What is declared of the rest need not hold any more.
        graph.output.iter_mut().for_each(forget_extents);
        forget_inside(graph);
        case.model = model.encode_to_vec();
        Some(case)
    }
}

/// Forgets what is declared of values that nodes make, and of those of nested graphs.
fn forget_inside(graph: &mut GraphProto) {
    graph.value_info.clear();
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for inner in attributes.filter_map(|attribute| attribute.g.as_mut()) {
        inner.input.iter_mut().chain(&mut inner.output).for_each(forget_extents);
        forget_inside(inner);
    }
}

fn forget_extents(info: &mut ValueInfoProto) {
    if let Some(TypeValue::TensorType(tensor)) = info.r#type.as_mut().and_then(|held| held.value.as_mut()) {
        tensor.shape = None;
    }
}

/// What is wrong with a change of a case on a backend, if anything is.
pub fn check(change: &Change, cases: &[Case], backend: &impl Backend) -> Option<String> {
    let case = change.apply(cases)?;
    let wrong = |reason: &str| Some(format!("{}: {reason}", case.name));
    match catch_unwind(AssertUnwindSafe(|| runs_again(&case, backend))) {
        Ok(Ok(())) => {}
        Ok(Err(again)) => return wrong(&again),
        Err(_) => return wrong("a panic when it runs"),
    }
    match gradients::run_within(&case, backend, TOLERANCE) {
        Outcome::Wrong(reason) if reason == gradients::PANIC || change.compares(&reason) => wrong(&reason),
        _ => None,
    }
}

/// Runs a case that is not refused, and then into what it gave.
fn runs_again(case: &Case, backend: &impl Backend) -> Result<(), String> {
    let Ok(mut model) = ModelProto::decode(case.model.as_slice()) else { return Ok(()) };
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let inputs = tensors(case);
    let fed: Vec<ValueInfoProto> =
        inputs.iter().filter_map(|(place, _)| graph.input.get(*place).cloned()).collect();
    graph.input = fed;
    let inputs: Vec<Tensor> = inputs.into_iter().map(|(_, tensor)| tensor).collect();
    let Ok(graph) = BackendGraph::from_model(&model) else { return Ok(()) };
    let Ok(mut ready) = backend.prepare(&graph) else { return Ok(()) };
    let Ok(mut outputs) = ready.run(&inputs) else { return Ok(()) };
    ready.run_into(&inputs, &mut outputs).map_err(|error| format!("the second run fails: {error}"))
}
