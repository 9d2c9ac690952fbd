//! Writing an envelope: canonical protobuf, straight into one buffer.

use std::time::Duration;

use bb_framework::MessageId;
use bb_ir::wire_codec::DecodeLimits;
use bb_ir::wire_codec::write::{
    NoMemory, Sink, len_field_len, put_bytes, put_len, put_varint_field, varint_field_len,
};

use super::scan::ADDRESS_BYTES;
use super::{Correlation, ENVELOPE_VERSION, Envelope, Fill, Notice};

/// The field of zeros that are sent for what small values hold.
const PADDING: u32 = 9;

/// What padding is made of.
static ZEROS: [u8; 1_024] = [0; 1_024];

/// Room for what precedes the fills, addresses and failure text aside, and for what announces padding.
const FIXED_FIELDS: usize = 128;

impl Envelope {
    /// The bytes to send; equal envelopes have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.room());
        self.encode_into(&mut out);
        out
    }

    /// [`Envelope::encode`] where memory may be short.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn try_encode(&self) -> Result<Vec<u8>, NoMemory> {
        let byte_count = self.room();
        let mut out = Vec::new();
        out.try_reserve_exact(byte_count).map_err(|_| NoMemory { byte_count })?;
        self.encode_into(&mut out);
        Ok(out)
    }

    /// Bytes that are enough for it.
    fn room(&self) -> usize {
        let varying = self.varying();
        FIXED_FIELDS + varying + self.missing(varying)
    }

    /// Bytes of its addresses, its failure's text and its fills.
    fn varying(&self) -> usize {
        let addresses: usize = self.addresses.iter().map(|a| len_field_len(6, a.as_bytes().len())).sum();
        let failure = match &self.correlation {
            Some(Correlation::Failure { reason, .. }) => reason.len(),
            _ => 0,
        };
        let fills: usize = self.fills.iter().map(|fill| len_field_len(7, fill_len(fill))).sum();
        addresses + failure + fills
    }

    /// Appends the bytes to send.
    ///
    /// Small values hold more than twice their bytes once they are decoded. Their receiver lets a message hold twice its
    /// bytes, so as many zeros follow as make up for the rest.
    pub fn encode_into(&self, out: &mut impl Sink) {
        self.put_fields(out);
        let mut missing = self.missing(self.varying());
        if missing > 0 {
            put_len(out, PADDING, missing);
        }
        while missing > 0 {
            let part = missing.min(ZEROS.len());
            out.put(&ZEROS[..part]);
            missing -= part;
        }
    }

    /// Zeros that its values need, beside so many bytes at least.
    fn missing(&self, byte_count: usize) -> usize {
        let addresses = self.addresses.iter().map(|address| ADDRESS_BYTES + address.as_bytes().len());
        let failure = match &self.correlation {
            Some(Correlation::Failure { reason, .. }) => reason.len(),
            _ => 0,
        };
        let values = self.fills.iter().map(|fill| fill.value.decoded_bytes());
        let held = addresses.chain(values).fold(failure, usize::saturating_add);
        held.saturating_sub(DecodeLimits::PEER.allowed(byte_count)).div_ceil(2)
    }

    fn put_fields(&self, out: &mut impl Sink) {
        put_varint_field(out, 1, u64::from(ENVELOPE_VERSION));
        put_message_id(out, self.message_id);
        put_bytes(out, 3, self.program.as_bytes());
        if let Some(correlation) = &self.correlation {
            put_correlation(out, correlation);
        }
        put_unless_zero(out, 5, self.deadline.map_or(0, nanos));
        for address in &*self.addresses {
            put_bytes(out, 6, address.as_bytes());
        }
        for fill in &self.fills {
            let value_len = fill.value.encoded_len();
            put_len(out, 7, unless_zero_len(1, u64::from(fill.port)) + len_field_len(2, value_len));
            put_unless_zero(out, 1, u64::from(fill.port));
            put_len(out, 2, value_len);
            fill.value.encode_into(out);
        }
        if let Some(Notice::Backpressure { retry_after }) = self.notice {
            let retry_after = nanos(retry_after);
            put_len(out, 8, varint_field_len(1, 1) + unless_zero_len(2, retry_after));
            put_varint_field(out, 1, 1);
            put_unless_zero(out, 2, retry_after);
        }
    }
}

fn put_message_id(out: &mut impl Sink, id: MessageId) {
    put_len(out, 2, unless_zero_len(1, id.incarnation) + unless_zero_len(2, id.counter));
    put_unless_zero(out, 1, id.incarnation);
    put_unless_zero(out, 2, id.counter);
}

fn put_correlation(out: &mut impl Sink, correlation: &Correlation) {
    let (kind, reason) = match correlation {
        Correlation::Request(_) => (1, ""),
        Correlation::Response(_) => (2, ""),
        Correlation::Failure { reason, .. } => (3, &**reason),
    };
    let request = correlation.request().0;
    let reason_len = if reason.is_empty() { 0 } else { len_field_len(3, reason.len()) };
    put_len(out, 4, varint_field_len(1, kind) + len_field_len(2, request.len()) + reason_len);
    put_varint_field(out, 1, kind);
    put_bytes(out, 2, &request);
    if !reason.is_empty() {
        put_bytes(out, 3, reason.as_bytes());
    }
}

fn fill_len(fill: &Fill) -> usize {
    unless_zero_len(1, u64::from(fill.port)) + len_field_len(2, fill.value.encoded_len())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const fn unless_zero_len(field: u32, number: u64) -> usize {
    if number == 0 { 0 } else { varint_field_len(field, number) }
}

fn put_unless_zero(out: &mut impl Sink, field: u32, number: u64) {
    if number != 0 {
        put_varint_field(out, field, number);
    }
}
