//! Choice and loops.
//!
//! What a nested graph reads from outside gets a gradient as an input does. The backward graphs compute the forward ones
//! again, from saved states: a choice in both its branches, a loop in a [`Scan`](repeat) that runs from its last
//! iteration to its first. (Griewank & Walther, "Evaluating Derivatives", 2nd edition, section 12.2.)

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{AttributeProto, GraphProto, NodeProto};
use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::activity::{free_names, outputs, reads, stops};
use crate::attributes::{graph, int, ints};
use crate::builder::{Builder, Val};
use crate::facts::{Fact, axis_within};
use crate::reverse::pull_back;

pub(super) const RULES: &[Rule] = &[
    Rule { op: "If", flow: |_| Flow::Stop, backward: choose, nested: true },
    Rule { op: "Loop", flow: loop_flow, backward: iterate, nested: true },
    Rule { op: "Scan", flow: |_| Flow::Gradient, backward: scan, nested: true },
];

/// The count and the condition are constants.
fn loop_flow(index: usize) -> Flow {
    if index < 2 { Flow::Stop } else { Flow::Gradient }
}

fn fact_of(b: &Builder, val: Val) -> Fact {
    Fact::new(b.fact(val).dtype, b.fact(val).shape.clone())
}

/// The branch that was taken gives what it read its gradient, and zeros to what only the other one read. Where it is known
/// which one it is, the other one gives zeros alone.
fn choose(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let condition = s.input(0)?;
    let captured = s.captured().to_vec();
    let taken = s.b.taken_branch(&s.b.nodes()[s.index()]);
    let mut attributes = Vec::with_capacity(2);
    for name in ["then_branch", "else_branch"] {
        let branch = s.attributes().graph(name)?;
        let mut inner = s.b.nested("If");
        inner.see(s.b, branch);
        inner.take_up(branch)?;
        let mut seeds = Vec::new();
        for index in 0..branch.output.len() {
            if let Some(gradient) = s.upstream_of(index)
                && taken.is_none_or(|taken| taken == name)
            {
                let gradient = inner.capture(s.b, gradient);
                seeds.push((inner.output_of(branch, index)?, gradient));
            }
        }
        let leaves: Vec<Val> = captured.iter().map(|&val| inner.capture(s.b, val)).collect();
        let gradients = pull_back(&mut inner, &seeds, &leaves)?;
        let mut given = Vec::with_capacity(leaves.len());
        for (&leaf, gradient) in leaves.iter().zip(gradients) {
            given.push(match gradient {
                Some(gradient) => gradient,
                None => inner.full_like(leaf, 0.0)?,
            });
        }
        attributes.push(graph(name, inner.enclose(&branch.initializer, &[], &given)));
    }
    let facts = captured.iter().map(|&val| fact_of(s.b, val)).collect();
    let gradients = s.b.emit_nested("If", &[Some(condition)], attributes, facts);
    for (val, gradient) in captured.into_iter().zip(gradients) {
        s.give_captured(val, gradient);
    }
    Ok(())
}

/// One of the values that a loop takes a slice of in each iteration, or collects slices of.
#[derive(Clone, Copy, Debug)]
struct Scanned {
    val: Val,
    axis: i64,
    /// 1 from the last slice to the first.
    direction: i64,
}

/// A loop, taken apart.
struct Loop<'a> {
    body: &'a GraphProto,
    /// Names inside of the iteration's number and of the condition, which `Loop` has.
    counter: Option<(&'a str, &'a str)>,
    /// The first state's index among the node's inputs, and among the inputs and the outputs of the body.
    first: (usize, usize, usize),
    states: usize,
    /// What is scanned.
    scanned: Vec<Scanned>,
    /// For each collected output: axis and direction.
    collected: Vec<(i64, i64)>,
}

impl<'a> Loop<'a> {
    fn input_name(&self, index: usize) -> &'a str {
        self.body.input.get(index).and_then(|info| info.name.as_deref()).unwrap_or_default()
    }

    fn state_name(&self, state: usize) -> &'a str {
        self.input_name(self.first.1 + state)
    }

    fn scanned_name(&self, index: usize) -> &'a str {
        self.input_name(self.first.1 + self.states + index)
    }

    /// All names that the body reads.
    fn read(&self) -> BTreeSet<&'a str> {
        let mut read = BTreeSet::new();
        read.extend(self.body.output.iter().filter_map(|info| info.name.as_deref()));
        for node in &self.body.node {
            read.extend(node.input.iter().map(String::as_str));
            for attribute in &node.attribute {
                attribute.g.iter().chain(&attribute.graphs).for_each(|inner| free_names(inner, &mut read));
            }
        }
        read
    }
}

/// A `Loop`: its states are collected while it runs, and the backward loop scans them.
fn iterate(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let body = s.attributes().graph("body")?;
    let name = |index: usize| body.input.get(index).and_then(|info| info.name.as_deref()).unwrap_or_default();
    let states = s.input_count().saturating_sub(2);
    let collected = vec![(0, 0); body.output.len().saturating_sub(1 + states)];
    let counter = Some((name(0), name(1)));
    backward(s, &Loop { body, counter, first: (2, 2, 1), states, scanned: Vec::new(), collected })
}

/// A `Scan`: its states are collected while it runs, and the backward loop scans them too.
fn scan(s: &mut Scope<'_>) -> Result<(), AutodiffError> {
    let body = s.attributes().graph("body")?;
    let count = usize::try_from(s.attributes().int_or("num_scan_inputs", 1)).ok();
    let count = count.filter(|&count| count > 0);
    let Some(states) = count.and_then(|count| s.input_count().checked_sub(count)) else {
        return Err(s.attributes().wrong("num_scan_inputs", "is below one or more than the node has inputs"));
    };
    let at = |name: &str, index: usize| {
        s.attributes().ints(name).and_then(|list| list.get(index)).copied().unwrap_or(0)
    };
    let mut scanned = Vec::new();
    for index in 0..s.input_count() - states {
        let (axis, direction) = (at("scan_input_axes", index), at("scan_input_directions", index));
        scanned.push(Scanned { val: s.input(states + index)?, axis, direction });
    }
    let collected = (0..body.output.len().saturating_sub(states))
        .map(|index| (at("scan_output_axes", index), at("scan_output_directions", index)))
        .collect();
    backward(s, &Loop { body, counter: None, first: (0, 0, 0), states, scanned, collected })
}

/// The loop from the last iteration to the first. It carries the gradients of the states and the sums of those of what
/// the body reads from outside; it scans the saved states, what was scanned, and the gradients of what was collected.
fn backward(s: &mut Scope<'_>, repeated: &Loop<'_>) -> Result<(), AutodiffError> {
    let &Loop { body, states, .. } = repeated;
    let captured = s.captured().to_vec();
    let active = active_states(s, repeated, &captured)?;
    let saved = save(s, repeated)?;
    let mut inner = s.b.nested("Scan");
    inner.see(s.b, body);

    // Carried: gradients of states, sums of gradients of what is read from outside.
    let (mut carried, mut first) = (Vec::new(), Vec::new());
    for &state in &active {
        let start = s.input(repeated.first.0 + state)?;
        carried.push(inner.accept(fact_of(s.b, start)));
        first.push(match s.upstream_of(state) {
            Some(gradient) => gradient,
            None => s.b.full_like(start, 0.0)?,
        });
    }
    for &val in &captured {
        carried.push(inner.accept(fact_of(s.b, val)));
        first.push(s.b.full_like(val, 0.0)?);
    }

    // Scanned, all from the end: each iteration has the slices that it had forwards.
    let (mut slices, mut scans) = (Vec::new(), Vec::new());
    for (name, val) in saved {
        let slice = slice_fact(s.b, val, 0);
        slices.push(inner.define(name, slice));
        scans.push(Scanned { val, axis: 0, direction: 1 });
    }
    for (index, scanned) in repeated.scanned.iter().enumerate() {
        let slice = slice_fact(s.b, scanned.val, scanned.axis);
        slices.push(inner.define(repeated.scanned_name(index), slice));
        scans.push(Scanned { direction: turned(scanned.direction), ..*scanned });
    }
    let mut collected = Vec::new();
    for (index, &(axis, direction)) in repeated.collected.iter().enumerate() {
        if let Some(val) = s.upstream_of(states + index) {
            let slice = slice_fact(s.b, val, axis);
            slices.push(inner.accept(slice));
            collected.push((index, slices[slices.len() - 1]));
            scans.push(Scanned { val, axis, direction: turned(direction) });
        }
    }
    if let Some((_, condition)) = repeated.counter {
        let yes = inner.scalar(DataType::Bool, 1.0);
        inner.emit_as(condition, "Identity", &[yes], vec![]);
    }
    inner.take_up(body)?;

    let mut seeds = Vec::new();
    for (place, &state) in active.iter().enumerate() {
        seeds.push((inner.output_of(body, repeated.first.2 + state)?, carried[place]));
    }
    for &(index, gradient) in &collected {
        seeds.push((inner.output_of(body, repeated.first.2 + states + index)?, gradient));
    }
    let wanted: Vec<usize> =
        (0..repeated.scanned.len()).filter(|&index| s.wants(repeated.first.0 + states + index)).collect();
    let mut leaves = Vec::new();
    for &state in &active {
        leaves.push(lookup_inside(&inner, repeated.state_name(state))?);
    }
    leaves.extend(captured.iter().map(|&val| inner.capture(s.b, val)));
    for &index in &wanted {
        leaves.push(lookup_inside(&inner, repeated.scanned_name(index))?);
    }
    let gradients = pull_back(&mut inner, &seeds, &leaves)?;
    let mut put_out = Vec::with_capacity(leaves.len());
    for (place, (&leaf, gradient)) in leaves.iter().zip(gradients).enumerate() {
        let sums = (active.len()..active.len() + captured.len()).contains(&place);
        put_out.push(match gradient {
            Some(gradient) if sums => inner.add(carried[place], gradient),
            Some(gradient) => gradient,
            None if sums => carried[place],
            // A state that the body does not read is not there.
            None if place < active.len() => inner.full_like(carried[place], 0.0)?,
            None => inner.full_like(leaf, 0.0)?,
        });
    }
    let inputs: Vec<Val> = carried.iter().chain(&slices).copied().collect();
    let attributes =
        scan_attributes(repeated, inner.enclose(&body.initializer, &inputs, &put_out), &scans, &wanted);

    let fed: Vec<Option<Val>> =
        first.into_iter().chain(scans.iter().map(|scan| scan.val)).map(Some).collect();
    let mut facts = Vec::with_capacity(put_out.len());
    for &state in &active {
        facts.push(fact_of(s.b, s.input(repeated.first.0 + state)?));
    }
    facts.extend(captured.iter().map(|&val| fact_of(s.b, val)));
    facts.extend(wanted.iter().map(|&index| fact_of(s.b, repeated.scanned[index].val)));
    let results = s.b.emit_nested("Scan", &fed, attributes, facts);
    for (place, &state) in active.iter().enumerate() {
        s.give(repeated.first.0 + state, results[place]);
    }
    for (&val, &gradient) in captured.iter().zip(&results[active.len()..]) {
        s.give_captured(val, gradient);
    }
    for (&index, &gradient) in wanted.iter().zip(&results[active.len() + captured.len()..]) {
        s.give(repeated.first.0 + states + index, gradient);
    }
    Ok(())
}

/// The other direction: 0 is forwards, anything else backwards.
fn turned(direction: i64) -> i64 {
    i64::from(direction == 0)
}

fn lookup_inside(inner: &Builder, name: &str) -> Result<Val, AutodiffError> {
    crate::reverse::lookup(inner, name)
}

fn scan_attributes(
    repeated: &Loop<'_>,
    body: GraphProto,
    scans: &[Scanned],
    wanted: &[usize],
) -> Vec<AttributeProto> {
    let list = |of: fn(&Scanned) -> i64| scans.iter().map(of).collect::<Vec<i64>>();
    let outputs = |of: fn(&Scanned) -> i64| -> Vec<i64> {
        wanted.iter().map(|&index| of(&repeated.scanned[index])).collect()
    };
    let mut attributes = vec![
        graph("body", body),
        int("num_scan_inputs", scans.len() as i64),
        ints("scan_input_axes", &list(|scan| scan.axis)),
        ints("scan_input_directions", &list(|scan| scan.direction)),
    ];
    if !wanted.is_empty() {
        attributes.push(ints("scan_output_axes", &outputs(|scan| scan.axis)));
        attributes.push(ints("scan_output_directions", &outputs(|scan| turned(scan.direction))));
    }
    attributes
}

/// What is known of a slice of `val` along `axis`.
fn slice_fact(b: &Builder, val: Val, axis: i64) -> Fact {
    let mut fact = fact_of(b, val);
    if let Some(dims) = &mut fact.shape
        && let Some(axis) = axis_within(axis, dims.len())
    {
        dims.remove(axis);
    }
    fact
}

/// Has the loop collect the number of each iteration (`Loop`) and the states that the body reads; gives their names
/// inside and what they are collected in.
fn save<'a>(s: &mut Scope<'_>, repeated: &Loop<'a>) -> Result<Vec<(&'a str, Val)>, AutodiffError> {
    let read = repeated.read();
    let mut wanted: Vec<(&str, Fact)> = Vec::new();
    if let Some((number, _)) = repeated.counter {
        wanted.push((number, Fact::new(Some(DataType::I64), Some(Vec::new()))));
    }
    for state in 0..repeated.states {
        let name = repeated.state_name(state);
        if read.contains(name) {
            wanted.push((name, fact_of(s.b, s.input(repeated.first.0 + state)?)));
        }
    }
    let mut node = s.b.nodes()[s.index()].clone();
    // An earlier sweep may have had the loop collect more than its body said.
    let collecting = node.attribute.iter().find_map(|attribute| attribute.g.as_ref()).cloned();
    let mut body = collecting.unwrap_or_default();
    let first = repeated.first.2;
    let mut saved = Vec::with_capacity(wanted.len());
    for (name, mut fact) in wanted {
        if let Some(dims) = &mut fact.shape {
            dims.insert(0, Dim::Any);
        }
        if let Some(val) = already_saved(s.b, &node, &body, repeated, name) {
            saved.push((name, val));
            continue;
        }
        let inside = s.b.next_name("saved");
        body.node.push(NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec![name.to_owned()],
            output: vec![inside.clone()],
            name: Some(inside.clone()),
            ..NodeProto::default()
        });
        let slice = fact.shape.as_ref().map(|dims| dims[1..].to_vec());
        body.output.push(Fact::new(fact.dtype, slice).to_value_info(&inside));
        let outside = s.b.next_name("saved");
        node.output.resize(body.output.len() - 1 - first, String::new());
        node.output.push(outside.clone());
        saved.push((name, s.b.define(&outside, fact)));
    }
    let collected = body.output.len() - first - repeated.states;
    for attribute in &mut node.attribute {
        if attribute.name.as_deref() == Some("body") {
            attribute.g = Some(body.clone());
        }
        if matches!(attribute.name.as_deref(), Some("scan_output_axes" | "scan_output_directions")) {
            attribute.ints.resize(collected, 0);
        }
    }
    s.b.replace(s.index(), node);
    Ok(saved)
}

/// What collects the body's input `name` already, along the first axis from the first iteration on.
fn already_saved(
    b: &Builder,
    node: &NodeProto,
    body: &GraphProto,
    repeated: &Loop<'_>,
    name: &str,
) -> Option<Val> {
    let is_copy = |node: &&NodeProto| node.op_type.as_deref() == Some("Identity") && node.input == [name];
    let mut copies = body.node.iter().filter(is_copy).filter_map(|node| node.output.first());
    copies.find_map(|copy| {
        let at = body.output.iter().position(|info| info.name.as_ref() == Some(copy))?;
        let at = at.checked_sub(repeated.first.2)?;
        let collected = at.checked_sub(repeated.states)?;
        if repeated.collected.get(collected).is_some_and(|&layout| layout != (0, 0)) {
            return None;
        }
        let outside = node.output.get(at).filter(|name| !name.is_empty())?;
        b.find(outside)
    })
}

/// The states that gradients pass: those that depend on something differentiated for and on which something depends
/// that has a gradient, in one iteration or over several.
fn active_states(s: &Scope<'_>, repeated: &Loop<'_>, captured: &[Val]) -> Result<Vec<usize>, AutodiffError> {
    let &Loop { body, states, .. } = repeated;
    let mut inner = Builder::empty(s.b.opset(), String::new());
    inner.see(s.b, body);
    for (index, info) in body.input.iter().enumerate() {
        let mut fact = Fact::of_value_info(info);
        if let Some(state) = index.checked_sub(repeated.first.1).filter(|&state| state < states) {
            fact.fill_from(&fact_of(s.b, s.input(repeated.first.0 + state)?));
        }
        inner.define(info.name.as_deref().unwrap_or_default(), fact);
    }
    inner.take_up(body)?;

    // Sources: the states, then everything whose gradient is asked for outside.
    let mut sources: BTreeMap<Val, BTreeSet<usize>> = BTreeMap::new();
    for state in 0..states {
        sources.entry(lookup_inside(&inner, repeated.state_name(state))?).or_default().insert(state);
    }
    for &val in captured {
        sources.entry(inner.capture(s.b, val)).or_default().insert(states);
    }
    for index in 0..repeated.scanned.len() {
        if s.wants(repeated.first.0 + states + index) {
            sources.entry(lookup_inside(&inner, repeated.scanned_name(index))?).or_default().insert(states);
        }
    }
    sources.retain(|&val, _| inner.fact(val).may_be_float());
    for node in inner.nodes().iter().filter(|node| !stops(node)) {
        let from: BTreeSet<usize> =
            reads(&inner, node).iter().filter_map(|val| sources.get(val)).flatten().copied().collect();
        if !from.is_empty() {
            for made in outputs(&inner, node).filter(|&val| inner.fact(val).may_be_float()) {
                sources.entry(made).or_default().extend(&from);
            }
        }
    }
    let depends = |index: usize| -> Result<BTreeSet<usize>, AutodiffError> {
        Ok(sources.get(&inner.output_of(body, repeated.first.2 + index)?).cloned().unwrap_or_default())
    };
    let before: Vec<BTreeSet<usize>> = (0..states).map(depends).collect::<Result<_, _>>()?;
    let mut varied: BTreeSet<usize> =
        (0..states).filter(|&state| s.wants(repeated.first.0 + state)).collect();
    varied.insert(states);
    let mut useful: BTreeSet<usize> = (0..states).filter(|&state| s.upstream_of(state).is_some()).collect();
    for index in 0..repeated.collected.len() {
        if s.upstream_of(states + index).is_some() {
            useful.extend(depends(states + index)?);
        }
    }
    for _ in 0..=states {
        for (state, from) in before.iter().enumerate() {
            if !from.is_disjoint(&varied) {
                varied.insert(state);
            }
            if useful.contains(&state) {
                useful.extend(from);
            }
        }
    }
    Ok((0..states).filter(|state| varied.contains(state) && useful.contains(state)).collect())
}
