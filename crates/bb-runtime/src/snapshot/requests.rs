//! Section 12: requests to peers that are not answered yet.

use bb_framework::requests::{RequestState, State};
use bb_framework::{RequestId, RequestTracker};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::SnapshotError;
use super::codec::{
    Bad, Read, fields, index32, list, message, put_moment, put_number, put_peer, set, unknown,
};
use super::save::Saving;
use crate::Time;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for request in cx.engine.wire.requests.state(cx.now).requests {
        message(out, 1, |out| {
            put_moment(out, 1, request.deadline);
            put_peer(out, 2, request.peer);
            put_bytes(out, 3, &request.id.0);
            put_number(out, 4, request.payload.0);
            put_number(out, 5, u64::from(request.payload.1));
        });
    }
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    (unsolicited, refused): (u64, u64),
    capacity: usize,
    now: Time,
) -> Result<RequestTracker<(u64, u32)>, Bad> {
    let mut state = State { requests: Vec::new(), unsolicited, refused };
    list(Cursor::new(section), "requests", |entry| {
        let (mut deadline, mut peer, mut id, mut wait, mut asked) = (None, None, None, None, None);
        fields(entry, |field| match field.number {
            1 => set(&mut deadline, &field, field.moment()?),
            2 => set(&mut peer, &field, field.peer()?),
            3 => set(&mut id, &field, RequestId(field.array()?)),
            4 => set(&mut wait, &field, field.varint()?),
            5 => set(&mut asked, &field, index32(field.varint()?)?),
            _ => Err(unknown(&field)),
        })?;
        state.requests.push(RequestState {
            deadline: deadline.unwrap_or_default(),
            peer: peer.ok_or_else(|| Bad::missing("peer"))?,
            id: id.ok_or_else(|| Bad::missing("id"))?,
            payload: (wait.unwrap_or(0), asked.unwrap_or(0)),
        });
        Ok(())
    })?;
    Ok(RequestTracker::from_state(state, capacity, now)?)
}
