//! The archive of cases, unpacked in memory.

use std::collections::BTreeMap;
use std::io::Read;

use thiserror::Error;

/// The archive: `node/<case>/model.onnx`, `node/<case>/test_data_set_<n>/{input,output}_<i>.pb`.
const ARCHIVE: &[u8] = include_bytes!("../data/node.tar.xz");

/// Names of the core cases, one a line.
const CORE: &str = include_str!("../data/core_cases.txt");

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Its name, as the folder is called.
    pub name: String,
    /// Whether it is one of the core cases.
    pub core: bool,
    /// Its `ModelProto`.
    pub model: Vec<u8>,
    /// Its data sets.
    pub sets: BTreeMap<usize, DataSet>,
}

/// Inputs of a case and the outputs that they should give, as `TensorProto`s (or whatever the graph declares).
#[derive(Clone, Debug, Default)]
pub struct DataSet {
    /// Inputs, by number.
    pub inputs: BTreeMap<usize, Vec<u8>>,
    /// Outputs, by number.
    pub outputs: BTreeMap<usize, Vec<u8>>,
}

/// Why the archive cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is damaged, or a folder cannot be read.
    #[error("the cases cannot be read; restore data/node.tar.xz, or look at the folder that was given")]
    Io(#[from] std::io::Error),
    /// A model that is none.
    #[error("the model of case `{name}` cannot be read")]
    Model {
        /// The case.
        name: String,
        /// Why.
        source: prost::DecodeError,
    },
    /// A file that no case has.
    #[error("data/node.tar.xz holds `{path}`, which is no file of a case")]
    UnknownFile {
        /// The file.
        path: String,
    },
}

/// All cases, by name.
///
/// # Errors
/// [`ArchiveError`].
pub fn cases() -> Result<Vec<Case>, ArchiveError> {
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    let mut archive = tar::Archive::new(lzma_rust2::XzReader::new(ARCHIVE, true));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let parts: Vec<&str> = path.split('/').filter(|part| *part != "." && *part != "node").collect();
        match *parts {
            [name, "model.onnx"] => case(&mut cases, name).model = bytes,
            [name, set, file] => {
                let place = (
                    number(set, "test_data_set_", ""),
                    number(file, "input_", ".pb"),
                    number(file, "output_", ".pb"),
                );
                let set = case(&mut cases, name).sets.entry(place.0.unwrap_or(0)).or_default();
                match place {
                    (Some(_), Some(input), None) => set.inputs.insert(input, bytes),
                    (Some(_), None, Some(output)) => set.outputs.insert(output, bytes),
                    _ => return Err(ArchiveError::UnknownFile { path }),
                };
            }
            _ => return Err(ArchiveError::UnknownFile { path }),
        }
    }
    for name in CORE.lines() {
        if let Some(case) = cases.get_mut(name.trim()) {
            case.core = true;
        }
    }
    Ok(cases.into_values().collect())
}

fn case<'a>(cases: &'a mut BTreeMap<String, Case>, name: &str) -> &'a mut Case {
    cases.entry(name.to_owned()).or_insert_with(|| Case { name: name.to_owned(), ..Case::default() })
}

/// The number between a prefix and a suffix.
pub(crate) fn number(text: &str, prefix: &str, suffix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()
}
