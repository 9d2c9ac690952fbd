//! Building a value from bytes that were scanned.

use bytes::Bytes;

use super::kind::{CustomFields, Kind, for_each_item};
use super::tensor::TensorFields;
use super::{Cursor, DecodeLimits, Scanned, TensorFault, ValueError, scan};
use crate::{
    Address, AddressError, Buffer, CustomValue, DataType, List, PeerId, Tensor, TensorError, TensorMap, Text,
    Value,
};

impl Value {
    /// Reads the wire form, as another node may have written it: with [`DecodeLimits::PEER`].
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Self::decode_with(bytes, &DecodeLimits::PEER)
    }

    /// Reads the wire form within other limits.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn decode_with(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, ValueError> {
        scan(bytes, limits)?.decode()
    }
}

impl Scanned<'_> {
    /// Builds the value; tensor elements are copied once, into memory of their own.
    ///
    /// # Errors
    /// [`ValueError::AllocationFailed`], and what is wrong with the content: [`ValueError::Address`],
    /// [`ValueError::DuplicateName`], [`ValueError::NotUtf8`], [`ValueError::Peer`], [`ValueError::Tensor`].
    pub fn decode(&self) -> Result<Value, ValueError> {
        value(self.cursor())
    }
}

fn value(cursor: Cursor<'_>) -> Result<Value, ValueError> {
    Ok(match Kind::read(cursor)? {
        Kind::Trigger => Value::Trigger,
        Kind::Bool(held) => Value::Bool(held),
        Kind::I64(held) => Value::I64(held),
        Kind::U64(held) => Value::U64(held),
        Kind::F64(held) => Value::F64(held),
        Kind::Str(text) => Value::Str(self::text(text)?),
        Kind::Bytes(bytes) => Value::Bytes(self::bytes(bytes)?),
        Kind::Tensor(fields) => Value::Tensor(tensor(&TensorFields::read(fields)?)?),
        Kind::Tensors(list) => Value::Tensors(tensors(list)?),
        Kind::Peer(bytes) => Value::Peer(peer(bytes)?),
        Kind::Peers(list) => Value::Peers(shared_list(list, peer)?),
        Kind::Addresses(list) => Value::Addresses(shared_list(list, address)?),
        Kind::Tuple(list) => Value::Tuple(shared_list(list, value)?),
        Kind::Custom(fields) => {
            let custom = CustomFields::read(fields)?;
            Value::Custom(CustomValue::from_encoded(text(custom.schema)?, bytes(custom.payload)?))
        }
    })
}

fn text(cursor: Cursor<'_>) -> Result<Text, ValueError> {
    let text = str::from_utf8(cursor.rest()).map_err(|_| ValueError::NotUtf8 { at: cursor.at() })?;
    if text.is_empty() {
        // Takes no memory, and `try_alloc` is for what does.
        return Ok(Text::new());
    }
    Text::try_alloc(text).ok_or(ValueError::AllocationFailed { byte_count: text.len() })
}

fn bytes(cursor: Cursor<'_>) -> Result<Bytes, ValueError> {
    let byte_count = cursor.len();
    let mut copy = Vec::new();
    copy.try_reserve_exact(byte_count).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    copy.extend_from_slice(cursor.rest());
    Ok(copy.into())
}

fn peer(cursor: Cursor<'_>) -> Result<PeerId, ValueError> {
    PeerId::from_bytes(cursor.rest()).map_err(|source| ValueError::Peer { at: cursor.at(), source })
}

fn address(cursor: Cursor<'_>) -> Result<Address, ValueError> {
    Address::from_bytes(cursor.rest()).map_err(|source| match source {
        AddressError::AllocationFailed { byte_count } => ValueError::AllocationFailed { byte_count },
        source => ValueError::Address { at: cursor.at(), source },
    })
}

fn tensor(fields: &TensorFields<'_>) -> Result<Tensor, ValueError> {
    let at = fields.at();
    if fields.dtype == DataType::Bool && fields.raw_data.iter().any(|&byte| byte > 1) {
        return Err(ValueError::Tensor { at, fault: TensorFault::Boolean });
    }
    let shape = fields.shape()?;
    let data = Buffer::from_le_bytes(fields.raw_data, fields.dtype.size());
    let tensor = data.and_then(|data| Tensor::from_buffer(fields.dtype, shape, data));
    tensor.map_err(|error| match error {
        TensorError::AllocationFailed { byte_count } => ValueError::AllocationFailed { byte_count },
        _ => ValueError::Tensor { at, fault: TensorFault::TooLarge },
    })
}

fn tensors(list: Cursor<'_>) -> Result<TensorMap, ValueError> {
    let entries = items(list, |item| {
        let fields = TensorFields::read(item)?;
        Ok((text(fields.name)?, tensor(&fields)?))
    })?;
    let byte_count = entries.len().saturating_mul(size_of::<&str>());
    let map = TensorMap::from_entries(entries).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    map.ok_or(ValueError::DuplicateName { at: list.at() })
}

fn shared_list<'a, T>(
    list: Cursor<'a>,
    decode: fn(Cursor<'a>) -> Result<T, ValueError>,
) -> Result<List<T>, ValueError> {
    items(list, decode).map(List::from)
}

/// Decodes the items of a list straight into the memory that they will stay in, counted before it is asked for.
fn items<'a, T>(
    list: Cursor<'a>,
    decode: impl Fn(Cursor<'a>) -> Result<T, ValueError>,
) -> Result<Vec<T>, ValueError> {
    let count = for_each_item(list, |_| Ok(()))?;
    let byte_count = count.saturating_mul(size_of::<T>());
    let mut items =
        List::try_with_capacity(count).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    for_each_item(list, |item| {
        items.push(decode(item)?);
        Ok(())
    })?;
    Ok(items)
}
