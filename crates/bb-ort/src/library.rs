//! Finds the library, loads it once a process, and says what to do where that fails.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use thiserror::Error;

use crate::config::{LIBRARY_VARIABLE, OrtConfig};

/// The library's file name on this system; releases may have their version behind it.
const FILE_NAME: &str = if cfg!(target_os = "windows") {
    "onnxruntime.dll"
} else if cfg!(target_vendor = "apple") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// What it is called without what stands behind: `libonnxruntime.so.1.22.0`, `libonnxruntime.1.22.0.dylib`.
const STEM: &str = if cfg!(target_vendor = "apple") { "libonnxruntime." } else { FILE_NAME };

/// Why onnxruntime cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The process has loaded another one.
    #[error(
        "onnxruntime was loaded from {}, and a process loads one: name that in `OrtConfig::library`, or nothing, instead of {}",
        loaded.display(), asked.display()
    )]
    Another {
        /// What was asked for.
        asked: PathBuf,
        /// What is loaded.
        loaded: PathBuf,
    },
    /// There is no such library, or the system cannot load it.
    #[error(
        "onnxruntime cannot be loaded from {} ({reason}): install the Python package `onnxruntime` or a release of \
         1.{minimum} or newer, and name the library or its folder in `OrtConfig::library` or in {LIBRARY_VARIABLE}",
        path.display()
    )]
    Missing {
        /// The oldest minor version that serves.
        minimum: u32,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A library that is not onnxruntime.
    #[error(
        "{} is not onnxruntime: it has no function `OrtGetApiBase` that tells a version; name `{FILE_NAME}` or its folder", path.display()
    )]
    NotOnnxruntime {
        /// The library.
        path: PathBuf,
    },
    /// The library does not start.
    #[error("onnxruntime at {} does not start: {source}", path.display())]
    Start {
        /// The library.
        path: PathBuf,
        /// What it said.
        source: ort::Error,
    },
    /// An old onnxruntime.
    #[error(
        "onnxruntime at {} is version {version}, too old: install 1.{minimum} or newer, such as the Python package \
         `onnxruntime`, and name it in `OrtConfig::library` or in {LIBRARY_VARIABLE}",
        path.display()
    )]
    TooOld {
        /// The oldest minor version that serves.
        minimum: u32,
        /// The library.
        path: PathBuf,
        /// Its version.
        version: String,
    },
}

/// The library of this process; it has one environment and may not have another, so neither is ever let go.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads the library that the configuration means, unless it is loaded already.
pub(crate) fn load(config: &OrtConfig) -> Result<Environment, LoadError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = &*loaded {
        return match config.library.as_deref().map(library_at) {
            Some(asked) if asked != *loaded => Err(LoadError::Another { asked, loaded: loaded.clone() }),
            _ => Ok(environment.clone()),
        };
    }
    let path = asked(config);
    let builder = ort::init_from(&path).map_err(|error| refused(&path, error))?;
    // Telemetry is on by default in builds that have it.
    let environment = builder
        .with_name("bytesandbrains")
        .with_telemetry(false)
        .build()
        .map_err(|source| LoadError::Start { path: path.clone(), source })?;
    environment.set_log_level(LogLevel::Warning);
    tracing::info!(path = %path.display(), "onnxruntime is loaded");
    *loaded = Some((path, environment.clone()));
    Ok(environment)
}

fn asked(config: &OrtConfig) -> PathBuf {
    let named = config
        .library
        .clone()
        .or_else(|| env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from));
    named.map_or_else(|| PathBuf::from(FILE_NAME), |path| library_at(&path))
}

/// The library at `path`, which may be a folder that holds it; of several versions, the last by name.
fn library_at(path: &Path) -> PathBuf {
    let Ok(entries) = fs::read_dir(path) else { return path.to_owned() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name == FILE_NAME || name.starts_with(STEM) && !name.ends_with(".lib")
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| path.join(FILE_NAME))
}

fn refused(path: &Path, error: LoadDynamicError) -> LoadError {
    let minimum = ort::MINOR_VERSION;
    match error {
        LoadDynamicError::BadVersion { version_str, path } => {
            LoadError::TooOld { minimum, path, version: version_str }
        }
        LoadDynamicError::Dlopen { error, path } => {
            LoadError::Missing { minimum, path, reason: error.to_string() }
        }
        LoadDynamicError::InvalidVersionString | LoadDynamicError::MissingApi { .. } => {
            LoadError::NotOnnxruntime { path: path.to_owned() }
        }
    }
}
