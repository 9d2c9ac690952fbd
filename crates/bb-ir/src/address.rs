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
    /// Memory for the address could not be had.
    #[error("no memory for an address of {byte_count} bytes")]
    AllocationFailed {
        /// Bytes asked for.
        byte_count: usize,
    },
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
    /// [`AddressError::NotBinaryMultiaddr`], [`AddressError::AllocationFailed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        let byte_count = bytes.len();
        let mut copy = Vec::new();
        copy.try_reserve_exact(byte_count).map_err(|_| AddressError::AllocationFailed { byte_count })?;
        copy.extend_from_slice(bytes);
        Multiaddr::try_from(copy).map(Self).map_err(|_| AddressError::NotBinaryMultiaddr { byte_count })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_are_an_address(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(address) = Address::from_bytes(&bytes) {
                prop_assert_eq!(address.as_bytes(), bytes);
            }
        }
    }

    #[test]
    fn text_and_bytes_say_the_same() {
        for text in
            ["/ip4/192.0.2.1/udp/4001/quic-v1", "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/443/wss"]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::from_bytes(address.as_bytes()), Ok(address));
        }
    }

    #[test]
    fn the_peer_is_that_of_the_last_p2p_part() {
        let [relay, peer] = [
            "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ];
        let address: Address =
            format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}").parse().unwrap();
        assert_eq!(address.peer(), Some(peer.parse().unwrap()));
        assert_eq!("/ip4/192.0.2.1/tcp/1".parse::<Address>().unwrap().peer(), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let text = "192.0.2.1:4001".to_owned();
        assert_eq!(text.parse::<Address>(), Err(AddressError::NotMultiaddr { text }));
        assert_eq!(Address::from_bytes(&[0xff]), Err(AddressError::NotBinaryMultiaddr { byte_count: 1 }));
        assert_eq!(Address::from_bytes(&[]), Ok(Address::empty()));
    }
}
