//! A `TensorProto` on the wire: dimensions, type, name and `raw_data`.

use super::{Cursor, Payload, TensorFault, ValueError};
use crate::{DataType, Shape};

/// The fields of a tensor, borrowed from its bytes; sizes and type are checked.
#[derive(Clone, Copy)]
pub(super) struct TensorFields<'a> {
    message: Cursor<'a>,
    pub(super) dtype: DataType,
    pub(super) rank: usize,
    /// The outermost extents.
    first: [usize; FEW],
    pub(super) name: Cursor<'a>,
    pub(super) raw_data: &'a [u8],
}

/// Keys of the fields of a tensor: the number and, in the lower three bits, the wire type.
const DIMENSION: u8 = 1 << 3;
const TYPE: u8 = 2 << 3;
const NAME: u8 = 8 << 3 | 2;
const RAW_DATA: u8 = 9 << 3 | 2;

/// Extents that are remembered; a tensor that has more is read again for them.
const FEW: usize = 4;

impl<'a> TensorFields<'a> {
    pub(super) fn read(message: Cursor<'a>) -> Result<Self, ValueError> {
        match Self::read_canonical(message) {
            Some(fields) => Ok(fields),
            None => Self::read_any(message),
        }
    }

    /// Reads a sound tensor of few axes in its canonical form: dimensions, type, name, data, each number in three bytes at
    /// most. Nothing for any other, be it sound or not.
    #[inline]
    fn read_canonical(message: Cursor<'a>) -> Option<Self> {
        let mut left = message.rest();
        let (mut rank, mut first, mut elements) = (0, [0; FEW], 1_usize);
        while let Some(extent) = short_after(DIMENSION, &mut left) {
            *first.get_mut(rank)? = extent;
            rank += 1;
            // Where there are no elements the extents alone are looked at.
            elements = elements.checked_mul(extent).filter(|&elements| elements > 0)?;
        }
        let dtype = DataType::from_onnx(short_after(TYPE, &mut left)? as i32)?;
        let name = match short_after(NAME, &mut left) {
            Some(length) => {
                let at = message.at() + message.len() - left.len();
                let (name, rest) = left.split_at_checked(length)?;
                left = rest;
                Cursor::new_at(name, at)
            }
            None => Cursor::new_at(&[], message.at()),
        };
        let length = short_after(RAW_DATA, &mut left)?;
        let is_whole = left.len() == length && length == elements.checked_mul(dtype.size())?;
        is_whole.then_some(Self { message, dtype, rank, first, name, raw_data: left })
    }

    /// Reads a tensor in any form.
    fn read_any(message: Cursor<'a>) -> Result<Self, ValueError> {
        let at = message.at();
        let fault = |fault| ValueError::Tensor { at, fault };
        let (mut dtype, mut name, mut raw_data) = (None, None, None);
        let mut rank = 0;
        let mut first = [0; FEW];
        // Zero extents count as one here: the extents alone must not overflow, whatever the elements are.
        let (mut product, mut has_zero) = (1_usize, false);
        let mut cursor = message;
        while let Some(field) = cursor.field()? {
            match field.number {
                1 => for_each_dimension(field.payload, at, |extent| {
                    if let Some(place) = first.get_mut(rank) {
                        *place = extent;
                    }
                    rank += 1;
                    has_zero |= extent == 0;
                    product = product.checked_mul(extent.max(1)).ok_or(fault(TensorFault::TooLarge))?;
                    Ok(())
                })?,
                2 => field.once(&mut dtype, field.varint()?)?,
                8 => field.once(&mut name, field.bytes()?)?,
                9 => field.once(&mut raw_data, field.bytes()?.rest())?,
                3..=7 | 10 | 11 | 13 | 14 => {
                    return Err(fault(TensorFault::NotRawData { field: field.number }));
                }
                _ => {}
            }
        }
        let code = dtype.unwrap_or_default();
        let dtype = i32::try_from(code).ok().and_then(DataType::from_onnx);
        let dtype = dtype.ok_or(fault(TensorFault::ElementType { code }))?;
        let bytes = product.checked_mul(dtype.size()).ok_or(fault(TensorFault::TooLarge))?;
        let expected = if has_zero { 0 } else { bytes };
        let raw_data = raw_data.unwrap_or_default();
        let got = raw_data.len();
        if got != expected {
            return Err(fault(TensorFault::ByteCount { expected, got }));
        }
        let name = name.unwrap_or(Cursor::new_at(&[], at));
        Ok(Self { message, dtype, rank, first, name, raw_data })
    }

    pub(super) const fn at(&self) -> usize {
        self.message.at()
    }

    pub(super) fn shape(&self) -> Result<Shape, ValueError> {
        if let Some(extents) = self.first.get(..self.rank) {
            return Ok(Shape::new(extents));
        }
        let mut shape = Shape::with_rank(self.rank)
            .map_err(|_| ValueError::AllocationFailed { byte_count: Shape::heap_bytes(self.rank) })?;
        let mut cursor = self.message;
        while let Some(field) = cursor.field()? {
            if field.number == 1 {
                for_each_dimension(field.payload, self.at(), |extent| {
                    shape.push(extent);
                    Ok(())
                })?;
            }
        }
        Ok(shape)
    }
}

/// A number of one to three bytes that stands after `key`, if it is next; both are gone over then.
#[inline]
fn short_after(key: u8, left: &mut &[u8]) -> Option<usize> {
    let low_bits = |byte: u8| usize::from(byte & 0x7f);
    let [next, rest @ ..] = *left else { return None };
    if *next != key {
        return None;
    }
    let (number, rest) = match *rest {
        [byte @ ..0x80, ref rest @ ..] => (usize::from(byte), rest),
        [first, second @ ..0x80, ref rest @ ..] => (low_bits(first) | low_bits(second) << 7, rest),
        [first, second, third @ ..0x80, ref rest @ ..] => {
            (low_bits(first) | low_bits(second) << 7 | low_bits(third) << 14, rest)
        }
        _ => return None,
    };
    *left = rest;
    Some(number)
}

/// Calls `each` for the dimensions of one `dims` field, packed or not.
fn for_each_dimension(
    payload: Payload<'_>,
    at: usize,
    mut each: impl FnMut(usize) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let negative = ValueError::Tensor { at, fault: TensorFault::NegativeDimension };
    let mut extent = |number: u64| match i64::try_from(number).ok().and_then(|n| usize::try_from(n).ok()) {
        Some(extent) => each(extent),
        None => Err(negative.clone()),
    };
    match payload {
        Payload::Varint(number) => extent(number),
        Payload::Len(mut packed) => {
            while !packed.is_empty() {
                extent(packed.varint()?)?;
            }
            Ok(())
        }
        Payload::Fixed32(_) | Payload::Fixed64(_) => Err(super::WireError::WireType { at, field: 1 }.into()),
    }
}
