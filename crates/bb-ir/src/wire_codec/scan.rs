//! The pre-scan: counts, lengths, depth and memory of a value, before anything is reserved.

use super::kind::{CustomFields, Kind, for_each_item};
use super::tensor::TensorFields;
use super::{Cursor, ValueError};
use crate::{Address, Buffer, PeerId, Tensor, Text, Value};

/// How much a value may cost whoever decodes it.
///
/// The heap memory of a decoded value is at most twice its bytes on the wire plus `slack_bytes`. It is counted
/// before anything is reserved, in the bytes that are asked of the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How deep tuples may be nested.
    pub max_depth: usize,
    /// Bytes that a value may hold above twice its size on the wire.
    pub slack_bytes: usize,
}

impl DecodeLimits {
    /// For bytes from another node: 16 tuples deep, 4 KiB of slack. Who sends many small values sends padding with them,
    /// for what they will hold ([`Value::decoded_bytes`]).
    pub const PEER: Self = Self { max_depth: 16, slack_bytes: 4 * 1024 };

    /// For what the host hands in: 16 tuples deep, 256 KiB of slack, in which more than 3,000 numbers fit that are handed
    /// in one by one.
    pub const HOST: Self = Self { max_depth: 16, slack_bytes: 256 * 1024 };

    /// For what this process or its operator wrote: 64 tuples deep, memory bounded by the bytes alone (a
    /// tuple of triggers, the worst case, holds some twenty times its bytes).
    pub const LOCAL: Self = Self { max_depth: 64, slack_bytes: usize::MAX };

    /// Bytes that a value of `wire_bytes` may hold.
    pub const fn allowed(&self, wire_bytes: usize) -> usize {
        wire_bytes.saturating_mul(2).saturating_add(self.slack_bytes)
    }
}

impl Default for DecodeLimits {
    /// [`DecodeLimits::PEER`].
    fn default() -> Self {
        Self::PEER
    }
}

/// The bytes of a value that passed [`scan`]: their structure is sound and their cost known.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    cursor: Cursor<'a>,
    heap_bytes: usize,
}

/// Checks the structure of a value's bytes, without allocating.
///
/// # Errors
/// [`ValueError`], but for what only [`Scanned::decode`] finds.
///
/// ```
/// use bb_ir::{Value, wire_codec::{self, DecodeLimits}};
/// let bytes = Value::from("hello").encode();
/// let scanned = wire_codec::scan(&bytes, &DecodeLimits::PEER)?;
/// assert!(scanned.heap_bytes() <= 2 * bytes.len() + DecodeLimits::PEER.slack_bytes);
/// assert_eq!(scanned.decode()?, Value::from("hello"));
/// # Ok::<(), bb_ir::wire_codec::ValueError>(())
/// ```
pub fn scan<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Scanned<'a>, ValueError> {
    Scanned::new(Cursor::new(bytes), limits, limits.allowed(bytes.len()))
}

impl<'a> Scanned<'a> {
    /// Checks the structure of the value that is the rest of `cursor`, and that it holds at most `allowed` bytes.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn new(cursor: Cursor<'a>, limits: &DecodeLimits, allowed: usize) -> Result<Self, ValueError> {
        let mut meter = Meter { max_depth: limits.max_depth, allowed, held: 0 };
        meter.value(cursor, 0)?;
        Ok(Self { cursor, heap_bytes: meter.held })
    }

    /// Bytes that the decoded value holds beside the [`Value`] itself.
    pub const fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// Bytes that it takes on the wire.
    pub const fn wire_bytes(&self) -> usize {
        self.cursor.len()
    }

    pub(super) const fn cursor(&self) -> Cursor<'a> {
        self.cursor
    }
}

/// Counts what a value will hold.
struct Meter {
    max_depth: usize,
    allowed: usize,
    held: usize,
}

impl Value {
    /// Bytes that this value's wire form will hold once it is decoded, beside the [`Value`] itself: what [`scan`] counts
    /// of it.
    ///
    /// ```
    /// use bb_ir::{Value, wire_codec::{self, DecodeLimits}};
    /// let value = Value::Tuple([Value::I64(1), Value::from("two")].into());
    /// let scanned = wire_codec::scan(&value.encode(), &DecodeLimits::PEER)?.heap_bytes();
    /// assert_eq!(value.decoded_bytes(), scanned);
    /// # Ok::<(), bb_ir::wire_codec::ValueError>(())
    /// ```
    pub fn decoded_bytes(&self) -> usize {
        match self {
            Self::Trigger | Self::Bool(_) | Self::I64(_) | Self::U64(_) | Self::F64(_) | Self::Peer(_) => 0,
            Self::Str(text) => words(ARC + text.len()),
            Self::Bytes(bytes) => words(SHARED_BYTES + bytes.len()),
            Self::Tensor(tensor) => tensor_bytes(tensor),
            Self::Tensors(tensors) => {
                let entry = |(name, tensor): (&Text, &Tensor)| {
                    words(TENSOR_ENTRY) + words(ARC + name.len()) + tensor_bytes(tensor)
                };
                words(LIST) + tensors.iter().map(entry).sum::<usize>()
            }
            Self::Peers(peers) => words(PEER_LIST) + peers.len() * size_of::<PeerId>(),
            Self::Addresses(addresses) => {
                let address = |held: &Address| words(LISTED_ADDRESS + held.as_bytes().len());
                words(LIST) + addresses.iter().map(address).sum::<usize>()
            }
            Self::Tuple(items) => {
                let item = |held: &Self| words(size_of::<Self>()) + held.decoded_bytes();
                words(LIST) + items.iter().map(item).sum::<usize>()
            }
            Self::Custom(custom) => {
                words(ARC + custom.schema().len()) + words(SHARED_BYTES + custom.encoded().len())
            }
        }
    }
}

/// An allocation takes whole words.
const fn words(byte_count: usize) -> usize {
    match byte_count.checked_next_multiple_of(8) {
        Some(whole) => whole,
        None => usize::MAX,
    }
}

fn tensor_bytes(tensor: &Tensor) -> usize {
    let shape = crate::Shape::heap_bytes(tensor.shape().len());
    words(Buffer::OVERHEAD) + words(tensor.buffer().len()) + words(shape)
}

/// The two counters in front of what an `Arc` shares.
const ARC: usize = 2 * size_of::<usize>();
/// What `Bytes` adds when it is cloned.
const SHARED_BYTES: usize = 3 * size_of::<usize>();
/// What a list holds beside its items: it shares a vector.
const LIST: usize = ARC + size_of::<Vec<u8>>();
/// What an address adds to its bytes: it shares a vector.
const ADDRESS: usize = LIST;
/// What an address of a list adds to its bytes.
const LISTED_ADDRESS: usize = size_of::<Address>() + ADDRESS;
/// A list of peers without them, and what its length is filled up with.
const PEER_LIST: usize = LIST + 7;
/// The entry of a named tensor, and its place in the list by which names are compared.
const TENSOR_ENTRY: usize = size_of::<(Text, Tensor)>() + size_of::<&str>();

impl Meter {
    fn value(&mut self, cursor: Cursor<'_>, depth: usize) -> Result<(), ValueError> {
        let at = cursor.at();
        if depth > self.max_depth {
            return Err(ValueError::TooDeep { at, limit: self.max_depth });
        }
        match Kind::read(cursor)? {
            Kind::Trigger | Kind::Bool(_) | Kind::I64(_) | Kind::U64(_) | Kind::F64(_) | Kind::Peer(_) => {
                Ok(())
            }
            Kind::Str(text) => self.hold(at, ARC + text.len()),
            Kind::Bytes(bytes) => self.hold(at, SHARED_BYTES + bytes.len()),
            Kind::Tensor(tensor) => self.tensor(&TensorFields::read(tensor)?),
            Kind::Tensors(list) => {
                self.hold(at, LIST)?;
                for_each_item(list, |tensor| {
                    let tensor = TensorFields::read(tensor)?;
                    self.hold(tensor.at(), TENSOR_ENTRY)?;
                    self.hold(tensor.at(), ARC + tensor.name.len())?;
                    self.tensor(&tensor)
                })?;
                Ok(())
            }
            Kind::Peers(list) => {
                self.hold(at, PEER_LIST)?;
                for_each_item(list, |peer| self.hold_exactly(peer.at(), size_of::<PeerId>()))?;
                Ok(())
            }
            Kind::Addresses(list) => {
                self.hold(at, LIST)?;
                for_each_item(list, |address| self.hold(address.at(), LISTED_ADDRESS + address.len()))?;
                Ok(())
            }
            Kind::Tuple(list) => {
                self.hold(at, LIST)?;
                for_each_item(list, |item| {
                    self.hold(item.at(), size_of::<Value>())?;
                    self.value(item, depth + 1)
                })?;
                Ok(())
            }
            Kind::Custom(fields) => {
                let custom = CustomFields::read(fields)?;
                self.hold(at, ARC + custom.schema.len())?;
                self.hold(at, SHARED_BYTES + custom.payload.len())
            }
        }
    }

    fn tensor(&mut self, tensor: &TensorFields<'_>) -> Result<(), ValueError> {
        let at = tensor.at();
        self.hold(at, Buffer::OVERHEAD)?;
        self.hold(at, tensor.raw_data.len())?;
        self.hold(at, crate::Shape::heap_bytes(tensor.rank))
    }

    /// Counts one allocation, which takes whole words.
    fn hold(&mut self, at: usize, byte_count: usize) -> Result<(), ValueError> {
        self.hold_exactly(at, words(byte_count))
    }

    fn hold_exactly(&mut self, at: usize, byte_count: usize) -> Result<(), ValueError> {
        self.held = self.held.saturating_add(byte_count);
        if self.held > self.allowed {
            return Err(ValueError::TooMuchMemory { at, allowed: self.allowed });
        }
        Ok(())
    }
}
