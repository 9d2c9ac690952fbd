//! What is known of one peer.

use bb_ir::Address;

use super::Tier;

/// A peer's addresses and how the book files it.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// By tier; within a tier in the order in which they came.
    pub(super) addresses: Vec<(Tier, Address)>,
    pub(super) references: u32,
    /// The number of the signed record taken last.
    pub(super) record: Option<u64>,
    pub(super) recency: u64,
}

impl Entry {
    /// The tier that counts most here; `None`: there is nothing left to know.
    pub(super) fn tier(&self, is_own: bool) -> Option<Tier> {
        if is_own || self.references > 0 {
            return Some(Tier::Operator);
        }
        self.addresses.first().map(|(tier, _)| *tier)
    }

    /// Takes an address at the end of its tier, unless it is known there or in one that counts more. Of `cap` addresses
    /// the oldest of the tier that counts least makes room first, so that the list never grows beyond them.
    pub(super) fn insert(&mut self, address: Address, tier: Tier, cap: usize, evicted: &mut u64) -> bool {
        if let Some(index) = self.addresses.iter().position(|(_, held)| *held == address) {
            if self.addresses[index].0 <= tier {
                return false;
            }
            self.addresses.remove(index);
        }
        while self.addresses.len() >= cap
            && let Some((last, _)) = self.addresses.last()
        {
            let oldest = self.addresses.partition_point(|(tier, _)| tier < last);
            self.addresses.remove(oldest);
            *evicted += 1;
        }
        // An address read from text has room to grow; the copy has none, so that bytes held are bytes allowed.
        let exact = Address::from_bytes(address.as_bytes()).unwrap_or(address);
        let end = self.addresses.partition_point(|(held, _)| *held <= tier);
        self.addresses.insert(end, (tier, exact));
        true
    }
}
