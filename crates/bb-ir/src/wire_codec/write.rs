//! Writing protobuf fields into one growing buffer.
//!
//! A message inside a message is written after its length, so lengths are computed first: each `put_…` has
//! its `…_len`.

/// Bytes that `number` takes as a varint.
pub const fn varint_len(number: u64) -> usize {
    // 7 bits a byte; the smallest number takes one.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a varint, minimal.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of a varint field.
pub const fn varint_field_len(field: u32, number: u64) -> usize {
    varint_len((field as u64) << 3) + varint_len(number)
}

/// Writes a varint field.
pub fn put_varint_field(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

/// Writes a field of eight bytes.
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, bits: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Bytes of a string, bytes or message field that holds `length` bytes.
pub const fn len_field_len(field: u32, length: usize) -> usize {
    varint_len((field as u64) << 3) + varint_len(length as u64) + length
}

/// Writes the key and length of a field whose `length` bytes the caller writes next.
pub fn put_len(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, length as u64);
}

/// Writes a string or bytes field.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_len(out, field, bytes.len());
    out.extend_from_slice(bytes);
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
    fn zigzag_is_undone() {
        for number in [0, -1, 1, i64::MIN, i64::MAX, -300] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!([zigzag(0), zigzag(-1), zigzag(1), zigzag(i64::MIN)], [0, 1, 2, u64::MAX]);
    }
}
