//! What is known of types: how two statements about a value go together, and what each op takes and gives.

mod onnx;
mod roles;
mod syscalls;

pub(super) use onnx::{Known, outputs as onnx_outputs};
pub(super) use roles::{Signature, signature};
pub(super) use syscalls::syscall;

use bb_ir::{Dim, ValueType};

/// What holds if both hold; `None` if that cannot be.
pub(super) fn merge(a: &ValueType, b: &ValueType) -> Option<ValueType> {
    match (a, b) {
        (ValueType::Any, other) | (other, ValueType::Any) => Some(other.clone()),
        (ValueType::Tensor { dtype: da, shape: sa }, ValueType::Tensor { dtype: db, shape: sb }) => {
            let dtype = match (da, db) {
                (Some(a), Some(b)) if a != b => return None,
                (Some(known), _) | (None, Some(known)) => Some(*known),
                (None, None) => None,
            };
            let shape = match (sa, sb) {
                (Some(a), Some(b)) => Some(merge_dims(a, b)?),
                (Some(known), None) | (None, Some(known)) => Some(known.clone()),
                (None, None) => None,
            };
            Some(ValueType::Tensor { dtype, shape })
        }
        (ValueType::Tuple(a), ValueType::Tuple(b)) if a.len() == b.len() => {
            let items: Option<Vec<ValueType>> = a.iter().zip(b).map(|(a, b)| merge(a, b)).collect();
            items.map(ValueType::Tuple)
        }
        (a, b) if a == b => Some(a.clone()),
        _ => None,
    }
}

fn merge_dims(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(|(a, b)| merge_dim(a, b)).collect()
}

/// What holds of an extent if both hold.
pub(super) fn merge_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(x), Dim::Known(y)) => (x == y).then(|| a.clone()),
        (Dim::Known(_), _) | (Dim::Named(_), Dim::Any | Dim::Named(_)) => Some(a.clone()),
        _ => Some(b.clone()),
    }
}
