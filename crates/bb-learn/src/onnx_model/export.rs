//! Trained parameters back in the model that they came from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bb_runtime::TensorMap;
use bb_runtime::onnx::{ModelProto, TensorProto};
use prost::Message;

use super::parameters::check;
use super::{OnnxModelConfig, OnnxModelError, patch};

impl OnnxModelConfig {
    /// The model with these parameters: only the numbers of the trained initializers differ from the model given. What
    /// it keeps in other files is in it.
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

    /// The bytes of the model with these parameters, as an `.onnx` file has them, in one file.
    ///
    /// Of a model that was read from bytes or from one file every byte is as it was, but for the numbers of the parameters:
    /// also fields that this library does not know.
    ///
    /// # Errors
    /// Those of [`OnnxModelConfig::export`], and [`OnnxModelError::NotInPlace`].
    pub fn export_bytes(&self, parameters: &TensorMap) -> Result<Vec<u8>, OnnxModelError> {
        match &self.0.bytes {
            Some(bytes) if self.0.external.files.is_empty() => self.patched(bytes, parameters),
            _ => Ok(self.export(parameters)?.encode_to_vec()),
        }
    }

    /// Writes the model with these parameters to `path`, and what it keeps in other files to the same places in the folder
    /// of `path`, every byte being as it was, but for the numbers of the parameters.
    ///
    /// # Errors
    /// Those of [`OnnxModelConfig::export_bytes`]; a file that cannot be written, or one beside the model that is there
    /// already, since other models may need it.
    pub fn export_to(&self, path: impl AsRef<Path>, parameters: &TensorMap) -> Result<(), OnnxModelError> {
        let path = path.as_ref();
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| OnnxModelError::Write { path, source }
        };
        let model = match &self.0.bytes {
            Some(bytes) => self.patched(bytes, parameters)?,
            None => self.export(parameters)?.encode_to_vec(),
        };
        let external = &self.0.external;
        let mut files: BTreeMap<&str, Vec<u8>> =
            external.files.iter().map(|(location, bytes)| (location.as_str(), bytes.to_vec())).collect();
        for (name, tensor) in parameters.iter() {
            if let Some((location, range)) = external.places.get(&**name)
                && let Some(file) = files.get_mut(location.as_str())
            {
                file[range.clone()].copy_from_slice(&tensor.to_le_bytes());
            }
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for (location, bytes) in files {
            let path = folder.join(location);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(failed(&path))?;
            }
            let mut file = File::create_new(&path).map_err(failed(&path))?;
            file.write_all(&bytes).map_err(failed(&path))?;
        }
        fs::write(path, model).map_err(failed(path))
    }

    /// The model's bytes, the numbers of the parameters that are within them replaced.
    fn patched(&self, bytes: &[u8], parameters: &TensorMap) -> Result<Vec<u8>, OnnxModelError> {
        check(self.parameters(), parameters)?;
        let places = patch::initializers(bytes)?;
        let mut bytes = bytes.to_vec();
        for (name, tensor) in parameters.iter() {
            if self.0.external.places.contains_key(&**name) {
                continue;
            }
            let place = places.get(&**name);
            if !place.is_some_and(|ranges| patch::write(&mut bytes, ranges, &tensor.to_le_bytes())) {
                return Err(OnnxModelError::NotInPlace { parameter: name.to_string() });
            }
        }
        Ok(bytes)
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
