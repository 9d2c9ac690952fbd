//! Recurrent layers: RNN, GRU and LSTM.
//!
//! The backward pass runs the layer as a `Scan` over time, one a direction, whose body is the cell written out, and
//! differentiates that: backpropagation through time, for any length, in the memory of the states. (Werbos, 1990;
//! the cells' equations are those of the ONNX operator definitions.)

use bb_ir::{DataType, Dim};

use super::{Flow, Rule, Scope};
use crate::AutodiffError;
use crate::attributes::{float, graph, int, ints};
use crate::builder::{Builder, Val};
use crate::facts::{Fact, is_sensible};

pub(super) const RULES: &[Rule] = &[
    Rule { op: "GRU", flow, backward: |s| recurrent(s, Cell::Gru), nested: false },
    Rule { op: "LSTM", flow, backward: |s| recurrent(s, Cell::Lstm), nested: false },
    Rule { op: "RNN", flow, backward: |s| recurrent(s, Cell::Rnn), nested: false },
];

/// All inputs but the lengths.
fn flow(index: usize) -> Flow {
    if index == 4 { Flow::Stop } else { Flow::Gradient }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Gru,
    Lstm,
    Rnn,
}

impl Cell {
    fn gates(self) -> i64 {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
            Self::Rnn => 1,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }

    /// Hidden state, and the cell's own.
    fn states(self) -> usize {
        if self == Self::Lstm { 2 } else { 1 }
    }
}

/// What the attributes say.
struct Layer {
    cell: Cell,
    /// For each direction: whether it runs from the end.
    backwards: Vec<bool>,
    /// Functions, [`Cell::activations`] of them a direction.
    activations: Vec<String>,
    clip: Option<f32>,
    batch_first: bool,
    reset_after: bool,
    couples_gates: bool,
    hidden: i64,
    dtype: DataType,
}

fn layer(s: &Scope<'_>, cell: Cell) -> Result<Layer, AutodiffError> {
    let attributes = s.attributes();
    let backwards = match attributes.text("direction").unwrap_or("forward") {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(attributes.wrong("direction", format!("is `{other}`"))),
    };
    let activations: Vec<String> = match attributes
        .find("activations")
        .filter(|list| !list.strings.is_empty())
    {
        Some(list) => list.strings.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        None => backwards.iter().flat_map(|_| cell.activations()).map(|name| (*name).to_owned()).collect(),
    };
    if activations.len() != backwards.len() * cell.activations().len() {
        return Err(attributes.wrong("activations", "are not as many as the cells of all directions have"));
    }
    const PLAIN: [&str; 5] = ["Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"];
    let plain = |name: &String| {
        PLAIN.iter().find(|plain| plain.eq_ignore_ascii_case(name)).map(|&name| name.to_owned())
    };
    let named: Option<Vec<String>> = activations.iter().map(plain).collect();
    let activations = named.ok_or_else(|| {
        s.unsupported(format!(
            "of the activations {activations:?} some have no gradient here; {PLAIN:?} have"
        ))
    })?;
    let weights = s.input(2)?;
    let last = s.b.fact(weights).shape.as_ref().and_then(|dims| dims.get(2));
    let own = if let Some(Dim::Known(extent)) = last { Some(*extent as i64) } else { None };
    let said = attributes.int("hidden_size");
    if own.zip(said).is_some_and(|(own, said)| own != said) {
        return Err(attributes.wrong("hidden_size", "is not the number of cells that the weights have"));
    }
    let hidden = own.or(said);
    let hidden = hidden.ok_or_else(|| s.b.undetermined(weights, "shape"))?;
    if hidden < 1 || !is_sensible(&hidden) {
        return Err(attributes.wrong("hidden_size", "is no number of cells"));
    }
    Ok(Layer {
        cell,
        backwards,
        activations,
        clip: attributes.find("clip").and_then(|attribute| attribute.f),
        batch_first: attributes.flag("layout", false),
        reset_after: attributes.flag("linear_before_reset", false),
        couples_gates: attributes.flag("input_forget", false),
        hidden,
        dtype: s.b.dtype(s.input(0)?)?,
    })
}

fn recurrent(s: &mut Scope<'_>, cell: Cell) -> Result<(), AutodiffError> {
    let layer = layer(s, cell)?;
    let mut x = s.input(0)?;
    if let Some(rank) = s.b.fact(x).rank().filter(|&rank| rank != 3) {
        return Err(s.unsupported(format!("its sequence has {rank} axes instead of 3")));
    }
    let mut first: Vec<Option<Val>> = vec![s.optional(5)];
    if cell == Cell::Lstm {
        first.push(s.optional(6));
    }
    if layer.batch_first {
        x = s.b.transpose(x, &[1, 0, 2]);
        first = first.into_iter().map(|val| val.map(|val| s.b.transpose(val, &[1, 0, 2]))).collect();
    }
    let mut all = Vec::new();
    let mut last: Vec<Vec<Val>> = vec![Vec::new(); cell.states()];
    for direction in 0..layer.backwards.len() {
        let (y, states) = run(s, &layer, x, &first, direction)?;
        all.push(s.b.unsqueeze(y, &[1]));
        for (list, state) in last.iter_mut().zip(states) {
            list.push(s.b.unsqueeze(state, &[0]));
        }
    }
    let join = |s: &mut Scope<'_>, parts: &[Val], axis: i64| match parts {
        [one] => *one,
        parts => s.b.op("Concat", parts, vec![int("axis", axis)]),
    };
    let mut made = vec![join(s, &all, 1)];
    for parts in &last {
        made.push(join(s, parts, 0));
    }
    if layer.batch_first {
        made[0] = s.b.transpose(made[0], &[2, 0, 1, 3]);
        for state in &mut made[1..] {
            *state = s.b.transpose(*state, &[1, 0, 2]);
        }
    }
    let made: Vec<(usize, Val)> = made.into_iter().enumerate().collect();
    s.through(&made)
}

/// What stands for one direction in a value whose first axis is that of the directions.
fn part(s: &mut Scope<'_>, val: Val, direction: usize, directions: usize) -> Val {
    let own = if directions == 1 { val } else { s.b.slice(val, 0, direction as i64, direction as i64 + 1) };
    s.b.squeeze(own, &[0])
}

/// What a cell is made of: values inside of the loop's body.
struct Weights {
    /// Of the hidden state, transposed; for the gates, and, of a GRU whose reset comes first, for the candidate.
    hidden: Vec<Val>,
    /// The hidden state's bias of a GRU's candidate, where the reset comes after the product.
    candidate_bias: Option<Val>,
    /// Of input, output and forget gate.
    peepholes: Vec<Val>,
}

/// One direction: its outputs `[steps, batch, hidden]` and its last states `[batch, hidden]`.
fn run(
    s: &mut Scope<'_>,
    layer: &Layer,
    x: Val,
    first: &[Option<Val>],
    direction: usize,
) -> Result<(Val, Vec<Val>), AutodiffError> {
    let (cell, hidden, directions) = (layer.cell, layer.hidden, layer.backwards.len());
    let gates = cell.gates();
    let backwards = layer.backwards[direction];
    let lengths = s.optional(4);
    let (w, r) = (s.input(1)?, s.input(2)?);
    let (w, r) = (part(s, w, direction, directions), part(s, r, direction, directions));
    let mut x = x;
    if let Some(lengths) = lengths.filter(|_| backwards) {
        x = reversed(s, x, lengths);
    }
    // All that does not depend on the state, for all steps at once.
    let turned = s.b.transpose(w, &[1, 0]);
    let mut sums = s.b.op("MatMul", &[x, turned], vec![]);
    let mut candidate_bias = None;
    if let Some(bias) = s.optional(3) {
        let bias = part(s, bias, direction, directions);
        let halves = s.b.split(bias, 0, &[gates * hidden, gates * hidden]);
        sums = s.b.add(sums, halves[0]);
        let mut of_state = halves[1];
        if cell == Cell::Gru && layer.reset_after {
            let parts = s.b.split(of_state, 0, &[2 * hidden, hidden]);
            candidate_bias = Some(parts[1]);
            let zeros = s.b.filled(layer.dtype, &[1], &[0.0]);
            let shape = s.b.list(&[hidden]);
            let zeros = s.b.op("Expand", &[zeros, shape], vec![]);
            of_state = s.b.op("Concat", &[parts[0], zeros], vec![int("axis", 0)]);
        }
        sums = s.b.add(sums, of_state);
    }
    let mut outer_weights = vec![s.b.transpose(r, &[1, 0])];
    if cell == Cell::Gru && !layer.reset_after {
        outer_weights = s.b.split(outer_weights[0], 1, &[2 * hidden, hidden]);
    }
    let peepholes = match s.optional(7).filter(|_| cell == Cell::Lstm) {
        Some(peepholes) => {
            let own = part(s, peepholes, direction, directions);
            s.b.split(own, 0, &[hidden; 3])
        }
        None => Vec::new(),
    };
    let mut start = Vec::with_capacity(first.len());
    for state in first {
        start.push(match state {
            Some(state) => part(s, *state, direction, directions),
            None => {
                let batch = s.b.extent(x, 1);
                let width = s.b.list(&[hidden]);
                let shape = s.b.op("Concat", &[batch, width], vec![int("axis", 0)]);
                let zero = s.b.scalar(layer.dtype, 0.0);
                s.b.op("Expand", &[zero, shape], vec![])
            }
        });
    }

    let dims = s.b.fact(x).shape.clone().unwrap_or_else(|| vec![Dim::Any; 3]);
    let (steps, batch) = (dims[0].clone(), dims.get(1).cloned().unwrap_or(Dim::Any));
    let width = |count: i64| Dim::Known((count * hidden).max(0) as usize);
    let state_fact = Fact::new(Some(layer.dtype), Some(vec![batch.clone(), width(1)]));
    let mut inner = s.b.nested("Scan");
    let states: Vec<Val> = start.iter().map(|_| inner.accept(state_fact.clone())).collect();
    let slice = inner.accept(Fact::new(Some(layer.dtype), Some(vec![batch, width(gates)])));
    let weights = Weights {
        hidden: outer_weights.iter().map(|&val| inner.capture(s.b, val)).collect(),
        candidate_bias: candidate_bias.map(|val| inner.capture(s.b, val)),
        peepholes: peepholes.iter().map(|&val| inner.capture(s.b, val)).collect(),
    };
    let mut next = step(&mut inner, layer, direction, &weights, &states, slice)?;
    let mut put_out = next[0];
    let mut inputs: Vec<Val> = states.iter().copied().chain([slice]).collect();
    let mut fed: Vec<Option<Val>> = start.iter().copied().map(Some).chain([Some(sums)]).collect();
    let mut scanned = 1;
    if let Some(lengths) = lengths {
        // A row that has ended keeps its states and puts out zeros.
        let lengths = s.b.cast(lengths, DataType::I64);
        let (zero, one) = (s.b.scalar(DataType::I64, 0.0), s.b.scalar(DataType::I64, 1.0));
        let count = s.b.extent_number(x, 0);
        let numbers = s.b.op("Range", &[zero, count, one], vec![]);
        let number = inner.accept(Fact::new(Some(DataType::I64), Some(Vec::new())));
        let lengths = inner.capture(s.b, lengths);
        let goes_on = inner.op("Less", &[number, lengths], vec![]);
        let goes_on = inner.unsqueeze(goes_on, &[1]);
        let nothing = inner.scalar(layer.dtype, 0.0);
        for (next, &before) in next.iter_mut().zip(&states) {
            *next = inner.op("Where", &[goes_on, *next, before], vec![]);
        }
        put_out = inner.op("Where", &[goes_on, put_out, nothing], vec![]);
        inner.refine(put_out, state_fact.shape.as_deref().unwrap_or_default());
        inputs.push(number);
        fed.push(Some(numbers));
        scanned = 2;
    }
    let mut outputs = next;
    outputs.push(put_out);
    let turn = i64::from(backwards && lengths.is_none());
    let attributes = vec![
        graph("body", inner.enclose(&[], &inputs, &outputs)),
        int("num_scan_inputs", scanned),
        ints("scan_input_directions", &vec![turn; scanned as usize]),
        ints("scan_output_directions", &[turn]),
    ];
    let all = state_fact.shape.as_ref().map(|dims| [&[steps], &dims[..]].concat());
    let mut facts = vec![state_fact; states.len()];
    facts.push(Fact::new(Some(layer.dtype), all));
    let mut made = s.b.emit_nested("Scan", &fed, attributes, facts);
    let mut y = made.split_off(states.len())[0];
    if let Some(lengths) = lengths.filter(|_| backwards) {
        y = reversed(s, y, lengths);
    }
    Ok((y, made))
}

/// `val`, `[steps, batch, …]`, each row from its own end.
fn reversed(s: &mut Scope<'_>, val: Val, lengths: Val) -> Val {
    let lengths = s.b.cast(lengths, DataType::I64);
    s.b.op("ReverseSequence", &[val, lengths], vec![int("time_axis", 0), int("batch_axis", 1)])
}

fn clipped(b: &mut Builder, layer: &Layer, val: Val) -> Val {
    let Some(limit) = layer.clip else { return val };
    if b.opset() < 11 {
        let attributes = vec![float("min", -limit), float("max", limit)];
        return b.op("Clip", &[val], attributes);
    }
    let (low, high) = (b.scalar(layer.dtype, -f64::from(limit)), b.scalar(layer.dtype, f64::from(limit)));
    b.op("Clip", &[val, low, high], vec![])
}

/// One step: the next states, the hidden one first.
fn step(
    b: &mut Builder,
    layer: &Layer,
    direction: usize,
    weights: &Weights,
    states: &[Val],
    sums: Val,
) -> Result<Vec<Val>, AutodiffError> {
    let n = layer.hidden;
    let functions = &layer.activations[direction * layer.cell.activations().len()..];
    let apply = |b: &mut Builder, function: usize, val: Val| {
        let val = clipped(b, layer, val);
        b.op(&functions[function], &[val], vec![])
    };
    let h = states[0];
    let one = b.scalar(layer.dtype, 1.0);
    let state_sums = b.op("MatMul", &[h, weights.hidden[0]], vec![]);
    match layer.cell {
        Cell::Rnn => {
            let sum = b.add(sums, state_sums);
            Ok(vec![apply(b, 0, sum)])
        }
        Cell::Lstm => {
            // Gates stand in the order input, output, forget, cell.
            let c = states[1];
            let all = b.add(sums, state_sums);
            let gates = b.split(all, 1, &[n; 4]);
            let peep = |b: &mut Builder, gate: usize, sum: Val, c: Val| match weights.peepholes.get(gate) {
                Some(&weight) => {
                    let seen = b.mul(c, weight);
                    b.add(sum, seen)
                }
                None => sum,
            };
            let sum = peep(b, 0, gates[0], c);
            let input = apply(b, 0, sum);
            let forget = if layer.couples_gates {
                b.sub(one, input)
            } else {
                let sum = peep(b, 2, gates[2], c);
                apply(b, 0, sum)
            };
            let candidate = apply(b, 1, gates[3]);
            let (kept, new) = (b.mul(forget, c), b.mul(input, candidate));
            let next = b.add(kept, new);
            let sum = peep(b, 1, gates[1], next);
            let output = apply(b, 0, sum);
            let shown = b.op(&functions[2], &[next], vec![]);
            Ok(vec![b.mul(output, shown), next])
        }
        Cell::Gru => {
            // Gates stand in the order update, reset, candidate.
            let own = b.split(sums, 1, &[n; 3]);
            let of_state = if layer.reset_after {
                b.split(state_sums, 1, &[n; 3])
            } else {
                b.split(state_sums, 1, &[n; 2])
            };
            let sum = b.add(own[0], of_state[0]);
            let update = apply(b, 0, sum);
            let sum = b.add(own[1], of_state[1]);
            let reset = apply(b, 0, sum);
            let through = match of_state.get(2) {
                Some(&product) => {
                    let biased = match weights.candidate_bias {
                        Some(bias) => b.add(product, bias),
                        None => product,
                    };
                    b.mul(reset, biased)
                }
                None => {
                    let shown = b.mul(reset, h);
                    b.op("MatMul", &[shown, weights.hidden[1]], vec![])
                }
            };
            let sum = b.add(own[2], through);
            let candidate = apply(b, 1, sum);
            let rest = b.sub(one, update);
            let (new, kept) = (b.mul(rest, candidate), b.mul(update, h));
            Ok(vec![b.add(new, kept)])
        }
    }
}
