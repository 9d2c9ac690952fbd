//! Building a value from bytes that were scanned.

use std::sync::Arc;

use bytes::Bytes;

use super::kind::{CustomFields, Kind, for_each_item, next_item};
use super::tensor::TensorFields;
use super::{Cursor, DecodeLimits, Scanned, TensorFault, ValueError, scan};
use crate::{Address, Buffer, CustomValue, DataType, PeerId, Tensor, TensorError, TensorMap, Value};

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
        Kind::Peers(list) => Value::Peers(shared_list(list, PeerId::from_u64(0), peer)?),
        Kind::Addresses(list) => Value::Addresses(shared_list(list, Address::empty(), address)?),
        Kind::Tuple(list) => Value::Tuple(shared_list(list, Value::Trigger, value)?),
        Kind::Custom(fields) => {
            let custom = CustomFields::read(fields)?;
            Value::Custom(CustomValue::from_encoded(text(custom.schema)?, bytes(custom.payload)?))
        }
    })
}

fn text(cursor: Cursor<'_>) -> Result<Arc<str>, ValueError> {
    let text = str::from_utf8(cursor.rest()).map_err(|_| ValueError::NotUtf8 { at: cursor.at() })?;
    Ok(Arc::from(text))
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
    Address::from_bytes(cursor.rest()).map_err(|source| ValueError::Address { at: cursor.at(), source })
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
    let count = for_each_item(list, |_| Ok(()))?;
    let mut entries: Vec<(Arc<str>, Tensor)> = Vec::new();
    let byte_count = count.saturating_mul(size_of::<(Arc<str>, Tensor)>());
    entries.try_reserve_exact(count).map_err(|_| ValueError::AllocationFailed { byte_count })?;
    for_each_item(list, |item| {
        let fields = TensorFields::read(item)?;
        entries.push((text(fields.name)?, tensor(&fields)?));
        Ok(())
    })?;
    TensorMap::from_entries(entries).ok_or(ValueError::DuplicateName { at: list.at() })
}

/// Decodes the items of a list straight into the memory that they will share.
///
/// `filler` stands for the items after one that cannot be decoded; the list is dropped then.
fn shared_list<'a, T: Clone>(
    mut list: Cursor<'a>,
    filler: T,
    decode: fn(Cursor<'a>) -> Result<T, ValueError>,
) -> Result<Arc<[T]>, ValueError> {
    let count = for_each_item(list, |_| Ok(()))?;
    let mut failed = None;
    // An iterator of known length is collected with one allocation.
    let items: Arc<[T]> = (0..count)
        .map(|_| {
            let item = match &failed {
                None => next_item(&mut list).and_then(|item| item.map(decode).transpose()),
                Some(_) => Ok(None),
            };
            item.unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
            .unwrap_or_else(|| filler.clone())
        })
        .collect();
    match failed {
        None => Ok(items),
        Some(error) => Err(error),
    }
}
