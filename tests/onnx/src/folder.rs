//! Cases in folders, as the PyPI package `onnx` has them: `backend/test/data/{simple,pytorch-operator,…,light}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bb_runtime::Tensor;
use bb_runtime::onnx::tensor_shape_proto::dimension;
use bb_runtime::onnx::{ModelProto, ValueInfoProto, type_proto};
use prost::Message;

use crate::archive::{ArchiveError, Case, DataSet, number};

/// The cases of one folder, by name: folders with a `model.onnx`, or files `light_<name>.onnx`.
///
/// The latter come with outputs only; their inputs are the numbers 0 to n − 1 divided by n, as the package's own
/// runner makes them.
///
/// # Errors
/// [`ArchiveError::Io`], [`ArchiveError::Model`].
pub fn cases(folder: &Path) -> Result<Vec<Case>, ArchiveError> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.join("model.onnx").is_file() {
            cases.push(in_folder(&path, name)?);
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            cases.push(light(&path, name)?);
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn in_folder(folder: &Path, name: String) -> Result<Case, ArchiveError> {
    let mut case = Case { name, model: fs::read(folder.join("model.onnx"))?, ..Case::default() };
    for set in fs::read_dir(folder)? {
        let set = set?;
        let Some(index) = number(&set.file_name().to_string_lossy(), "test_data_set_", "") else { continue };
        let held = case.sets.entry(index).or_default();
        for file in fs::read_dir(set.path())? {
            let file = file?;
            let file_name = file.file_name().to_string_lossy().into_owned();
            let bytes = fs::read(file.path())?;
            if let Some(input) = number(&file_name, "input_", ".pb") {
                held.inputs.insert(input, bytes);
            } else if let Some(output) = number(&file_name, "output_", ".pb") {
                held.outputs.insert(output, bytes);
            }
        }
    }
    Ok(case)
}

fn light(path: &Path, name: String) -> Result<Case, ArchiveError> {
    let bytes = fs::read(path)?;
    let model = ModelProto::decode(bytes.as_slice())
        .map_err(|source| ArchiveError::Model { name: name.clone(), source })?;
    let graph = model.graph.unwrap_or_default();
    let mut set = DataSet::default();
    let given = graph
        .input
        .iter()
        .filter(|input| !graph.initializer.iter().any(|initializer| initializer.name() == input.name()));
    for (index, input) in given.enumerate() {
        let shape = shape_of(input);
        let count: usize = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|index| (index as f64 / count as f64) as f32).collect();
        let tensor = Tensor::from_slice(shape, &numbers)
            .map_err(|error| ArchiveError::Io(std::io::Error::other(error)))?;
        set.inputs.insert(index, tensor.to_onnx(input.name()).encode_to_vec());
    }
    for index in 0..graph.output.len() {
        set.outputs.insert(index, fs::read(path.with_file_name(format!("{name}_output_{index}.pb")))?);
    }
    Ok(Case { name, core: false, model: bytes, sets: BTreeMap::from([(0, set)]) })
}

/// The shape of an input; an extent that is not fixed is 1.
fn shape_of(input: &ValueInfoProto) -> Vec<usize> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.map(|dim| match dim.value {
        Some(dimension::Value::DimValue(extent)) => usize::try_from(extent).unwrap_or(1),
        _ => 1,
    })
    .collect()
}
