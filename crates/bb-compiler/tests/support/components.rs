//! Components that do nothing: enough to be bound.

use bb_runtime::{
    Aggregator, Answer, Backend, BackendError, BackendGraph, Batch, Component, ComponentError, DataSource,
    Dependency, Evaluation, Executable, Fit, FitReport, Meta, Model, OpContext, OpId, PeerId, PeerSelector,
    Role, StateReader, StateWriter, TensorMap,
};

type Result<T> = std::result::Result<Answer<T>, ComponentError>;

fn idle<T>() -> Result<T> {
    Err(ComponentError::Cancelled { reason: "it does nothing".to_owned() })
}

macro_rules! component {
    ($name:ident, $role:ident, $dependencies:expr) => {
        /// A component that does nothing.
        pub struct $name;

        impl Component for $name {
            const TYPE_NAME: &'static str = concat!("test::", stringify!($name));
            const DEPENDENCIES: &'static [Dependency] = $dependencies;
            type Config = ();
            fn new(_: &()) -> std::result::Result<Self, ComponentError> {
                Ok(Self)
            }
            fn save(&self, _: &mut StateWriter) -> std::result::Result<(), ComponentError> {
                Ok(())
            }
            fn load(&mut self, _: &mut StateReader<'_>) -> std::result::Result<(), ComponentError> {
                Ok(())
            }
        }

        bb_runtime::component!($name: $role);
    };
}

const COMPUTE: Dependency = Dependency { name: "compute", role: Role::Backend };
const MODEL: Dependency = Dependency { name: "model", role: Role::Model };

component!(IdleAggregator, Aggregator, &[]);
component!(IdleBackend, Backend, &[]);
component!(IdleData, DataSource, &[]);
component!(IdleModel, Model, &[COMPUTE]);
component!(IdlePeers, PeerSelector, &[]);
component!(CircularModel, Model, &[MODEL]);

impl Backend for IdleBackend {
    fn supports(&self, _: &OpId) -> bool {
        true
    }
    fn prepare(&self, _: &BackendGraph) -> std::result::Result<Box<dyn Executable>, BackendError> {
        Err(BackendError::NoGraph)
    }
}

impl Aggregator for IdleAggregator {
    fn begin(&mut self, _: &mut OpContext<'_>) -> Result<()> {
        idle()
    }
    fn contribute(&mut self, _: &mut OpContext<'_>, _: PeerId, _: TensorMap, _: Meta) -> Result<()> {
        idle()
    }
    fn aggregate(&mut self, _: &mut OpContext<'_>) -> Result<TensorMap> {
        idle()
    }
}

impl DataSource for IdleData {
    fn next_batch(&mut self, _: &mut OpContext<'_>, _: usize) -> Result<Option<Batch>> {
        idle()
    }
    fn reset(&mut self, _: &mut OpContext<'_>) -> Result<()> {
        idle()
    }
    fn len(&self) -> usize {
        0
    }
}

impl PeerSelector for IdlePeers {
    fn view(&mut self, _: &mut OpContext<'_>) -> Result<Vec<PeerId>> {
        idle()
    }
    fn sample(&mut self, _: &mut OpContext<'_>, _: usize) -> Result<Vec<PeerId>> {
        idle()
    }
}

macro_rules! idle_model {
    ($name:ident) => {
        impl Model for $name {
            fn forward(&mut self, _: &mut OpContext<'_>, _: &TensorMap) -> Result<TensorMap> {
                idle()
            }
            fn loss(&mut self, _: &mut OpContext<'_>, _: &Batch) -> Result<f64> {
                idle()
            }
            fn backward(&mut self, _: &mut OpContext<'_>, _: &Batch) -> Result<TensorMap> {
                idle()
            }
            fn mix(&mut self, _: &mut OpContext<'_>, _: &TensorMap, _: f64) -> Result<()> {
                idle()
            }
            fn apply_delta(&mut self, _: &mut OpContext<'_>, _: &TensorMap, _: f64) -> Result<()> {
                idle()
            }
            fn train_step(&mut self, _: &mut OpContext<'_>, _: &Batch) -> Result<f64> {
                idle()
            }
            fn fit(&mut self, _: &mut OpContext<'_>, _: &mut dyn DataSource, _: Fit) -> Result<FitReport> {
                idle()
            }
            fn evaluate(&mut self, _: &mut OpContext<'_>, _: &mut dyn DataSource) -> Result<Evaluation> {
                idle()
            }
            fn parameters(&mut self, _: &mut OpContext<'_>) -> Result<TensorMap> {
                idle()
            }
            fn load_parameters(&mut self, _: &mut OpContext<'_>, _: &TensorMap) -> Result<()> {
                idle()
            }
        }
    };
}

idle_model!(IdleModel);
idle_model!(CircularModel);
