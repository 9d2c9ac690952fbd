//! How a node makes the components that an artifact names.

use std::any::{Any, TypeId};
use std::fmt;

use crate::Role;
use crate::contracts::{
    Aggregator, Answer, Backend, Component, ComponentError, DataSource, Dependency, Model, OpContext,
    PeerSelector, StateReader, StateWriter,
};

/// Which role traits a component implements; written by [`component!`](crate::component).
pub trait Roles {
    /// The roles.
    const ROLES: &'static [Role];

    /// As an aggregator, if it is one.
    fn as_aggregator(&mut self) -> Option<&mut dyn Aggregator> {
        None
    }
    /// As a backend, if it is one.
    fn as_backend(&mut self) -> Option<&mut dyn Backend> {
        None
    }
    /// As a data source, if it is one.
    fn as_data_source(&mut self) -> Option<&mut dyn DataSource> {
        None
    }
    /// As a model, if it is one.
    fn as_model(&mut self) -> Option<&mut dyn Model> {
        None
    }
    /// As a peer selector, if it is one.
    fn as_peer_selector(&mut self) -> Option<&mut dyn PeerSelector> {
        None
    }
}

/// Declares the roles of a component: `component!(Median: Aggregator);`, or several with `+`.
#[macro_export]
macro_rules! component {
    ($component:ty : $role:ident $(+ $more:ident)*) => {
        impl $crate::Roles for $component {
            const ROLES: &'static [$crate::Role] = &[$crate::Role::$role $(, $crate::Role::$more)*];
            $crate::component!(@method $role);
            $($crate::component!(@method $more);)*
        }
    };
    (@method Aggregator) => {
        fn as_aggregator(&mut self) -> Option<&mut dyn $crate::Aggregator> { Some(self) }
    };
    (@method Backend) => {
        fn as_backend(&mut self) -> Option<&mut dyn $crate::Backend> { Some(self) }
    };
    (@method DataSource) => {
        fn as_data_source(&mut self) -> Option<&mut dyn $crate::DataSource> { Some(self) }
    };
    (@method Model) => {
        fn as_model(&mut self) -> Option<&mut dyn $crate::Model> { Some(self) }
    };
    (@method PeerSelector) => {
        fn as_peer_selector(&mut self) -> Option<&mut dyn $crate::PeerSelector> { Some(self) }
    };
}

/// A component behind its roles.
pub trait DynComponent: Send {
    /// [`Component::TYPE_NAME`].
    fn type_name(&self) -> &'static str;
    /// [`Roles::ROLES`].
    fn roles(&self) -> &'static [Role];
    /// As an aggregator, if it is one.
    fn as_aggregator(&mut self) -> Option<&mut dyn Aggregator>;
    /// As a backend, if it is one.
    fn as_backend(&mut self) -> Option<&mut dyn Backend>;
    /// As a data source, if it is one.
    fn as_data_source(&mut self) -> Option<&mut dyn DataSource>;
    /// As a model, if it is one.
    fn as_model(&mut self) -> Option<&mut dyn Model>;
    /// As a peer selector, if it is one.
    fn as_peer_selector(&mut self) -> Option<&mut dyn PeerSelector>;
    /// [`Component::HAS_BOOTSTRAP`].
    fn has_bootstrap(&self) -> bool;
    /// [`Component::bootstrap`].
    ///
    /// # Errors
    /// The component's own.
    fn bootstrap(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError>;
    /// [`Component::save`].
    ///
    /// # Errors
    /// The component's own.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError>;
    /// [`Component::load`].
    ///
    /// # Errors
    /// The component's own.
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError>;
}

impl<C: Component + Roles> DynComponent for C {
    fn type_name(&self) -> &'static str {
        C::TYPE_NAME
    }
    fn roles(&self) -> &'static [Role] {
        C::ROLES
    }
    fn as_aggregator(&mut self) -> Option<&mut dyn Aggregator> {
        Roles::as_aggregator(self)
    }
    fn as_backend(&mut self) -> Option<&mut dyn Backend> {
        Roles::as_backend(self)
    }
    fn as_data_source(&mut self) -> Option<&mut dyn DataSource> {
        Roles::as_data_source(self)
    }
    fn as_model(&mut self) -> Option<&mut dyn Model> {
        Roles::as_model(self)
    }
    fn as_peer_selector(&mut self) -> Option<&mut dyn PeerSelector> {
        Roles::as_peer_selector(self)
    }
    fn has_bootstrap(&self) -> bool {
        C::HAS_BOOTSTRAP
    }
    fn bootstrap(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        Component::bootstrap(self, cx)
    }
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        Component::save(self, out)
    }
    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Component::load(self, state)
    }
}

/// Makes components of one type.
#[derive(Clone, Copy)]
pub struct ComponentFactory {
    /// [`Component::TYPE_NAME`].
    pub type_name: &'static str,
    /// [`Roles::ROLES`].
    pub roles: &'static [Role],
    /// [`Component::DEPENDENCIES`].
    pub dependencies: &'static [Dependency],
    /// The Rust name of its configuration type, for messages.
    pub config_type: &'static str,
    type_id: TypeId,
    construct: Construct,
}

type Construct = fn(Option<&dyn Any>) -> Result<Box<dyn DynComponent>, ConstructError>;

/// Why a component could not be made.
#[derive(Debug)]
pub enum ConstructError {
    /// The host gave no configuration, and the component has no default.
    MissingConfig,
    /// The configuration given is of another type.
    WrongConfigType,
    /// The component's own error.
    Component(ComponentError),
}

impl ComponentFactory {
    /// The factory of `C`.
    pub fn of<C: Component + Roles>() -> Self {
        Self {
            type_name: C::TYPE_NAME,
            roles: C::ROLES,
            dependencies: C::DEPENDENCIES,
            config_type: std::any::type_name::<C::Config>(),
            type_id: TypeId::of::<C>(),
            construct: construct::<C>,
        }
    }

    /// Whether both make components of the same type.
    pub fn is_same(&self, other: &Self) -> bool {
        self.type_id == other.type_id
    }

    /// Makes a component from the host's configuration, or from the default one.
    ///
    /// # Errors
    /// [`ConstructError`].
    pub fn construct(&self, config: Option<&dyn Any>) -> Result<Box<dyn DynComponent>, ConstructError> {
        (self.construct)(config)
    }
}

impl fmt::Debug for ComponentFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentFactory({})", self.type_name)
    }
}

fn construct<C: Component + Roles>(given: Option<&dyn Any>) -> Result<Box<dyn DynComponent>, ConstructError> {
    let unit: &dyn Any = &();
    let default;
    let config = match given {
        Some(config) => config.downcast_ref::<C::Config>().ok_or(ConstructError::WrongConfigType)?,
        None => {
            default = C::default_config()
                .or_else(|| unit.downcast_ref::<C::Config>().cloned())
                .ok_or(ConstructError::MissingConfig)?;
            &default
        }
    };
    Ok(Box::new(C::new(config).map_err(ConstructError::Component)?))
}
