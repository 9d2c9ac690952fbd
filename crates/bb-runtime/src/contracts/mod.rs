//! What a component is and what each role does.
//!
//! A component is a struct that implements [`Component`] and one or more role traits, and says so with
//! [`component!`](crate::component). No proc-macro is needed to write one.

mod aggregator;
mod answer;
mod backend;
mod component;
mod context;
mod data_source;
mod detached;
mod model;
mod peer_selector;
mod state;

pub use aggregator::{Aggregator, Meta};
pub use answer::{Answer, Completion, OpOutput};
pub(crate) use answer::{CompletionSink, Pending};
pub use backend::{Backend, BackendError, BackendGraph, Executable, Outputs};
pub use component::{Component, ComponentError, Dependency};
pub(crate) use context::Services;
pub use context::{ExecId, OpContext};
pub use data_source::{Batch, DataSource};
pub use detached::{Detached, Outcome};
pub use model::{Evaluation, Fit, FitReport, Model};
pub use peer_selector::PeerSelector;
pub use state::{StateError, StateReader, StateWriter};
