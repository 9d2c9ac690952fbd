//! How far a backend's outputs are from the wanted ones, in numbers: for real models, where passing is not all to know.

use bb_runtime::onnx::{ModelProto, TensorProto};
use bb_runtime::{Backend, BackendError, BackendGraph, DataType, Tensor, TensorError};
use prost::Message;
use thiserror::Error;

use crate::archive::Case;

/// Why there is no difference to tell.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DifferenceError {
    /// The backend refused the model or a run.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A file of the case is damaged.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    /// An output has another type or shape, or the case has no such output.
    #[error("output {output} of data set {set} is {got} instead of {want}")]
    Form {
        /// What came out.
        got: String,
        /// The output.
        output: usize,
        /// The data set.
        set: usize,
        /// What was wanted.
        want: String,
    },
    /// A tensor that cannot be read.
    #[error(transparent)]
    OnnxTensor(#[from] bb_runtime::OnnxTensorError),
    /// A tensor of another type than it says.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The largest absolute difference of any number of any output over all data sets; infinite where one is NaN.
///
/// # Errors
/// [`DifferenceError`].
pub fn largest(backend: &dyn Backend, case: &Case) -> Result<f64, DifferenceError> {
    let model = ModelProto::decode(case.model.as_slice())?;
    let mut ready = backend.prepare(&BackendGraph::from_model(&model)?)?;
    let mut largest = 0.0_f64;
    for (&set, data) in &case.sets {
        let inputs = data.inputs.values().map(|bytes| read(bytes)).collect::<Result<Vec<_>, _>>()?;
        let got = ready.run(&inputs)?;
        for (&output, bytes) in &data.outputs {
            let want = read(bytes)?;
            let form = |tensor: &Tensor| format!("{}{}", tensor.dtype(), tensor.shape());
            let came = got.get(output).map_or_else(|| "nothing".to_owned(), form);
            if came != form(&want) {
                return Err(DifferenceError::Form { got: came, output, set, want: form(&want) });
            }
            let far = apart(&got[output], &want)?;
            largest = largest.max(if far.is_nan() { f64::INFINITY } else { far });
        }
    }
    Ok(largest)
}

fn read(bytes: &[u8]) -> Result<Tensor, DifferenceError> {
    Ok(Tensor::from_onnx(&TensorProto::decode(bytes)?)?)
}

fn apart(got: &Tensor, want: &Tensor) -> Result<f64, TensorError> {
    if want.dtype() == DataType::F32 {
        let pairs = got.as_slice::<f32>()?.iter().zip(want.as_slice::<f32>()?);
        let far = pairs.map(|(got, want)| f64::from(*got) - f64::from(*want));
        return Ok(far.fold(0.0_f64, |most, far| {
            if most.is_nan() || far.is_nan() { f64::NAN } else { most.max(far.abs()) }
        }));
    }
    Ok(if got.as_bytes() == want.as_bytes() { 0.0 } else { f64::INFINITY })
}
