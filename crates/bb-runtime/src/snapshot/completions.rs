//! Section 17: answers of components that came later and were not taken yet. An error is kept as its text.

use std::collections::VecDeque;

use bb_framework::StateError;
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;
use smallvec::SmallVec;

use super::SnapshotError;
use super::codec::{At, Bad, Read, fields, list, message, put_flag, put_number, put_value, set, unknown};
use super::save::Saving;
use crate::ComponentError;
use crate::contracts::Pending;
use crate::ingress::Completed;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    cx.ingress.look_at_completions(|completions| {
        for completed in completions {
            message(out, 1, |out| {
                put_number(out, 1, completed.pending.0);
                match &completed.result {
                    Ok(values) => values.iter().for_each(|value| put_value(out, 2, value)),
                    Err(error) => {
                        put_flag(out, 3, true);
                        put_bytes(out, 4, error.to_string().as_bytes());
                    }
                }
            });
        }
    });
    Ok(())
}

pub(super) fn load(section: &[u8], capacity: usize) -> Result<VecDeque<Completed>, Bad> {
    let mut completions = VecDeque::new();
    list(Cursor::new(section), "completions", |entry| {
        let (mut wait, mut has_failed, mut failure) = (None, None, None);
        let mut values = SmallVec::new();
        fields(entry, |field| {
            match field.number {
                1 => set(&mut wait, &field, field.varint()?)?,
                2 => values.push(field.value().numbered(values.len()).named("values")?),
                3 => set(&mut has_failed, &field, field.flag()?)?,
                4 => set(&mut failure, &field, field.string()?)?,
                _ => return Err(unknown(&field)),
            }
            Ok(())
        })?;
        let result = match has_failed {
            Some(true) if values.is_empty() => Err(ComponentError::other(failure.unwrap_or_default())),
            Some(true) => return Err(Bad::inconsistent("an answer that failed has values")),
            _ => Ok(values),
        };
        completions.push_back(Completed { pending: Pending(wait.unwrap_or(0)), result });
        Ok(())
    })?;
    let count = completions.len();
    if count > capacity {
        return Err(StateError::TooMany { list: "pending_async", count, cap: capacity }.into());
    }
    Ok(completions)
}
