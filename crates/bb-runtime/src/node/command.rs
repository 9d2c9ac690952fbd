//! Changing what the node knows of peers, and whom it deals with.

use bb_framework::AddressBookError;
use bb_framework::governor::ListFull;

use super::Node;
use crate::{Address, PeerId};

impl Node {
    /// Names a peer, with addresses or without; whether anything is new.
    ///
    /// # Errors
    /// [`AddressBookError`]; nothing is taken then.
    pub fn add_peer(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<bool, AddressBookError> {
        self.engine.peers.book.add_peer(peer, addresses)
    }

    /// Takes nothing from a peer and sends nothing to it; whether it was not blocked before.
    ///
    /// # Errors
    /// [`ListFull`]: as many peers are blocked as may be.
    pub fn block_peer(&mut self, peer: PeerId) -> Result<bool, ListFull> {
        self.engine.peers.governor.block(peer)
    }

    /// Deals with a peer again; whether it was blocked.
    pub fn unblock_peer(&mut self, peer: PeerId) -> bool {
        self.engine.peers.governor.unblock(peer)
    }
}
