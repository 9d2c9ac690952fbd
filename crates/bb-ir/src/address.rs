//! Where a node can be reached: a multiaddr.

use std::fmt;
use std::str::FromStr;

use multiaddr::Multiaddr;
use thiserror::Error;

use crate::PeerId;

/// A multiaddr, such as `/ip4/192.0.2.1/udp/4001/quic-v1`; the empty one is no address.
///
/// ```
/// use bb_ir::Address;
/// let address: Address = "/ip4/192.0.2.1/udp/4001/quic-v1".parse()?;
/// assert_eq!(Address::from_bytes(&address.to_bytes())?, address);
/// assert!(Address::empty().is_empty());
/// # Ok::<(), bb_ir::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Multiaddr);

/// Why bytes or text are not an address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The bytes are not a multiaddr.
    #[error("not a binary multiaddr ({byte_count} bytes)")]
    NotBinaryMultiaddr {
        /// How many bytes were given.
        byte_count: usize,
    },
    /// The text is not a multiaddr.
    #[error("`{text}` is not a multiaddr; one looks like /ip4/192.0.2.1/udp/4001/quic-v1")]
    NotMultiaddr {
        /// The text.
        text: String,
    },
}

impl Address {
    /// The address that is none.
    pub fn empty() -> Self {
        Self(Multiaddr::empty())
    }

    /// Whether this is no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`AddressError::NotBinaryMultiaddr`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        Multiaddr::try_from(bytes.to_vec())
            .map(Self)
            .map_err(|_| AddressError::NotBinaryMultiaddr { byte_count: bytes.len() })
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// The binary form, borrowed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// The peer that the address names with its last `/p2p` part, if it has one that is a [`PeerId`].
    pub fn peer(&self) -> Option<PeerId> {
        self.0
            .iter()
            .filter_map(|part| match part {
                multiaddr::Protocol::P2p(peer) => PeerId::from_bytes(&peer.to_bytes()).ok(),
                _ => None,
            })
            .last()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        text.parse().map(Self).map_err(|_| AddressError::NotMultiaddr { text: text.to_owned() })
    }
}
