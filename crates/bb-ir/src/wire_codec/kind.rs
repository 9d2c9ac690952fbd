//! The oneof of a value, read without decoding what it holds.

use super::write::unzigzag;
use super::{Cursor, Field, ValueError};

/// What a `Value` message holds, borrowed from its bytes.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    Trigger,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(Cursor<'a>),
    Bytes(Cursor<'a>),
    Tensor(Cursor<'a>),
    Tensors(Cursor<'a>),
    Peer(Cursor<'a>),
    Peers(Cursor<'a>),
    Addresses(Cursor<'a>),
    Tuple(Cursor<'a>),
    Custom(Cursor<'a>),
}

/// The two fields of a `Custom` message.
#[derive(Clone, Copy)]
pub(super) struct CustomFields<'a> {
    pub(super) schema: Cursor<'a>,
    pub(super) payload: Cursor<'a>,
}

impl<'a> Kind<'a> {
    pub(super) fn read(mut cursor: Cursor<'a>) -> Result<Self, ValueError> {
        let start = cursor.at();
        let mut kind = None;
        while let Some(field) = cursor.field()? {
            let Some(held) = Self::of(&field)? else { continue };
            if kind.is_none() && cursor.is_empty() {
                return Ok(held);
            }
            field.once(&mut kind, held)?;
        }
        kind.ok_or(ValueError::NoKind { at: start })
    }

    /// What a field says; nothing if it is none of the oneof's.
    #[inline]
    fn of(field: &Field<'a>) -> Result<Option<Self>, ValueError> {
        Ok(Some(match field.number {
            1 => match field.varint()? {
                0 => return Err(ValueError::FalseTrigger { at: field.at }),
                _ => Self::Trigger,
            },
            2 => Self::Bool(field.varint()? != 0),
            3 => Self::I64(unzigzag(field.varint()?)),
            4 => Self::U64(field.fixed64()?),
            5 => Self::F64(f64::from_bits(field.fixed64()?)),
            6 => Self::Str(field.bytes()?),
            7 => Self::Bytes(field.bytes()?),
            8 => Self::Tensor(field.bytes()?),
            9 => Self::Tensors(field.bytes()?),
            10 => Self::Peer(field.bytes()?),
            11 => Self::Peers(field.bytes()?),
            12 => Self::Addresses(field.bytes()?),
            13 => Self::Tuple(field.bytes()?),
            14 => Self::Custom(field.bytes()?),
            _ => return Ok(None),
        }))
    }
}

impl<'a> CustomFields<'a> {
    pub(super) fn read(mut cursor: Cursor<'a>) -> Result<Self, ValueError> {
        let empty = Cursor::new_at(&[], cursor.at());
        let (mut schema, mut payload) = (None, None);
        while let Some(field) = cursor.field()? {
            match field.number {
                1 => field.once(&mut schema, field.bytes()?)?,
                2 => field.once(&mut payload, field.bytes()?)?,
                _ => {}
            }
        }
        Ok(Self { schema: schema.unwrap_or(empty), payload: payload.unwrap_or(empty) })
    }
}

/// Calls `each` for every field 1 of a message that is a list, and returns how many there are.
pub(super) fn for_each_item<'a>(
    mut list: Cursor<'a>,
    mut each: impl FnMut(Cursor<'a>) -> Result<(), ValueError>,
) -> Result<usize, ValueError> {
    let mut count = 0;
    while let Some(field) = list.field()? {
        if field.number == 1 {
            each(field.bytes()?)?;
            count += 1;
        }
    }
    Ok(count)
}
