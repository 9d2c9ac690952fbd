//! What can be wrong with an envelope, and with one of its fills.

use bb_ir::wire_codec::{ValueError, WireError};
use thiserror::Error;

/// Why bytes are not an envelope; the peer that sent them is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A claimed address larger than one may be.
    #[error("the envelope claims an address of {byte_count} bytes, the cap is {cap}")]
    AddressOversize {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// The program's digest is not 32 bytes.
    #[error("the envelope names its program with {byte_count} bytes, a digest has 32")]
    DigestLength {
        /// How many bytes.
        byte_count: usize,
    },
    /// The text of a failure is not UTF-8.
    #[error("the text of the failure is not UTF-8")]
    FailureNotUtf8,
    /// No message id.
    #[error("the envelope has no message id")]
    NoMessageId,
    /// A notice with fills or a correlation.
    #[error("the envelope has a notice and something else; a notice travels alone")]
    NoticeNotAlone,
    /// Larger than an envelope may be.
    #[error("the envelope has {byte_count} bytes, the cap is {cap}")]
    Oversize {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// A request id that is not 16 bytes.
    #[error("the envelope has a request id of {byte_count} bytes, one has 16")]
    RequestIdLength {
        /// How many bytes.
        byte_count: usize,
    },
    /// More claimed addresses than one envelope may have.
    #[error("the envelope claims more than {cap} addresses")]
    TooManyAddresses {
        /// The cap.
        cap: usize,
    },
    /// More fills than one envelope may have.
    #[error("the envelope has more than {cap} fills")]
    TooManyFills {
        /// The cap.
        cap: usize,
    },
    /// A kind of correlation that is not known here.
    #[error("the envelope has a correlation of the unknown kind {kind}")]
    UnknownCorrelation {
        /// Its number.
        kind: u64,
    },
    /// A kind of notice that is not known here.
    #[error("the envelope has a notice of the unknown kind {kind}")]
    UnknownNotice {
        /// Its number.
        kind: u64,
    },
    /// A version of the schema that is not known here.
    #[error("the envelope is of version {version}, this node reads version 1")]
    UnknownVersion {
        /// The version; 0 when the envelope has none.
        version: u64,
    },
    /// Bytes that are not a message of the schema.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Why one fill of an envelope cannot be read; the peer that sent it is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("fill {index}: {fault}")]
pub struct FillError {
    /// Which fill of the envelope, from 0.
    pub index: usize,
    /// Its port, if that could be read.
    pub port: Option<u32>,
    /// What is wrong.
    pub fault: FillFault,
}

/// What is wrong with a fill.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FillFault {
    /// It has no value.
    #[error("there is no value")]
    NoValue,
    /// Larger than a fill may be.
    #[error("it has {byte_count} bytes, the cap is {cap}")]
    Oversize {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// Its value is malformed.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Bytes that are not a message of the schema.
    #[error(transparent)]
    Wire(#[from] WireError),
}
