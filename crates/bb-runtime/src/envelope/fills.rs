//! The fills of a scanned envelope, each sound or malformed on its own.

use bb_ir::wire_codec::{Cursor, Scanned};

use super::{EnvelopeLimits, FillError, FillFault};
use crate::Value;

/// The fills of an envelope, in order; made by [`Scan::fills`](super::Scan::fills).
#[derive(Clone, Debug)]
pub struct Fills<'a> {
    cursor: Cursor<'a>,
    limits: EnvelopeLimits,
    /// Bytes that the values still to come may hold.
    allowed: usize,
    index: usize,
}

/// A fill whose structure is sound.
#[derive(Clone, Copy, Debug)]
pub struct ScannedFill<'a> {
    index: usize,
    port: u32,
    value: Scanned<'a>,
}

impl<'a> Fills<'a> {
    pub(super) const fn new(cursor: Cursor<'a>, limits: EnvelopeLimits, allowed: usize) -> Self {
        Self { cursor, limits, allowed, index: 0 }
    }

    fn read(&mut self, mut fill: Cursor<'a>) -> Result<ScannedFill<'a>, FillError> {
        let index = self.index;
        self.index += 1;
        let (mut port, mut value) = (None, None);
        let byte_count = fill.len();
        let read = (|| {
            let cap = self.limits.fill_bytes;
            if byte_count > cap {
                return Err(FillFault::Oversize { byte_count, cap });
            }
            while let Some(field) = fill.field()? {
                match field.number {
                    1 => field.once(&mut port, field.varint32()?)?,
                    2 => field.once(&mut value, field.bytes()?)?,
                    _ => {}
                }
            }
            let value = value.ok_or(FillFault::NoValue)?;
            Ok(Scanned::new(value, &self.limits.value, self.allowed)?)
        })();
        let value = read.map_err(|fault| FillError { index, port, fault })?;
        self.allowed = self.allowed.saturating_sub(value.heap_bytes());
        Ok(ScannedFill { index, port: port.unwrap_or_default(), value })
    }
}

impl<'a> Iterator for Fills<'a> {
    type Item = Result<ScannedFill<'a>, FillError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The scan has walked all fields of the envelope, so the walk does not fail here.
        while let Ok(Some(field)) = self.cursor.field() {
            if let (7, Ok(fill)) = (field.number, field.bytes()) {
                return Some(self.read(fill));
            }
        }
        None
    }
}

impl ScannedFill<'_> {
    /// Which fill of the envelope, from 0; malformed ones count.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The port that it fills.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Bytes of the value on the wire.
    pub const fn wire_bytes(&self) -> usize {
        self.value.wire_bytes()
    }

    /// Bytes that the decoded value holds beside the [`Value`] itself.
    pub const fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }

    /// Builds the value.
    ///
    /// # Errors
    /// [`FillError`] when its content is malformed or memory could not be had.
    pub fn decode(&self) -> Result<Value, FillError> {
        self.value.decode().map_err(|error| FillError {
            index: self.index,
            port: Some(self.port),
            fault: FillFault::Value(error),
        })
    }
}
