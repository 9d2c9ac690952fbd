//! The model that is trained: built in, of the fixed workload, or from a file.

use std::path::Path;

use bb_learn::data::digits::{CLASSES, PIXELS};
use bb_learn::models::{Mlp, reference_logreg, reference_mlp};
use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions, Optimizer};
use bytesandbrains::ir::onnx::tensor_shape_proto::dimension::Value as Extent;
use bytesandbrains::ir::onnx::type_proto::Value as TypeValue;
use bytesandbrains::ir::onnx::{GraphProto, ValueInfoProto};

use crate::args::{DemoArguments, Reference, Rule};
use crate::error::CliError;

/// The learning rate of the built-in model with plain descent; the fixed workload has the default one.
const RATE: f64 = 0.2;

impl Rule {
    /// The optimizer, and the rate that suits it.
    fn optimizer(self) -> (Optimizer, f64) {
        match self {
            Self::Sgd => (Optimizer::Sgd, OnnxModelOptions::default().learning_rate),
            Self::Momentum => (Optimizer::Momentum { momentum: 0.9, nesterov: true }, 0.05),
            Self::Adam => (Optimizer::adam(), 0.01),
            Self::Adamw => (Optimizer::adam_w(0.01), 0.01),
        }
    }
}

/// A model and what it is called.
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) config: OnnxModelConfig,
}

/// The model that the command line asks for.
pub(crate) fn choose(arguments: &DemoArguments) -> Result<Chosen, CliError> {
    let (optimizer, mut learning_rate) = arguments.optimizer.optimizer();
    if arguments.model.is_none() && arguments.reference.is_none() && arguments.optimizer == Rule::Sgd {
        learning_rate = RATE;
    }
    let learning_rate = arguments.rate.unwrap_or(learning_rate);
    let options = OnnxModelOptions { learning_rate, optimizer, ..OnnxModelOptions::default() };
    let (name, model) = match (arguments.reference, &arguments.model) {
        (Some(Reference::Logreg), _) => ("logreg 64-10", reference_logreg()?),
        (Some(Reference::Mlp), _) => ("mlp 64-64-10", reference_mlp()?),
        (None, Some(path)) => return from_file(path, options),
        (None, None) => ("mlp 64-64-10", Mlp::new([PIXELS, 64, CLASSES]).seed(arguments.seed).build()?),
    };
    Ok(Chosen { name: name.to_owned(), config: OnnxModelConfig::new(model, options)? })
}

fn from_file(path: &Path, options: OnnxModelOptions) -> Result<Chosen, CliError> {
    let fault = |reason: String| CliError::ModelFile { path: path.to_owned(), reason };
    let config = OnnxModelConfig::from_file(path, options).map_err(|error| fault(error.to_string()))?;
    if let Some(graph) = &config.model().graph {
        check_shapes(graph, &config.options().label).map_err(fault)?;
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Chosen { name, config })
}

/// Checks the extents that the model declares; one that it leaves open is met when it runs.
fn check_shapes(graph: &GraphProto, label: &str) -> Result<(), String> {
    let is_fed = |input: &&ValueInfoProto| {
        input.name() != label && graph.initializer.iter().all(|held| held.name() != input.name())
    };
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(is_fed).collect();
    let [input] = inputs[..] else {
        return Err(format!("it takes {} inputs; one is needed, rows of {PIXELS} pixels", inputs.len()));
    };
    if let Some(row) = extents(input).and_then(|all| all.split_first().map(|(_, row)| row.to_vec()))
        && let Some(numbers) =
            row.iter().copied().try_fold(1_i64, |product, extent| product.checked_mul(extent?))
        && usize::try_from(numbers) != Ok(PIXELS)
    {
        return Err(format!("its input must have {PIXELS} numbers a row, 8 × 8 pixels; it has {numbers}"));
    }
    if let Some(got) = graph.output.first().and_then(extents).and_then(|all| all.last().copied()?)
        && usize::try_from(got) != Ok(CLASSES)
        && extents(&graph.output[0]).is_some_and(|all| all.len() > 1)
    {
        return Err(format!(
            "its output must be [rows, {CLASSES}], one score a class; the last extent is {got}"
        ));
    }
    Ok(())
}

/// The extents that are declared; none in place of one that is left open.
fn extents(value: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()? else { return None };
    let extent = |value: &Extent| if let Extent::DimValue(extent) = value { Some(*extent) } else { None };
    Some(tensor.shape.as_ref()?.dim.iter().map(|dim| dim.value.as_ref().and_then(extent)).collect())
}
