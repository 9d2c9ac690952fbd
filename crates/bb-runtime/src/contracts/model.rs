//! What can be trained.

use super::{Answer, Batch, ComponentError, DataSource, OpContext};
use crate::TensorMap;

/// A trainable model.
pub trait Model {
    /// The outputs for `inputs`.
    ///
    /// # Errors
    /// Inputs that do not fit the model.
    fn forward(
        &mut self,
        cx: &mut OpContext<'_>,
        inputs: &TensorMap,
    ) -> Result<Answer<TensorMap>, ComponentError>;

    /// The mean loss over a batch.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn loss(&mut self, cx: &mut OpContext<'_>, batch: &Batch) -> Result<Answer<f64>, ComponentError>;

    /// The gradient of the mean loss over a batch, named as the parameters are.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn backward(
        &mut self,
        cx: &mut OpContext<'_>,
        batch: &Batch,
    ) -> Result<Answer<TensorMap>, ComponentError>;

    /// Adds `scale · delta` to the parameters.
    ///
    /// # Errors
    /// Names, types or shapes that are not the parameters'; nothing is changed then.
    fn apply_delta(
        &mut self,
        cx: &mut OpContext<'_>,
        delta: &TensorMap,
        scale: f64,
    ) -> Result<Answer<()>, ComponentError>;

    /// Moves the parameters towards others: `(1 − weight) · own + weight · other`.
    ///
    /// # Errors
    /// Names, types or shapes that are not the parameters'; nothing is changed then.
    fn mix(
        &mut self,
        cx: &mut OpContext<'_>,
        other: &TensorMap,
        weight: f64,
    ) -> Result<Answer<()>, ComponentError>;

    /// One step of the optimizer on a batch; the mean loss before it.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn train_step(&mut self, cx: &mut OpContext<'_>, batch: &Batch) -> Result<Answer<f64>, ComponentError>;

    /// Passes over `data`, a step a batch.
    ///
    /// # Errors
    /// Batches that do not fit the model, or that a data source cannot give at once.
    fn fit(
        &mut self,
        cx: &mut OpContext<'_>,
        data: &mut dyn DataSource,
        fit: Fit,
    ) -> Result<Answer<FitReport>, ComponentError>;

    /// Mean loss and accuracy over `data`; nothing is trained.
    ///
    /// # Errors
    /// Batches that do not fit the model, or that a data source cannot give at once.
    fn evaluate(
        &mut self,
        cx: &mut OpContext<'_>,
        data: &mut dyn DataSource,
    ) -> Result<Answer<Evaluation>, ComponentError>;

    /// The parameters, in the model's order; shares memory with the model until either changes.
    ///
    /// # Errors
    /// Parameters that cannot be read.
    fn parameters(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<TensorMap>, ComponentError>;

    /// Takes up parameters.
    ///
    /// # Errors
    /// Names, types or shapes that are not the parameters'; nothing is changed then.
    fn load_parameters(
        &mut self,
        cx: &mut OpContext<'_>,
        parameters: &TensorMap,
    ) -> Result<Answer<()>, ComponentError>;
}

/// How long to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Passes over the data; at least 1.
    pub epochs: u32,
    /// Rows a batch; at least 1.
    pub batch: u32,
}

/// What a fit did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FitReport {
    /// Rows of one pass.
    pub rows: u64,
    /// Mean loss over all batches, each measured before its step.
    pub loss: f64,
}

/// How well a model does on some data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Mean loss a row.
    pub loss: f64,
    /// Share of rows whose largest output is at the label, 0 to 1.
    pub accuracy: f64,
}
