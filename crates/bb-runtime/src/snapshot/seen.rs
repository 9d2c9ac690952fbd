//! Section 13: messages that were seen already.

use bb_framework::dedup::State;
use bb_framework::{DedupWindow, MessageId};
use bb_ir::wire_codec::Cursor;

use super::SnapshotError;
use super::codec::{Bad, Read, fields, list, message, push, put_number, put_peer, set, unknown};
use super::save::Saving;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for (sender, id) in cx.engine.wire.seen.iter() {
        message(out, 1, |out| {
            put_peer(out, 1, sender);
            put_number(out, 2, id.incarnation);
            put_number(out, 3, id.counter);
        });
    }
    Ok(())
}

pub(super) fn load(section: &[u8], evicted: u64, capacity: usize) -> Result<DedupWindow, Bad> {
    let mut state = State { messages: Vec::new(), evicted };
    list(Cursor::new(section), "messages", |entry| {
        let (mut sender, mut incarnation, mut counter) = (None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut sender, &field, field.peer()?),
            2 => set(&mut incarnation, &field, field.varint()?),
            3 => set(&mut counter, &field, field.varint()?),
            _ => Err(unknown(&field)),
        })?;
        let id = MessageId { incarnation: incarnation.unwrap_or(0), counter: counter.unwrap_or(0) };
        push(&mut state.messages, (sender.ok_or_else(|| Bad::missing("sender"))?, id))?;
        Ok(())
    })?;
    Ok(DedupWindow::from_state(&state, capacity)?)
}
