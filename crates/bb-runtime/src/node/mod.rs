//! The node: a state machine that a host feeds and drives.
//!
//! This file holds the type and what can be looked at; [`feed`] takes things in, [`command`] changes what the node
//! knows and allows, [`drive`] lets it work.

mod bootstrap;
mod command;
mod configure;
mod drive;
mod feed;
pub(crate) mod lines;
mod peers;
mod program;
mod shut_out;
mod snapshot;
mod stats;
mod tap;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bb_framework::{Budget, Rng};
use bb_ir::Digest;

pub use self::bootstrap::{BootstrapRequest, BootstrapTarget};
use self::feed::Gate;
use self::lines::Lines;
pub use self::peers::PeerHealth;
pub use self::stats::{ComponentRef, EngineStats, LinkedComponent};
use self::tap::Tap;
pub use self::tap::TelemetryTap;
use crate::engine::bootstrap::Bootstraps;
use crate::engine::bus::Bus;
use crate::engine::components::Components;
use crate::engine::dense::{Lowered, Target};
use crate::engine::execution::{ExecutionState, Executions};
use crate::engine::frame::{Frames, Frontier};
use crate::engine::holds::{Holds, Records};
use crate::engine::lifecycle::Phases;
use crate::engine::peers::Peers;
use crate::engine::permits::Permits;
use crate::engine::timers::Timers;
use crate::engine::wait::{Leases, Waits};
use crate::engine::wire::Wire;
use crate::engine::{Counters, Engine};
use crate::ingress::{Epoch, Ingress};
use crate::onnx::ModelProto;
use crate::{
    Address, Clock, CompiledModel, Config, EngineStep, ExecId, InstallError, Name, NodeConfig, PeerId, Role,
    Time,
};

/// A node: installed programs, their components, and what is under way. It opens no socket, starts no thread and
/// reads no clock but the one it was given.
///
/// - **look**: [`peer_id`](Self::peer_id) [`config`](Self::config) [`incarnation`](Self::incarnation) [`model`](Self::model)
///   [`program_digest`](Self::program_digest) [`loaded_modules`](Self::loaded_modules)
///   [`linked_components`](Self::linked_components) [`slot`](Self::slot) [`slots_iter`](Self::slots_iter)
///   [`roles_for`](Self::roles_for)
///   [`execution_state`](Self::execution_state) [`pending_async_count`](Self::pending_async_count)
///   [`engine_stats`](Self::engine_stats) [`local_addresses`](Self::local_addresses)
///   [`peer_address`](Self::peer_address) [`resolve_peer_addresses`](Self::resolve_peer_addresses)
///   [`peer_health`](Self::peer_health)
///   [`next_deadline`](Self::next_deadline) [`record`](Self::record) [`records`](Self::records)
///   [`bootstrap_status`](Self::bootstrap_status) [`metric`](Self::metric) [`metrics`](Self::metrics) [`phase_count`](Self::phase_count)
///   [`now`](Self::now) [`state_digest`](Self::state_digest)
/// - **feed**: [`invoke`](Self::invoke) [`deliver_event`](Self::deliver_event)
///   [`deliver_inbound`](Self::deliver_inbound) [`ingress_handle`](Self::ingress_handle)
/// - **command**: [`with_config`](Self::with_config) [`add_peer`](Self::add_peer) [`register_signed`](Self::register_signed)
///   [`block_peer`](Self::block_peer) [`unblock_peer`](Self::unblock_peer) [`set_allowlist`](Self::set_allowlist)
///   [`add_local_address`](Self::add_local_address) [`forget_local_address`](Self::forget_local_address)
///   [`set_telemetry_tap`](Self::set_telemetry_tap) [`cancel`](Self::cancel) [`close`](Self::close)
///   [`enter_phase`](Self::enter_phase) [`run_bootstrap`](Self::run_bootstrap)
///   [`snapshot`](Self::snapshot) [`restore`](Self::restore) [`clear`](Self::clear)
/// - **drive**: [`poll`](Self::poll) [`step`](Self::step); their steps must be looked at
pub struct Node {
    engine: Engine,
    ingress: Ingress,
    lines: Lines,
    clock: Arc<dyn Clock>,
    model: Option<CompiledModel>,
    tap: Tap,
    has_stepped: bool,
    /// Denied peers that are turned away before the queue, in order; not saved, found out anew.
    shut_out: Vec<PeerId>,
    /// How far the node's time is ahead of its clock, since a restore.
    clock_offset: Duration,
    /// What answers of components go through; another one after a restore.
    epoch: Arc<Epoch>,
    /// Ends of executions that a restore left behind; what a step says first.
    ended: Vec<EngineStep>,
}

impl Node {
    pub(crate) fn build(
        peer_id: PeerId,
        addresses: impl IntoIterator<Item = Address>,
        lowered: Arc<Lowered>,
        program: Digest,
        targets: Arc<[Arc<Target>]>,
        components: Components,
        mut config: Config,
    ) -> Result<Self, InstallError> {
        let clock = config.take_clock();
        let limits = config.node;
        if let Some(got) = limits.peer_id
            && got != peer_id
        {
            return Err(InstallError::OtherPeer { expected: peer_id, got });
        }
        let mut seed = config.seed.to_le_bytes().to_vec();
        seed.extend_from_slice(peer_id.as_bytes());
        let mut rng = Rng::from_seed(Digest::of(&seed).0);
        let jitter_seed = rng.u64();
        let mut peers = Peers::new(peer_id, &limits, jitter_seed);
        for address in addresses {
            peers.book.add_local_address(address)?;
        }
        let addresses = peers.book.local_addresses().cloned().collect();
        let budget = Budget::new(limits.ingress_bytes);
        let ingress = Ingress::new(&limits, budget.clone(), Arc::new(Gate(Arc::clone(&targets))));
        let slots: Vec<Name> = lowered.slots.iter().map(|slot| slot.name.clone()).collect();
        let with_bootstrap: Vec<u32> =
            components.iter().filter(|(_, held)| held.has_bootstrap()).map(|(slot, _)| slot).collect();
        let bootstraps = Bootstraps::new(&slots, &targets, &components.dependencies(), &with_bootstrap);
        let epoch = Arc::new(Epoch::staged(ingress.completion_sink()));
        epoch.open();
        let engine = Engine {
            peer_id,
            incarnation: 1,
            lowered,
            components,
            frames: Frames::default(),
            frontier: Frontier::default(),
            executions: Executions::default(),
            waits: Waits::new(limits.pending_async, limits.timers),
            leases: Leases::default(),
            permits: Permits::default(),
            holds: Holds::default(),
            records: Records::new(limits.records),
            bus: Bus::new(&targets, limits.bus),
            timers: Timers::new(&targets, limits.timers),
            phases: Phases::new(&targets),
            bootstraps,
            targets,
            peers,
            wire: Wire::new(program, &limits, addresses),
            limits,
            budget,
            rng,
            jitter_seed,
            sink: epoch.clone(),
            now: Time::ZERO,
            is_stepping: false,
            steps: Vec::new(),
            counters: Counters::default(),
            #[cfg(debug_assertions)]
            unchecked: 0,
        };
        Ok(Self {
            engine,
            ingress,
            lines: Lines::default(),
            clock,
            model: None,
            tap: Tap::default(),
            has_stepped: false,
            shut_out: Vec::new(),
            clock_offset: Duration::ZERO,
            epoch,
            ended: Vec::new(),
        })
    }

    pub(crate) fn set_model(&mut self, model: CompiledModel) {
        self.model = Some(model);
    }

    /// Who the node is.
    pub fn peer_id(&self) -> PeerId {
        self.engine.peer_id
    }

    /// Its limits.
    pub fn config(&self) -> &NodeConfig {
        &self.engine.limits
    }

    /// How often the node has been started; part of every id that it gives.
    pub fn incarnation(&self) -> u64 {
        self.engine.incarnation
    }

    /// The digest of the program that it runs.
    pub fn program_digest(&self) -> Digest {
        self.engine.wire.program
    }

    /// The program that it runs, as one ONNX model; nodes that were given the same one share it.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn show(node: &Node) {
    /// let functions = node.model().map_or(0, |model| model.functions.len());
    /// # let _ = functions;
    /// # }
    /// ```
    pub fn model(&self) -> Option<Arc<ModelProto>> {
        self.model.as_ref().map(CompiledModel::shared_model)
    }

    /// The installed targets, in the order in which they were installed.
    pub fn loaded_modules(&self) -> impl Iterator<Item = &str> {
        self.engine.targets.iter().map(|target| target.name.as_str())
    }

    /// The components, each with its slot.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn list(node: &Node) {
    /// for held in node.linked_components() {
    ///     println!("{}: {} of {}, {:?}", held.slot, held.type_name, held.package, held.roles);
    /// }
    /// # }
    /// ```
    pub fn linked_components(&self) -> impl Iterator<Item = LinkedComponent<'_>> {
        let slots = &self.engine.lowered.slots;
        self.engine.components.iter().map(|(slot, component)| LinkedComponent {
            component: ComponentRef(slot),
            slot: slots[slot as usize].name.as_str(),
            type_name: component.type_name(),
            package: component.type_name().split("::").next().unwrap_or_default(),
            roles: component.roles(),
        })
    }

    /// The slots that have a component, in the order of the program.
    pub fn slots_iter(&self) -> impl Iterator<Item = (&str, ComponentRef)> {
        self.linked_components().map(|held| (held.slot, held.component))
    }

    /// The roles of a component; none if the reference is another node's.
    pub fn roles_for(&self, component: ComponentRef) -> &'static [Role] {
        self.linked_components().find(|held| held.component == component).map_or(&[], |held| held.roles)
    }

    /// The component of a slot.
    pub fn slot(&self, name: &str) -> Option<LinkedComponent<'_>> {
        self.linked_components().find(|component| component.slot == name)
    }

    /// How far an execution is; `None` once its end was reported.
    ///
    /// ```
    /// # use bb_runtime::{ExecId, Node};
    /// # fn look(node: &Node, run: ExecId) {
    /// if let Some(state) = node.execution_state(run) {
    ///     println!("{}: {} ops ran, {} wait", state.target, state.ops_fired, state.awaited);
    /// }
    /// # }
    /// ```
    pub fn execution_state(&self, execution: ExecId) -> Option<ExecutionState> {
        let engine = &self.engine;
        let (held, awaited) = match engine.executions.find(execution) {
            Some(held) => (engine.last_state(held), held.waits.len()),
            None => (*engine.executions.ended.iter().find(|ended| ended.id == execution)?, 0),
        };
        Some(ExecutionState {
            target: engine.targets[held.target as usize].name.clone(),
            ops_fired: held.ops_fired,
            outputs_written: held.outputs_written,
            awaited,
        })
    }

    /// How many ops wait: for a component, an aggregator or peers.
    pub fn pending_async_count(&self) -> usize {
        self.engine.waits.len()
    }

    /// The time of the last step. After a restore it may be ahead of the clock that [`Node::poll`] reads: the node's
    /// time goes on from that of the snapshot.
    pub fn now(&self) -> Time {
        self.engine.now
    }

    /// When to step again if nothing comes in, in the time that [`Node::now`] tells; the time of the last step if there is work already.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn sleep(node: &Node) {
    /// let left = node.next_deadline().map(|deadline| deadline.since(node.now()));
    /// println!("nothing to do for {left:?}, unless something comes in");
    /// # }
    /// ```
    pub fn next_deadline(&self) -> Option<Time> {
        if self.has_work() {
            return Some(self.engine.now);
        }
        let (waits, timers) = (&self.engine.waits, &self.engine.timers);
        let deadlines = [waits.next_deadline(), timers.due.next_deadline(), self.next_hearing()];
        deadlines.into_iter().flatten().min()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("incarnation", &self.engine.incarnation)
            .field("modules", &self.loaded_modules().collect::<Vec<_>>())
            .field("components", &self.engine.components.len())
            .finish_non_exhaustive()
    }
}
