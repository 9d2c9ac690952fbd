//! Whether an update fits the round: names, types, shapes, and that its numbers are finite.

use std::ops::{Add, Mul, Sub};

use bb_runtime::{ComponentError, DataType, Shape, TensorMap};
use pulp::Arch;
use thiserror::Error;

/// Why an update is refused; the peer that sent it is at fault.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum UpdateError {
    /// No tensors at all.
    #[error("the update has no tensors")]
    Empty,
    /// Another number of tensors.
    #[error("the update has {got} tensors, the round's have {expected}")]
    Count {
        /// Tensors of the round.
        expected: usize,
        /// Tensors of the update.
        got: usize,
    },
    /// A number that is not finite, or so large that a mean could overflow.
    #[error("tensor `{tensor}` holds {got:e} at {index}; numbers must be finite and below {limit:e}")]
    Magnitude {
        /// The number.
        got: f64,
        /// Its index in the tensor.
        index: usize,
        /// What it must be below.
        limit: f64,
        /// The tensor.
        tensor: String,
    },
    /// Another name at this place.
    #[error("tensor {index} is called `{got}`, in the round it is `{expected}`")]
    Name {
        /// The name in the round.
        expected: String,
        /// The name in the update.
        got: String,
        /// Which tensor.
        index: usize,
    },
    /// Another shape.
    #[error("tensor `{tensor}` has shape {got}, in the round {expected}")]
    Shape {
        /// The shape in the round.
        expected: Shape,
        /// The shape in the update.
        got: Shape,
        /// The tensor.
        tensor: String,
    },
    /// Another element type, or one that has no mean.
    #[error("tensor `{tensor}` holds {got}, expected {expected:?}")]
    Type {
        /// The types that would do.
        expected: Vec<DataType>,
        /// The type in the update.
        got: DataType,
        /// The tensor.
        tensor: String,
    },
    /// A weight that is negative or no number, or with which the sum of weights is none.
    #[error("weight {weight}: must be zero or more, finite, and so must the round's sum of weights be")]
    Weight {
        /// The weight.
        weight: f64,
    },
}

impl From<UpdateError> for ComponentError {
    fn from(error: UpdateError) -> Self {
        Self::other(error)
    }
}

/// The types that have a mean here.
const FLOATS: [DataType; 2] = [DataType::F32, DataType::F64];

/// Numbers at and above 2^127 are refused: the difference of two smaller ones is finite, in f32 too.
const LIMIT: f64 = 1.701_411_834_604_692_3e38;

/// Checks that `update` is one of floats, and of the form of `round` if there is one.
pub(super) fn check_form(update: &TensorMap, round: Option<&TensorMap>) -> Result<(), UpdateError> {
    if update.is_empty() {
        return Err(UpdateError::Empty);
    }
    for (name, tensor) in update.iter() {
        if !FLOATS.contains(&tensor.dtype()) {
            let (tensor, got) = (name.to_string(), tensor.dtype());
            return Err(UpdateError::Type { expected: FLOATS.to_vec(), got, tensor });
        }
    }
    let Some(round) = round else { return Ok(()) };
    if round.len() != update.len() {
        return Err(UpdateError::Count { expected: round.len(), got: update.len() });
    }
    for (index, ((expected_name, expected), (name, tensor))) in round.iter().zip(update.iter()).enumerate() {
        if expected_name != name {
            let (expected, got) = (expected_name.to_string(), name.to_string());
            return Err(UpdateError::Name { expected, got, index });
        }
        if expected.dtype() != tensor.dtype() {
            let expected = vec![expected.dtype()];
            return Err(UpdateError::Type { expected, got: tensor.dtype(), tensor: name.to_string() });
        }
        if expected.shape() != tensor.shape() {
            let (expected, got) = (expected.shape().clone(), tensor.shape().clone());
            return Err(UpdateError::Shape { expected, got, tensor: name.to_string() });
        }
    }
    Ok(())
}

/// Checks that every number of `update` is finite and below [`LIMIT`] in magnitude.
pub(super) fn check_numbers(update: &TensorMap) -> Result<(), UpdateError> {
    for (name, tensor) in update.iter() {
        let wrong = match tensor.as_slice::<f32>() {
            Ok(numbers) => f32::first_wrong(numbers),
            Err(_) => tensor.as_slice::<f64>().ok().and_then(f64::first_wrong),
        };
        if let Some((index, got)) = wrong {
            return Err(UpdateError::Magnitude { got, index, limit: LIMIT, tensor: name.to_string() });
        }
    }
    Ok(())
}

/// A type that has a mean.
pub(super) trait Float:
    Copy + Into<f64> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// Whether all are surely below [`LIMIT`]; without a branch a number, so that vector units take it at memory speed.
    fn all_good(numbers: &[Self]) -> bool;

    /// The first that is not finite or not below [`LIMIT`], and where it stands.
    fn first_wrong(numbers: &[Self]) -> Option<(usize, f64)> {
        let all_good = Arch::new().dispatch(
            #[inline(always)]
            || Self::all_good(numbers),
        );
        if all_good {
            return None;
        }
        let wrong = |number: f64| !number.is_finite() || number.abs() >= LIMIT;
        let index = numbers.iter().position(|&number| wrong(number.into()))?;
        Some((index, numbers[index].into()))
    }
}

impl Float for f32 {
    /// Of a magnitude of 2^127 or more the exponent is so large that adding two to it carries into the sign bit.
    #[inline(always)]
    fn all_good(numbers: &[Self]) -> bool {
        const EXPONENT: u32 = 0x7F80_0000;
        const TWO: u32 = 0x0100_0000;
        let carries = numbers.iter().fold(0, |seen, number| seen | ((number.to_bits() & EXPONENT) + TWO));
        carries >> 31 == 0
    }
}

impl Float for f64 {
    #[inline(always)]
    fn all_good(numbers: &[Self]) -> bool {
        numbers.iter().fold(true, |good, number| good & (number.abs() < LIMIT))
    }
}
