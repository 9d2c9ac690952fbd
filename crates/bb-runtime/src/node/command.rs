//! Changing what the node knows of peers and whom it deals with; ending executions, and the node.

use std::sync::Arc;

use bb_framework::AddressBookError;
use bb_framework::governor::ListFull;

use super::Node;
use crate::{Address, ExecId, Outcome, PeerId};

impl Node {
    /// Names a peer, with addresses or without, and refers to it once more; whether anything is new.
    ///
    /// The host's word counts more than what peers say, and is never evicted for it. The empty address is no address.
    ///
    /// # Errors
    /// [`AddressBookError`]; nothing is taken then.
    ///
    /// ```
    /// # use bb_runtime::{Node, PeerId};
    /// # fn introduce(node: &mut Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let peer = PeerId::from_u64(7);
    /// node.add_peer(peer, ["/ip4/192.0.2.1/udp/4001/quic-v1".parse()?])?;
    /// assert_eq!(node.resolve_peer_addresses(peer).len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_peer(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<bool, AddressBookError> {
        self.engine.peers.book.add_peer(peer, addresses)
    }

    /// Takes the addresses of a record that `peer` signed, in place of those of its record before; whether anything is new.
    /// `sequence` is the record's number, which grows with each record of a peer. Of peers that policy does not allow, and
    /// for the node itself, nothing is taken.
    ///
    /// The signature is the host's to verify, with the key that the peer id is the hash of. What a peer signed counts less
    /// than the host's own word and more than what its messages claim.
    ///
    /// # Errors
    /// [`AddressBookError`], [`AddressBookError::StaleRecord`] for a number that is lower than the last; the addresses
    /// before stay then.
    ///
    /// ```
    /// # use bb_runtime::{AddressBookError, Node, PeerId};
    /// # fn learn(node: &mut Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let peer = PeerId::from_u64(7);
    /// node.register_signed(peer, 4, ["/ip4/192.0.2.1/udp/4001/quic-v1".parse()?])?;
    /// let old = node.register_signed(peer, 3, ["/ip4/192.0.2.9/udp/4001/quic-v1".parse()?]);
    /// assert!(matches!(old, Err(AddressBookError::StaleRecord { held: 4, got: 3, .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_signed(
        &mut self,
        peer: PeerId,
        sequence: u64,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<bool, AddressBookError> {
        if !self.engine.takes_word_of(peer) {
            return Ok(false);
        }
        self.engine.peers.book.register_signed(peer, sequence, addresses)
    }

    /// Takes nothing from a peer and sends nothing to it; whether it was not blocked before.
    ///
    /// What waits to be sent to it is dropped, each with a `PeerBlocked` step.
    ///
    /// # Errors
    /// [`ListFull`]: as many peers are blocked as may be.
    ///
    /// ```
    /// # use bb_runtime::{Decision, DenyReason, Node, PeerId};
    /// # fn block(node: &mut Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let peer = PeerId::from_u64(7);
    /// assert!(node.block_peer(peer)?);
    /// assert_eq!(node.peer_health(peer).inbound, Decision::Deny(DenyReason::Blocklisted));
    /// assert!(node.unblock_peer(peer));
    /// # Ok(())
    /// # }
    /// ```
    pub fn block_peer(&mut self, peer: PeerId) -> Result<bool, ListFull> {
        self.engine.peers.governor.block(peer)
    }

    /// Deals with a peer again; whether it was blocked.
    pub fn unblock_peer(&mut self, peer: PeerId) -> bool {
        let was_blocked = self.engine.peers.governor.unblock(peer);
        self.shut_out([]);
        was_blocked
    }

    /// Deals with these peers only, those that are blocked left out; `None` is all, and the empty list nobody.
    ///
    /// # Errors
    /// [`ListFull`]; the list before stays then.
    ///
    /// ```
    /// # use bb_runtime::{Decision, DenyReason, Node, PeerId};
    /// # fn allow(node: &mut Node) -> Result<(), Box<dyn std::error::Error>> {
    /// node.set_allowlist(Some(&[PeerId::from_u64(7)]))?;
    /// let health = node.peer_health(PeerId::from_u64(8));
    /// assert_eq!(health.inbound, Decision::Deny(DenyReason::NotAllowlisted));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_allowlist(&mut self, peers: Option<&[PeerId]>) -> Result<(), ListFull> {
        self.engine.peers.governor.set_allowlist(peers)?;
        self.shut_out([]);
        Ok(())
    }

    /// Adds an address at which the node can be reached, behind those it has; whether it is new.
    ///
    /// # Errors
    /// [`AddressBookError`]: it is too long, one too many, or names another peer.
    ///
    /// ```
    /// # use bb_runtime::{Address, Node};
    /// # fn listen(node: &mut Node, address: Address) -> Result<(), Box<dyn std::error::Error>> {
    /// node.add_local_address(address.clone())?;
    /// assert!(!node.add_local_address(address.clone())?, "twice is once");
    /// assert!(node.forget_local_address(&address)?);
    /// assert!(!node.forget_local_address(&address)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_local_address(&mut self, address: Address) -> Result<bool, AddressBookError> {
        let added = self.engine.peers.book.add_local_address(address)?;
        self.tell_addresses();
        Ok(added)
    }

    /// Removes an address at which the node could be reached; whether it had it.
    ///
    /// # Errors
    /// [`AddressBookError::NoLocalEntry`] if the node never had an address.
    pub fn forget_local_address(&mut self, address: &Address) -> Result<bool, AddressBookError> {
        let forgotten = self.engine.peers.book.forget_local_address(address)?;
        self.tell_addresses();
        Ok(forgotten)
    }

    /// Ends an execution; the next step reports it as `Cancelled`. Whether there was one.
    ///
    /// Whoever asked for it over the wire gets a failure; answers that still come are counted and dropped.
    ///
    /// ```
    /// # use bb_runtime::{ExecId, Node};
    /// # fn stop(node: &mut Node, run: ExecId) {
    /// if node.cancel(run) {
    ///     assert!(node.execution_state(run).is_some(), "until a step reports its end");
    ///     assert!(!node.cancel(run), "it is over");
    /// }
    /// # }
    /// ```
    pub fn cancel(&mut self, execution: ExecId) -> bool {
        let Some(index) = self.engine.executions.index_of(execution) else { return false };
        self.engine.end_execution(index, Outcome::Cancelled(Arc::from("the host cancelled it")));
        true
    }

    /// Takes nothing in any more, for ever: feeding it is [`DeliveryError::Closed`](crate::DeliveryError::Closed). What
    /// was accepted before is still delivered, and executions go on to their ends; the phase `Shutdown` is entered. Whether it was open.
    ///
    /// ```
    /// # use bb_runtime::{DeliveryError, Node};
    /// # fn shut_down(node: &mut Node) {
    /// if node.close() {
    ///     assert_eq!(node.invoke("P", &[]), Err(DeliveryError::Closed));
    /// }
    /// # }
    /// ```
    pub fn close(&mut self) -> bool {
        let was_open = self.ingress.close_inputs();
        if was_open {
            self.engine.phases.enter("Shutdown");
        }
        was_open
    }

    /// Whether it takes nothing in any more.
    pub fn is_closed(&self) -> bool {
        self.ingress.is_closed()
    }

    /// Every envelope from now on says where the node is.
    fn tell_addresses(&mut self) {
        self.engine.wire.addresses = self.engine.peers.book.local_addresses().cloned().collect();
    }
}
