//! Real handwritten digits, in the binary: 1,797 images of 8 × 8 in ten classes.
//!
//! The test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI; CC BY 4.0),
//! as shipped with scikit-learn and already shuffled; `data/fedavg_digits/README.md` of this crate says more.

use bb_runtime::{Tensor, TensorError};

use super::{Dataset, DatasetError};

/// Images.
pub const ROWS: usize = 1_797;
/// Images to train on: the first ones.
pub const TRAIN_ROWS: usize = 1_437;
/// Pixels an image.
pub const PIXELS: usize = 64;
/// Classes.
pub const CLASSES: usize = 10;
/// Numbers in the fixed initial parameters of the 64-64-10 network.
const PARAMETERS: usize = 64 * 64 + 64 + 64 * 10 + 10;

static IMAGES: &[u8; ROWS * PIXELS] = include_bytes!("../../data/fedavg_digits/pixels.u8");
static LABELS: &[u8; ROWS] = include_bytes!("../../data/fedavg_digits/labels.u8");
static MLP_INIT: &[u8; PARAMETERS * 4] = include_bytes!("../../data/fedavg_digits/mlp_init.f32le");

/// The digits, in their two parts.
#[derive(Clone, Debug)]
pub struct Digits {
    /// Rows 0 to 1,436.
    pub train: Dataset,
    /// The last 360 rows.
    pub test: Dataset,
}

/// The digits: features f32 \[rows, 64\] from 0 to 1 (pixel / 16), labels i64 \[rows\].
///
/// # Errors
/// No memory for them.
///
/// ```
/// let digits = bb_learn::data::digits::load()?;
/// assert_eq!((digits.train.len(), digits.test.len()), (1437, 360));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load() -> Result<Digits, LoadError> {
    let features: Vec<f32> = IMAGES.iter().map(|&pixel| f32::from(pixel) / 16.0).collect();
    let labels: Vec<i64> = LABELS.iter().map(|&label| i64::from(label)).collect();
    let features = Tensor::from_slice([ROWS, PIXELS], &features)?;
    let all = Dataset::new(features, Tensor::from_slice([ROWS], &labels)?)?;
    Ok(Digits { train: all.rows(0..TRAIN_ROWS), test: all.rows(TRAIN_ROWS..ROWS) })
}

/// Why the digits could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The embedded tensors do not go together.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The fixed initial parameters of a 64-64-10 network: weights in × out and biases, layer after layer.
///
/// # Errors
/// No memory for them.
pub fn mlp_parameters() -> Result<[Tensor; 4], TensorError> {
    let numbers: Vec<f32> =
        MLP_INIT.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (w1, rest) = numbers.split_at(64 * 64);
    let (b1, rest) = rest.split_at(64);
    let (w2, b2) = rest.split_at(64 * 10);
    Ok([
        Tensor::from_slice([64, 64], w1)?,
        Tensor::from_slice([64], b1)?,
        Tensor::from_slice([64, 10], w2)?,
        Tensor::from_slice([10], b2)?,
    ])
}
