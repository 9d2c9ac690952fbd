//! What the training graphs are fed with: parameters, then the batch, then the learning rate.

use bb_autodiff::TrainingPlan;
use bb_runtime::{Batch, Tensor, TensorMap};

use super::{OnnxModelError, OnnxModelOptions};

/// The inputs of the step graph, in its order; the other graphs take the front of them.
#[derive(Debug)]
pub(super) struct Feed {
    tensors: Vec<Tensor>,
    parameters: usize,
    /// The model's inputs, each with the names that its tensor may have, in order of preference.
    inputs: Vec<(String, Vec<String>)>,
    /// The name of the label's tensor, if there is a label.
    label: Option<String>,
    /// Stands where no batch is, so that none is held on to.
    nothing: Tensor,
}

impl Feed {
    pub(super) fn new(
        plan: &TrainingPlan,
        options: &OnnxModelOptions,
        parameters: &TensorMap,
        rate: Tensor,
    ) -> Self {
        let accepted = |index: usize, input: &String| match options.inputs.get(input) {
            Some(name) => vec![name.clone()],
            None if index == 0 && input != FEATURES => vec![input.clone(), FEATURES.to_owned()],
            None => vec![input.clone()],
        };
        let inputs = plan.inputs().iter().enumerate();
        let inputs: Vec<_> = inputs.map(|(index, input)| (input.clone(), accepted(index, input))).collect();
        let label = plan.label().map(|_| options.label.clone());
        let nothing = Tensor::scalar(0.0_f32);
        let mut tensors: Vec<Tensor> = parameters.iter().map(|(_, tensor)| tensor.clone()).collect();
        tensors.resize(tensors.len() + inputs.len() + usize::from(label.is_some()), nothing.clone());
        tensors.push(rate);
        Self { tensors, parameters: parameters.len(), inputs, label, nothing }
    }

    pub(super) fn parameters(&self) -> &[Tensor] {
        &self.tensors[..self.parameters]
    }

    pub(super) fn parameters_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors[..self.parameters]
    }

    /// Parameters and the model's inputs.
    pub(super) fn for_forward(&self) -> &[Tensor] {
        &self.tensors[..self.parameters + self.inputs.len()]
    }

    /// Parameters, the model's inputs and the label.
    pub(super) fn for_loss(&self) -> &[Tensor] {
        &self.tensors[..self.tensors.len() - 1]
    }

    /// Parameters, the model's inputs, the label and the learning rate.
    pub(super) fn for_step(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Takes up the model's inputs.
    pub(super) fn set_inputs(&mut self, given: &TensorMap) -> Result<(), OnnxModelError> {
        for (place, (input, accepted)) in self.inputs.iter().enumerate() {
            let tensor = accepted.iter().find_map(|name| given.find(name));
            let tensor = tensor.ok_or_else(|| missing(input, accepted, given))?;
            self.tensors[self.parameters + place] = tensor.clone();
        }
        Ok(())
    }

    /// Takes up a batch, or none of it.
    pub(super) fn set_batch(&mut self, batch: &Batch) -> Result<(), OnnxModelError> {
        self.try_batch(batch).inspect_err(|_| self.release())
    }

    fn try_batch(&mut self, batch: &Batch) -> Result<(), OnnxModelError> {
        self.set_inputs(&batch.tensors)?;
        if let Some(name) = &self.label {
            let label = batch.tensors.find(name);
            let label = label.ok_or_else(|| missing(name, std::slice::from_ref(name), &batch.tensors))?;
            let place = self.parameters + self.inputs.len();
            self.tensors[place] = label.clone();
            check_rows(name, &self.tensors[place], batch.rows)?;
        }
        match self.inputs.first() {
            Some((name, _)) => check_rows(name, &self.tensors[self.parameters], batch.rows),
            None => Ok(()),
        }
    }

    /// Lets go of the batch.
    pub(super) fn release(&mut self) {
        let batch = self.parameters..self.tensors.len() - 1;
        for tensor in &mut self.tensors[batch] {
            *tensor = self.nothing.clone();
        }
    }

    /// Labels in the batch.
    pub(super) fn label_count(&self) -> usize {
        match &self.label {
            Some(_) => self.tensors[self.parameters + self.inputs.len()].element_count(),
            None => 0,
        }
    }
}

/// The name under which data sources give what goes to a model's first input.
const FEATURES: &str = "features";

fn missing(input: &str, accepted: &[String], given: &TensorMap) -> OnnxModelError {
    let given = given.iter().map(|(name, _)| name.to_string()).collect();
    OnnxModelError::MissingInput { accepted: accepted.to_vec(), given, input: input.to_owned() }
}

fn check_rows(name: &str, tensor: &Tensor, rows: usize) -> Result<(), OnnxModelError> {
    if tensor.shape().first() == Some(&rows) {
        return Ok(());
    }
    Err(OnnxModelError::Rows { expected: rows, got: tensor.shape().clone(), tensor: name.to_owned() })
}
