//! Writing protobuf fields into one growing buffer.
//!
//! A message inside a message is written after its length, so lengths are computed first: each `put_…` has
//! its `…_len`.

use std::ops::{Deref, DerefMut};

/// What fields are written to.
pub trait Sink {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for blake3::Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// A buffer that grows as far as memory can be had, where a `Vec` would end the process.
///
/// What finds no memory is left out, with all that comes after it; [`TryBytes::into_bytes`] says so.
///
/// ```
/// use bb_ir::wire_codec::write::{TryBytes, put_bytes};
/// let mut out = TryBytes::default();
/// put_bytes(&mut out, 1, b"ab");
/// assert_eq!(out.into_bytes()?, [0x0a, 2, b'a', b'b']);
/// # Ok::<(), bb_ir::wire_codec::write::NoMemory>(())
/// ```
#[derive(Debug, Default)]
pub struct TryBytes {
    bytes: Vec<u8>,
    failed: Option<NoMemory>,
}

/// Memory for what was written could not be had.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no memory for {byte_count} bytes")]
pub struct NoMemory {
    /// Bytes that there should have been room for.
    pub byte_count: usize,
}

impl TryBytes {
    /// Whether everything found memory so far.
    ///
    /// # Errors
    /// [`NoMemory`]: something is left out.
    pub fn check(&self) -> Result<(), NoMemory> {
        self.failed.map_or(Ok(()), Err)
    }

    /// What was written.
    ///
    /// # Errors
    /// [`NoMemory`]: something is left out.
    pub fn into_bytes(self) -> Result<Vec<u8>, NoMemory> {
        self.check().map(|()| self.bytes)
    }
}

impl Sink for TryBytes {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.bytes.try_reserve(bytes.len()).is_err() {
            self.failed = Some(NoMemory { byte_count: self.bytes.len().saturating_add(bytes.len()) });
            return;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl Deref for TryBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for TryBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Bytes that `number` takes as a varint.
pub const fn varint_len(number: u64) -> usize {
    // 7 bits a byte; the smallest number takes one.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a varint, minimal.
#[inline]
pub fn put_varint(out: &mut impl Sink, number: u64) {
    match number {
        // Most keys, lengths and numbers take one byte or two.
        ..0x80 => out.put(&[number as u8]),
        0x80..0x4000 => out.put(&[number as u8 | 0x80, (number >> 7) as u8]),
        _ => put_long_varint(out, number),
    }
}

fn put_long_varint(out: &mut impl Sink, mut number: u64) {
    let mut bytes = [0; 10];
    let mut length = 0;
    while number >= 0x80 {
        bytes[length] = number as u8 | 0x80;
        number >>= 7;
        length += 1;
    }
    bytes[length] = number as u8;
    out.put(&bytes[..=length]);
}

/// Bytes of a varint field.
pub const fn varint_field_len(field: u32, number: u64) -> usize {
    varint_len((field as u64) << 3) + varint_len(number)
}

/// Writes a varint field.
pub fn put_varint_field(out: &mut impl Sink, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

/// Writes a field of eight bytes.
pub fn put_fixed64(out: &mut impl Sink, field: u32, bits: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.put(&bits.to_le_bytes());
}

/// Bytes of a string, bytes or message field that holds `length` bytes.
pub const fn len_field_len(field: u32, length: usize) -> usize {
    varint_len((field as u64) << 3) + varint_len(length as u64) + length
}

/// Writes the key and length of a field whose `length` bytes the caller writes next.
pub fn put_len(out: &mut impl Sink, field: u32, length: usize) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, length as u64);
}

/// Writes a string or bytes field.
pub fn put_bytes(out: &mut impl Sink, field: u32, bytes: &[u8]) {
    put_len(out, field, bytes.len());
    out.put(bytes);
}

/// A signed number in zigzag form, as `sint64` fields hold it.
pub const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The signed number with this zigzag form.
pub const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_takes_the_bytes_that_its_length_says() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
                assert_eq!(super::super::Cursor::new(&out).varint(), Ok(number));
            }
        }
    }

    #[test]
    fn a_buffer_without_memory_leaves_out_the_rest_and_says_so() {
        let mut out = TryBytes::default();
        out.put(b"a");
        out.failed = Some(NoMemory { byte_count: 9 });
        out.put(b"b");
        assert_eq!(*out, *b"a");
        assert_eq!(out.check(), Err(NoMemory { byte_count: 9 }));
        assert_eq!(out.into_bytes(), Err(NoMemory { byte_count: 9 }));
    }

    #[test]
    fn zigzag_is_undone() {
        for number in [0, -1, 1, i64::MIN, i64::MAX, -300] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!([zigzag(0), zigzag(-1), zigzag(1), zigzag(i64::MIN)], [0, 1, 2, u64::MAX]);
    }
}
