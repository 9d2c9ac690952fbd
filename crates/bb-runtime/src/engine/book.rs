//! The address book as programs see it.

use bb_framework::Tier;

use super::Engine;
use super::fire::Outputs;
use super::methods::{Inputs, peer, wrong};
use super::syscall::one;
use crate::error::OpError;
use crate::{Address, PeerId, Value, ValueType};

impl Engine {
    pub(crate) fn book_insert(&mut self, inputs: &mut Inputs) -> Result<Outputs, OpError> {
        let peer = peer(inputs, 0)?;
        let addresses = match inputs.get_mut(1).and_then(Option::take).map(|held| held.value) {
            Some(Value::Addresses(addresses)) => addresses,
            other => return Err(wrong(1, ValueType::Addresses, other.as_ref())),
        };
        let added = self.register(peer, &addresses)?;
        Ok(one(Value::Bool(added > 0)))
    }

    pub(crate) fn book_insert_many(&mut self, inputs: &mut Inputs) -> Result<Outputs, OpError> {
        let given = inputs.get_mut(0).and_then(Option::take).map(|held| held.value);
        let expected = || ValueType::Tuple(vec![ValueType::Peer, ValueType::Addresses]);
        let Some(Value::Tuple(items)) = given else { return Err(wrong(0, expected(), given.as_ref())) };
        let byte_count = items.len().saturating_mul(size_of::<(PeerId, &[Address])>());
        let mut entries = Vec::new();
        entries.try_reserve_exact(items.len()).map_err(|_| OpError::AllocationFailed { byte_count })?;
        for item in &items {
            match item {
                Value::Tuple(pair) => match &**pair {
                    [Value::Peer(peer), Value::Addresses(addresses)] => entries.push((*peer, &**addresses)),
                    _ => return Err(wrong(0, expected(), Some(item))),
                },
                _ => return Err(wrong(0, expected(), Some(item))),
            }
        }
        // All or none: what is wrong with one entry is found before any is taken up.
        for (peer, addresses) in &entries {
            if self.takes_word_of(*peer) {
                self.peers.book.check_hints(*peer, addresses)?;
            }
        }
        let mut added = 0;
        for (peer, addresses) in entries {
            added += self.register(peer, addresses)?;
        }
        Ok(one(Value::I64(i64::try_from(added).unwrap_or(i64::MAX))))
    }

    pub(crate) fn book_lookup(&self, inputs: &mut Inputs) -> Result<Outputs, OpError> {
        let addresses = self.peers.book.addresses(peer(inputs, 0)?);
        Ok(one(Value::Addresses(addresses.map(|(_, address)| address.clone()).collect())))
    }

    /// Takes up addresses as hints, all or none, if policy allows the peer; how many are new.
    fn register(&mut self, peer: PeerId, addresses: &[Address]) -> Result<usize, OpError> {
        if !self.takes_word_of(peer) {
            return Ok(0);
        }
        self.peers.book.check_hints(peer, addresses)?;
        let mut added = 0;
        for address in addresses {
            added += usize::from(self.peers.book.register_address(peer, address.clone(), Tier::Hint)?);
        }
        Ok(added)
    }

    /// Whether addresses are taken that a peer said of itself, or others of it.
    pub(crate) fn takes_word_of(&self, peer: PeerId) -> bool {
        peer != self.peer_id && self.peers.governor.is_allowed(peer)
    }
}
