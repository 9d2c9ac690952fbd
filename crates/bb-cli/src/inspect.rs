//! `bb inspect`: what a model is made of, and whether it can be run and trained here.

use std::io::{self, Write};

use bb_learn::onnx_model::{Inspection, OnnxModelOptions, read_model};
use bytesandbrains::cpu::{CpuBackend, CpuConfig};
use bytesandbrains::runtime::Component;

use crate::args::InspectArguments;
use crate::error::CliError;

/// Prints what there is to say of the model.
pub(crate) fn run(arguments: &InspectArguments) -> Result<(), CliError> {
    let path = &arguments.model;
    let fault = |reason: String| CliError::InspectedFile { path: path.clone(), reason };
    let model = read_model(path).map_err(|error| fault(error.to_string()))?;
    let backend = CpuBackend::new(&CpuConfig::default()).map_err(|error| fault(error.to_string()))?;
    let inspection = Inspection::of(&model, &OnnxModelOptions::default(), &backend);
    let inspection = inspection.map_err(|error| fault(error.to_string()))?;
    Ok(write!(io::stdout().lock(), "{inspection}")?)
}
