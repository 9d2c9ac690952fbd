//! Checks the gradients of whole graphs, and of gradients, against central finite differences in `f64`.

use bb_autodiff::Gradients;
use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto};
use bb_runtime::{Buffer, DataType, Tensor};

use super::harness::{NEWEST, Shapes, floats, listing, node, prepare, tensor, typed, untyped};

/// Step of the differences.
const STEP: f64 = 1e-5;

/// Largest relative difference.
const TOLERANCE: f64 = 1e-5;

/// A graph of `f64` with a value `loss`, and what it is fed with.
pub(crate) struct Model {
    pub(crate) graph: GraphProto,
    pub(crate) fed: Vec<Tensor>,
    /// Inputs that are differentiated for: places among the inputs.
    pub(crate) wrt: Vec<usize>,
}

impl Model {
    pub(crate) fn new(nodes: Vec<NodeProto>) -> Self {
        let graph = GraphProto { name: Some("model".into()), node: nodes, ..Default::default() };
        Self { graph, fed: vec![], wrt: vec![] }
    }

    /// An input that is differentiated for.
    pub(crate) fn float(mut self, name: &str, shape: &[usize], values: &[f64], shapes: Shapes) -> Self {
        self.wrt.push(self.fed.len());
        self.graph.input.push(typed(name, DataType::F64, shape, shapes));
        self.fed.push(tensor(DataType::F64, shape, values));
        self
    }

    /// An integer of rank 0.
    pub(crate) fn integer(mut self, name: &str, value: i64) -> Self {
        self.graph.input.push(typed(name, DataType::I64, &[], Shapes::Declared));
        self.fed.push(Tensor::from_slice([0_usize; 0], &[value]).expect("one element"));
        self
    }

    /// A flag of rank 0.
    pub(crate) fn flag(mut self, name: &str, value: bool) -> Self {
        self.graph.input.push(typed(name, DataType::Bool, &[], Shapes::Declared));
        let bytes = Buffer::copy_of(&[u8::from(value)]).expect("memory");
        self.fed.push(Tensor::from_buffer(DataType::Bool, [0_usize; 0], bytes).expect("one element"));
        self
    }

    pub(crate) fn wrt_names(&self) -> Vec<String> {
        self.wrt.iter().map(|&place| self.graph.input[place].name.clone().expect("named")).collect()
    }

    /// The graph extended by the gradients of `loss`, which are its outputs.
    pub(crate) fn gradient_graph(&self) -> GraphProto {
        let names = self.wrt_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let made = match Gradients::of(&self.graph, NEWEST, "loss", &names) {
            Ok(made) => made,
            Err(error) => panic!("{error}: {}", listing(&self.graph)),
        };
        let mut graph = made.graph;
        graph.output.clear();
        let stem = self.stem();
        for (index, name) in made.gradients.iter().enumerate() {
            graph.node.push(node("Identity", &[name], &format!("{stem}{index}")));
            graph.output.push(untyped(&format!("{stem}{index}")));
        }
        graph
    }

    /// What the names of the gradients begin with.
    fn stem(&self) -> String {
        format!("gradient_of_{}_", self.graph.node.len())
    }

    /// The gradients.
    pub(crate) fn gradients(&self) -> Vec<Vec<f64>> {
        let graph = self.gradient_graph();
        let outputs = match prepare(&graph, NEWEST).run(&self.fed) {
            Ok(outputs) => outputs,
            Err(error) => panic!("{error}: {}", listing(&graph)),
        };
        outputs.iter().map(floats).collect()
    }

    /// Compares the gradients with finite differences.
    pub(crate) fn check(&self) {
        let gradients = self.gradients();
        let differences = self.differences();
        for (index, (gradient, difference)) in gradients.iter().zip(&differences).enumerate() {
            compare(
                gradient,
                difference,
                TOLERANCE,
                &format!("gradient {index} of {}", listing(&self.graph)),
            );
        }
    }

    /// The gradients by finite differences.
    pub(crate) fn differences(&self) -> Vec<Vec<f64>> {
        let mut graph = self.graph.clone();
        graph.output = vec![untyped("loss")];
        let mut executable = prepare(&graph, NEWEST);
        let mut all = Vec::new();
        for &place in &self.wrt {
            let values = floats(&self.fed[place]);
            let mut slopes = Vec::with_capacity(values.len());
            for element in 0..values.len() {
                let mut at = |offset: f64| {
                    let mut moved = values.clone();
                    moved[element] += offset;
                    let mut fed = self.fed.clone();
                    let shape = self.fed[place].shape().to_vec();
                    fed[place] = tensor(DataType::F64, &shape, &moved);
                    floats(&executable.run(&fed).expect("runs")[0])[0]
                };
                slopes.push((at(STEP) - at(-STEP)) / (2.0 * STEP));
            }
            all.push(slopes);
        }
        all
    }

    /// The model whose loss is `Σ vᵀ·gradient`, for weights `v` that are fixed: its gradient is the Hessian times `v`.
    pub(crate) fn second(&self, directions: &[Vec<f64>]) -> Self {
        let (mut graph, stem) = (self.gradient_graph(), self.stem());
        let mut total: Option<String> = None;
        for (index, (&place, values)) in self.wrt.iter().zip(directions).enumerate() {
            let shape = self.fed[place].shape().to_vec();
            let weights = super::harness::float_tensor(DataType::F64, &shape, values);
            graph.initializer.push(super::harness::named(weights, &format!("direction{index}")));
            let (product, sum) = (format!("along{index}"), format!("part{index}"));
            graph.node.push(node(
                "Mul",
                &[&format!("{stem}{index}"), &format!("direction{index}")],
                &product,
            ));
            graph.node.push(sum_of(&product, &sum));
            total = Some(match total {
                None => sum,
                Some(total) => {
                    let name = format!("{total}+{sum}");
                    graph.node.push(node("Add", &[&total, &sum], &name));
                    name
                }
            });
        }
        for made in &mut graph.node {
            for name in made.output.iter_mut().chain(&mut made.input).filter(|name| *name == "loss") {
                "first_loss".clone_into(name);
            }
        }
        graph.output.clear();
        graph.node.push(node("Identity", &[&total.expect("something is differentiated for")], "loss"));
        Self { graph, fed: self.fed.clone(), wrt: self.wrt.clone() }
    }
}

pub(crate) fn compare(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |scale, value| scale.max(value.abs()));
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= tolerance * scale, "{place}: {got} instead of {expected}, {what}");
    }
}

/// The sum of all elements.
pub(crate) fn sum_of(from: &str, to: &str) -> NodeProto {
    let mut sum = node("ReduceSum", &[from], to);
    sum.attribute.push(super::harness::int("keepdims", 0));
    sum
}

pub(crate) fn with_graph(mut node: NodeProto, name: &str, graph: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..Default::default()
    });
    node
}

/// A nested graph; inputs and outputs say their names alone.
pub(crate) fn nested(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: Some("nested".into()),
        node: nodes,
        input: inputs.iter().map(|name| untyped(name)).collect(),
        output: outputs.iter().map(|name| untyped(name)).collect(),
        ..Default::default()
    }
}

pub(crate) fn several(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let mut made = node(op, inputs, outputs[0]);
    made.output = outputs.iter().map(|&name| name.to_owned()).collect();
    made
}
