//! What the training graphs are fed with: parameters, the batch, masks, the learning rate, the optimizer's state.

use bb_autodiff::Mask;
use bb_runtime::onnx::{
    GraphProto, tensor_shape_proto::dimension::Value as Extent, type_proto::Value as Type,
};
use bb_runtime::{Batch, DataType, Shape, Tensor, TensorError, TensorMap};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::OnnxModelError;
use super::config::Source;

/// The inputs of the step graph, in its order; the other graphs take the front of them.
#[derive(Debug)]
pub(super) struct Feed {
    tensors: Vec<Tensor>,
    parameters: usize,
    inputs: Vec<Input>,
    /// The name of the label's tensor, if there is a label.
    label: Option<String>,
    masks: usize,
    /// Stands where no batch is, so that none is held on to.
    nothing: Tensor,
}

/// An input of the model.
#[derive(Debug)]
struct Input {
    name: String,
    /// The names that its tensor may have, in order of preference.
    accepted: Vec<String>,
    /// The extents after the rows', where the model declares them all.
    row: Option<Vec<usize>>,
}

impl Feed {
    pub(super) fn new(source: &Source) -> Self {
        let (plan, options) = (source.graphs.plan(), &source.options);
        let accepted = |index: usize, input: &String| match options.inputs.get(input) {
            Some(name) => vec![name.clone()],
            None if index == 0 && input != FEATURES => vec![input.clone(), FEATURES.to_owned()],
            None => vec![input.clone()],
        };
        let inputs = plan.inputs().iter().enumerate().map(|(index, name)| Input {
            accepted: accepted(index, name),
            row: source.model.graph.as_ref().and_then(|graph| row_extents(graph, name)),
            name: name.clone(),
        });
        let inputs: Vec<Input> = inputs.collect();
        let label = plan.label().map(|_| options.label.clone());
        let nothing = Tensor::scalar(0.0_f32);
        let mut tensors: Vec<Tensor> = source.parameters.iter().map(|(_, tensor)| tensor.clone()).collect();
        let parameters = tensors.len();
        tensors.resize(parameters + inputs.len() + usize::from(label.is_some()), nothing.clone());
        tensors.push(source.rate.clone());
        tensors.extend(source.state.iter().map(|(_, tensor)| tensor.clone()));
        Self { tensors, parameters, inputs, label, masks: 0, nothing }
    }

    pub(super) fn parameters(&self) -> &[Tensor] {
        &self.tensors[..self.parameters]
    }

    pub(super) fn parameters_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors[..self.parameters]
    }

    /// The optimizer's and the loss scale's state.
    pub(super) fn state(&self) -> &[Tensor] {
        &self.tensors[self.rate() + 1..]
    }

    pub(super) fn state_mut(&mut self) -> &mut [Tensor] {
        let first = self.rate() + 1;
        &mut self.tensors[first..]
    }

    /// Where the masks begin: behind parameters, inputs and label.
    fn batch_end(&self) -> usize {
        self.parameters + self.inputs.len() + usize::from(self.label.is_some())
    }

    /// Where the learning rate is.
    fn rate(&self) -> usize {
        self.batch_end() + self.masks
    }

    /// Parameters and the model's inputs.
    pub(super) fn for_forward(&self) -> &[Tensor] {
        &self.tensors[..self.parameters + self.inputs.len()]
    }

    /// Parameters, the model's inputs and the label.
    pub(super) fn for_loss(&self) -> &[Tensor] {
        &self.tensors[..self.batch_end()]
    }

    /// Parameters, the model's inputs, the label and the masks.
    pub(super) fn for_gradients(&self) -> &[Tensor] {
        &self.tensors[..self.rate()]
    }

    /// Everything.
    pub(super) fn for_step(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The learning rate of the steps to come.
    pub(super) fn set_rate(&mut self, rate: f64) -> Result<(), TensorError> {
        let place = self.rate();
        fill(&mut self.tensors[place], || rate)
    }

    /// Draws the masks of step `step`: what is kept follows from `seed` and `step` alone.
    pub(super) fn draw(&mut self, masks: &[Mask], seed: u64, step: u64) -> Result<(), OnnxModelError> {
        let begin = self.batch_end();
        if self.masks != masks.len() {
            let none = masks.iter().map(|_| self.nothing.clone());
            self.tensors.splice(begin..begin + self.masks, none);
            self.masks = masks.len();
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(step);
        for (tensor, mask) in self.tensors[begin..].iter_mut().zip(masks) {
            if tensor.dtype() != mask.dtype || *tensor.shape() != mask.shape {
                *tensor = Tensor::zeros(mask.dtype, mask.shape.clone())?;
            }
            // The share of 32 random bits that keeps: exact to 2⁻³².
            let kept = (mask.keep * f64::from(u32::MAX)) as u32;
            fill(tensor, || if random.next_u32() <= kept { 1.0 / mask.keep } else { 0.0 })?;
        }
        Ok(())
    }

    /// Takes up the model's inputs; rows of as many numbers as the model declares get the shape that it declares.
    pub(super) fn set_inputs(&mut self, given: &TensorMap) -> Result<(), OnnxModelError> {
        for (place, input) in self.inputs.iter().enumerate() {
            let tensor = input.accepted.iter().find_map(|name| given.find(name));
            let tensor = tensor.ok_or_else(|| missing(&input.name, &input.accepted, given))?;
            self.tensors[self.parameters + place] = match (&input.row, &tensor.shape()[..]) {
                (Some(row), &[rows, numbers])
                    if row.len() != 1 && row.iter().product::<usize>() == numbers =>
                {
                    tensor.reshaped(std::iter::once(rows).chain(row.iter().copied()).collect::<Shape>())?
                }
                _ => tensor.clone(),
            };
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
            Some(input) => check_rows(&input.name, &self.tensors[self.parameters], batch.rows),
            None => Ok(()),
        }
    }

    /// Lets go of the batch.
    pub(super) fn release(&mut self) {
        let batch = self.parameters..self.batch_end();
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

/// The extents of an input after its first one, if all of them are declared.
fn row_extents(graph: &GraphProto, name: &str) -> Option<Vec<usize>> {
    let input = graph.input.iter().find(|input| input.name.as_deref() == Some(name))?;
    let Some(Type::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else { return None };
    let (_, row) = tensor.shape.as_ref()?.dim.split_first()?;
    row.iter()
        .map(|dim| match dim.value {
            Some(Extent::DimValue(extent)) => usize::try_from(extent).ok(),
            _ => None,
        })
        .collect()
}

/// Writes numbers over all elements of a tensor, f32 or f64.
fn fill(tensor: &mut Tensor, mut number: impl FnMut() -> f64) -> Result<(), TensorError> {
    if tensor.dtype() == DataType::F64 {
        tensor.make_mut::<f64>()?.iter_mut().for_each(|element| *element = number());
    } else {
        tensor.make_mut::<f32>()?.iter_mut().for_each(|element| *element = number() as f32);
    }
    Ok(())
}

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
