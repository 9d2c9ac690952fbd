//! Slots of models, and how long to fit one.

use std::panic::Location;

use bb_ir::program::{Role, Span, domains};
use bb_ir::{Diagnostic, ValueType};

use super::{DataSourceSlot, slot};
use crate::recorder::NewNode;
use crate::{Graph, Output};

slot! {
    /// A slot for a trainable model.
    ///
    /// Its ops run in the order in which they are recorded, on each peer class for itself.
    ModelSlot
}

/// How long to fit: passes over the data, and rows a batch (32 unless said).
///
/// ```
/// use bb_dsl::Fit;
/// let fit = Fit::epochs(1).batch(32);
/// # let _ = fit;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Fit {
    epochs: u32,
    batch: u32,
}

impl Fit {
    /// That many passes over the data; at least 1.
    pub const fn epochs(epochs: u32) -> Self {
        Self { epochs, batch: 32 }
    }

    /// That many rows a batch; at least 1.
    pub const fn batch(mut self, rows: u32) -> Self {
        self.batch = rows;
        self
    }
}

impl ModelSlot {
    /// The parameters (named tensors).
    #[track_caller]
    pub fn parameters(&self, g: &mut Graph) -> Output {
        g.one(self.op("Parameters").output(ValueType::Tensors), Location::caller())
    }

    /// Takes up parameters.
    #[track_caller]
    pub fn load_parameters(&self, g: &mut Graph, parameters: Output) {
        g.record(self.op("LoadParameters").inputs([parameters]), Location::caller());
    }

    /// Moves the parameters towards others: `(1 − weight) · own + weight · other`; 0.5 is the mean of both.
    #[track_caller]
    pub fn mix(&self, g: &mut Graph, other: Output, weight: f64) {
        let at = Location::caller();
        let weight = g.record_constant(bb_ir::Value::F64(weight).into(), at);
        g.record(self.op("Mix").inputs([other, weight]), at);
    }

    /// Fits the model to the data; gives the rows of one pass (`i64`), the weight of the update.
    #[track_caller]
    pub fn fit(&self, g: &mut Graph, data: &DataSourceSlot, fit: Fit) -> Output {
        let at = Location::caller();
        let mut node = self.fit_node(g, data, fit, at).output(ValueType::I64);
        node.outputs.push(None);
        g.one(node, at)
    }

    /// Fits the model to the data; gives the rows of one pass (`i64`) and the mean loss (`f64`).
    #[track_caller]
    pub fn fit_with_loss(&self, g: &mut Graph, data: &DataSourceSlot, fit: Fit) -> (Output, Output) {
        let at = Location::caller();
        let node = self.fit_node(g, data, fit, at).output(ValueType::I64).output(ValueType::F64);
        two(&g.record(node, at))
    }

    /// The mean loss and the accuracy over the data (`f64` both); nothing is trained.
    #[track_caller]
    pub fn evaluate(&self, g: &mut Graph, data: &DataSourceSlot) -> (Output, Output) {
        let node = self
            .op("Evaluate")
            .uses(data.name(), Role::DataSource)
            .output(ValueType::F64)
            .output(ValueType::F64);
        two(&g.record(node, Location::caller()))
    }

    /// The model's outputs for inputs, both named tensors.
    #[track_caller]
    pub fn forward(&self, g: &mut Graph, inputs: Output) -> Output {
        g.one(self.op("Forward").inputs([inputs]).output(ValueType::Tensors), Location::caller())
    }

    /// The mean loss (`f64`) over a batch (named tensors, rows along axis 0).
    #[track_caller]
    pub fn loss(&self, g: &mut Graph, batch: Output) -> Output {
        g.one(self.op("Loss").inputs([batch]).output(ValueType::F64), Location::caller())
    }

    /// The gradient of the mean loss over a batch, named as the parameters are.
    #[track_caller]
    pub fn backward(&self, g: &mut Graph, batch: Output) -> Output {
        g.one(self.op("Backward").inputs([batch]).output(ValueType::Tensors), Location::caller())
    }

    /// One step of the optimizer on a batch; gives the mean loss (`f64`) before it.
    #[track_caller]
    pub fn train_step(&self, g: &mut Graph, batch: Output) -> Output {
        g.one(self.op("TrainStep").inputs([batch]).output(ValueType::F64), Location::caller())
    }

    /// Adds `scale · delta` to the parameters; `scale` is an `f64`.
    #[track_caller]
    pub fn apply_delta(&self, g: &mut Graph, delta: Output, scale: Output) {
        g.record(self.op("ApplyDelta").inputs([delta, scale]), Location::caller());
    }

    fn op(&self, name: &'static str) -> NewNode {
        NewNode::new(domains::MODEL, name).slot(self.name(), Role::Model)
    }

    fn fit_node(
        &self,
        g: &mut Graph,
        data: &DataSourceSlot,
        fit: Fit,
        at: &'static Location<'static>,
    ) -> NewNode {
        if fit.epochs == 0 || fit.batch == 0 {
            let error =
                Diagnostic::new(format!("a fit of {} epochs in batches of {}", fit.epochs, fit.batch))
                    .label(Span::of(at), "recorded here")
                    .help("both must be 1 or more");
            g.error(error);
        }
        self.op("Fit")
            .uses(data.name(), Role::DataSource)
            .attr("epochs", i64::from(fit.epochs))
            .attr("batch", i64::from(fit.batch))
    }
}

fn two(outputs: &[Output]) -> (Output, Output) {
    let item = |index: usize| outputs.get(index).copied().unwrap_or_else(Output::poison);
    (item(0), item(1))
}
