//! Messages between nodes: written straight into one buffer, read from borrowed bytes.
//!
//! A sender fills in an [`Envelope`] and calls [`Envelope::encode`]. A receiver goes in stages, each of which
//! costs little until the one before has passed:
//!
//! 1. [`scan`] checks size, version, and every count and length of the envelope's own fields, without
//!    allocating. An error here is the whole envelope's.
//! 2. The [`Scan`] tells what the envelope says of itself: [`Scan::message_id`], [`Scan::program`],
//!    [`Scan::correlation`], [`Scan::deadline`], [`Scan::notice`], [`Scan::addresses`].
//! 3. [`Scan::fills`] gives the fills one by one, each checked in structure and in what it would hold, without
//!    allocating. One that is malformed is an error of its own, a [`FillError`] with its index; its siblings are
//!    not touched by it.
//! 4. [`ScannedFill::decode`] builds a fill's value, copying tensors once.
//!
//! The values of one envelope together hold at most twice the bytes of the envelope and 4 KiB
//! ([`DecodeLimits::PEER`](bb_ir::wire_codec::DecodeLimits)): a fill that would go beyond is malformed. Who sends many
//! small values, which hold more, sends zeros for the rest, as [`Envelope::encode`] does.

mod encode;
mod error;
mod fills;
mod scan;

pub use error::{EnvelopeError, FillError, FillFault};
pub use fills::{Fills, ScannedFill};
pub use scan::{EnvelopeLimits, Scan, scan};

use std::sync::Arc;
use std::time::Duration;

pub use bb_framework::{MessageId, RequestId};
use bb_ir::Digest;

use crate::{Address, Value};

/// The version of the schema that is written, and the only one that is read.
pub const ENVELOPE_VERSION: u32 = 1;

/// One message from one node to another.
///
/// ```
/// use bb_runtime::Value;
/// use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, MessageId, RequestId, scan};
///
/// let envelope = Envelope {
///     message_id: MessageId { incarnation: 1, counter: 7 },
///     correlation: Some(Correlation::Request(RequestId([9; 16]))),
///     fills: vec![Fill { port: 3, value: Value::from("hello") }],
///     ..Envelope::default()
/// };
/// let bytes = envelope.encode();
///
/// let scanned = scan(&bytes, &EnvelopeLimits::default())?;
/// assert_eq!(scanned.message_id().counter, 7);
/// for fill in scanned.fills() {
///     let fill = fill?;
///     assert_eq!((fill.port(), fill.decode()?), (3, Value::from("hello")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Unique among the messages of its sender.
    pub message_id: MessageId,
    /// The artifact whose ports the fills name.
    pub program: Digest,
    /// What it asks or answers; `None` for a one-way message.
    pub correlation: Option<Correlation>,
    /// Time left for an answer when it was sent, in nanoseconds on the wire; `None`, or zero, for none.
    pub deadline: Option<Duration>,
    /// Where the sender can be reached.
    pub addresses: Arc<[Address]>,
    /// What it carries.
    pub fills: Vec<Fill>,
    /// Flow control; a notice travels without fills.
    pub notice: Option<Notice>,
}

/// What a message asks or answers; `T` is the text of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correlation<T = Arc<str>> {
    /// The request could not be answered.
    Failure {
        /// The request.
        request: RequestId,
        /// Why, for people.
        reason: T,
    },
    /// Asks, under an id of the caller's choice.
    Request(RequestId),
    /// Answers the request of that id.
    Response(RequestId),
}

/// A value for a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// The port.
    pub port: u32,
    /// The value.
    pub value: Value,
}

/// Flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Send less, for that long.
    Backpressure {
        /// How long; zero only tells that the queue is nearly full.
        retry_after: Duration,
    },
}

impl<T> Correlation<T> {
    /// The request that it belongs to.
    pub const fn request(&self) -> RequestId {
        match self {
            Self::Failure { request, .. } | Self::Request(request) | Self::Response(request) => *request,
        }
    }
}

impl Default for Envelope {
    /// An envelope that carries nothing.
    fn default() -> Self {
        Self {
            message_id: MessageId { incarnation: 0, counter: 0 },
            program: Digest::default(),
            correlation: None,
            deadline: None,
            addresses: Arc::from([]),
            fills: Vec::new(),
            notice: None,
        }
    }
}
