//! Rows with labels: shared tensors and which of their rows are meant.

use std::ops::Range;
use std::sync::Arc;

use bb_runtime::{Tensor, TensorError};
use thiserror::Error;

/// Rows with labels; cheap to clone, and a part of it shares its memory.
///
/// ```
/// use bb_learn::data::Dataset;
/// use bb_runtime::Tensor;
///
/// let features = Tensor::from_rows([[0.0_f32, 0.0], [1.0, 1.0], [2.0, 2.0]]);
/// let labels = Tensor::from_slice([3], &[0_i64, 1, 2])?;
/// let dataset = Dataset::new(features, labels)?;
/// assert_eq!(dataset.rows(1..3).len(), 2);
/// assert_eq!(dataset.select([2]).labels()?, Tensor::from_slice([1], &[2_i64])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    features: Tensor,
    labels: Tensor,
    rows: Rows,
}

/// Which rows of the tensors are meant, in order.
#[derive(Clone, Debug)]
enum Rows {
    Range(Range<usize>),
    Picked(Arc<[usize]>),
}

/// Why tensors are not a data set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatasetError {
    /// A tensor without an axis for the rows.
    #[error("`{tensor}` has no axis: rows run along axis 0")]
    NoRows {
        /// `features` or `labels`.
        tensor: &'static str,
    },
    /// Not one label a row.
    #[error("{features} rows of features, but {labels} labels")]
    RowCount {
        /// Rows of features.
        features: usize,
        /// Labels.
        labels: usize,
    },
}

impl Dataset {
    /// The rows of `features` with their `labels`; rows run along axis 0 of both.
    ///
    /// # Errors
    /// [`DatasetError`].
    pub fn new(features: Tensor, labels: Tensor) -> Result<Self, DatasetError> {
        let feature_rows = *features.shape().first().ok_or(DatasetError::NoRows { tensor: "features" })?;
        let label_rows = *labels.shape().first().ok_or(DatasetError::NoRows { tensor: "labels" })?;
        if feature_rows != label_rows {
            return Err(DatasetError::RowCount { features: feature_rows, labels: label_rows });
        }
        Ok(Self { features, labels, rows: Rows::Range(0..feature_rows) })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Range(range) => range.len(),
            Rows::Picked(picked) => picked.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Consecutive rows, cut off at the end of the data.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let range = range.start.min(end)..end;
        let rows = match &self.rows {
            Rows::Range(held) => Rows::Range(held.start + range.start..held.start + range.end),
            Rows::Picked(picked) => Rows::Picked(picked[range].into()),
        };
        Self { rows, ..self.clone() }
    }

    /// The rows at these places, in this order; places that do not exist are left out.
    #[must_use]
    pub fn select(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let picked = places.into_iter().filter(|&place| place < self.len()).map(|place| self.place(place));
        Self { rows: Rows::Picked(picked.collect()), ..self.clone() }
    }

    /// The features of all rows, together.
    ///
    /// # Errors
    /// No memory for a copy, if one is needed.
    pub fn features(&self) -> Result<Tensor, TensorError> {
        self.gathered(&self.features)
    }

    /// The labels of all rows, together.
    ///
    /// # Errors
    /// No memory for a copy, if one is needed.
    pub fn labels(&self) -> Result<Tensor, TensorError> {
        self.gathered(&self.labels)
    }

    /// The tensor that the features are taken from; only its type and inner extents say something of this part.
    pub(crate) fn all_features(&self) -> &Tensor {
        &self.features
    }

    /// The tensor that the labels are taken from.
    pub(crate) fn all_labels(&self) -> &Tensor {
        &self.labels
    }

    /// Where the row `place` stands in the tensors; `place` is below [`Dataset::len`].
    pub(crate) fn place(&self, place: usize) -> usize {
        match &self.rows {
            Rows::Range(range) => range.start + place,
            Rows::Picked(picked) => picked[place],
        }
    }

    /// Writes the rows `places` of `from`, one of the two tensors, into `into`, which has exactly their size.
    pub(crate) fn copy_rows(&self, from: &Tensor, places: impl Iterator<Item = usize>, into: &mut [u8]) {
        let row_bytes = row_bytes(from);
        if row_bytes == 0 {
            return;
        }
        for (row, place) in into.chunks_exact_mut(row_bytes).zip(places) {
            let start = self.place(place) * row_bytes;
            row.copy_from_slice(&from.as_bytes()[start..start + row_bytes]);
        }
    }

    /// Writes `range` of the rows of `from`, one of the two tensors, into `into`, which has exactly their size.
    pub(crate) fn copy_range(&self, from: &Tensor, range: Range<usize>, into: &mut [u8]) {
        match &self.rows {
            Rows::Range(held) => {
                let row_bytes = row_bytes(from);
                let start = (held.start + range.start) * row_bytes;
                into.copy_from_slice(&from.as_bytes()[start..start + range.len() * row_bytes]);
            }
            Rows::Picked(_) => self.copy_rows(from, range, into),
        }
    }

    fn gathered(&self, from: &Tensor) -> Result<Tensor, TensorError> {
        if matches!(&self.rows, Rows::Range(range) if range.len() == from.shape()[0]) {
            return Ok(from.clone());
        }
        let mut gathered = with_rows(from, self.len())?;
        self.copy_range(from, 0..self.len(), gathered.buffer_mut().make_mut());
        Ok(gathered)
    }
}

/// A tensor of zeros like `like`, but with `rows` rows.
pub(crate) fn with_rows(like: &Tensor, rows: usize) -> Result<Tensor, TensorError> {
    let mut shape = like.shape().to_vec();
    shape[0] = rows;
    Tensor::zeros(like.dtype(), shape)
}

fn row_bytes(tensor: &Tensor) -> usize {
    tensor.as_bytes().len().checked_div(tensor.shape()[0]).unwrap_or(0)
}
