//! The wire form of values (`proto/bb_wire.proto`).

use thiserror::Error;

use crate::Value;

/// Why bytes are not a value; whoever made them is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// The bytes end inside a field.
    #[error("the bytes end at {at}, inside a field")]
    Truncated {
        /// Where they end.
        at: usize,
    },
}

impl Value {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Err(ValueError::Truncated { at: bytes.len() })
    }
}
