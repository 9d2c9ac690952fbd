//! Models in files: what is kept beside them, and that an export changes the numbers of the parameters and nothing else.

#![cfg(test)]

use std::fs;
use std::path::Path;

use bb_learn::models::{Activation, Init, Mlp};
use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelError, OnnxModelOptions};
use bb_runtime::onnx::tensor_proto::DataLocation;
use bb_runtime::onnx::{ModelProto, StringStringEntryProto, TensorProto};
use bb_runtime::{Tensor, TensorMap};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

fn small() -> ModelProto {
    Mlp::new([4, 5, 3]).activation(Activation::Tanh).init(Init::Glorot).seed(2).build().unwrap()
}

fn open(path: &Path) -> Result<OnnxModelConfig, OnnxModelError> {
    OnnxModelConfig::from_file(path, OnnxModelOptions::default())
}

/// Parameters every byte of which is another.
fn inverted(parameters: &TensorMap) -> TensorMap {
    let invert = |tensor: &Tensor| {
        let numbers: Vec<f32> = tensor
            .as_slice::<f32>()
            .unwrap()
            .iter()
            .map(|number| f32::from_bits(!number.to_bits()))
            .collect();
        Tensor::from_slice(tensor.shape().clone(), &numbers).unwrap()
    };
    parameters.iter().map(|(name, tensor)| (name.clone(), invert(tensor))).collect()
}

/// A field of bytes.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A model as another program may write it: fields that are not in the schema on each level, the graph before its operator
/// set, one initializer by packed and by single floats, one with a length that is written longer than need be.
fn foreign() -> Vec<u8> {
    let mut model = small();
    let graph = model.graph.as_mut().unwrap();
    let held = std::mem::take(&mut graph.initializer);
    let mut graph_bytes = field(2_000, b"of a newer graph");
    for (index, tensor) in held.iter().enumerate() {
        let mut tensor = tensor.clone();
        let raw = tensor.raw_data.take().unwrap();
        let numbers: Vec<f32> =
            raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let mut bytes = field(3_000, b"of a newer tensor");
        match index {
            0 => {
                let (packed, single) = numbers.split_at(3);
                bytes.extend(field(
                    4,
                    &packed.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>(),
                ));
                for number in single {
                    encode_key(4, WireType::ThirtyTwoBit, &mut bytes);
                    bytes.extend(number.to_le_bytes());
                }
            }
            1 => {
                encode_key(9, WireType::LengthDelimited, &mut bytes);
                bytes.extend([raw.len() as u8 | 0x80, 0x80, 0]);
                bytes.extend_from_slice(&raw);
            }
            _ => bytes.extend(field(9, &raw)),
        }
        tensor.encode(&mut bytes).unwrap();
        graph_bytes.extend(field(5, &bytes));
    }
    graph.encode(&mut graph_bytes).unwrap();
    let mut bytes = field(7, &graph_bytes);
    model.graph = None;
    model.encode(&mut bytes).unwrap();
    bytes.extend(field(1_000, b"of a newer model"));
    bytes
}

#[test]
fn an_export_differs_in_the_numbers_of_its_parameters_and_nowhere_else() {
    let curves = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |name: &str| fs::read(curves.join(name)).unwrap();
    for bytes in [
        foreign(),
        small().encode_to_vec(),
        read("digits_tanh.onnx"),
        read("curves/cnn.onnx"),
        read("curves/transformer.onnx"),
    ] {
        let config = OnnxModelConfig::from_bytes(&bytes, OnnxModelOptions::default()).unwrap();
        assert_eq!(config.export_bytes(config.parameters()).unwrap(), bytes);
        let trained = inverted(config.parameters());
        let exported = config.export_bytes(&trained).unwrap();
        assert_eq!(exported.len(), bytes.len());
        let changed = exported.iter().zip(&bytes).filter(|(new, old)| new != old).count();
        assert_eq!(changed, config.parameter_count() * 4, "each byte of each number, and no other");
        let again = OnnxModelConfig::from_bytes(&exported, OnnxModelOptions::default()).unwrap();
        for ((_, read), (_, written)) in again.parameters().iter().zip(trained.iter()) {
            assert_eq!(read.as_bytes(), written.as_bytes());
        }
        assert_eq!(again.export_bytes(config.parameters()).unwrap(), bytes);
    }
}

/// What a tensor says of the file that it is in.
fn entries(location: &str, offset: &str, length: &str) -> Vec<StringStringEntryProto> {
    let entry = |(key, value): (&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    let all = [("location", location), ("offset", offset), ("length", length)];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(entry).collect()
}

fn moved_out(tensor: &mut TensorProto, location: &str, offset: &str, length: &str) -> Vec<u8> {
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = entries(location, offset, length);
    tensor.raw_data.take().unwrap().to_vec()
}

/// A model in `folder` whose weights are in two files beside it, its biases within it.
fn scattered(folder: &Path) -> std::path::PathBuf {
    let mut model = small();
    let initializers = &mut model.graph.as_mut().unwrap().initializer;
    let first = moved_out(&mut initializers[0], "deep/first.bin", "16", "80");
    let second = moved_out(&mut initializers[2], "second.bin", "", "");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("deep/first.bin"), [&[7; 16], &first[..], &[9; 5]].concat()).unwrap();
    fs::write(folder.join("second.bin"), second).unwrap();
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

#[test]
fn tensors_in_files_beside_a_model_are_read_and_written_back_there() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = scattered(from.path());
    let config = open(&path).unwrap();
    let within = OnnxModelConfig::new(small(), OnnxModelOptions::default()).unwrap();
    assert_eq!(config.parameters(), within.parameters());
    assert_eq!(config.model(), within.model());

    let trained = inverted(config.parameters());
    let copy = to.path().join("copy.onnx");
    config.export_to(&copy, &trained).unwrap();
    assert_eq!(open(&copy).unwrap().export_bytes(&trained).unwrap(), within.export_bytes(&trained).unwrap());
    let changed = |name: &str, copied: &str| {
        let (old, new) =
            (fs::read(from.path().join(name)).unwrap(), fs::read(to.path().join(copied)).unwrap());
        assert_eq!(old.len(), new.len());
        old.iter().zip(&new).filter(|(old, new)| old != new).count()
    };
    assert_eq!(changed("model.onnx", "copy.onnx"), (5 + 3) * 4);
    assert_eq!(changed("deep/first.bin", "deep/first.bin"), 20 * 4);
    assert_eq!(changed("second.bin", "second.bin"), 15 * 4);

    // Files beside a model may be another model's: they are not written over.
    let refused = config.export_to(&path, &trained).unwrap_err();
    assert!(matches!(refused, OnnxModelError::Write { .. }), "{refused}");
    assert_eq!(open(&path).unwrap().parameters(), within.parameters());
    // In one file it is whole.
    let bytes = config.export_bytes(&trained).unwrap();
    assert!(OnnxModelConfig::from_bytes(&bytes, OnnxModelOptions::default()).is_ok());
}

#[test]
fn a_location_outside_of_the_folder_and_a_size_that_is_not_the_tensors_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("models");
    fs::create_dir(&folder).unwrap();
    let numbers = moved_out(&mut small().graph.unwrap().initializer[0], "", "", "");
    fs::write(root.path().join("secret.bin"), &numbers).unwrap();
    fs::write(folder.join("good.bin"), &numbers).unwrap();
    fs::create_dir(folder.join("inner")).unwrap();
    let absolute = root.path().join("secret.bin").display().to_string();
    let mut cases = vec![
        ("../secret.bin", "", "", "in the model's folder"),
        ("inner/../../secret.bin", "", "", "in the model's folder"),
        ("inner/../good.bin", "", "", "in the model's folder"),
        ("..\\secret.bin", "", "", "in the model's folder"),
        ("C:secret.bin", "", "", "in the model's folder"),
        (absolute.as_str(), "", "", "in the model's folder"),
        ("inner", "", "", "in the model's folder"),
        ("", "", "", "in the model's folder"),
        ("missing.bin", "", "", "No such file"),
        ("good.bin", "1", "", "the tensor is at 1 and takes 80"),
        ("good.bin", "18446744073709551615", "80", "the tensor is at 18446744073709551615"),
        ("good.bin", "0", "76", "take 80 bytes, its length is 76"),
        ("good.bin", "-4", "", "its offset is \"-4\""),
        ("good.bin", "0", "many", "its length is \"many\""),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", folder.join("link.bin")).unwrap();
        cases.push(("link.bin", "", "", "in the model's folder"));
    }
    let write = |location: &str, offset: &str, length: &str| {
        let mut model = small();
        moved_out(&mut model.graph.as_mut().unwrap().initializer[0], location, offset, length);
        let path = folder.join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        path
    };
    for (location, offset, length, said) in cases {
        let error = open(&write(location, offset, length)).unwrap_err().to_string();
        assert!(
            error.starts_with("tensor `w1` is kept in the file") && error.contains(said),
            "{location}: {error}"
        );
    }
    let path = write("good.bin", "0", "80");
    assert_eq!(open(&path).unwrap().parameters().len(), 4);
    let error =
        OnnxModelConfig::from_bytes(&fs::read(&path).unwrap(), OnnxModelOptions::default()).unwrap_err();
    assert!(error.to_string().contains("from_file"), "{error}");
}
