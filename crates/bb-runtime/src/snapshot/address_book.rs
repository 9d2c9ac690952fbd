//! Section 4: the address book.

use bb_framework::address_book::{EntryState, State};
use bb_framework::{AddressBook, Tier};
use bb_ir::wire_codec::write::{len_field_len, put_bytes, put_len, put_varint_field, varint_field_len};
use bb_ir::wire_codec::{Cursor, ValueError};

use super::SnapshotError;
use super::codec::{At, Bad, Read, fields, index32, list, message, push, put_number, put_peer, set, unknown};
use super::save::Saving;
use crate::engine::peers::Peers;
use crate::{Address, NodeConfig, PeerId};

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for entry in cx.engine.peers.book.state().entries {
        message(out, 1, |out| {
            put_peer(out, 1, entry.peer);
            put_number(out, 2, u64::from(entry.references));
            if let Some(record) = entry.record {
                put_varint_field(out, 3, record);
            }
            for (tier, address) in &entry.addresses {
                let (tier, bytes) = (number_of(*tier), address.as_bytes());
                put_len(out, 4, varint_field_len(1, tier) + len_field_len(2, bytes.len()));
                put_varint_field(out, 1, tier);
                put_bytes(out, 2, bytes);
            }
        });
    }
    Ok(())
}

pub(super) fn load(section: &[u8], own: PeerId, limits: &NodeConfig) -> Result<AddressBook, Bad> {
    let mut state = State::default();
    list(Cursor::new(section), "peers", |entry| {
        push(&mut state.entries, peer(entry)?)?;
        Ok(())
    })?;
    Ok(AddressBook::from_state(own, state, Peers::configs(limits).0)?)
}

fn peer(entry: Cursor<'_>) -> Result<EntryState, Bad> {
    let (mut peer, mut references, mut record) = (None, None, None);
    let mut addresses = Vec::new();
    fields(entry, |field| {
        match field.number {
            1 => set(&mut peer, &field, field.peer()?)?,
            2 => set(&mut references, &field, index32(field.varint()?)?)?,
            3 => set(&mut record, &field, field.varint()?)?,
            4 => addresses.push(address(field.bytes()?).numbered(addresses.len()).named("addresses")?),
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    let peer = peer.ok_or_else(|| Bad::missing("peer"))?;
    Ok(EntryState { peer, references: references.unwrap_or(0), record, addresses })
}

fn address(entry: Cursor<'_>) -> Result<(Tier, Address), Bad> {
    let (mut tier, mut address) = (None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut tier, &field, field.varint()?),
        2 => {
            let bytes = field.bytes()?;
            let read = Address::from_bytes(bytes.rest());
            let read = read.map_err(|source| ValueError::Address { at: bytes.at(), source })?;
            set(&mut address, &field, read)
        }
        _ => Err(unknown(&field)),
    })?;
    let tier = match tier {
        Some(1) => Tier::Operator,
        Some(2) => Tier::Signed,
        Some(3) => Tier::Hint,
        number => return Err(Bad::new(super::Fault::Unknown { number: number.unwrap_or(0) })),
    };
    Ok((tier, address.ok_or_else(|| Bad::missing("address"))?))
}

fn number_of(tier: Tier) -> u64 {
    match tier {
        Tier::Operator => 1,
        Tier::Signed => 2,
        Tier::Hint => 3,
    }
}
