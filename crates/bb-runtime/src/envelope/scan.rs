//! The pre-scan of an envelope, and what it says of itself.

use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::wire_codec::{Cursor, DecodeLimits};
use bb_ir::{AddressError, Digest};

use super::{Correlation, ENVELOPE_VERSION, Envelope, EnvelopeError, Fill, FillError, Fills, Notice};
use crate::limits::{
    DEFAULT_ADDRESS_BYTES, DEFAULT_CLAIMED_ADDRESSES, DEFAULT_ENVELOPE_BYTES, DEFAULT_ENVELOPE_FILLS,
    DEFAULT_FAILURE_TEXT_BYTES, DEFAULT_FILL_BYTES,
};
use crate::{Address, NodeConfig};

/// How large an envelope may be in each of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeLimits {
    /// Bytes of the whole.
    pub envelope_bytes: usize,
    /// How many fills.
    pub fills: usize,
    /// Bytes of one fill.
    pub fill_bytes: usize,
    /// How many claimed addresses.
    pub addresses: usize,
    /// Bytes of one of them.
    pub address_bytes: usize,
    /// Bytes of a failure's text that are kept; longer ones are cut at a character.
    pub failure_text_bytes: usize,
    /// Depth of the values, and memory above twice their bytes.
    pub value: DecodeLimits,
}

impl EnvelopeLimits {
    /// The limits of a node.
    pub const fn of(config: &NodeConfig) -> Self {
        Self {
            envelope_bytes: config.envelope_bytes,
            fills: config.envelope_fills,
            fill_bytes: config.fill_bytes,
            addresses: config.claimed_addresses,
            address_bytes: config.address_bytes,
            failure_text_bytes: config.failure_text_bytes,
            value: DecodeLimits::PEER,
        }
    }
}

impl Default for EnvelopeLimits {
    /// Those of the default [`NodeConfig`].
    fn default() -> Self {
        Self {
            envelope_bytes: DEFAULT_ENVELOPE_BYTES,
            fills: DEFAULT_ENVELOPE_FILLS,
            fill_bytes: DEFAULT_FILL_BYTES,
            addresses: DEFAULT_CLAIMED_ADDRESSES,
            address_bytes: DEFAULT_ADDRESS_BYTES,
            failure_text_bytes: DEFAULT_FAILURE_TEXT_BYTES,
            value: DecodeLimits::PEER,
        }
    }
}

/// An envelope whose structure is sound and within its limits; its fills may each be malformed still.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    envelope: Cursor<'a>,
    limits: EnvelopeLimits,
    message_id: MessageId,
    program: Digest,
    correlation: Option<Correlation<&'a str>>,
    deadline: Option<Duration>,
    notice: Option<Notice>,
    /// From the first address on.
    addresses: Cursor<'a>,
    address_count: usize,
    /// From the first fill on.
    fills: Cursor<'a>,
    fill_count: usize,
    header_bytes: usize,
}

/// Checks the bytes of an envelope, without allocating.
///
/// # Errors
/// [`EnvelopeError`]; a malformed fill is none, [`Scan::fills`] tells of it.
pub fn scan<'a>(bytes: &'a [u8], limits: &EnvelopeLimits) -> Result<Scan<'a>, EnvelopeError> {
    let (byte_count, cap) = (bytes.len(), limits.envelope_bytes);
    if byte_count > cap {
        return Err(EnvelopeError::Oversize { byte_count, cap });
    }
    let envelope = Cursor::new(bytes);
    let mut cursor = envelope;
    let (mut version, mut message_id, mut program, mut correlation) = (None, None, None, None);
    let (mut deadline, mut notice) = (None, None);
    let (mut fill_count, mut address_count, mut header_bytes) = (0, 0, 0);
    let nothing = Cursor::new_at(&[], byte_count);
    let (mut addresses, mut fills) = (nothing, nothing);
    loop {
        let before = cursor;
        let Some(field) = cursor.field()? else { break };
        match field.number {
            1 => field.once(&mut version, field.varint()?)?,
            2 => field.once(&mut message_id, read_message_id(field.bytes()?)?)?,
            3 => field.once(&mut program, field.bytes()?.rest())?,
            4 => field.once(&mut correlation, read_correlation(field.bytes()?, limits)?)?,
            5 => field.once(&mut deadline, field.varint()?)?,
            6 => {
                let byte_count = field.bytes()?.len();
                let cap = limits.address_bytes;
                if byte_count > cap {
                    return Err(EnvelopeError::AddressOversize { byte_count, cap });
                }
                if address_count == 0 {
                    addresses = before;
                }
                address_count += 1;
                if address_count > limits.addresses {
                    return Err(EnvelopeError::TooManyAddresses { cap: limits.addresses });
                }
                header_bytes += byte_count + ADDRESS_BYTES;
            }
            7 => {
                field.bytes()?;
                if fill_count == 0 {
                    fills = before;
                }
                fill_count += 1;
                if fill_count > limits.fills {
                    return Err(EnvelopeError::TooManyFills { cap: limits.fills });
                }
            }
            8 => field.once(&mut notice, read_notice(field.bytes()?)?)?,
            _ => {}
        }
    }
    let version = version.unwrap_or_default();
    if version != u64::from(ENVELOPE_VERSION) {
        return Err(EnvelopeError::UnknownVersion { version });
    }
    let message_id = message_id.ok_or(EnvelopeError::NoMessageId)?;
    let program = program.unwrap_or_default();
    let digest = program.try_into().map_err(|_| EnvelopeError::DigestLength { byte_count: program.len() })?;
    if notice.is_some() && (fill_count > 0 || correlation.is_some()) {
        return Err(EnvelopeError::NoticeNotAlone);
    }
    if let Some(Correlation::Failure { reason, .. }) = correlation {
        header_bytes += reason.len();
    }
    Ok(Scan {
        envelope,
        limits: *limits,
        message_id,
        program: Digest(digest),
        correlation,
        deadline: deadline.filter(|&nanos| nanos > 0).map(Duration::from_nanos),
        notice,
        addresses,
        address_count,
        fills,
        fill_count,
        header_bytes,
    })
}

/// What an address holds beside its bytes, and its place in a list.
pub(super) const ADDRESS_BYTES: usize = size_of::<Address>() + size_of::<Vec<u8>>() + 2 * size_of::<usize>();

impl<'a> Scan<'a> {
    /// The id that the sender gave it.
    pub const fn message_id(&self) -> MessageId {
        self.message_id
    }

    /// The artifact whose ports the fills name.
    pub const fn program(&self) -> Digest {
        self.program
    }

    /// What it asks or answers; a failure's text is cut to its limit.
    pub const fn correlation(&self) -> Option<Correlation<&'a str>> {
        self.correlation
    }

    /// Time left for an answer when it was sent.
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Flow control.
    pub const fn notice(&self) -> Option<Notice> {
        self.notice
    }

    /// How many fills it has, malformed ones included.
    pub const fn fill_count(&self) -> usize {
        self.fill_count
    }

    /// Bytes of the envelope.
    pub const fn wire_bytes(&self) -> usize {
        self.envelope.len()
    }

    /// Bytes that the values of all sound fills hold once they are decoded; counted by a walk over them.
    pub fn heap_bytes(&self) -> usize {
        self.fills().filter_map(Result::ok).map(|fill| fill.heap_bytes()).sum()
    }

    /// Where the sender says it can be reached, in its order; one that cannot be read is an error of its own.
    pub fn addresses(&self) -> impl Iterator<Item = Result<Address, AddressError>> + use<'a> {
        self.address_bytes().map(Address::from_bytes)
    }

    /// Where the sender says it can be reached, not read yet.
    pub(crate) fn address_bytes(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let (mut cursor, mut left) = (self.addresses, self.address_count);
        std::iter::from_fn(move || {
            while left > 0
                && let Ok(Some(field)) = cursor.field()
            {
                if let (6, Ok(address)) = (field.number, field.bytes()) {
                    left -= 1;
                    return Some(address.rest());
                }
            }
            None
        })
    }

    /// The fills, in order.
    pub fn fills(&self) -> Fills<'a> {
        let allowed = self.limits.value.allowed(self.wire_bytes()).saturating_sub(self.header_bytes);
        Fills::new(self.fills, self.limits, allowed)
    }

    /// Decodes all of it; addresses that cannot be read are left out.
    ///
    /// # Errors
    /// [`FillError`] of the first malformed fill.
    pub fn decode(&self) -> Result<Envelope, FillError> {
        let correlation = self.correlation.map(|correlation| match correlation {
            Correlation::Failure { request, reason } => {
                Correlation::Failure { request, reason: reason.into() }
            }
            Correlation::Request(request) => Correlation::Request(request),
            Correlation::Response(request) => Correlation::Response(request),
        });
        let fills = self.fills().map(|fill| {
            let fill = fill?;
            Ok(Fill { port: fill.port(), value: fill.decode()? })
        });
        Ok(Envelope {
            message_id: self.message_id,
            program: self.program,
            correlation,
            deadline: self.deadline,
            addresses: self.addresses().filter_map(Result::ok).collect(),
            fills: fills.collect::<Result<_, _>>()?,
            notice: self.notice,
        })
    }
}

fn read_message_id(mut message: Cursor<'_>) -> Result<MessageId, EnvelopeError> {
    let (mut incarnation, mut counter) = (None, None);
    while let Some(field) = message.field()? {
        match field.number {
            1 => field.once(&mut incarnation, field.varint()?)?,
            2 => field.once(&mut counter, field.varint()?)?,
            _ => {}
        }
    }
    Ok(MessageId { incarnation: incarnation.unwrap_or_default(), counter: counter.unwrap_or_default() })
}

fn read_correlation<'a>(
    mut message: Cursor<'a>,
    limits: &EnvelopeLimits,
) -> Result<Correlation<&'a str>, EnvelopeError> {
    let (mut kind, mut request, mut reason) = (None, None, None);
    while let Some(field) = message.field()? {
        match field.number {
            1 => field.once(&mut kind, field.varint()?)?,
            2 => field.once(&mut request, field.bytes()?.rest())?,
            3 => field.once(&mut reason, field.bytes()?.rest())?,
            _ => {}
        }
    }
    let request = request.unwrap_or_default();
    let id = request.try_into().map_err(|_| EnvelopeError::RequestIdLength { byte_count: request.len() })?;
    let request = RequestId(id);
    match kind.unwrap_or_default() {
        1 => Ok(Correlation::Request(request)),
        2 => Ok(Correlation::Response(request)),
        3 => {
            let reason = str::from_utf8(reason.unwrap_or_default());
            let reason = reason.map_err(|_| EnvelopeError::FailureNotUtf8)?;
            Ok(Correlation::Failure { request, reason: cut(reason, limits.failure_text_bytes) })
        }
        kind => Err(EnvelopeError::UnknownCorrelation { kind }),
    }
}

/// The first `byte_count` bytes of a text, or a little fewer: no character is cut.
fn cut(text: &str, byte_count: usize) -> &str {
    let end = (0..=byte_count.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

fn read_notice(mut message: Cursor<'_>) -> Result<Notice, EnvelopeError> {
    let (mut kind, mut retry_after) = (None, None);
    while let Some(field) = message.field()? {
        match field.number {
            1 => field.once(&mut kind, field.varint()?)?,
            2 => field.once(&mut retry_after, field.varint()?)?,
            _ => {}
        }
    }
    match kind.unwrap_or_default() {
        1 => Ok(Notice::Backpressure { retry_after: Duration::from_nanos(retry_after.unwrap_or_default()) }),
        kind => Err(EnvelopeError::UnknownNotice { kind }),
    }
}
