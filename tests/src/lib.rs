//! Whole-system tests of bytesandbrains; what several of them need is here.

use bb_learn::models::{reference_logreg, reference_mlp};
use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions};
use bb_sim::{DigitsWorkload, Federation, Partition, Round};
use bytesandbrains::{TensorMap, Value};

/// Whatever goes wrong in a test.
pub type Error = Box<dyn std::error::Error>;

/// The model `logreg` or `mlp` of the fixed workload.
///
/// # Errors
/// A name that is neither.
pub fn reference_model(name: &str) -> Result<OnnxModelConfig, Error> {
    let model = match name {
        "logreg" => reference_logreg()?,
        "mlp" => reference_mlp()?,
        other => return Err(format!("no reference model is called `{other}`").into()),
    };
    Ok(OnnxModelConfig::new(model, OnnxModelOptions::default())?)
}

/// The fixed workload with that model.
///
/// # Errors
/// What keeps it from being built.
pub fn reference_federation(name: &str, clients: usize) -> Result<Federation, Error> {
    Ok(DigitsWorkload::new(reference_model(name)?, clients).partition(Partition::Contiguous).build()?)
}

/// A number that a round handed out.
///
/// # Errors
/// A round without it.
pub fn number(round: &Round, output: &str) -> Result<f64, Error> {
    match round.output(output) {
        Some(Value::F64(number)) => Ok(*number),
        other => Err(format!("`{output}` is {other:?}").into()),
    }
}

/// The parameters that a round handed out.
///
/// # Errors
/// A round without them.
pub fn global(round: &Round) -> Result<TensorMap, Error> {
    match round.output("global") {
        Some(Value::Tensors(parameters)) => Ok(parameters.clone()),
        other => Err(format!("`global` is {other:?}").into()),
    }
}
