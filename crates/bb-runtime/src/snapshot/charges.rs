//! Section 63: the bytes that live values are charged with. Values that share a charge share it again.

use bb_framework::{Budget, Charge};
use bb_ir::wire_codec::Cursor;

use super::codec::{Bad, Read, fields, put_numbers, unknown};
use super::save::Saving;
use super::{RestoreError, SnapshotError};

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    put_numbers(out, 1, &cx.charge_bytes);
    Ok(())
}

/// The charges, made anew within the budget.
pub(super) fn load(section: &[u8], budget: &Budget) -> Result<Vec<Charge>, RestoreError> {
    let mut sizes = Vec::new();
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => sizes.extend(field.numbers()?),
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })
    .map_err(|bad: Bad| bad.named("charges"))?;
    let sum = sizes.iter().fold(0, |sum: u64, &size| sum.saturating_add(size));
    let cap = budget.capacity() as u64;
    if sum > cap {
        return Err(RestoreError::LimitExceeded { limit: "ingress_bytes".to_owned(), got: sum, cap });
    }
    Ok(sizes.into_iter().map(|size| budget.readmit(size as usize)).collect())
}
