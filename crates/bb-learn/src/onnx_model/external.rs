//! Tensors that a model keeps in files beside it.
//!
//! ONNX's [external data](https://onnx.ai/onnx/repo-docs/ExternalData.html): a tensor names a file, and an offset and a length
//! in it. A file is read once, whole, however many tensors are in it, so that a model costs what its files do.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use bb_runtime::DataType;
use bb_runtime::onnx::tensor_proto::DataLocation;
use bb_runtime::onnx::{AttributeProto, GraphProto, ModelProto, TensorProto};
use bytes::Bytes;
use thiserror::Error;

use super::OnnxModelError;

/// Why a tensor cannot be read from the file that it names.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExternalDataError {
    /// An offset or a length that is no number.
    #[error("its {key} is {got:?}, not a number")]
    Number {
        /// Which one.
        key: &'static str,
        /// What stands there.
        got: String,
    },
    /// The model has no folder.
    #[error("the model's folder is not known: read it with from_file")]
    NoFolder,
    /// A location that leads elsewhere than into the model's folder.
    #[error("it must be a file in the model's folder or below, given by a relative path without `..`")]
    Outside,
    /// A tensor that goes on behind the end of the file.
    #[error("it has {available} bytes, the tensor is at {offset} and takes {length}")]
    Range {
        /// Bytes in the file.
        available: usize,
        /// Bytes of the tensor.
        length: u64,
        /// Where it begins.
        offset: u64,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// A length that is not that of the tensor's type and shape.
    #[error("the tensor's type and shape take {expected} bytes, its length is {got}")]
    Size {
        /// Bytes that type and shape take.
        expected: u64,
        /// Bytes it is said to have.
        got: u64,
    },
}

/// Files beside a model, by the location that its tensors name, and where in them its initializers are, by name.
#[derive(Debug, Default)]
pub(super) struct External {
    pub(super) files: BTreeMap<String, Bytes>,
    pub(super) places: BTreeMap<String, (String, Range<usize>)>,
}

/// Reads all tensors of `model` that are kept elsewhere into it; `folder` is the model's.
pub(super) fn read(model: &mut ModelProto, folder: Option<&Path>) -> Result<External, OnnxModelError> {
    let mut reader = Reader { folder, external: External::default() };
    if let Some(graph) = &mut model.graph {
        for tensor in &mut graph.initializer {
            if let Some(place) = reader.tensor(tensor)? {
                reader.external.places.insert(tensor.name().to_owned(), place);
            }
        }
        reader.graph(graph)?;
    }
    for node in model.functions.iter_mut().flat_map(|function| &mut function.node) {
        reader.attributes(&mut node.attribute)?;
    }
    Ok(reader.external)
}

struct Reader<'a> {
    folder: Option<&'a Path>,
    external: External,
}

impl Reader<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), OnnxModelError> {
        for tensor in &mut graph.initializer {
            self.tensor(tensor)?;
        }
        for sparse in &mut graph.sparse_initializer {
            for tensor in sparse.values.iter_mut().chain(&mut sparse.indices) {
                self.tensor(tensor)?;
            }
        }
        for node in &mut graph.node {
            self.attributes(&mut node.attribute)?;
        }
        Ok(())
    }

    fn attributes(&mut self, attributes: &mut [AttributeProto]) -> Result<(), OnnxModelError> {
        for attribute in attributes {
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                self.tensor(tensor)?;
            }
            // No deeper than a message may be nested: the decoder refused more.
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    /// Reads a tensor if it is elsewhere, and says where.
    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<Option<(String, Range<usize>)>, OnnxModelError> {
        if tensor.data_location() != DataLocation::External {
            return Ok(None);
        }
        let find = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key);
        let location = find("location").map(|entry| entry.value().to_owned()).unwrap_or_default();
        let blame = |reason| OnnxModelError::ExternalData {
            tensor: tensor.name().to_owned(),
            location: location.clone(),
            reason: Box::new(reason),
        };
        let number = |key: &'static str| {
            let given = find(key).map(|entry| {
                let text = entry.value();
                text.parse::<u64>().map_err(|_| ExternalDataError::Number { key, got: text.to_owned() })
            });
            given.transpose()
        };
        let offset = number("offset").map_err(blame)?.unwrap_or(0);
        let length = number("length").map_err(blame)?;
        let file = self.file(&location).map_err(blame)?;
        let range = place(tensor, offset, length, file.len()).map_err(blame)?;
        tensor.raw_data = Some(file.slice(range.clone()));
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(Some((location, range)))
    }

    fn file(&mut self, location: &str) -> Result<Bytes, ExternalDataError> {
        if let Some(held) = self.external.files.get(location) {
            return Ok(held.clone());
        }
        let path = inside(self.folder.ok_or(ExternalDataError::NoFolder)?, location)?;
        let bytes = Bytes::from(fs::read(path)?);
        self.external.files.insert(location.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// Whether a location is a plain relative path, on every system.
pub(super) fn is_plain(location: &str) -> bool {
    !location.is_empty()
        && !location.contains(['\\', ':', '\0'])
        && Path::new(location).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The regular file that `location` names within `folder`, symbolic links followed.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, ExternalDataError> {
    if !is_plain(location) {
        return Err(ExternalDataError::Outside);
    }
    // The folder of a bare file name has no name itself.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = fs::canonicalize(folder)?;
    let path = fs::canonicalize(folder.join(location))?;
    if !path.starts_with(&folder) || !fs::metadata(&path)?.is_file() {
        return Err(ExternalDataError::Outside);
    }
    Ok(path)
}

/// Where in a file of `available` bytes a tensor is.
fn place(
    tensor: &TensorProto,
    offset: u64,
    length: Option<u64>,
    available: usize,
) -> Result<Range<usize>, ExternalDataError> {
    let width = tensor.data_type.and_then(DataType::from_onnx).map(|dtype| dtype.size() as u64);
    let count =
        tensor.dims.iter().try_fold(1_u64, |count, &extent| count.checked_mul(u64::try_from(extent).ok()?));
    // Of a type that tensors here do not have, only the file knows the length; whoever reads the tensor refuses it.
    let expected = width.map(|width| count.and_then(|count| count.checked_mul(width)).unwrap_or(u64::MAX));
    let length = match (length, expected) {
        (Some(got), Some(expected)) if got != expected => {
            return Err(ExternalDataError::Size { expected, got });
        }
        (length, expected) => {
            length.or(expected).unwrap_or_else(|| (available as u64).saturating_sub(offset))
        }
    };
    let range = || {
        let begin = usize::try_from(offset).ok()?;
        let end = begin.checked_add(usize::try_from(length).ok()?)?;
        (end <= available).then_some(begin..end)
    };
    range().ok_or(ExternalDataError::Range { available, length, offset })
}
