//! The model that is trained: built in, of the fixed workload, or from a file.

use std::path::Path;

use bb_learn::data::digits::{CLASSES, PIXELS};
use bb_learn::models::{Mlp, reference_logreg, reference_mlp};
use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions};
use bytesandbrains::ir::onnx::tensor_shape_proto::dimension::Value as Extent;
use bytesandbrains::ir::onnx::type_proto::Value as TypeValue;
use bytesandbrains::ir::onnx::{GraphProto, ValueInfoProto};

use crate::args::{DemoArguments, Reference};
use crate::error::CliError;

/// The learning rate of the built-in model; the fixed workload and files have the default one.
const RATE: f64 = 0.2;

/// A model and what it is called.
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) config: OnnxModelConfig,
}

/// The model that the command line asks for.
pub(crate) fn choose(arguments: &DemoArguments) -> Result<Chosen, CliError> {
    let mut options = OnnxModelOptions::default();
    let (name, model) = match (arguments.reference, &arguments.model) {
        (Some(Reference::Logreg), _) => ("logreg 64-10", reference_logreg()?),
        (Some(Reference::Mlp), _) => ("mlp 64-64-10", reference_mlp()?),
        (None, Some(path)) => return from_file(path, options),
        (None, None) => {
            options.learning_rate = RATE;
            ("mlp 64-64-10", Mlp::new([PIXELS, 64, CLASSES]).seed(arguments.seed).build()?)
        }
    };
    Ok(Chosen { name: name.to_owned(), config: OnnxModelConfig::new(model, options)? })
}

fn from_file(path: &Path, options: OnnxModelOptions) -> Result<Chosen, CliError> {
    let fault = |reason: String| CliError::ModelFile { path: path.to_owned(), reason };
    let config = OnnxModelConfig::from_file(path, options).map_err(|error| fault(error.to_string()))?;
    if let Some(graph) = &config.model().graph {
        check_shapes(graph).map_err(fault)?;
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Chosen { name, config })
}

/// Checks the extents that the model declares; one that it leaves open is met when it runs.
fn check_shapes(graph: &GraphProto) -> Result<(), String> {
    let is_parameter =
        |input: &&ValueInfoProto| graph.initializer.iter().any(|held| held.name() == input.name());
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !is_parameter(input)).collect();
    let [input] = inputs[..] else {
        return Err(format!("it takes {} inputs; one is needed, rows of {PIXELS} pixels", inputs.len()));
    };
    for (value, expected, what) in [
        (Some(input), PIXELS, "input, rows of 8 × 8 pixels"),
        (graph.output.first(), CLASSES, "output, one score a class"),
    ] {
        if let Some(got) = value.and_then(last_extent)
            && usize::try_from(got) != Ok(expected)
        {
            return Err(format!("its {what}, must be [rows, {expected}]; the last extent is {got}"));
        }
    }
    Ok(())
}

fn last_extent(value: &ValueInfoProto) -> Option<i64> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()? else { return None };
    match tensor.shape.as_ref()?.dim.last()?.value.as_ref()? {
        Extent::DimValue(extent) => Some(*extent),
        Extent::DimParam(_) => None,
    }
}
