//! Writing and reading the messages of `proto/bb_snapshot.proto`.
//!
//! Whoever reads gives an error the place of the bad entry on its way out: [`At::named`], [`At::numbered`].

use std::fmt::Write as _;

use bb_framework::state::{Remaining, StateError};
use bb_ir::wire_codec::write::{
    Sink as _, TryBytes, len_field_len, put_bytes, put_len, put_varint, put_varint_field, unzigzag,
    varint_field_len, varint_len, zigzag,
};
use bb_ir::wire_codec::{Cursor, DecodeLimits, Field, ValueError, WireError, scan};

use super::Fault;
use crate::{PeerId, Value};

/// Bytes of the length of a message that is written before its length is known.
const LENGTH_BYTES: usize = 5;
/// The most bytes that such a length can say.
pub(super) const MAX_LENGTH: usize = (1 << (7 * LENGTH_BYTES)) - 1;

/// So much is never counted; what is less can be counted on.
const MAX_COUNT: u64 = 1 << 62;

/// Begins a message; to be ended by [`close`].
pub(super) fn open(out: &mut TryBytes, field: u32) -> usize {
    put_varint(out, u64::from(field) << 3 | 2);
    let start = out.len();
    out.put(&[0; LENGTH_BYTES]);
    start
}

/// Ends the message that began at `start`; one whose beginning found no memory has no end.
pub(super) fn close(out: &mut TryBytes, start: usize) {
    let body = start + LENGTH_BYTES;
    let Some(mut length) = out.len().checked_sub(body) else { return };
    for (index, byte) in out[start..body].iter_mut().enumerate() {
        let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
        *byte = (length & 0x7f) as u8 | more;
        length >>= 7;
    }
}

/// Writes a message whose length is not known before.
pub(super) fn message(out: &mut TryBytes, field: u32, write: impl FnOnce(&mut TryBytes)) {
    let start = open(out, field);
    write(out);
    close(out, start);
}

/// Writes a number unless it is zero.
pub(super) fn put_number(out: &mut TryBytes, field: u32, number: u64) {
    if number != 0 {
        put_varint_field(out, field, number);
    }
}

pub(super) fn put_flag(out: &mut TryBytes, field: u32, flag: bool) {
    put_number(out, field, u64::from(flag));
}

pub(super) fn put_moment(out: &mut TryBytes, field: u32, moment: Remaining) {
    put_number(out, field, zigzag(moment.0));
}

pub(super) fn put_peer(out: &mut TryBytes, field: u32, peer: PeerId) {
    put_bytes(out, field, peer.as_bytes());
}

/// Writes numbers packed; nothing if there are none.
pub(super) fn put_numbers(out: &mut TryBytes, field: u32, numbers: &[u64]) {
    if !numbers.is_empty() {
        put_len(out, field, numbers.iter().map(|&number| varint_len(number)).sum());
        for &number in numbers {
            put_varint(out, number);
        }
    }
}

pub(super) fn put_value(out: &mut TryBytes, field: u32, value: &Value) {
    put_len(out, field, value.encoded_len());
    value.encode_into(out);
}

/// Writes a value with the number of its charge.
pub(super) fn put_held(out: &mut TryBytes, field: u32, value: &Value, charge: u64) {
    let value_len = value.encoded_len();
    let charge_len = if charge == 0 { 0 } else { varint_field_len(2, charge) };
    put_len(out, field, len_field_len(1, value_len) + charge_len);
    put_len(out, 1, value_len);
    value.encode_into(out);
    put_number(out, 2, charge);
}

/// A bad entry: where it is, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) path: String,
    pub(super) fault: Fault,
}

impl Bad {
    pub(super) fn new(fault: impl Into<Fault>) -> Self {
        Self { path: String::new(), fault: fault.into() }
    }

    /// Entries that do not belong together.
    pub(super) fn inconsistent(reason: &'static str) -> Self {
        Self::new(Fault::Inconsistent { reason })
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(Fault::Missing { field })
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path.insert_str(0, dot);
        self.path.insert_str(0, name);
        self
    }

    pub(super) fn numbered(mut self, index: usize) -> Self {
        let mut path = String::new();
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        if write!(path, "[{index}]{dot}").is_ok() {
            self.path.insert_str(0, &path);
        }
        self
    }
}

impl<F: Into<Fault>> From<F> for Bad {
    fn from(fault: F) -> Self {
        Self::new(fault)
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Value(ValueError::Wire(error))
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// Gives an error the place of the bad entry.
pub(super) trait At<T> {
    /// In the field or section `name`.
    fn named(self, name: &str) -> Result<T, Bad>;
    /// In the entry `index`.
    fn numbered(self, index: usize) -> Result<T, Bad>;
}

impl<T, E: Into<Bad>> At<T> for Result<T, E> {
    fn named(self, name: &str) -> Result<T, Bad> {
        self.map_err(|error| error.into().named(name))
    }

    fn numbered(self, index: usize) -> Result<T, Bad> {
        self.map_err(|error| error.into().numbered(index))
    }
}

/// Reads each field of a message.
pub(super) fn fields<'a>(
    mut message: Cursor<'a>,
    mut read: impl FnMut(Field<'a>) -> Result<(), Bad>,
) -> Result<(), Bad> {
    while let Some(field) = message.field()? {
        read(field)?;
    }
    Ok(())
}

/// Reads a message that is a list of messages, field 1.
pub(super) fn list<'a>(
    message: Cursor<'a>,
    name: &str,
    mut read: impl FnMut(Cursor<'a>) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let mut index = 0;
    fields(message, |field| {
        let entry = match field.number {
            1 => field.bytes().map_err(Bad::from).and_then(&mut read),
            _ => Err(unknown(&field)),
        };
        index += 1;
        entry.numbered(index - 1).named(name)
    })
}

/// A field that the message does not have.
pub(super) fn unknown(field: &Field<'_>) -> Bad {
    Bad::new(Fault::Unknown { number: u64::from(field.number) })
}

/// Appends an entry to a list whose length the snapshot decides.
pub(super) fn push<T>(list: &mut Vec<T>, entry: T) -> Result<(), Bad> {
    let byte_count = list.len().saturating_add(1).saturating_mul(size_of::<T>());
    list.try_reserve(1).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    list.push(entry);
    Ok(())
}

/// [`push`] of an entry that is read from the field `name`.
pub(super) fn push_named<T>(list: &mut Vec<T>, entry: Result<T, Bad>, name: &str) -> Result<(), Bad> {
    let entry = entry.and_then(|entry| push(list, entry));
    entry.numbered(list.len()).named(name)
}

/// A copy of bytes as many as the snapshot says.
pub(super) fn copy(bytes: &[u8]) -> Result<Vec<u8>, Bad> {
    let mut copy = Vec::new();
    let byte_count = bytes.len();
    copy.try_reserve_exact(byte_count).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// What the fields of a message hold.
pub(super) trait Read<'a> {
    /// A peer.
    fn peer(&self) -> Result<PeerId, Bad>;
    /// A text.
    fn text(&self) -> Result<&'a str, Bad>;
    /// A copy of a text.
    fn string(&self) -> Result<String, Bad>;
    /// How often something happened.
    fn count(&self) -> Result<u64, Bad>;
    /// A moment.
    fn moment(&self) -> Result<Remaining, Bad>;
    /// Whether it is so.
    fn flag(&self) -> Result<bool, Bad>;
    /// Packed numbers.
    fn numbers(&self) -> Result<Vec<u64>, Bad>;
    /// As many bytes.
    fn array<const N: usize>(&self) -> Result<[u8; N], Bad>;
    /// A value.
    fn value(&self) -> Result<Value, Bad>;
}

impl<'a> Read<'a> for Field<'a> {
    fn peer(&self) -> Result<PeerId, Bad> {
        let bytes = self.bytes()?;
        PeerId::from_bytes(bytes.rest())
            .map_err(|source| Bad::new(ValueError::Peer { at: bytes.at(), source }))
    }

    fn text(&self) -> Result<&'a str, Bad> {
        let bytes = self.bytes()?;
        str::from_utf8(bytes.rest()).map_err(|_| Bad::new(ValueError::NotUtf8 { at: bytes.at() }))
    }

    fn string(&self) -> Result<String, Bad> {
        let text = self.text()?;
        let mut copy = String::new();
        let byte_count = text.len();
        copy.try_reserve_exact(byte_count).map_err(|_| ValueError::AllocationFailed { byte_count })?;
        copy.push_str(text);
        Ok(copy)
    }

    fn count(&self) -> Result<u64, Bad> {
        match self.varint()? {
            MAX_COUNT.. => Err(Bad::inconsistent("it is more than anybody can have counted")),
            count => Ok(count),
        }
    }

    fn moment(&self) -> Result<Remaining, Bad> {
        Ok(Remaining(unzigzag(self.varint()?)))
    }

    fn flag(&self) -> Result<bool, Bad> {
        match self.varint()? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(Bad::new(Fault::Unknown { number })),
        }
    }

    fn numbers(&self) -> Result<Vec<u64>, Bad> {
        let mut bytes = self.bytes()?;
        let mut numbers = Vec::new();
        while !bytes.is_empty() {
            push(&mut numbers, bytes.varint()?)?;
        }
        Ok(numbers)
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], Bad> {
        let bytes = self.bytes()?;
        let wrong = || Bad::inconsistent("it has another number of bytes than the schema says");
        bytes.rest().try_into().map_err(|_| wrong())
    }

    fn value(&self) -> Result<Value, Bad> {
        Ok(scan(self.bytes()?.rest(), &DecodeLimits::LOCAL)?.decode()?)
    }
}

impl From<ValueError> for Fault {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// What a field that occurs once holds.
pub(super) fn set<T>(slot: &mut Option<T>, field: &Field<'_>, held: T) -> Result<(), Bad> {
    Ok(field.once(slot, held)?)
}

/// A number that is an index.
pub(super) fn index32(number: u64) -> Result<u32, Bad> {
    u32::try_from(number).map_err(|_| Bad::inconsistent("an index is larger than any can be"))
}
