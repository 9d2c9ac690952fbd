//! Federated averaging on handwritten digits: the workload of demonstration, tests and benchmarks.

use bb_learn::aggregators::FedAvg;
use bb_learn::data::{Dataset, InMemoryConfig, InMemoryData, PartitionError, digits};
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig};
use bb_learn::programs::FedAvgRound;
use bb_learn::selectors::AllPeers;
use bytesandbrains::compiler::{Compiler, Diagnostics};
use bytesandbrains::cpu::{CpuBackend, CpuConfig};
use bytesandbrains::dsl::{BuildError, Fit, Module};

use bytesandbrains::{CompiledModel, Config};
use thiserror::Error;

use crate::{Federation, Latency, SimulationError};

/// How the training rows are spread over the clients.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Partition {
    /// Cut in order into parts as equal as possible.
    Contiguous,
    /// Each client has its own mix of classes, the more so the smaller `alpha`.
    Dirichlet {
        /// The concentration.
        alpha: f64,
    },
    /// Drawn at random.
    Iid,
}

/// Federated averaging on the digits: `FedAvgRound` on [`CpuBackend`], every client in every round.
///
/// ```
/// use bb_learn::models::reference_mlp;
/// use bb_learn::onnx_model::{OnnxModelConfig, OnnxModelOptions};
/// use bb_sim::{DigitsWorkload, Partition};
///
/// let model = OnnxModelConfig::new(reference_mlp()?, OnnxModelOptions::default())?;
/// let mut federation = DigitsWorkload::new(model, 5).partition(Partition::Contiguous).build()?;
/// let round = federation.round()?;
/// assert!(round.output("accuracy").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`build` makes the federation"]
pub struct DigitsWorkload {
    model: OnnxModelConfig,
    clients: usize,
    partition: Partition,
    fit: Fit,
    is_shuffled: bool,
    latency: Latency,
    seed: u64,
}

/// Why the workload cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The program could not be recorded.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The program could not be compiled.
    #[error(transparent)]
    Compile(#[from] Diagnostics),
    /// The digits could not be loaded.
    #[error(transparent)]
    Load(#[from] digits::LoadError),
    /// The rows could not be spread.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The federation could not be built.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
}

impl DigitsWorkload {
    /// `clients` clients that train `model`: one epoch of batches of 32 a round, rows cut in order, seed 0.
    pub fn new(model: OnnxModelConfig, clients: usize) -> Self {
        Self {
            model,
            clients,
            partition: Partition::Contiguous,
            fit: Fit::epochs(1).batch(32),
            is_shuffled: false,
            latency: Latency::None,
            seed: 0,
        }
    }

    /// How the training rows are spread.
    pub fn partition(self, partition: Partition) -> Self {
        Self { partition, ..self }
    }

    /// How long each client fits in a round.
    pub fn fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// Each client takes its rows in another order every pass.
    pub fn shuffled(self) -> Self {
        Self { is_shuffled: true, ..self }
    }

    /// How long messages are under way.
    pub fn latency(self, latency: Latency) -> Self {
        Self { latency, ..self }
    }

    /// What all chance follows from: partition, orders, latencies, nodes.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The program, compiled.
    ///
    /// # Errors
    /// [`WorkloadError::Build`], [`WorkloadError::Compile`].
    pub fn compile(&self) -> Result<CompiledModel, WorkloadError> {
        Ok(Compiler::new()
            .bind_backend::<CpuBackend>("compute")
            .bind_model::<OnnxModel>("model")
            .bind_data_source::<InMemoryData>("data")
            .bind_data_source::<InMemoryData>("test")
            .bind_aggregator::<FedAvg>("aggregator")
            .bind_peer_selector::<AllPeers>("clients")
            .compile(FedAvgRound::new(self.fit).build()?)?)
    }

    /// The rows of each client.
    ///
    /// # Errors
    /// [`WorkloadError::Partition`], [`WorkloadError::Load`].
    pub fn parts(&self) -> Result<Vec<Dataset>, WorkloadError> {
        let train = digits::load()?.train;
        Ok(match self.partition {
            Partition::Contiguous => train.contiguous(self.clients)?,
            Partition::Dirichlet { alpha } => train.dirichlet(self.clients, alpha, self.seed)?,
            Partition::Iid => train.iid(self.clients, self.seed)?,
        })
    }

    /// The server with the test rows, and the clients with their parts of the others.
    ///
    /// # Errors
    /// [`WorkloadError`].
    pub fn build(&self) -> Result<Federation, WorkloadError> {
        let compute = CpuConfig::default();
        let base = || Config::new().with("model", self.model.clone()).with("compute", compute.clone());
        let clients = self.parts()?.into_iter().zip(1_u64..).map(|(rows, number)| {
            let data = InMemoryConfig::new(rows);
            let seed = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number);
            base().with("data", if self.is_shuffled { data.shuffled(seed) } else { data })
        });
        Ok(Federation::builder(self.compile()?)
            .server(FedAvgRound::SERVER, base().with("test", InMemoryConfig::new(digits::load()?.test)))
            .clients(FedAvgRound::CLIENT, clients)
            .latency(self.latency)
            .seed(self.seed)
            .build()?)
    }
}
