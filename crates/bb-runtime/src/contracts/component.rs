//! What every component is, whatever its roles.

use thiserror::Error;

use super::{Answer, OpContext, StateReader, StateWriter};
use crate::Role;

/// A part of a node that a program calls: a backend, a model, an aggregator, ….
///
/// A node makes it with [`Component::new`] when the program is installed. State that decides the future
/// goes through `save` and `load`; what `new` can make again from the configuration does not.
pub trait Component: Sized + Send + 'static {
    /// Its name in artifacts: `crate::Type`.
    const TYPE_NAME: &'static str;

    /// Other components that it calls through its [`OpContext`](super::OpContext).
    const DEPENDENCIES: &'static [Dependency] = &[];

    /// Whether it has a [`bootstrap`](Component::bootstrap).
    const HAS_BOOTSTRAP: bool = false;

    /// What it is made from.
    type Config: Clone + Send + Sync + 'static;

    /// The configuration when the host gives none; `None`: the host must give one. The unit type needs none.
    fn default_config() -> Option<Self::Config> {
        None
    }

    /// Makes it.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration.
    fn new(config: &Self::Config) -> Result<Self, ComponentError>;

    /// What it does once before it is used, when the host says so
    /// ([`Node::run_bootstrap`](crate::Node::run_bootstrap)): called only if [`Component::HAS_BOOTSTRAP`]. It has its
    /// dependencies, and may answer later.
    ///
    /// # Errors
    /// Whatever keeps it from being used.
    fn bootstrap(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        let _ = cx;
        Ok(Answer::now(()))
    }

    /// Writes what decides its future, canonically: equal state, equal bytes.
    ///
    /// # Errors
    /// State that cannot be saved.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError>;

    /// Takes up the state that `save` wrote, on a component newly made from the same configuration.
    ///
    /// # Errors
    /// State that does not fit.
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError>;
}

/// A component that another one calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name by which the dependent asks for it; also the slot it is taken from unless the program says otherwise.
    pub name: &'static str,
    /// The role it must have.
    pub role: Role,
}

/// Why a component could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// A backend's error.
    #[error(transparent)]
    Backend(#[from] super::BackendError),
    /// The component that was asked for is the caller itself, or is in the middle of a call.
    #[error("dependency `{name}` is in use: components may not call each other in a circle")]
    Busy {
        /// The dependency's name.
        name: String,
    },
    /// The answer will not come.
    #[error("cancelled: {reason}")]
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The configuration is wrong.
    #[error("configuration field `{field}`: {reason}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// An argument is wrong.
    #[error("argument `{argument}`: {reason}")]
    InvalidInput {
        /// The argument.
        argument: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The component did not declare this dependency.
    #[error("no dependency `{name}` with role {role}; declared: {declared:?}")]
    NoDependency {
        /// The name asked for.
        name: String,
        /// The role asked for.
        role: Role,
        /// What is declared.
        declared: Vec<String>,
    },
    /// The component's own error.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Saved state that does not fit.
    #[error(transparent)]
    State(#[from] super::StateError),
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] crate::TensorError),
}

impl ComponentError {
    /// Wraps a component's own error.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}
