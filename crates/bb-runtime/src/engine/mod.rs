//! The engine: runs dense programs op by op, in the order in which their ops become ready.
//!
//! [`dense`] is what runs and [`lower`] makes it; [`frame`] holds the values of one region that runs, [`execution`]
//! what was started, [`wait`] what it waits for. [`run`] is the loop; [`fire`] runs an op that is more than a
//! move of values, [`syscall`] one that the engine does itself; [`timers`], [`bus`] and [`lifecycle`] start
//! executions of the node's own accord; [`request`] sends to peers and takes their answers; [`end`] ends frames and executions.

pub(crate) mod backend_graph;
mod book;
pub(crate) mod bootstrap;
pub(crate) mod bus;
pub(crate) mod call;
pub(crate) mod components;
pub(crate) mod dense;
pub(crate) mod eager;
mod end;
pub(crate) mod execution;
mod fire;
pub(crate) mod frame;
pub(crate) mod holds;
pub(crate) mod inbound;
#[cfg(debug_assertions)]
mod invariants;
pub(crate) mod lifecycle;
pub(crate) mod lower;
pub(crate) mod methods;
pub(crate) mod peers;
pub(crate) mod permits;
mod request;
mod run;
pub(crate) mod syscall;
pub(crate) mod timers;
pub(crate) mod wait;
pub(crate) mod wire;

use std::fmt;
use std::sync::Arc;

use bb_framework::{Budget, Rng};

pub(crate) use backend_graph::backend_graph;

use self::bootstrap::Bootstraps;
use self::bus::Bus;
use self::components::Components;
use self::dense::{Lowered, Target};
use self::execution::Executions;
use self::frame::{Frames, Frontier};
use self::holds::{Holds, Records};
use self::lifecycle::Phases;
use self::peers::Peers;
use self::permits::Permits;
use self::timers::Timers;
use self::wait::{Leases, Waits};
use self::wire::Wire;
use crate::contracts::CompletionSink;
use crate::error::OpError;
use crate::{EngineStep, NodeConfig, PeerId, Refusals, Time};

/// Runs the executions of a node.
pub(crate) struct Engine {
    pub(crate) peer_id: PeerId,
    pub(crate) incarnation: u64,
    pub(crate) limits: NodeConfig,
    pub(crate) lowered: Arc<Lowered>,
    /// In the order in which they were installed.
    pub(crate) targets: Arc<[Arc<Target>]>,
    pub(crate) components: Components,
    pub(crate) frames: Frames,
    pub(crate) frontier: Frontier,
    pub(crate) executions: Executions,
    pub(crate) waits: Waits,
    pub(crate) leases: Leases,
    pub(crate) permits: Permits,
    pub(crate) holds: Holds,
    pub(crate) records: Records,
    pub(crate) bus: Bus,
    pub(crate) timers: Timers,
    pub(crate) phases: Phases,
    pub(crate) bootstraps: Bootstraps,
    pub(crate) peers: Peers,
    pub(crate) wire: Wire,
    pub(crate) budget: Budget,
    pub(crate) rng: Rng,
    /// What decides the jitter of waits for peers.
    pub(crate) jitter_seed: u64,
    pub(crate) sink: Arc<dyn CompletionSink>,
    /// The time of the step; never goes back.
    pub(crate) now: Time,
    /// Whether a step runs; what begins between steps counts its time from the next.
    pub(crate) is_stepping: bool,
    /// What the step that runs has to say.
    pub(crate) steps: Vec<EngineStep>,
    pub(crate) counters: Counters,
    /// Steps since the invariants were looked at.
    #[cfg(debug_assertions)]
    pub(crate) unchecked: usize,
}

/// What the engine counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) executions_completed: u64,
    pub(crate) executions_failed: u64,
    pub(crate) executions_cancelled: u64,
    /// Answers that came before the quorum was in and were not processed when it was.
    pub(crate) late_answers: u64,
    pub(crate) late_completions: u64,
    pub(crate) ops_fired: u64,
    /// Fills of envelopes that could not be taken.
    pub(crate) fills_refused: u64,
    pub(crate) refused: Refusals,
}

/// Why an op failed, shared by the steps that say so.
pub(crate) type Fault = Arc<OpError>;

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("incarnation", &self.incarnation)
            .field("targets", &self.targets.iter().map(|target| &target.name).collect::<Vec<_>>())
            .field("components", &self.components.len())
            .field("executions", &self.executions.len())
            .finish_non_exhaustive()
    }
}
