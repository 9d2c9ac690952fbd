//! A backend of one's own: adds and multiplies `f32` tensors of equal shape, and depends on bb-runtime alone.
//!
//! [`ToyBackend`] says which ops it runs and prepares graphs of them; a [`Plan`] is a prepared graph. A program
//! binds it as it binds any other: `Compiler::new().bind_backend::<ToyBackend>("compute")`.

use bb_runtime::onnx::NodeProto;
use bb_runtime::{
    Backend, BackendError, BackendGraph, Component, ComponentError, DataType, Executable, OpId, Outputs,
    StateReader, StateWriter, Tensor,
};

/// Adds and multiplies, one element after the other.
#[derive(Debug)]
pub struct ToyBackend;

bb_runtime::component!(ToyBackend: Backend);

impl Component for ToyBackend {
    const TYPE_NAME: &'static str = "toy_backend::ToyBackend";

    type Config = ();

    fn new(_: &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }

    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl Backend for ToyBackend {
    fn supports(&self, op: &OpId) -> bool {
        Arithmetic::of(op).is_some()
    }

    fn prepare(&self, graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
        Ok(Box::new(Plan::of(graph)?))
    }
}

/// A graph made ready to run: names have become indices into one row of registers: inputs, constants, results.
#[derive(Debug)]
pub struct Plan {
    input_count: usize,
    constants: Vec<Tensor>,
    steps: Vec<PlanStep>,
    outputs: Vec<usize>,
}

/// Reads two registers; its result is the next register.
#[derive(Debug)]
struct PlanStep {
    arithmetic: Arithmetic,
    operands: [usize; 2],
    node: String,
}

#[derive(Clone, Copy, Debug)]
enum Arithmetic {
    Add,
    Mul,
}

impl Plan {
    fn of(graph: &BackendGraph) -> Result<Self, BackendError> {
        let proto = graph.graph();
        let mut names: Vec<&str> = proto.input.iter().map(|input| input.name()).collect();
        let input_count = names.len();
        let mut constants = Vec::with_capacity(proto.initializer.len());
        for initializer in &proto.initializer {
            let tensor = Tensor::from_onnx(initializer)
                .map_err(|error| BackendError::Graph { reason: error.to_string() })?;
            constants.push(tensor);
            names.push(initializer.name());
        }
        let mut steps = Vec::with_capacity(proto.node.len());
        for node in &proto.node {
            let op = op(node);
            let arithmetic = Arithmetic::of(&op).ok_or_else(|| BackendError::Unsupported {
                node: node.name().to_owned(),
                op: op.clone(),
                opset: graph.opset("").unwrap_or(1),
            })?;
            let ([left, right], [result]) = (node.input.as_slice(), node.output.as_slice()) else {
                let reason = format!("`{}` ({op}) takes two inputs and has one output", node.name());
                return Err(BackendError::Graph { reason });
            };
            let operands = [register(&names, left)?, register(&names, right)?];
            steps.push(PlanStep { arithmetic, operands, node: node.name().to_owned() });
            names.push(result);
        }
        let outputs: Result<_, _> =
            proto.output.iter().map(|output| register(&names, output.name())).collect();
        Ok(Self { input_count, constants, steps, outputs: outputs? })
    }
}

impl Executable for Plan {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
        if inputs.len() != self.input_count {
            return Err(BackendError::InputCount { expected: self.input_count, got: inputs.len() });
        }
        let mut registers = [inputs, &self.constants].concat();
        for step in &self.steps {
            let [left, right] = step.operands;
            registers.push(step.run(&registers[left], &registers[right])?);
        }
        Ok(self.outputs.iter().map(|&output| registers[output].clone()).collect())
    }
}

impl PlanStep {
    fn run(&self, left: &Tensor, right: &Tensor) -> Result<Tensor, BackendError> {
        let (node, op) = (self.node.clone(), self.arithmetic.op());
        if let Some(tensor) = [left, right].into_iter().find(|tensor| tensor.dtype() != DataType::F32) {
            return Err(BackendError::Type { dtype: tensor.dtype(), node, op });
        }
        if left.shape() != right.shape() {
            let shapes = vec![left.shape().clone(), right.shape().clone()];
            return Err(BackendError::Shape { node, op, reason: "the shapes differ".to_owned(), shapes });
        }
        let mut result = left.clone();
        let operands = right.as_slice::<f32>()?;
        for (element, &operand) in result.make_mut::<f32>()?.iter_mut().zip(operands) {
            match self.arithmetic {
                Arithmetic::Add => *element += operand,
                Arithmetic::Mul => *element *= operand,
            }
        }
        Ok(result)
    }
}

impl Arithmetic {
    fn of(op: &OpId) -> Option<Self> {
        match op.name() {
            "Add" if op.domain().is_onnx() => Some(Self::Add),
            "Mul" if op.domain().is_onnx() => Some(Self::Mul),
            _ => None,
        }
    }

    fn op(self) -> OpId {
        OpId::new(
            "",
            match self {
                Self::Add => "Add",
                Self::Mul => "Mul",
            },
        )
    }
}

fn op(node: &NodeProto) -> OpId {
    OpId::new(node.domain().to_owned(), node.op_type().to_owned())
}

/// The register of the value `name`.
fn register(names: &[&str], name: &str) -> Result<usize, BackendError> {
    names
        .iter()
        .position(|held| *held == name)
        .ok_or_else(|| BackendError::Graph { reason: format!("nothing before it gives `{name}`") })
}
