//! Who a node is: a multihash, in production of its public key.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use multihash::Multihash;
use thiserror::Error;

/// The most bytes a peer id's multihash may take, code and length included.
pub const MAX_PEER_ID_BYTES: usize = 64;

/// The identity of a node: a multihash of at most 64 bytes, `Copy` and ordered by its bytes.
///
/// The text form is libp2p's: the multihash in base58btc.
///
/// ```
/// use bb_ir::PeerId;
/// let peer = PeerId::from_u64(7);
/// assert_eq!(peer.to_string().parse::<PeerId>(), Ok(peer));
/// assert_eq!(PeerId::from_bytes(&peer.to_bytes()), Ok(peer));
/// ```
#[derive(Clone, Copy)]
pub struct PeerId {
    len: u8,
    /// The multihash, then zeros.
    bytes: [u8; MAX_PEER_ID_BYTES],
}

/// Why bytes or text are not a peer id; the peer or caller that sent them is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerIdError {
    /// The text is not base58btc.
    #[error("a peer id is base58btc text, this is not: character {index} is `{character}`")]
    NotBase58 {
        /// The first character that does not belong.
        character: char,
        /// Where it stands.
        index: usize,
    },
    /// The bytes are not exactly one multihash.
    #[error("a peer id is one multihash; these {byte_count} bytes are not")]
    NotMultihash {
        /// How many bytes were given.
        byte_count: usize,
    },
    /// More than [`MAX_PEER_ID_BYTES`].
    #[error("a peer id has at most {MAX_PEER_ID_BYTES} bytes, got {byte_count}")]
    TooLong {
        /// How many bytes were given.
        byte_count: usize,
    },
}

impl PeerId {
    /// A peer id for tests and simulation: the identity multihash of `id`; ordered as the numbers are.
    pub fn from_u64(id: u64) -> Self {
        let mut bytes = [0; MAX_PEER_ID_BYTES];
        bytes[1] = 8;
        bytes[2..10].copy_from_slice(&id.to_be_bytes());
        Self { len: 10, bytes }
    }

    /// Reads a multihash.
    ///
    /// # Errors
    /// [`PeerIdError::TooLong`] and [`PeerIdError::NotMultihash`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerIdError> {
        let byte_count = bytes.len();
        if byte_count > MAX_PEER_ID_BYTES {
            return Err(PeerIdError::TooLong { byte_count });
        }
        Multihash::<MAX_PEER_ID_BYTES>::from_bytes(bytes)
            .map_err(|_| PeerIdError::NotMultihash { byte_count })?;
        let mut held = [0; MAX_PEER_ID_BYTES];
        held[..byte_count].copy_from_slice(bytes);
        Ok(Self { len: byte_count as u8, bytes: held })
    }

    /// The multihash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The multihash, as bytes of their own.
    pub fn to_bytes(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerId {
    /// By their bytes.
    ///
    /// Word by word, for the first words decide almost always; a shorter multihash that the longer one begins with is
    /// as long as it with its zeros, and less by its length.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        for (own, others) in self.bytes.as_chunks::<8>().0.iter().zip(other.bytes.as_chunks::<8>().0) {
            let (own, others) = (u64::from_be_bytes(*own), u64::from_be_bytes(*others));
            if own != others {
                return own.cmp(&others);
            }
        }
        self.len.cmp(&other.len)
    }
}

impl PartialEq for PeerId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PeerId {}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        // base58 needs at most 1.37 characters a byte: a longer text cannot be a peer id.
        if text.len() > MAX_PEER_ID_BYTES * 2 {
            return Err(PeerIdError::TooLong { byte_count: text.len() });
        }
        let bytes = bs58::decode(text).into_vec().map_err(|error| match error {
            bs58::decode::Error::InvalidCharacter { character, index } => {
                PeerIdError::NotBase58 { character, index }
            }
            _ => PeerIdError::NotMultihash { byte_count: text.len() },
        })?;
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The peer id of an Ed25519 key, as libp2p writes it.
    const LIBP2P: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    /// An identity multihash of any digest.
    fn multihash() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=62)
            .prop_map(|digest| [vec![0, digest.len() as u8], digest].concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_kept_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(peer) = PeerId::from_bytes(&bytes) {
                prop_assert_eq!(peer.as_bytes(), bytes);
            }
        }

        #[test]
        fn peers_are_ordered_and_equal_as_their_bytes_are(
            a in multihash(),
            b in multihash(),
            shared in 0_usize..64,
        ) {
            let mut mixed = b.clone();
            let shared = shared.min(a.len()).min(mixed.len());
            mixed[2.min(shared)..shared].copy_from_slice(&a[2.min(shared)..shared]);
            for (a, b) in [(&a, &b), (&a, &mixed), (&a, &a)] {
                let (left, right) = (PeerId::from_bytes(a).unwrap(), PeerId::from_bytes(b).unwrap());
                prop_assert_eq!(left.cmp(&right), a.cmp(b));
                prop_assert_eq!(left == right, a == b);
            }
        }

        #[test]
        fn any_text_is_refused_or_is_the_text_of_a_peer(text in "[1-9A-HJ-NP-Za-km-z]{0,60}") {
            if let Ok(peer) = text.parse::<PeerId>() {
                prop_assert_eq!(peer.to_string(), text);
            }
        }

        #[test]
        fn numbered_peers_are_ordered_as_their_numbers(a: u64, b: u64) {
            prop_assert_eq!(PeerId::from_u64(a).cmp(&PeerId::from_u64(b)), a.cmp(&b));
        }
    }

    #[test]
    fn the_text_form_is_that_of_libp2p() {
        let peer: PeerId = LIBP2P.parse().unwrap();
        assert_eq!(peer.to_string(), LIBP2P);
        assert_eq!(peer.as_bytes()[..2], [0, 36]);
    }

    #[test]
    fn what_is_no_peer_id_is_refused_with_its_reason() {
        assert_eq!(PeerId::from_bytes(&[0; 65]), Err(PeerIdError::TooLong { byte_count: 65 }));
        assert_eq!(PeerId::from_bytes(&[]), Err(PeerIdError::NotMultihash { byte_count: 0 }));
        assert_eq!(PeerId::from_bytes(&[0, 2, 1]), Err(PeerIdError::NotMultihash { byte_count: 3 }));
        assert_eq!("12D0".parse::<PeerId>(), Err(PeerIdError::NotBase58 { character: '0', index: 3 }));
        assert!(matches!("1".repeat(300).parse::<PeerId>(), Err(PeerIdError::TooLong { .. })));
    }
}
