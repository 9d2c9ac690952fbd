//! What proves that an artifact is the one that was compiled: its digest; and who vouches for it: a signature.

mod signature;

use std::fmt;
use std::str::FromStr;

use prost::Message;
use thiserror::Error;

pub use signature::{Signature, SignatureError, SigningKey, VerifyingKey};

use crate::metadata::{self, MetadataError};
use crate::onnx::ModelProto;

/// What a compiled artifact says of itself; it stands in the metadata of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// The digest of everything else in the model.
    pub digest: Digest,
    /// The version of the compiler that stamped it; the digest covers it.
    pub compiler: String,
    /// Who vouches for the digest.
    pub signatures: Vec<Signature>,
}

/// Why a model's passport cannot be read or does not fit the model; the artifact is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassportError {
    /// The model is another than the one that was stamped.
    #[error("the model's digest is {got}, its passport says {expected}: it was altered after it was stamped")]
    DigestMismatch {
        /// The digest in the passport.
        expected: Digest,
        /// The digest of the model.
        got: Digest,
    },
    /// The digest in the passport is none.
    #[error(transparent)]
    MalformedDigest(#[from] NotDigest),
    /// The passport's metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A signature that does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The model has no passport.
    #[error("the model has no passport; only the compiler stamps one: compile it")]
    Missing,
}

impl Passport {
    /// Stamps a model, in place of any stamp and signatures that it has.
    ///
    /// ```
    /// use bb_ir::onnx::ModelProto;
    /// use bb_ir::passport::Passport;
    /// let mut model = ModelProto { domain: Some("example".into()), ..ModelProto::default() };
    /// let passport = Passport::stamp(&mut model, "0.1.0");
    /// assert_eq!(Passport::of(&model), Ok(passport));
    /// model.domain = Some("forged".into());
    /// assert!(Passport::of(&model).is_err());
    /// ```
    pub fn stamp(model: &mut ModelProto, compiler: &str) -> Self {
        let entries = &mut model.metadata_props;
        metadata::PASSPORT_DIGEST.remove(entries);
        metadata::PASSPORT_COMPILER.remove(entries);
        metadata::PASSPORT_SIGNATURES.remove(entries);
        metadata::PASSPORT_COMPILER.write(entries, &compiler.to_owned());
        let digest = Self::digest(model);
        metadata::PASSPORT_DIGEST.write(&mut model.metadata_props, &digest.to_string());
        Self { digest, compiler: compiler.to_owned(), signatures: Vec::new() }
    }

    /// Stamps a model with this passport's compiler and signatures.
    pub fn stamp_again(&self, model: &mut ModelProto) {
        Self::stamp(model, &self.compiler);
        if !self.signatures.is_empty() {
            let texts = self.signatures.iter().map(Signature::to_string).collect();
            metadata::PASSPORT_SIGNATURES.write(&mut model.metadata_props, &texts);
        }
    }

    /// The passport of a model, which must fit it.
    ///
    /// # Errors
    /// [`PassportError`].
    pub fn of(model: &ModelProto) -> Result<Self, PassportError> {
        let entries = &model.metadata_props;
        let expected: Digest =
            metadata::PASSPORT_DIGEST.read(entries)?.ok_or(PassportError::Missing)?.parse()?;
        let compiler = metadata::PASSPORT_COMPILER.read(entries)?.ok_or(PassportError::Missing)?;
        let got = Self::digest(model);
        if got != expected {
            return Err(PassportError::DigestMismatch { expected, got });
        }
        let texts = metadata::PASSPORT_SIGNATURES.read(entries)?.unwrap_or_default();
        let signatures =
            texts.iter().map(|text| text.parse()).collect::<Result<Vec<Signature>, SignatureError>>()?;
        signatures.iter().try_for_each(|signature| signature.verify(expected))?;
        Ok(Self { digest: expected, compiler, signatures })
    }

    /// The digest of a model: BLAKE3 over its canonical bytes, its own entry and that of the signatures left out.
    pub fn digest(model: &ModelProto) -> Digest {
        let mut model = model.clone();
        metadata::PASSPORT_DIGEST.remove(&mut model.metadata_props);
        metadata::PASSPORT_SIGNATURES.remove(&mut model.metadata_props);
        Digest::of(&model.encode_to_vec())
    }
}

/// A BLAKE3 digest; 64 hexadecimal digits as text.
///
/// ```
/// use bb_ir::passport::Digest;
/// let digest = Digest::of(b"bytes");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// assert_eq!(digest.to_string().len(), 64);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is not a digest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotDigest;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = NotDigest;

    fn from_str(text: &str) -> Result<Self, NotDigest> {
        if text.len() != 64 {
            return Err(NotDigest);
        }
        let mut bytes = [0; 32];
        let (digits, _) = text.as_bytes().as_chunks::<2>();
        for (byte, pair) in bytes.iter_mut().zip(digits) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotDigest);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}
