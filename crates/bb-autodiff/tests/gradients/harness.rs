//! Checks the gradients of one op on random inputs against central finite differences.
//!
//! Each case is differentiated four times: with the shapes of its inputs declared, with one symbol an extent, with
//! ranks unknown, and in `f32`. The first three must agree with the differences in `f64`; the last with them.

use bb_autodiff::{AutodiffError, Gradients};
use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use bb_runtime::{Backend, BackendGraph, Buffer, Component, DataType, Executable, Tensor};

/// The newest operator set that the cases are written in.
pub(crate) const NEWEST: i64 = 22;

/// Largest relative difference between a gradient in `f64` and the finite difference.
const TOLERANCE: f64 = 1e-5;

/// A stream of pseudo-random numbers (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of a test: by its seed, or by the one in `BB_TEST_SEED`. The seed is printed.
    pub(crate) fn new(seed: u64) -> Self {
        let given = std::env::var("BB_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(seed);
        println!("seed: BB_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` (inclusive) to `high` (exclusive).
    pub(crate) fn below(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low) as u64) as usize
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub(crate) fn float(&mut self, low: f64, high: f64) -> f64 {
        low + (self.next() >> 11) as f64 / (1_u64 << 53) as f64 * (high - low)
    }

    /// A shape of that rank with extents from 1 to 4.
    pub(crate) fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.below(1, 5)).collect()
    }

    /// A shape that broadcasts to `wide`: leading axes dropped, extents made 1, at random.
    pub(crate) fn narrowed(&mut self, wide: &[usize]) -> Vec<usize> {
        let dropped = if self.flag() { 0 } else { self.below(0, wide.len() + 1) };
        wide[dropped..].iter().map(|&extent| if self.below(0, 3) == 0 { 1 } else { extent }).collect()
    }

    /// Two shapes that broadcast together.
    pub(crate) fn broadcast_pair(&mut self) -> (Vec<usize>, Vec<usize>) {
        let rank = self.below(0, 4);
        let wide = self.shape(rank);
        (self.narrowed(&wide), self.narrowed(&wide))
    }

    /// Distinct axes of a rank, some counted from the end, at least one.
    pub(crate) fn axes(&mut self, rank: usize) -> Vec<i64> {
        loop {
            let axes: Vec<i64> = (0..rank as i64)
                .filter(|_| self.flag())
                .collect::<Vec<_>>()
                .into_iter()
                .map(|axis| if self.flag() { axis } else { axis - rank as i64 })
                .collect();
            if !axes.is_empty() {
                return axes;
            }
        }
    }

    /// A permutation of `0..rank`.
    pub(crate) fn permutation(&mut self, rank: usize) -> Vec<i64> {
        let mut all: Vec<i64> = (0..rank as i64).collect();
        for last in (1..rank).rev() {
            let other = self.below(0, last + 1);
            all.swap(last, other);
        }
        all
    }
}

/// An input of the op under test.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// Left out.
    Absent,
    /// Floats that are differentiated for.
    Float(Vec<usize>, Vec<f64>),
    /// Floats that are not.
    Fixed(Vec<usize>, Vec<f64>),
    /// Integers fed when the graph runs.
    Labels(Vec<usize>, Vec<i64>),
    /// Integers that the graph holds.
    Held(Vec<i64>),
    /// Numbers of `f32` that the graph holds, whatever type it computes in.
    HeldNumbers(Vec<f64>),
    /// A flag that the graph holds.
    Flag(bool),
    /// Flags fed when the graph runs.
    Flags(Vec<usize>, Vec<u8>),
    /// Integers of eight bits fed when the graph runs.
    Bytes(Vec<usize>, Vec<u8>),
}

/// One op with its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) op: &'static str,
    pub(crate) opset: i64,
    pub(crate) attributes: Vec<AttributeProto>,
    pub(crate) feeds: Vec<Feed>,
    /// For each output: whether the loss reads it.
    pub(crate) outputs: Vec<bool>,
    /// Step of the differences.
    pub(crate) step: f64,
}

impl Case {
    pub(crate) fn new(op: &'static str) -> Self {
        Self { op, opset: NEWEST, attributes: vec![], feeds: vec![], outputs: vec![true], step: 1e-5 }
    }

    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    pub(crate) fn outputs(mut self, read: &[bool]) -> Self {
        self.outputs = read.to_vec();
        self
    }

    pub(crate) fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub(crate) fn feed(mut self, feed: Feed) -> Self {
        self.feeds.push(feed);
        self
    }

    /// An input of numbers between `low` and `high`.
    pub(crate) fn float(self, rng: &mut Rng, shape: &[usize], low: f64, high: f64) -> Self {
        let values = (0..shape.iter().product()).map(|_| rng.float(low, high)).collect();
        self.feed(Feed::Float(shape.to_vec(), values))
    }

    /// An input of numbers between -2 and 2, none closer to zero than 0.01.
    pub(crate) fn signed(self, rng: &mut Rng, shape: &[usize]) -> Self {
        let number = |rng: &mut Rng| {
            let size = rng.float(0.01, 2.0);
            if rng.flag() { size } else { -size }
        };
        let values = (0..shape.iter().product()).map(|_| number(rng)).collect();
        self.feed(Feed::Float(shape.to_vec(), values))
    }

    /// An input whose elements are at least 0.02 from each other, in random order.
    pub(crate) fn distinct(self, rng: &mut Rng, shape: &[usize]) -> Self {
        let count: usize = shape.iter().product();
        let order = rng.permutation(count);
        let values =
            order.iter().map(|&place| 0.05 * place as f64 - 0.025 * count as f64 + rng.float(0.0, 0.03));
        self.feed(Feed::Float(shape.to_vec(), values.collect()))
    }

    /// An input of flags, at random.
    pub(crate) fn flags(self, rng: &mut Rng, shape: &[usize]) -> Self {
        let values = (0..shape.iter().product()).map(|_| u8::from(rng.flag())).collect();
        self.feed(Feed::Flags(shape.to_vec(), values))
    }

    pub(crate) fn held(self, values: &[i64]) -> Self {
        self.feed(Feed::Held(values.to_vec()))
    }

    /// Compares the gradients with finite differences.
    pub(crate) fn check(&self) {
        let (read, differences) = self.check_in_double();
        if let Some(gradients) = self.gradients(&read, DataType::F32, Shapes::Declared) {
            for (index, (gradient, expected)) in gradients.iter().zip(&differences).enumerate() {
                assert_eq!(gradient.dtype(), DataType::F32, "{self:?}");
                self.compare(index, gradient, expected, 2e-3, Shapes::Declared);
            }
        }
    }

    /// Compares the gradients in `f64` with finite differences, which it returns with the shapes of what the loss reads.
    pub(crate) fn check_in_double(&self) -> (Vec<Option<Vec<usize>>>, Vec<Vec<f64>>) {
        let read = self.read_shapes();
        let differences = self.differences(&read);
        for shapes in [Shapes::Declared, Shapes::Symbolic, Shapes::Unknown] {
            let Some(gradients) = self.gradients(&read, DataType::F64, shapes) else { continue };
            for (index, (gradient, expected)) in gradients.iter().zip(&differences).enumerate() {
                self.compare(index, gradient, expected, TOLERANCE, shapes);
            }
        }
        (read, differences)
    }

    fn compare(&self, index: usize, gradient: &Tensor, expected: &[f64], tolerance: f64, shapes: Shapes) {
        let shape = self.differentiated().nth(index).map(|(shape, _)| shape).unwrap_or_default();
        assert_eq!(gradient.shape().to_vec(), shape, "shape of gradient {index} ({shapes:?}) of {self:#?}");
        let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
        for (place, (got, expected)) in floats(gradient).iter().zip(expected).enumerate() {
            assert!(
                (got - expected).abs() <= tolerance * scale,
                "gradient {index} at {place} ({shapes:?}): {got}, by differences {expected}, of {self:#?}"
            );
        }
    }

    fn differentiated(&self) -> impl Iterator<Item = (Vec<usize>, &[f64])> {
        self.feeds.iter().filter_map(|feed| match feed {
            Feed::Float(shape, values) => Some((shape.clone(), values.as_slice())),
            _ => None,
        })
    }

    /// The shapes of the outputs that the loss reads.
    fn read_shapes(&self) -> Vec<Option<Vec<usize>>> {
        let mut graph = self.graph(DataType::F64, Shapes::Declared);
        let names = self.outputs.iter().enumerate().filter(|(_, read)| **read);
        graph.output = names.map(|(index, _)| untyped(&format!("y{index}"))).collect();
        let mut shapes = run(&graph, self.opset, &self.fed(DataType::F64)).into_iter();
        self.outputs
            .iter()
            .map(|read| if *read { shapes.next().map(|tensor| tensor.shape().to_vec()) } else { None })
            .collect()
    }

    /// The graph of the op and of a loss: each output it reads, weighted by fixed random numbers, summed.
    fn with_loss(&self, read: &[Option<Vec<usize>>], dtype: DataType, shapes: Shapes) -> GraphProto {
        let mut graph = self.graph(dtype, shapes);
        let mut weights = Rng(7);
        let mut total: Option<String> = None;
        for (index, shape) in read.iter().enumerate() {
            let Some(shape) = shape else { continue };
            let values: Vec<f64> = (0..shape.iter().product()).map(|_| weights.float(0.5, 1.5)).collect();
            graph.initializer.push(named(float_tensor(dtype, shape, &values), &format!("w{index}")));
            graph.node.push(node("Mul", &[&format!("y{index}"), &format!("w{index}")], &format!("m{index}")));
            let mut sum = node("ReduceSum", &[&format!("m{index}")], &format!("s{index}"));
            sum.attribute.push(int("keepdims", 0));
            graph.node.push(sum);
            let part = format!("s{index}");
            total = Some(match total {
                None => part,
                Some(total) => {
                    let name = format!("{total}+{part}");
                    graph.node.push(node("Add", &[&total, &part], &name));
                    name
                }
            });
        }
        graph.node.push(node("Identity", &[&total.expect("the loss reads an output")], "loss"));
        graph
    }

    fn gradients(&self, read: &[Option<Vec<usize>>], dtype: DataType, shapes: Shapes) -> Option<Vec<Tensor>> {
        let graph = self.gradient_graph(read, dtype, shapes)?;
        Some(run(&graph, self.opset, &self.fed(dtype)))
    }

    /// The op, the loss and the gradients; `None` where a rule must know more than `shapes` tells.
    fn gradient_graph(
        &self,
        read: &[Option<Vec<usize>>],
        dtype: DataType,
        shapes: Shapes,
    ) -> Option<GraphProto> {
        let graph = self.with_loss(read, dtype, shapes);
        let wrt: Vec<String> = (0..self.feeds.len())
            .filter(|&index| matches!(self.feeds[index], Feed::Float(..)))
            .map(|index| format!("x{index}"))
            .collect();
        let wrt: Vec<&str> = wrt.iter().map(String::as_str).collect();
        let made = match Gradients::of(&graph, self.opset, "loss", &wrt) {
            Ok(made) => made,
            Err(AutodiffError::Undetermined { .. }) if shapes != Shapes::Declared => return None,
            Err(error) => panic!("{error} ({shapes:?}) of {self:#?}"),
        };
        let mut graph = made.graph;
        for (index, name) in made.gradients.iter().enumerate() {
            graph.node.push(node("Identity", &[name], &format!("d{index}")));
            graph.output.push(untyped(&format!("d{index}")));
        }
        Some(graph)
    }

    fn differences(&self, read: &[Option<Vec<usize>>]) -> Vec<Vec<f64>> {
        let mut graph = self.with_loss(read, DataType::F64, Shapes::Declared);
        graph.output = vec![untyped("loss")];
        let mut executable = prepare(&graph, self.opset);
        let mut loss = |case: &Self| floats(&executable.run(&case.fed(DataType::F64)).expect("runs")[0])[0];
        let mut all = Vec::new();
        for index in 0..self.feeds.len() {
            let Feed::Float(_, values) = &self.feeds[index] else { continue };
            let slopes = (0..values.len()).map(|place| {
                let mut at = |offset: f64| {
                    let mut moved = self.clone();
                    if let Feed::Float(_, values) = &mut moved.feeds[index] {
                        values[place] += offset;
                    }
                    loss(&moved)
                };
                (at(self.step) - at(-self.step)) / (2.0 * self.step)
            });
            all.push(slopes.collect());
        }
        all
    }

    fn graph(&self, dtype: DataType, shapes: Shapes) -> GraphProto {
        let mut graph = GraphProto { name: Some("case".into()), ..Default::default() };
        let mut inputs = Vec::new();
        for (index, feed) in self.feeds.iter().enumerate() {
            let name = format!("x{index}");
            inputs.push(if matches!(feed, Feed::Absent) { String::new() } else { name.clone() });
            match feed {
                Feed::Absent => {}
                Feed::Float(shape, _) | Feed::Fixed(shape, _) => {
                    graph.input.push(typed(&name, dtype, shape, shapes));
                }
                Feed::Labels(shape, _) => graph.input.push(typed(&name, DataType::I64, shape, shapes)),
                Feed::Flags(shape, _) => graph.input.push(typed(&name, DataType::Bool, shape, shapes)),
                Feed::Bytes(shape, _) => graph.input.push(typed(&name, DataType::U8, shape, shapes)),
                Feed::Held(values) => graph.initializer.push(named(i64_tensor(values), &name)),
                Feed::HeldNumbers(values) => {
                    let tensor = float_tensor(DataType::F32, &[values.len()], values);
                    graph.initializer.push(named(tensor, &name));
                }
                Feed::Flag(flag) => {
                    let tensor = TensorProto {
                        data_type: Some(DataType::Bool.to_onnx()),
                        raw_data: Some(vec![u8::from(*flag)].into()),
                        ..Default::default()
                    };
                    graph.initializer.push(named(tensor, &name));
                }
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut tested = node(self.op, &inputs, "y0");
        tested.name = Some("tested".into());
        tested.output = (0..self.outputs.len()).map(|index| format!("y{index}")).collect();
        tested.attribute.clone_from(&self.attributes);
        graph.node.push(tested);
        graph
    }

    fn fed(&self, dtype: DataType) -> Vec<Tensor> {
        self.feeds
            .iter()
            .filter_map(|feed| match feed {
                Feed::Float(shape, values) | Feed::Fixed(shape, values) => Some(tensor(dtype, shape, values)),
                Feed::Labels(shape, values) => {
                    Some(Tensor::from_slice(shape.as_slice(), values).expect("as many as the shape has"))
                }
                Feed::Flags(shape, values) => {
                    let bytes = Buffer::copy_of(values).expect("memory");
                    let flags = Tensor::from_buffer(DataType::Bool, shape.as_slice(), bytes);
                    Some(flags.expect("as many as the shape has"))
                }
                Feed::Bytes(shape, values) => {
                    Some(Tensor::from_slice(shape.as_slice(), values).expect("as many as the shape has"))
                }
                Feed::Absent | Feed::Held(_) | Feed::HeldNumbers(_) | Feed::Flag(_) => None,
            })
            .collect()
    }
}

/// How much the graph tells of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    Declared,
    Symbolic,
    Unknown,
}

pub(crate) fn tensor(dtype: DataType, shape: &[usize], values: &[f64]) -> Tensor {
    match dtype {
        DataType::F32 => {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            Tensor::from_slice(shape, &values)
        }
        _ => Tensor::from_slice(shape, values),
    }
    .expect("as many as the shape has")
}

/// The elements of a float tensor.
pub(crate) fn floats(tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype() {
        DataType::F32 => {
            tensor.as_slice::<f32>().expect("f32").iter().map(|&value| f64::from(value)).collect()
        }
        _ => tensor.as_slice::<f64>().expect("f64").to_vec(),
    }
}

pub(crate) fn prepare(graph: &GraphProto, opset: i64) -> Box<dyn Executable> {
    let backend = CpuBackend::new(&CpuConfig::default()).expect("a backend");
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
    match backend.prepare(&BackendGraph::new(graph.clone(), &[opset])) {
        Ok(executable) => executable,
        Err(error) => panic!("{error}: {}", listing(graph)),
    }
}

pub(crate) fn run(graph: &GraphProto, opset: i64, inputs: &[Tensor]) -> Vec<Tensor> {
    match prepare(graph, opset).run(inputs) {
        Ok(outputs) => outputs.into_iter().collect(),
        Err(error) => panic!("{error}: {}", listing(graph)),
    }
}

/// The nodes of a graph, a line each.
pub(crate) fn listing(graph: &GraphProto) -> String {
    let line = |node: &NodeProto| {
        format!(
            "\n{} = {}({})",
            node.output.join(", "),
            node.op_type.as_deref().unwrap_or("?"),
            node.input.join(", ")
        )
    };
    graph.node.iter().map(line).collect()
}

pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.into()],
        name: Some(output.into()),
        ..Default::default()
    }
}

pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..Default::default() }
}

pub(crate) fn typed(name: &str, dtype: DataType, shape: &[usize], shapes: Shapes) -> ValueInfoProto {
    let dims = shape.iter().enumerate().map(|(axis, &extent)| match shapes {
        Shapes::Declared => DimValue::DimValue(extent as i64),
        _ => DimValue::DimParam(format!("{name}.{axis}")),
    });
    let dim = dims.map(|value| Dimension { value: Some(value), ..Default::default() }).collect();
    let shape = if shapes == Shapes::Unknown { None } else { Some(TensorShapeProto { dim }) };
    let tensor = type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
}

pub(crate) fn named(tensor: TensorProto, name: &str) -> TensorProto {
    TensorProto { name: Some(name.into()), ..tensor }
}

pub(crate) fn i64_tensor(values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(DataType::I64.to_onnx()),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn float_tensor(dtype: DataType, shape: &[usize], values: &[f64]) -> TensorProto {
    let mut tensor = TensorProto {
        dims: shape.iter().map(|&extent| extent as i64).collect(),
        data_type: Some(dtype.to_onnx()),
        ..Default::default()
    };
    match dtype {
        DataType::F32 => tensor.float_data = values.iter().map(|&value| value as f32).collect(),
        _ => tensor.double_data = values.to_vec(),
    }
    tensor
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(crate) fn real(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}
