//! The step as bb-autodiff writes it, one ONNX graph that bb-cpu prepares once.

use std::error::Error;

use bb_autodiff::{TrainingOptions, TrainingPlan};
use bb_cpu::{CpuBackend, CpuConfig};
use bb_runtime::onnx::tensor_shape_proto::{Dimension, dimension};
use bb_runtime::onnx::{GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use bb_runtime::{Backend, BackendGraph, Component, DataType, Executable, Outputs, Tensor};

use crate::{BATCH, CLASSES, Contender, HIDDEN, RATE, Start, WIDTH};

const OPSET: i64 = 21;

pub(crate) struct Trainer {
    step: Box<dyn Executable>,
    /// The parameters, then what does not change: the batch, its labels, the rate.
    inputs: Vec<Tensor>,
    parameters: usize,
    /// The loss, then the new parameters.
    outputs: Outputs,
}

impl Trainer {
    pub(crate) fn new(start: &Start) -> Result<Self, Box<dyn Error>> {
        let held = [
            ("w1", Tensor::from_slice([WIDTH, HIDDEN], &start.w1)?),
            ("b1", Tensor::from_slice([HIDDEN], &start.b1)?),
            ("w2", Tensor::from_slice([HIDDEN, CLASSES], &start.w2)?),
            ("b2", Tensor::from_slice([CLASSES], &start.b2)?),
        ];
        let model = GraphProto {
            node: vec![
                node("Gemm", &["x", "w1", "b1"], "h"),
                node("Relu", &["h"], "a"),
                node("Gemm", &["a", "w2", "b2"], "scores"),
            ],
            input: vec![value("x", &[BATCH, WIDTH])],
            output: vec![value("scores", &[BATCH, CLASSES])],
            initializer: held.iter().map(|(name, tensor)| tensor.to_onnx(name)).collect(),
            ..Default::default()
        };
        let plan = TrainingPlan::new(&model, OPSET, &TrainingOptions::default())?;
        let made = plan.step(Some(BATCH))?;
        let step =
            CpuBackend::new(&CpuConfig::default())?.prepare(&BackendGraph::from_model(&made.to_model())?)?;

        let labels: Vec<i64> = start.y.iter().map(|&class| i64::from(class)).collect();
        let mut inputs = Vec::new();
        for parameter in plan.parameters() {
            let found = held.iter().find(|(name, _)| *name == parameter.name);
            inputs.push(found.ok_or("a parameter that is none")?.1.clone());
        }
        let parameters = inputs.len();
        inputs.push(Tensor::from_slice([BATCH, WIDTH], &start.x)?);
        inputs.push(Tensor::from_slice([BATCH], &labels)?);
        inputs.push(Tensor::scalar(RATE));
        Ok(Self { step, inputs, parameters, outputs: Outputs::new() })
    }
}

impl Contender for Trainer {
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        self.step.run_into(&self.inputs, &mut self.outputs)?;
        for (input, output) in self.inputs[..self.parameters].iter_mut().zip(&mut self.outputs[1..]) {
            std::mem::swap(input, output);
        }
        Ok(())
    }

    fn loss(&self) -> Result<f32, Box<dyn Error>> {
        Ok(*self.outputs.first().ok_or("no loss")?.as_slice::<f32>()?.first().ok_or("an empty loss")?)
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// A value of `f32`.
fn value(name: &str, extents: &[usize]) -> ValueInfoProto {
    let dim = extents.iter().map(|&extent| Dimension {
        value: Some(dimension::Value::DimValue(extent as i64)),
        ..Default::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::F32.to_onnx()),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..Default::default() }
}
