//! Section 2: the limits in use. They are part of the digest; a restored node keeps its own, and is checked against them.

use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::SnapshotError;
use super::codec::{Bad, Read, fields, list, message, put_number, unknown};
use super::save::Saving;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (name, value) in cx.engine.limits.entries() {
        message(out, 1, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_number(out, 2, value);
        });
    }
    Ok(())
}

/// Checks the section's form.
pub(super) fn load(section: &[u8]) -> Result<(), Bad> {
    list(Cursor::new(section), "limits", |entry| {
        fields(entry, |field| {
            match field.number {
                1 => {
                    field.text()?;
                }
                2 => {
                    field.varint()?;
                }
                _ => return Err(unknown(&field)),
            }
            Ok(())
        })
    })
}
