//! What a node does: a domain and a name.

use std::borrow::Cow;
use std::fmt;

/// The domains that ops belong to.
pub mod domains {
    /// ONNX's own operators (also spelled `ai.onnx`).
    pub const ONNX: &str = "";
    /// ONNX's preview of training operators: `Gradient`.
    pub const ONNX_TRAINING: &str = "ai.onnx.preview.training";
    /// What the engine does itself: `PassThrough`, `Constant`, `Bundle`, `Unbundle`, ….
    pub const SYSCALL: &str = "ai.bytesandbrains.syscall";
    /// What crosses nodes. Recorded: `Call`, `Cast`. Compiled: `Send`, `Recv`, `Source`.
    pub const WIRE: &str = "ai.bytesandbrains.wire";
    /// Calls of another module; the op's name is the module's.
    pub const MODULE: &str = "ai.bytesandbrains.module";
    /// Regions of compiled targets, in the ONNX form of a program.
    pub const TARGET: &str = "ai.bytesandbrains.target";
    /// Methods of a backend: `Run`, a prepared graph.
    pub const BACKEND: &str = "ai.bytesandbrains.backend";
    /// Methods of a model.
    pub const MODEL: &str = "ai.bytesandbrains.model";
    /// Methods of a data source.
    pub const DATA_SOURCE: &str = "ai.bytesandbrains.data_source";
    /// Methods of an aggregator.
    pub const AGGREGATOR: &str = "ai.bytesandbrains.aggregator";
    /// Methods of a peer selector.
    pub const PEER_SELECTOR: &str = "ai.bytesandbrains.peer_selector";
}

/// The domain of an op.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Cow<'static, str>);

impl Domain {
    /// The domain of that name; `ai.onnx` is the empty one.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        if name == "ai.onnx" { Self::default() } else { Self(name) }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is ONNX's own.
    pub fn is_onnx(&self) -> bool {
        self.0.is_empty()
    }

    /// The role whose methods its ops are.
    pub fn role(&self) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.domain() == self.as_str())
    }
}

/// What a node does: a domain and a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    domain: Domain,
    name: Cow<'static, str>,
}

impl OpId {
    /// The op `name` of `domain`.
    pub fn new(domain: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self { domain: Domain::new(domain), name: name.into() }
    }

    /// Its domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it starts executions of its own: a timer, an event of the node, a phase of its life.
    pub fn is_source(&self) -> bool {
        self.domain.as_str() == domains::SYSCALL
            && matches!(&*self.name, "EventSource" | "Interval" | "LifecyclePhase" | "OnTrigger" | "Pulse")
    }

    /// The kind of node-wide state that it reads and writes, named by its attribute `name`: ops on one are ordered
    /// as those on one slot are.
    pub fn shared_state(&self) -> Option<&'static str> {
        if self.domain.as_str() != domains::SYSCALL {
            return None;
        }
        match &*self.name {
            "AddressBook.Insert" | "AddressBook.InsertMany" | "AddressBook.Lookup" => Some("address book"),
            "Hold.Flush" | "Hold.Stash" => Some("hold"),
            "IncrMetric" => Some("metric"),
            "Record" => Some("record"),
            _ => None,
        }
    }

    /// Whether it is the op `name` of `domain`.
    pub fn is(&self, domain: &str, name: &str) -> bool {
        self.domain.as_str() == domain && self.name == name
    }
}

impl fmt::Display for OpId {
    /// The name alone for ONNX's own ops, `domain::name` for others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_onnx() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}::{}", self.domain.as_str(), self.name)
        }
    }
}

/// What a component is to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Folds peers' updates.
    Aggregator,
    /// Runs tensor ops.
    Backend,
    /// Gives batches.
    DataSource,
    /// A trainable model.
    Model,
    /// Chooses peers.
    PeerSelector,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Aggregator, Self::Backend, Self::DataSource, Self::Model, Self::PeerSelector];

    /// The domain of its methods.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::Aggregator => domains::AGGREGATOR,
            Self::Backend => domains::BACKEND,
            Self::DataSource => domains::DATA_SOURCE,
            Self::Model => domains::MODEL,
            Self::PeerSelector => domains::PEER_SELECTOR,
        }
    }

    /// Its name, as the trait is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregator => "Aggregator",
            Self::Backend => "Backend",
            Self::DataSource => "DataSource",
            Self::Model => "Model",
            Self::PeerSelector => "PeerSelector",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
