//! Where onnxruntime is, and what it may use.

use std::path::PathBuf;

use bb_runtime::ComponentError;
use ort::ep::{self, ExecutionProviderDispatch};

/// The environment variable that names the library, or a folder that holds it, where the configuration does not.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// How an [`OrtBackend`](crate::OrtBackend) works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrtConfig {
    /// The library, or a folder that holds it, such as `onnxruntime/capi` of the Python package `onnxruntime`.
    ///
    /// `None`: what [`LIBRARY_VARIABLE`] names, else the system's library of the usual name. A process loads one
    /// library; a second backend that names another is refused.
    pub library: Option<PathBuf>,
    /// Threads that one run may use, the calling one among them.
    pub threads: usize,
    /// What is tried before the CPU, the first one first; one that the library lacks is an error, never ignored.
    pub providers: Vec<ExecutionProvider>,
}

impl Default for OrtConfig {
    /// The library of the environment, one thread, the CPU alone.
    fn default() -> Self {
        Self { library: None, threads: 1, providers: Vec::new() }
    }
}

/// What onnxruntime may run ops on, beside its own kernels for the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecutionProvider {
    /// Apple's.
    CoreMl,
    /// NVIDIA's, on the GPU of this number.
    Cuda {
        /// The GPU.
        device: i32,
    },
    /// Microsoft's, on the GPU of this number.
    DirectMl {
        /// The GPU.
        device: i32,
    },
    /// Intel's.
    OpenVino,
    /// NVIDIA's compiler, on the GPU of this number.
    TensorRt {
        /// The GPU.
        device: i32,
    },
    /// Kernels for the CPUs of telephones and browsers.
    Xnnpack,
}

impl OrtConfig {
    pub(crate) fn check(&self) -> Result<(), ComponentError> {
        if self.threads == 0 {
            let reason = "is 0; give 1 for the calling thread alone".to_owned();
            return Err(ComponentError::InvalidConfig { field: "threads", reason });
        }
        Ok(())
    }

    pub(crate) fn dispatch(&self) -> Vec<ExecutionProviderDispatch> {
        self.providers.iter().map(|provider| provider.dispatch().error_on_failure()).collect()
    }
}

impl ExecutionProvider {
    fn dispatch(self) -> ExecutionProviderDispatch {
        match self {
            Self::CoreMl => ep::CoreML::default().build(),
            Self::Cuda { device } => ep::CUDA::default().with_device_id(device).build(),
            Self::DirectMl { device } => ep::DirectML::default().with_device_id(device).build(),
            Self::OpenVino => ep::OpenVINO::default().build(),
            Self::TensorRt { device } => ep::TensorRT::default().with_device_id(device).build(),
            Self::Xnnpack => ep::XNNPACK::default().build(),
        }
    }
}
