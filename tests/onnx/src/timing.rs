//! Times models for `docs/benchmarks/against_onnxruntime.py`, which alternates between this process and its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use bb_runtime::onnx::{ModelProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use bb_runtime::{
    Backend, BackendError, BackendGraph, DataType, Executable, Outputs, Shape, Tensor, TensorError,
};
use prost::Message;
use thiserror::Error;

/// Why a model cannot be timed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The backend refused the model or a run.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Not `COUNT PATH`.
    #[error("expected `COUNT PATH`, got `{0}`")]
    Command(String),
    /// The file is no model.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// The model's file or a pipe cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An input cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// A model that is ready, its inputs, and the outputs of its last run.
struct Ready {
    executable: Box<dyn Executable>,
    inputs: Vec<Tensor>,
    outputs: Outputs,
}

/// Answers each line `COUNT PATH` of standard input with the nanoseconds of a run of that model, the mean of so many.
///
/// # Errors
/// [`TimingError`].
pub fn work(backend: &dyn Backend) -> Result<(), TimingError> {
    let mut held: BTreeMap<String, Ready> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let command = line.split_once(' ').and_then(|(count, path)| Some((count.parse().ok()?, path)));
        let (count, path): (u32, &str) = command.ok_or_else(|| TimingError::Command(line.clone()))?;
        let ready = match held.entry(path.to_owned()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(prepare(backend, path)?),
        };
        let took = time(ready, count)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", took.as_nanos() as f64 / f64::from(count.max(1)))?;
        out.flush()?;
    }
    Ok(())
}

fn prepare(backend: &dyn Backend, path: &str) -> Result<Ready, TimingError> {
    let graph = BackendGraph::from_model(&ModelProto::decode(fs::read(path)?.as_slice())?)?;
    let proto = graph.graph();
    let fed =
        proto.input.iter().filter(|input| !proto.initializer.iter().any(|held| held.name() == input.name()));
    let inputs = fed.map(input).collect::<Result<Vec<_>, _>>()?;
    let mut executable = backend.prepare(&graph)?;
    let outputs = executable.run(&inputs)?;
    Ok(Ready { executable, inputs, outputs })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn time(ready: &mut Ready, count: u32) -> Result<Duration, BackendError> {
    let begin = Instant::now();
    for _ in 0..count {
        ready.executable.run_into(&ready.inputs, &mut ready.outputs)?;
    }
    Ok(begin.elapsed())
}

/// A tensor for an input: numbers in [0, 1), zeros where it is not declared to be of `f32`; an extent that is not fixed
/// is 1.
fn input(value: &ValueInfoProto) -> Result<Tensor, TensorError> {
    let mut extents = Vec::new();
    let mut dtype = DataType::F32;
    if let Some(type_proto::Value::TensorType(ty)) = value.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        dtype = DataType::from_onnx(ty.elem_type()).unwrap_or(dtype);
        for dim in ty.shape.iter().flat_map(|shape| &shape.dim) {
            extents.push(match dim.value {
                Some(dimension::Value::DimValue(extent)) => usize::try_from(extent).unwrap_or(1),
                _ => 1,
            });
        }
    }
    let mut tensor = Tensor::zeros(dtype, Shape::from(extents))?;
    if dtype == DataType::F32 {
        for (at, number) in tensor.make_mut::<f32>()?.iter_mut().enumerate() {
            *number = (at * 7919 % 1000) as f32 / 1000.0;
        }
    }
    Ok(tensor)
}
