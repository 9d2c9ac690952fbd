//! Why an address was not taken.

use bb_ir::PeerId;
use thiserror::Error;

/// Why an address was not taken; the book is as it was.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressBookError {
    /// The address is too long.
    #[error("an address of {byte_count} bytes; at most {cap} are taken")]
    AddressTooLong {
        /// Its bytes.
        byte_count: usize,
        /// The cap.
        cap: usize,
    },
    /// The peer has as many addresses as it may have, all of a tier that counts more.
    #[error("{peer} has {cap} addresses already; forget one, or raise the limit")]
    AddressesFull {
        /// The cap.
        cap: usize,
        /// The peer.
        peer: PeerId,
    },
    /// The node has no addresses of its own.
    #[error("the node has no local addresses; add one first")]
    NoLocalEntry,
    /// The address ends at another peer.
    #[error("an address of {peer} names {named}")]
    OtherPeer {
        /// The peer that the `/p2p` part names.
        named: PeerId,
        /// The peer it was given for.
        peer: PeerId,
    },
    /// It was given for the node itself.
    #[error("the node's own addresses are given as local ones, by its operator")]
    OwnPeer,
    /// There are as many peers as there may be, all of a tier that counts more.
    #[error("the address book has {cap} peers already; drop one, or raise the limit")]
    PeersFull {
        /// The cap.
        cap: usize,
    },
    /// A newer word of the peer is known.
    #[error("a signed record of {peer} with number {got} came after number {held}")]
    StaleRecord {
        /// The number given.
        got: u64,
        /// The number known.
        held: u64,
        /// The peer.
        peer: PeerId,
    },
}
