//! What can go wrong, and the exit code that says whose fault it is.

use std::io;
use std::path::PathBuf;

use bb_learn::models::ModelError;
use bb_learn::onnx_model::OnnxModelError;
use bb_sim::{SimulationError, WorkloadError};
use thiserror::Error;

use crate::args::UsageError;
use crate::chart::ChartError;

/// Why `bb` did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The program handed out something else than a round has.
    #[error("round {round} handed out no `{output}`")]
    MissingOutput { round: u32, output: &'static str },
    /// The built-in model could not be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model file is not one that can be looked at.
    #[error("{}: {reason}", path.display())]
    InspectedFile { path: PathBuf, reason: String },
    /// The trained model could not be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxModelError),
    /// The model file is not one that can be trained here.
    #[error("--model {}: {reason}", path.display())]
    ModelFile { path: PathBuf, reason: String },
    /// The chart could not be written.
    #[error("{}: {source}", path.display())]
    Chart { path: PathBuf, source: ChartError },
    /// Standard output could not be written.
    #[error("standard output: {0}")]
    Print(#[from] io::Error),
    /// A round failed.
    #[error(transparent)]
    Round(#[from] SimulationError),
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The workload could not be built.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A file could not be written.
    #[error("--out {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl CliError {
    /// 2 for what was typed and the files it names, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::InspectedFile { .. } | Self::ModelFile { .. } | Self::Usage(_) | Self::Write { .. } => 2,
            _ => 1,
        }
    }

    /// Whether the reader of standard output went away, which is no error.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
