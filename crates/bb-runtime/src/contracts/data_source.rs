//! What gives batches.

use super::{Answer, ComponentError, OpContext};
use crate::TensorMap;

/// Rows to train or evaluate on: one tensor for each input of the model, the rows along axis 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The tensors, named as the model's inputs are.
    pub tensors: TensorMap,
    /// How many rows.
    pub rows: usize,
}

/// Gives batches, in order, until a pass over the rows is done.
pub trait DataSource {
    /// The next batch of at most `rows` rows; `None` when the pass is done.
    ///
    /// # Errors
    /// Rows that cannot be read.
    fn next_batch(
        &mut self,
        cx: &mut OpContext<'_>,
        rows: usize,
    ) -> Result<Answer<Option<Batch>>, ComponentError>;

    /// Begins another pass.
    ///
    /// # Errors
    /// Rows that cannot be read.
    fn reset(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError>;

    /// Rows in a pass.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
