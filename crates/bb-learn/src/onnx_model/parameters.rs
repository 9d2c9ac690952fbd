//! Whether named tensors are a model's parameters, and arithmetic on those.

use bb_runtime::{DataType, Tensor, TensorError, TensorMap};

use super::OnnxModelError;

/// Checks that `given` has the names, types and shapes of `parameters`, in their order.
pub(super) fn check(parameters: &TensorMap, given: &TensorMap) -> Result<(), OnnxModelError> {
    if parameters.len() != given.len() {
        return Err(OnnxModelError::ParameterCount { expected: parameters.len(), got: given.len() });
    }
    for (index, ((name, held), (given_name, given))) in parameters.iter().zip(given.iter()).enumerate() {
        let parameter = || name.to_string();
        if name != given_name {
            return Err(OnnxModelError::ParameterName {
                expected: parameter(),
                got: given_name.to_string(),
                index,
            });
        }
        if held.dtype() != given.dtype() {
            let (expected, got) = (held.dtype(), given.dtype());
            return Err(OnnxModelError::ParameterType { expected, got, parameter: parameter() });
        }
        if held.shape() != given.shape() {
            let (expected, got) = (held.shape().clone(), given.shape().clone());
            return Err(OnnxModelError::ParameterShape { expected, got, parameter: parameter() });
        }
    }
    Ok(())
}

/// Adds `scale · delta` to `parameter`, which has its type and shape.
pub(super) fn add_scaled(parameter: &mut Tensor, delta: &Tensor, scale: f64) -> Result<(), TensorError> {
    if parameter.dtype() == DataType::F64 {
        let delta = delta.as_slice::<f64>()?;
        for (number, &delta) in parameter.make_mut::<f64>()?.iter_mut().zip(delta) {
            *number += scale * delta;
        }
    } else {
        let (delta, scale) = (delta.as_slice::<f32>()?, scale as f32);
        for (number, &delta) in parameter.make_mut::<f32>()?.iter_mut().zip(delta) {
            *number += scale * delta;
        }
    }
    Ok(())
}

/// The number that a tensor of one element holds; not a number if it holds none.
pub(super) fn number(tensor: &Tensor) -> f64 {
    let single = tensor.as_slice::<f32>().ok().and_then(|all| all.first().copied()).map(f64::from);
    let double = || tensor.as_slice::<f64>().ok().and_then(|all| all.first().copied());
    let whole =
        || tensor.as_slice::<i64>().ok().and_then(|all| all.first().copied()).map(|whole| whole as f64);
    single.or_else(double).or_else(whole).unwrap_or(f64::NAN)
}
