//! What a host gives `install` beside the program.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bb_ir::passport::VerifyingKey;

use crate::clock::{Clock, SystemClock};
use crate::contracts::Component;
use crate::factory::Roles;
use crate::{ComponentFactory, NodeConfig};

/// Configurations of slots, component types, limits, clock and seed of a node.
///
/// ```
/// use bb_runtime::{Config, NodeConfig};
/// let config = Config::new().node(NodeConfig::edge()).seed(7);
/// # let _ = config;
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) slots: BTreeMap<String, SlotConfig>,
    pub(crate) slots_twice: Vec<String>,
    pub(crate) factories: Vec<ComponentFactory>,
    pub(crate) node: NodeConfig,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) seed: u64,
    pub(crate) trusted: Vec<VerifyingKey>,
}

/// A slot's configuration and the name of its type, for messages.
#[derive(Clone)]
pub(crate) struct SlotConfig {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) type_name: &'static str,
}

impl Config {
    /// No configurations, default limits, the system's monotonic clock, seed 0.
    pub fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            slots_twice: Vec::new(),
            factories: Vec::new(),
            node: NodeConfig::default(),
            clock: None,
            seed: 0,
            trusted: Vec::new(),
        }
    }

    /// Configures the component of a slot.
    #[must_use]
    pub fn with<C: Clone + Send + Sync + 'static>(mut self, slot: impl Into<String>, config: C) -> Self {
        let slot = slot.into();
        let config = SlotConfig { value: Arc::new(config), type_name: std::any::type_name::<C>() };
        if self.slots.insert(slot.clone(), config).is_some() {
            self.slots_twice.push(slot);
        }
        self
    }

    /// Makes a component type known, for artifacts that were decoded from bytes.
    #[must_use]
    pub fn register<C: Component + Roles>(mut self) -> Self {
        self.factories.push(ComponentFactory::of::<C>());
        self
    }

    /// Takes only artifacts that one of these keys vouches for; more keys with each call. Without any, every artifact
    /// whose passport fits is taken; one with a signature that does not hold never is.
    #[must_use]
    pub fn trust(mut self, keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        self.trusted.extend(keys);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn node(mut self, limits: NodeConfig) -> Self {
        self.node = limits;
        self
    }

    /// Sets the clock that `poll` reads.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Seeds the node's random generator; equal seeds and inputs give equal steps.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(crate) fn take_clock(&mut self) -> Arc<dyn Clock> {
        self.clock.take().unwrap_or_else(|| Arc::new(SystemClock::new()))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("slots", &self.slots.iter().map(|(slot, held)| (slot, held.type_name)).collect::<Vec<_>>())
            .field("factories", &self.factories)
            .field("node", &self.node)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
