//! Who vouches for an artifact: a signature over its digest.

use std::fmt;

use ed25519_compact::{KeyPair, PublicKey, Seed};
use thiserror::Error;

use super::{Digest, NotDigest};

/// What is signed before the digest, so that a signature of something else with the same key is none of this.
const CONTEXT: &[u8] = b"bytesandbrains artifact 1\0";

/// A key that signs; whoever has it can vouch for artifacts. `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey(KeyPair);

/// A key that signatures are checked with; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey(pub [u8; 32]);

/// A signature over the digest of an artifact, with the key that it is of. Ed25519 (RFC 8032).
///
/// ```
/// use bb_ir::passport::{Digest, Signature, SigningKey};
/// let key = SigningKey::from_seed([7; 32]).expect("not all bytes are the same by chance");
/// let signature = Signature::sign(&key, Digest::of(b"artifact"));
/// assert!(signature.verify(Digest::of(b"artifact")).is_ok());
/// assert!(signature.verify(Digest::of(b"another")).is_err());
/// assert_eq!(signature.to_string().parse(), Ok(signature));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key that it is of.
    pub key: VerifyingKey,
    bytes: [u8; 64],
}

/// Why a signature does not hold, or is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not over this digest, or not of this key.
    #[error("the signature of {key} does not fit: the artifact is another than the one that was signed")]
    DoesNotFit {
        /// The key.
        key: VerifyingKey,
    },
    /// The text is not a key and a signature.
    #[error("a signature is 192 hexadecimal digits, those of its key first")]
    NotSignature,
    /// Bytes that no key is made of.
    #[error("no key can be made of these bytes; draw others")]
    WeakSeed,
}

impl SigningKey {
    /// The key of 32 secret bytes, drawn at random.
    ///
    /// # Errors
    /// [`SignatureError::WeakSeed`]: all of them are zero.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, SignatureError> {
        KeyPair::try_from_seed(Seed::new(seed)).map(Self).map_err(|_| SignatureError::WeakSeed)
    }

    /// What its signatures are checked with.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(*self.0.pk)
    }
}

impl Signature {
    /// Signs a digest; the same key and digest give the same signature.
    pub fn sign(key: &SigningKey, digest: Digest) -> Self {
        let bytes = *key.0.sk.sign(signed(digest), None);
        Self { key: key.verifying_key(), bytes }
    }

    /// Checks that the key signed this digest.
    ///
    /// # Errors
    /// [`SignatureError::DoesNotFit`].
    pub fn verify(&self, digest: Digest) -> Result<(), SignatureError> {
        let (key, signature) = (PublicKey::new(self.key.0), ed25519_compact::Signature::new(self.bytes));
        key.verify(signed(digest), &signature).map_err(|_| SignatureError::DoesNotFit { key: self.key })
    }
}

fn signed(digest: Digest) -> Vec<u8> {
    [CONTEXT, digest.as_bytes()].concat()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.verifying_key())
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Digest(self.0), f)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

impl std::str::FromStr for VerifyingKey {
    type Err = NotDigest;

    fn from_str(text: &str) -> Result<Self, NotDigest> {
        text.parse::<Digest>().map(|bytes| Self(bytes.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature(of {})", self.key)
    }
}

impl std::str::FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let parse = |from: usize| {
            let digits = text.get(from..from + 64)?;
            digits.parse::<Digest>().ok()
        };
        let (Some(key), Some(first), Some(second), 192) = (parse(0), parse(64), parse(128), text.len())
        else {
            return Err(SignatureError::NotSignature);
        };
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&first.0);
        bytes[32..].copy_from_slice(&second.0);
        Ok(Self { key: VerifyingKey(key.0), bytes })
    }
}
