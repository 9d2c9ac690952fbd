//! Whether a tensor is the one that was wanted.

use bb_runtime::{DataType, Element, Tensor, TensorError};
use half::{bf16, f16};

/// Says where `got` differs from `want`: |got − want| ≤ 10⁻⁷ + 10⁻³·|want| (bfloat16: 2⁻⁶·|want|), NaN equals NaN, type
/// and shape equal.
///
/// # Errors
/// The first difference.
pub fn compare(got: &Tensor, want: &Tensor) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Err(format!("{}{} instead of {}{}", got.dtype(), got.shape(), want.dtype(), want.shape()));
    }
    let outcome = match want.dtype() {
        DataType::F32 => floats::<f32>(got, want, 1e-3, f64::from),
        DataType::F64 => floats::<f64>(got, want, 1e-3, |x| x),
        DataType::F16 => floats::<u16>(got, want, 1e-3, |bits| f16::from_bits(bits).to_f64()),
        DataType::Bf16 => floats::<u16>(got, want, 1.0 / 64.0, |bits| bf16::from_bits(bits).to_f64()),
        _ if got.as_bytes() == want.as_bytes() => Ok(Ok(())),
        _ => Ok(Err(format!("{got} instead of {want}"))),
    };
    outcome.unwrap_or_else(|error| Err(error.to_string()))
}

fn floats<T: Element>(
    got: &Tensor,
    want: &Tensor,
    relative: f64,
    number: impl Fn(T) -> f64,
) -> Result<Result<(), String>, TensorError> {
    let pairs = got.as_slice::<T>()?.iter().zip(want.as_slice::<T>()?);
    for (at, (&got, &want)) in pairs.enumerate() {
        let (got, want) = (number(got), number(want));
        let same = got == want
            || got.is_nan() && want.is_nan()
            || (got - want).abs() <= 1e-7 + relative * want.abs();
        if !same || got.is_infinite() != want.is_infinite() {
            return Ok(Err(format!("element {at} is {got} instead of {want}")));
        }
    }
    Ok(Ok(()))
}
