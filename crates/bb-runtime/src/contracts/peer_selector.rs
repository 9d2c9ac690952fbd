//! What chooses peers.

use super::{Answer, ComponentError, OpContext};
use crate::PeerId;

/// Chooses the peers of a round.
pub trait PeerSelector {
    /// All peers it would choose from, in order.
    ///
    /// # Errors
    /// The component's own.
    fn view(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError>;

    /// `count` of them at random without repetition, or all if there are fewer; in order.
    ///
    /// # Errors
    /// The component's own.
    fn sample(&mut self, cx: &mut OpContext<'_>, count: usize)
    -> Result<Answer<Vec<PeerId>>, ComponentError>;
}
