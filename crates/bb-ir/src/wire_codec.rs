//! The wire form of values (`proto/bb_wire.proto`), read and written without an intermediate message.
//!
//! Reading has two stages. [`scan`] walks the structure without allocating: every count and length, the depth
//! of nesting, the size of every tensor against its dimensions, and what the decoded value will hold.
//! [`Scanned::decode`] then builds the value, copying tensor elements once into aligned memory, and checks
//! the content (UTF-8, peer ids, addresses, unique names).
//!
//! What is accepted is a subset of what a protobuf parser accepts, and stricter where looseness only serves
//! an attacker:
//!
//! - A field that is unknown is skipped, so a later version of the schema can be read.
//! - A field that occurs once in the schema and twice in the bytes is refused, the members of a oneof included.
//! - Varints need not be minimal but have at most ten bytes and 64 bits; groups are refused.
//! - Repeated numbers are read packed and unpacked.
//! - Tensors use `dims`, `data_type`, `name` and `raw_data`; other ways to give elements are refused.
//!
//! **Memory.** A decoded value holds at most `2 * bytes on the wire + slack` of heap, see [`DecodeLimits`]. Since
//! an item of a tuple takes more memory than a small scalar takes bytes, a value that has more than some
//! fifty scalars beside little else is refused: many numbers are a tensor.
//!
//! [`write`](mod@write) and [`Cursor`] are what other messages of the schema are written and read with.

mod cursor;
mod decode;
mod encode;
mod error;
mod kind;
mod scan;
mod tensor;
pub mod write;

pub use cursor::{Cursor, Field, Payload, WireError};
pub use error::{TensorFault, ValueError};
pub use scan::{DecodeLimits, Scanned, scan};
