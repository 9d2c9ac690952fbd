//! What folds peers' updates.

use super::{Answer, ComponentError, OpContext};
use crate::{PeerId, TensorMap};

/// What came with an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meta {
    /// How much the update counts: in federated averaging, the rows it was trained on.
    pub weight: f64,
}

/// Folds the updates of a round into one.
///
/// The node lends an aggregator to one execution at a time, from `begin` to `aggregate`.
pub trait Aggregator {
    /// Begins a round; what an unfinished one left is forgotten.
    ///
    /// # Errors
    /// The component's own.
    fn begin(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError>;

    /// Takes a peer's update.
    ///
    /// # Errors
    /// An update whose names, types or shapes are not the round's, or that is not finite; nothing is changed then.
    fn contribute(
        &mut self,
        cx: &mut OpContext<'_>,
        from: PeerId,
        update: TensorMap,
        meta: Meta,
    ) -> Result<Answer<()>, ComponentError>;

    /// Ends the round with its result.
    ///
    /// # Errors
    /// A round without a contribution.
    fn aggregate(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<TensorMap>, ComponentError>;
}
