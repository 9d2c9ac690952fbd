//! Trained parameters back in the model that they came from.

use bb_runtime::TensorMap;
use bb_runtime::onnx::{ModelProto, TensorProto};
use prost::Message;

use super::parameters::check;
use super::{OnnxModelConfig, OnnxModelError};

impl OnnxModelConfig {
    /// The model with these parameters: only the numbers of the trained initializers differ from the model given.
    ///
    /// ```
    /// use bb_learn::models::reference_mlp;
    /// use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions};
    ///
    /// let model = reference_mlp()?;
    /// let config = OnnxModelConfig::new(model.clone(), OnnxModelOptions::default())?;
    /// assert_eq!(config.export(config.parameters())?, model);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Names, types or shapes that are not the parameters'.
    pub fn export(&self, parameters: &TensorMap) -> Result<ModelProto, OnnxModelError> {
        check(self.parameters(), parameters)?;
        let mut model = self.model().clone();
        for held in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let trained = held.name.as_deref().and_then(|name| parameters.find(name));
            if let Some(trained) = trained {
                replace_numbers(held, trained.to_onnx(""));
            }
        }
        Ok(model)
    }

    /// The bytes of the model with these parameters, as an `.onnx` file has them.
    ///
    /// # Errors
    /// Those of [`OnnxModelConfig::export`].
    pub fn export_bytes(&self, parameters: &TensorMap) -> Result<Vec<u8>, OnnxModelError> {
        Ok(self.export(parameters)?.encode_to_vec())
    }
}

/// Puts the numbers of `from`, which are raw, into the field in which `held` keeps its own.
fn replace_numbers(held: &mut TensorProto, from: TensorProto) {
    let raw = from.raw_data.unwrap_or_default();
    if !held.float_data.is_empty() {
        held.float_data = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    } else if !held.double_data.is_empty() {
        held.double_data = raw.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    } else {
        held.raw_data = Some(raw);
    }
}
