//! Recurrent layers, against finite differences of a plain reference in `f64`.

use bb_autodiff::Gradients;
use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto};
use bb_runtime::{DataType, Tensor};

use super::graphs::compare;
use super::harness::{
    NEWEST, Rng, Shapes, float_tensor, floats, int, listing, named, node, prepare, real, tensor, text, typed,
    untyped,
};

/// One layer with all it reads; the reference follows the equations of the ONNX operator definitions.
#[derive(Clone)]
struct Layer {
    op: &'static str,
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    direction: &'static str,
    lengths: Option<Vec<i64>>,
    clip: Option<f64>,
    relu: bool,
    flag: bool,
    batch_first: bool,
    /// x, w, r, b, h, c, p: empty where there is none.
    given: Vec<Vec<f64>>,
}

impl Layer {
    fn gates(&self) -> usize {
        match self.op {
            "LSTM" => 4,
            "GRU" => 3,
            _ => 1,
        }
    }

    fn directions(&self) -> usize {
        if self.direction == "bidirectional" { 2 } else { 1 }
    }

    fn shapes(&self) -> Vec<Vec<usize>> {
        let (d, g, n) = (self.directions(), self.gates(), self.hidden);
        let (x, state) = if self.batch_first {
            (vec![self.batch, self.steps, self.inputs], vec![self.batch, d, n])
        } else {
            (vec![self.steps, self.batch, self.inputs], vec![d, self.batch, n])
        };
        vec![
            x,
            vec![d, g * n, self.inputs],
            vec![d, g * n, n],
            vec![d, 2 * g * n],
            state.clone(),
            state,
            vec![d, 3 * n],
        ]
    }

    fn random(rng: &mut Rng, op: &'static str, round: usize) -> Self {
        let mut layer = Self {
            op,
            steps: rng.below(1, 5),
            batch: rng.below(1, 4),
            inputs: rng.below(1, 4),
            hidden: rng.below(1, 4),
            direction: ["forward", "reverse", "bidirectional"][round % 3],
            lengths: None,
            clip: rng.flag().then_some(0.9),
            relu: round % 5 == 4,
            flag: rng.flag(),
            batch_first: round % 4 == 3,
            given: vec![],
        };
        if rng.flag() {
            layer.lengths = Some((0..layer.batch).map(|_| rng.below(0, layer.steps + 1) as i64).collect());
        }
        let held = [
            true,
            true,
            true,
            rng.flag(),
            rng.flag(),
            rng.flag() && op == "LSTM",
            rng.flag() && op == "LSTM",
        ];
        layer.given = layer
            .shapes()
            .iter()
            .zip(held)
            .map(|(shape, held)| {
                let count = if held { shape.iter().product() } else { 0 };
                (0..count).map(|_| rng.float(-0.9, 0.9)).collect()
            })
            .collect();
        layer
    }

    /// `Y`, `Y_h`, `Y_c`, flat, as the op puts them out.
    fn run(&self) -> Vec<Vec<f64>> {
        let (t, b, n, d) = (self.steps, self.batch, self.hidden, self.directions());
        let at = |list: &[f64], index: usize| list.get(index).copied().unwrap_or(0.0);
        let state_place = |direction: usize, row: usize, cell: usize| {
            if self.batch_first { (row * d + direction) * n + cell } else { (direction * b + row) * n + cell }
        };
        let mut y = vec![0.0; t * d * b * n];
        let mut last = vec![vec![0.0; d * b * n]; 2];
        for direction in 0..d {
            let backwards = self.direction == "reverse" || direction == 1;
            for row in 0..b {
                let length = self.lengths.as_ref().map_or(t, |lengths| lengths[row] as usize);
                let mut h: Vec<f64> =
                    (0..n).map(|cell| at(&self.given[4], state_place(direction, row, cell))).collect();
                let mut c: Vec<f64> =
                    (0..n).map(|cell| at(&self.given[5], state_place(direction, row, cell))).collect();
                for step in 0..length {
                    let time = if backwards { length - 1 - step } else { step };
                    self.step(direction, row, time, &mut h, &mut c);
                    for (cell, &value) in h.iter().enumerate() {
                        let place = if self.batch_first {
                            ((row * t + time) * d + direction) * n + cell
                        } else {
                            ((time * d + direction) * b + row) * n + cell
                        };
                        y[place] = value;
                    }
                }
                for (cell, (&hidden, &state)) in h.iter().zip(&c).enumerate() {
                    last[0][state_place(direction, row, cell)] = hidden;
                    last[1][state_place(direction, row, cell)] = state;
                }
            }
        }
        vec![y, last[0].clone(), last[1].clone()]
    }

    fn step(&self, direction: usize, row: usize, time: usize, h: &mut [f64], c: &mut [f64]) {
        let (n, g) = (self.hidden, self.gates());
        let clip = |x: f64| self.clip.map_or(x, |limit| x.clamp(-limit, limit));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-clip(x)).exp());
        let squash = |x: f64| if self.relu { clip(x).max(0.0) } else { clip(x).tanh() };
        let at = |list: &[f64], index: usize| list.get(index).copied().unwrap_or(0.0);
        let x = |feature: usize| {
            let place = if self.batch_first { row * self.steps + time } else { time * self.batch + row };
            self.given[0][place * self.inputs + feature]
        };
        let line = |gate: usize, cell: usize| (direction * g + gate) * n + cell;
        let bias = |gate: usize, cell: usize, half: usize| {
            at(&self.given[3], direction * 2 * g * n + half * g * n + gate * n + cell)
        };
        let of_x = |gate: usize, cell: usize| -> f64 {
            let sum: f64 =
                (0..self.inputs).map(|k| x(k) * self.given[1][line(gate, cell) * self.inputs + k]).sum();
            sum + bias(gate, cell, 0)
        };
        let of = |state: &[f64], gate: usize, cell: usize| -> f64 {
            (0..n).map(|k| state[k] * self.given[2][line(gate, cell) * n + k]).sum()
        };
        let sum = |gate: usize, cell: usize| of_x(gate, cell) + of(h, gate, cell) + bias(gate, cell, 1);
        let peep =
            |gate: usize, cell: usize, c: f64| at(&self.given[6], direction * 3 * n + gate * n + cell) * c;
        let next: Vec<(f64, f64)> = (0..n)
            .map(|cell| match self.op {
                "LSTM" => {
                    let input = sigmoid(sum(0, cell) + peep(0, cell, c[cell]));
                    let forget =
                        if self.flag { 1.0 - input } else { sigmoid(sum(2, cell) + peep(2, cell, c[cell])) };
                    let state = forget * c[cell] + input * squash(sum(3, cell));
                    let output = sigmoid(sum(1, cell) + peep(1, cell, state));
                    (output * if self.relu { state.max(0.0) } else { state.tanh() }, state)
                }
                "GRU" => {
                    let update = sigmoid(sum(0, cell));
                    let candidate = if self.flag {
                        let reset = sigmoid(sum(1, cell));
                        squash(of_x(2, cell) + reset * (of(h, 2, cell) + bias(2, cell, 1)))
                    } else {
                        let reset: Vec<f64> = (0..n).map(|k| sigmoid(sum(1, k)) * h[k]).collect();
                        squash(of_x(2, cell) + of(&reset, 2, cell) + bias(2, cell, 1))
                    };
                    ((1.0 - update) * candidate + update * h[cell], 0.0)
                }
                _ => (squash(sum(0, cell)), 0.0),
            })
            .collect();
        for (cell, (hidden, state)) in next.into_iter().enumerate() {
            h[cell] = hidden;
            c[cell] = state;
        }
    }

    fn node(&self) -> NodeProto {
        let names = ["x", "w", "r", "b", "h", "c", "p"];
        let name = |index: usize| if self.given[index].is_empty() { "" } else { names[index] };
        let lengths = if self.lengths.is_some() { "lengths" } else { "" };
        let mut inputs = vec![name(0), name(1), name(2), name(3), lengths, name(4)];
        if self.op == "LSTM" {
            inputs.extend([name(5), name(6)]);
        }
        let mut made = node(self.op, &inputs, "y0");
        made.output = (0..self.outputs()).map(|index| format!("y{index}")).collect();
        made.attribute.extend([int("hidden_size", self.hidden as i64), text("direction", self.direction)]);
        made.attribute.push(int("layout", i64::from(self.batch_first)));
        made.attribute.extend(self.clip.map(|clip| real("clip", clip as f32)));
        let flag = match self.op {
            "LSTM" => Some("input_forget"),
            "GRU" => Some("linear_before_reset"),
            _ => None,
        };
        made.attribute.extend(flag.map(|name| int(name, i64::from(self.flag))));
        if self.relu {
            let one: &[&str] = match self.op {
                "LSTM" => &["Sigmoid", "Relu", "Relu"],
                "GRU" => &["Sigmoid", "Relu"],
                _ => &["Relu"],
            };
            let strings =
                (0..self.directions()).flat_map(|_| one).map(|name| name.as_bytes().to_vec()).collect();
            made.attribute.push(AttributeProto {
                name: Some("activations".into()),
                r#type: Some(AttributeType::Strings as i32),
                strings,
                ..Default::default()
            });
        }
        made
    }

    fn outputs(&self) -> usize {
        if self.op == "LSTM" { 3 } else { 2 }
    }

    /// The layer and its loss: each output times fixed weights, summed.
    fn graph(&self, dtype: DataType, shapes: Shapes) -> (GraphProto, Vec<Tensor>, Vec<&'static str>) {
        let mut graph = GraphProto { name: Some("layer".into()), ..Default::default() };
        let (mut fed, mut wrt) = (Vec::new(), Vec::new());
        for ((name, shape), values) in
            ["x", "w", "r", "b", "h", "c", "p"].into_iter().zip(self.shapes()).zip(&self.given)
        {
            if !values.is_empty() {
                graph.input.push(typed(name, dtype, &shape, shapes));
                fed.push(tensor(dtype, &shape, values));
                wrt.push(name);
            }
        }
        if let Some(lengths) = &self.lengths {
            graph.input.push(typed("lengths", DataType::I32, &[self.batch], Shapes::Declared));
            let lengths: Vec<i32> = lengths.iter().map(|&length| length as i32).collect();
            fed.push(Tensor::from_slice([self.batch], &lengths).expect("as many as rows"));
        }
        graph.node.push(self.node());
        let shapes = {
            let (t, b, n, d) = (self.steps, self.batch, self.hidden, self.directions());
            if self.batch_first {
                [vec![b, t, d, n], vec![b, d, n]]
            } else {
                [vec![t, d, b, n], vec![d, b, n]]
            }
        };
        for index in 0..self.outputs() {
            let shape = &shapes[index.min(1)];
            let values = weights(index, shape.iter().product());
            graph.initializer.push(named(float_tensor(dtype, shape, &values), &format!("k{index}")));
            graph.node.push(node("Mul", &[&format!("y{index}"), &format!("k{index}")], &format!("m{index}")));
            graph.node.push(super::graphs::sum_of(&format!("m{index}"), &format!("s{index}")));
        }
        let sums: Vec<String> = (0..self.outputs()).map(|index| format!("s{index}")).collect();
        let sums: Vec<&str> = sums.iter().map(String::as_str).collect();
        graph.node.push(node("Sum", &sums, "loss"));
        (graph, fed, wrt)
    }

    fn loss(&self) -> f64 {
        let outputs = self.run();
        let parts = outputs.iter().take(self.outputs()).enumerate();
        parts
            .map(|(index, values)| {
                values.iter().zip(weights(index, values.len())).map(|(y, k)| y * k).sum::<f64>()
            })
            .sum()
    }

    fn gradients(&self, dtype: DataType, shapes: Shapes) -> Vec<Tensor> {
        let (graph, fed, wrt) = self.graph(dtype, shapes);
        let made = Gradients::of(&graph, NEWEST, "loss", &wrt).unwrap_or_else(|error| panic!("{error}"));
        let mut graph = made.graph;
        for (index, name) in made.gradients.iter().enumerate() {
            graph.node.push(node("Identity", &[name], &format!("d{index}")));
            graph.output.push(untyped(&format!("d{index}")));
        }
        // The gradients do not read the layer's outputs, which the backend computes in f32 alone.
        let mut read: Vec<String> = graph.output.iter().filter_map(|output| output.name.clone()).collect();
        let mut needed = Vec::new();
        for node in graph.node.into_iter().rev() {
            if node.output.iter().any(|name| read.contains(name)) {
                read.extend(node.input.iter().cloned());
                for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
                    read.extend(inner.node.iter().flat_map(|node| node.input.iter().cloned()));
                }
                needed.push(node);
            }
        }
        needed.reverse();
        graph.node = needed;
        match prepare(&graph, NEWEST).run(&fed) {
            Ok(outputs) => outputs.into_iter().collect(),
            Err(error) => panic!("{error}: {}", listing(&graph)),
        }
    }

    /// With known shapes in `f64`; with symbols, where the graph asks the layer's outputs for their shapes, in `f32`.
    fn check(&self) {
        let shapes = self.shapes();
        for (dtype, kind) in [(DataType::F64, Shapes::Declared), (DataType::F32, Shapes::Symbolic)] {
            let gradients = self.gradients(dtype, kind);
            let held: Vec<usize> = (0..7).filter(|&index| !self.given[index].is_empty()).collect();
            for (gradient, &index) in gradients.iter().zip(&held) {
                assert_eq!(gradient.shape().to_vec(), shapes[index]);
                let slopes: Vec<f64> = (0..self.given[index].len())
                    .map(|place| {
                        let at = |offset: f64| {
                            let mut moved = self.clone();
                            moved.given[index][place] += offset;
                            moved.loss()
                        };
                        (at(1e-5) - at(-1e-5)) / 2e-5
                    })
                    .collect();
                let tolerance = if dtype == DataType::F64 { 1e-5 } else { 1e-3 };
                let what = format!("input {index} of {} {}", self.op, self.direction);
                compare(&floats(gradient), &slopes, tolerance, &what);
            }
        }
    }
}

fn weights(index: usize, count: usize) -> Vec<f64> {
    (0..count).map(|place| 0.5 + ((place * 7 + index * 3) % 11) as f64 / 10.0).collect()
}

fn check_all(op: &'static str, seed: u64) {
    let mut rng = Rng::new(seed);
    for round in 0..30 {
        Layer::random(&mut rng, op, round).check();
    }
}

#[test]
fn rnn_matches_differences_of_the_reference() {
    check_all("RNN", 1901);
}

#[test]
fn gru_matches_differences_of_the_reference() {
    check_all("GRU", 1902);
}

#[test]
fn lstm_matches_differences_of_the_reference() {
    check_all("LSTM", 1903);
}

#[test]
fn the_reference_is_what_the_backend_computes() {
    let mut rng = Rng::new(1904);
    for round in 0..60 {
        let layer = Layer::random(&mut rng, ["RNN", "GRU", "LSTM"][round / 3 % 3], round);
        let (mut graph, fed, _) = layer.graph(DataType::F32, Shapes::Declared);
        graph.output = vec![untyped("loss")];
        let got = floats(&prepare(&graph, NEWEST).run(&fed).expect("runs")[0])[0];
        let want = layer.loss();
        assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{got} instead of {want} in round {round}");
    }
}
