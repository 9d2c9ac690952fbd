//! How often inputs were refused, a counter for each reason.

use crate::DeliveryError;

/// How often inputs were refused, by reason. Peers that are denied are counted apart, for a denied peer changes one
/// counter and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// Memory could not be had.
    pub allocation: u64,
    /// The byte budget had no room.
    pub budget: u64,
    /// The node was closed.
    pub closed: u64,
    /// An input given twice, missing, too many, unknown; or nothing to invoke.
    pub inputs: u64,
    /// Bytes that are no envelope.
    pub invalid_envelope: u64,
    /// Bytes that are no value, or one of another type.
    pub invalid_value: u64,
    /// Larger than one item may be.
    pub oversize: u64,
    /// As much as may wait was waiting, or as many executions as may be were under way.
    pub queue_full: u64,
    /// The sender had taken its share of the queue.
    pub sender_share: u64,
    /// No such target.
    pub unknown_module: u64,
    /// Messages for programs that the node does not run.
    pub unknown_program: u64,
}

impl Refusals {
    /// Counts a refusal.
    pub(crate) fn note(&mut self, error: &DeliveryError) {
        let counter = match error {
            DeliveryError::AllocationFailed { .. } => &mut self.allocation,
            DeliveryError::BudgetExceeded { .. } => &mut self.budget,
            DeliveryError::Closed => &mut self.closed,
            DeliveryError::DuplicateInput { .. }
            | DeliveryError::MissingInput { .. }
            | DeliveryError::NoEntry { .. }
            | DeliveryError::TooManyInputs { .. }
            | DeliveryError::UnknownInput { .. } => &mut self.inputs,
            DeliveryError::InvalidEnvelope(_) => &mut self.invalid_envelope,
            DeliveryError::InvalidValue { .. } => &mut self.invalid_value,
            DeliveryError::OversizePayload { .. } => &mut self.oversize,
            DeliveryError::Cleared | DeliveryError::PeerDenied { .. } | DeliveryError::Restored { .. } => {
                return;
            }
            DeliveryError::QueueFull { .. } => &mut self.queue_full,
            DeliveryError::UnknownModule { .. } => &mut self.unknown_module,
            DeliveryError::UnknownProgram { .. } => &mut self.unknown_program,
        };
        *counter += 1;
    }
}
