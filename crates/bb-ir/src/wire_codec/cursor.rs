//! A cursor over the fields of a protobuf message; it borrows, and its lengths are checked.

use thiserror::Error;

/// Reads a protobuf message field by field, without copying or allocating.
///
/// Positions are those in the bytes that the outermost cursor was made of.
///
/// ```
/// use bb_ir::wire_codec::{Cursor, Payload};
/// let mut cursor = Cursor::new(&[0x08, 0x96, 0x01]);
/// let field = cursor.field()?.expect("one field");
/// assert_eq!(field.number, 1);
/// assert_eq!(field.varint()?, 150);
/// assert!(cursor.field()?.is_none());
/// # Ok::<(), bb_ir::wire_codec::WireError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// Where its key stands.
    pub at: usize,
    /// What it holds.
    pub payload: Payload<'a>,
}

/// What a field holds, by wire type.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Four bytes, little-endian.
    Fixed32(u32),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// A string, bytes, a message or packed numbers.
    Len(Cursor<'a>),
    /// A number of variable length.
    Varint(u64),
}

/// Why bytes are not a protobuf message of the schema's shape; whoever made them is at fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// A field number of 0 or above 2^29 - 1.
    #[error("byte {at} is not the key of a field")]
    FieldNumber {
        /// Where the key stands.
        at: usize,
    },
    /// A length beyond the bytes that are left.
    #[error("at byte {at} a field claims {length} bytes, {left} are left")]
    Length {
        /// Where the field's key stands.
        at: usize,
        /// The length it claims.
        length: u64,
        /// Bytes left.
        left: usize,
    },
    /// A field that the schema has once.
    #[error("at byte {at} field {field} occurs a second time")]
    Repeated {
        /// Where the second one stands.
        at: usize,
        /// The field's number.
        field: u32,
    },
    /// The bytes end inside a field.
    #[error("the bytes end at {at}, inside a field")]
    Truncated {
        /// Where they end.
        at: usize,
    },
    /// A varint of more than ten bytes or 64 bits, or above what its field can hold.
    #[error("the number at byte {at} is too large")]
    Varint {
        /// Where it stands.
        at: usize,
    },
    /// A field of another wire type than the schema's, or of one that is none.
    #[error("at byte {at} field {field} has another wire type than the schema says")]
    WireType {
        /// Where the field's key stands.
        at: usize,
        /// The field's number.
        field: u32,
    },
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor whose first byte is at position `at` of something larger.
    pub const fn new_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Reads the next field; `None` at the end.
    ///
    /// # Errors
    /// [`WireError`], for bytes that are no field.
    #[inline(always)]
    pub fn field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let key = self.varint()?;
        let number = match key >> 3 {
            number @ 1..0x2000_0000 => number as u32,
            _ => return Err(WireError::FieldNumber { at }),
        };
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let left = self.bytes.len();
                if length > left as u64 {
                    return Err(WireError::Length { at, length, left });
                }
                let (body, rest) = self.bytes.split_at(length as usize);
                let inner = Self { bytes: body, at: self.at };
                self.at += body.len();
                self.bytes = rest;
                Payload::Len(inner)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::WireType { at, field: number }),
        };
        Ok(Some(Field { number, at, payload }))
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Varint`].
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        // Most keys, lengths and numbers take one byte or two.
        match self.bytes {
            [byte @ ..0x80, rest @ ..] => {
                self.bytes = rest;
                self.at += 1;
                Ok(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.bytes = rest;
                self.at += 2;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut number = 0_u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(WireError::Varint { at: start });
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.bytes = &self.bytes[index + 1..];
                self.at += index + 1;
                return Ok(number);
            }
        }
        match self.bytes.len() {
            left @ ..10 => Err(WireError::Truncated { at: start + left }),
            _ => Err(WireError::Varint { at: start }),
        }
    }

    /// The position of the next byte.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes are left.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let truncated = WireError::Truncated { at: self.at + self.bytes.len() };
        let (array, rest) = self.bytes.split_first_chunk().ok_or(truncated)?;
        self.bytes = rest;
        self.at += N;
        Ok(*array)
    }
}

impl<'a> Field<'a> {
    /// The bytes of a string, bytes, message or packed field.
    ///
    /// # Errors
    /// [`WireError::WireType`].
    pub fn bytes(&self) -> Result<Cursor<'a>, WireError> {
        match self.payload {
            Payload::Len(inner) => Ok(inner),
            _ => Err(self.wrong_type()),
        }
    }

    /// The number of a varint field.
    ///
    /// # Errors
    /// [`WireError::WireType`].
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Varint(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    /// The number of a varint field that holds at most 32 bits.
    ///
    /// # Errors
    /// [`WireError::WireType`], [`WireError::Varint`].
    pub fn varint32(&self) -> Result<u32, WireError> {
        u32::try_from(self.varint()?).map_err(|_| WireError::Varint { at: self.at })
    }

    /// The bits of a field of eight bytes.
    ///
    /// # Errors
    /// [`WireError::WireType`].
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Fixed64(bits) => Ok(bits),
            _ => Err(self.wrong_type()),
        }
    }

    /// Puts what the field holds into `slot`, which must be empty: the field occurs once.
    ///
    /// # Errors
    /// [`WireError::Repeated`].
    pub fn once<T>(&self, slot: &mut Option<T>, held: T) -> Result<(), WireError> {
        match slot.replace(held) {
            None => Ok(()),
            Some(_) => Err(WireError::Repeated { at: self.at, field: self.number }),
        }
    }

    const fn wrong_type(&self) -> WireError {
        WireError::WireType { at: self.at, field: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlong_varints_are_read_and_too_large_ones_refused() {
        assert_eq!(Cursor::new(&[0x81, 0x00]).varint(), Ok(1));
        assert_eq!(Cursor::new(&[0xff; 9]).varint(), Err(WireError::Truncated { at: 9 }));
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(Cursor::new(&largest).varint(), Ok(u64::MAX));
        largest[9] = 2;
        assert_eq!(Cursor::new(&largest).varint(), Err(WireError::Varint { at: 0 }));
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), Err(WireError::Varint { at: 0 }));
    }

    #[test]
    fn keys_that_are_no_field_are_refused_with_their_place() {
        assert_eq!(Cursor::new(&[0x00]).field().unwrap_err(), WireError::FieldNumber { at: 0 });
        assert_eq!(Cursor::new(&[0x0b]).field().unwrap_err(), WireError::WireType { at: 0, field: 1 });
        let length = WireError::Length { at: 0, length: 5, left: 1 };
        assert_eq!(Cursor::new(&[0x0a, 5, 0]).field().unwrap_err(), length);
        assert_eq!(Cursor::new(&[0x0d, 1, 2]).field().unwrap_err(), WireError::Truncated { at: 3 });
    }

    #[test]
    fn positions_inside_a_nested_message_are_those_of_the_whole() {
        let mut outer = Cursor::new(&[0x08, 1, 0x12, 2, 0x08, 7]);
        outer.field().unwrap();
        let mut inner = outer.field().unwrap().unwrap().bytes().unwrap();
        assert_eq!(inner.at(), 4);
        assert_eq!(inner.field().unwrap().unwrap().varint(), Ok(7));
        assert_eq!(inner.at(), 6);
    }
}
