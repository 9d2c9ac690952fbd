//! Section 14: messages that wait to be sent. After a restore they may be on their way already, and are marked so.

use bb_framework::OutboundQueue;
use bb_framework::outbound::{self, Dropped, State};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;
use bytes::Bytes;

use super::SnapshotError;
use super::codec::{
    Bad, Read, copy, fields, message, push_named, put_flag, put_number, put_peer, set, unknown,
};
use super::save::Saving;
use crate::NodeConfig;
use crate::engine::wire::Outgoing;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let queue = &cx.engine.wire.outbound;
    for outgoing in queue.iter() {
        message(out, 1, |out| {
            put_peer(out, 1, outgoing.peer);
            put_bytes(out, 2, &outgoing.bytes);
            put_flag(out, 3, outgoing.redelivered && !cx.is_digest);
        });
    }
    let unreported = queue.unreported();
    put_number(out, 2, unreported.count);
    put_number(out, 3, unreported.bytes);
    Ok(())
}

pub(super) fn load(
    section: &[u8],
    dropped: Dropped,
    limits: &NodeConfig,
) -> Result<OutboundQueue<Outgoing>, Bad> {
    let mut messages = Vec::new();
    let (mut count, mut bytes) = (None, None);
    fields(Cursor::new(section), |field| {
        match field.number {
            1 => {
                let entry = field.bytes().map_err(Bad::from).and_then(outgoing);
                push_named(&mut messages, entry, "messages")?;
            }
            2 => set(&mut count, &field, field.varint()?)?,
            3 => set(&mut bytes, &field, field.varint()?)?,
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let reported = Dropped {
        count: dropped.count.checked_sub(count.unwrap_or(0)).ok_or_else(too_many)?,
        bytes: dropped.bytes.checked_sub(bytes.unwrap_or(0)).ok_or_else(too_many)?,
    };
    let config = outbound::Config { messages: limits.outbound_count, bytes: limits.outbound_bytes };
    Ok(OutboundQueue::from_state(State { messages, dropped, reported }, config)?)
}

fn too_many() -> Bad {
    Bad::inconsistent("more is to be reported as dropped than was dropped")
}

fn outgoing(entry: Cursor<'_>) -> Result<(Outgoing, usize), Bad> {
    let (mut peer, mut envelope, mut redelivered) = (None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut peer, &field, field.peer()?),
        2 => set(&mut envelope, &field, field.bytes()?.rest()),
        3 => set(&mut redelivered, &field, field.flag()?),
        _ => Err(unknown(&field)),
    })?;
    let peer = peer.ok_or_else(|| Bad::missing("peer"))?;
    let bytes = Bytes::from(copy(envelope.ok_or_else(|| Bad::missing("envelope"))?)?);
    let byte_count = bytes.len();
    Ok((Outgoing { peer, bytes, redelivered: true }, byte_count))
}
