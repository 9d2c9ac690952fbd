//! Section 6: the state of each component, as it writes it itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::codec::{Bad, Read, close, fields, list, open, set, unknown};
use super::save::Saving;
use super::{RestoreError, SnapshotError};
use crate::contracts::{CompletionSink, StateReader, StateWriter};
use crate::engine::components::{Components, panic_message};
use crate::engine::dense::Lowered;
use crate::{ComponentError, DynComponent};

/// A component as it was saved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved<'a> {
    slot: &'a str,
    type_name: &'a str,
    state: &'a [u8],
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (slot, component) in cx.engine.components.iter() {
        let slot = cx.engine.lowered.slots[slot as usize].name.as_str();
        let type_name = component.type_name();
        let entry = open(out, 1);
        put_bytes(out, 1, slot.as_bytes());
        put_bytes(out, 2, type_name.as_bytes());
        let state = open(out, 3);
        // The component writes behind all that is written already; nothing of it is copied.
        let mut writer = StateWriter::behind(std::mem::take(out));
        let saved = catch_unwind(AssertUnwindSafe(|| component.save(&mut writer)));
        *out = writer.into_inner();
        let (slot, type_name) = (slot.to_owned(), type_name.to_owned());
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(SnapshotError::ComponentSaveFailed { slot, type_name, source }),
            Err(panic) => {
                let message = panic_message(&*panic);
                return Err(SnapshotError::ComponentPanicked { slot, type_name, message });
            }
        }
        close(out, state);
        close(out, entry);
    }
    Ok(())
}

/// The components that were saved; they must be those of the node.
pub(super) fn load<'a>(
    section: &'a [u8],
    lowered: &Lowered,
    live: &Components,
) -> Result<Vec<Saved<'a>>, RestoreError> {
    let mut saved = Vec::new();
    list(Cursor::new(section), "components", |entry| {
        let (mut slot, mut type_name, mut state) = (None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut slot, &field, field.text()?),
            2 => set(&mut type_name, &field, field.text()?),
            3 => set(&mut state, &field, field.bytes()?.rest()),
            _ => Err(unknown(&field)),
        })?;
        saved.push(Saved {
            slot: slot.ok_or_else(|| Bad::missing("slot"))?,
            type_name: type_name.ok_or_else(|| Bad::missing("type_name"))?,
            state: state.unwrap_or_default(),
        });
        Ok(())
    })
    .map_err(|bad| bad.named("components"))?;
    let described = |slot: &str, type_name: &str| format!("{slot}: {type_name}");
    let got: Vec<String> = saved.iter().map(|saved| described(saved.slot, saved.type_name)).collect();
    let expected: Vec<String> = live
        .iter()
        .map(|(slot, held)| described(&lowered.slots[slot as usize].name, held.type_name()))
        .collect();
    if got != expected {
        let what = "set of components".to_owned();
        return Err(RestoreError::SnapshotMismatch {
            what,
            got: got.join(", "),
            expected: expected.join(", "),
        });
    }
    Ok(saved)
}

/// Makes new components, each with its saved state. `open` has the answers that ops of the snapshot wait for.
pub(super) fn make(
    saved: &[Saved<'_>],
    lowered: &Arc<Lowered>,
    live: &Components,
    sink: &Arc<dyn CompletionSink>,
    open: BTreeSet<u64>,
) -> Result<Components, RestoreError> {
    let open = RefCell::new(open);
    let mut states = saved.iter();
    live.make_again(lowered, |component: &mut dyn DynComponent| match states.next() {
        Some(saved) => {
            let mut reader = StateReader::restoring(saved.state, sink, &open);
            component.load(&mut reader)?;
            Ok(reader.finish()?)
        }
        None => Ok(()),
    })
    .map_err(|(slot, type_name, source): (String, String, ComponentError)| {
        RestoreError::ComponentRestoreFailed { slot, type_name, source }
    })
}
