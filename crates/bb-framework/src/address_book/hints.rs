//! Whether hints would be taken, before any of several is.

use bb_ir::{Address, PeerId};

use super::{AddressBook, AddressBookError, Tier};

impl AddressBook {
    /// Whether [`register_address`](Self::register_address) would take these addresses of `peer` as hints, and would
    /// still take them after it took other hints.
    ///
    /// # Errors
    /// What it would refuse them with; counted as it counts.
    pub fn check_hints(&mut self, peer: PeerId, addresses: &[Address]) -> Result<(), AddressBookError> {
        let checked = addresses.iter().try_for_each(|address| self.check_hint(peer, address));
        self.counted(checked)
    }

    /// Counts a claim that is no address at all.
    pub fn note_refused(&mut self) {
        self.counters.refused += 1;
    }

    fn check_hint(&self, peer: PeerId, address: &Address) -> Result<(), AddressBookError> {
        if peer == self.own {
            return Err(AddressBookError::OwnPeer);
        }
        self.check_address(peer, address)?;
        if address.is_empty() {
            return Ok(());
        }
        let cap = self.config.addresses_per_peer;
        let is_known = self.addresses(peer).any(|(_, held)| held == address);
        // Hints make room for each other; nothing else does for them.
        let fixed = self.addresses(peer).filter(|(held, _)| *held < Tier::Hint).count();
        if !is_known && fixed >= cap {
            return Err(AddressBookError::AddressesFull { cap, peer });
        }
        if self.contains(peer) {
            return Ok(());
        }
        if self.entries.len() >= self.config.peers && self.hinted.is_empty() {
            return Err(AddressBookError::PeersFull { cap: self.config.peers });
        }
        match self.config.hint_peers {
            0 => Err(AddressBookError::PeersFull { cap: 0 }),
            _ => Ok(()),
        }
    }
}
