//! Stopping, moving, going on: snapshots, restore, clear.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bb_ir::Digest;

use super::Node;
use super::lines::Lines;
use crate::engine::Counters;
use crate::engine::execution::Ended;
use crate::engine::holds::{Holds, Records};
use crate::engine::permits::Permits;
use crate::error::DeliveryError;
use crate::ingress::Input;
use crate::snapshot::restore::{Restored, read};
use crate::snapshot::{NodeSnapshot, RestoreError, SnapshotError, SnapshotMode, save};
use crate::{EngineStep, ExecId, Outcome};

impl Node {
    /// All that decides what the node will do, at any time and in the middle of anything; the node goes on as if
    /// nothing had been, but for programs that listen to the phase `Snapshot`: it is entered, here and in what is saved,
    /// and the next step fires it.
    ///
    /// An op that waits for a component's answer is saved with the time it has left. Whether the answer can still
    /// come is the component's matter: see [`StateReader::completion`](crate::StateReader::completion). Errors that
    /// wait to be reported are saved as their texts. What a component keeps of bytes from outside is not charged to
    /// the byte budget any more after a restore.
    ///
    /// # Errors
    /// [`SnapshotError`], which names the component that cannot be saved.
    ///
    /// ```
    /// # use bb_runtime::{Node, NodeSnapshot};
    /// # fn save(node: &Node, other: &mut Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let bytes = node.snapshot()?.encode();
    /// other.restore(NodeSnapshot::decode(bytes)?)?;
    /// assert_eq!(other.state_digest()?, node.state_digest()?);
    /// assert!(other.incarnation() > node.incarnation());
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Result<NodeSnapshot, SnapshotError> {
        self.snapshot_with(SnapshotMode::Anytime)
    }

    /// [`Node::snapshot`], if the node is as quiet as `mode` asks.
    ///
    /// # Errors
    /// [`SnapshotError`].
    ///
    /// ```
    /// # use bb_runtime::{Node, SnapshotError, SnapshotMode};
    /// # fn save_at_rest(node: &Node) -> Result<(), SnapshotError> {
    /// match node.snapshot_with(SnapshotMode::Quiescent) {
    ///     Err(SnapshotError::BusNotDrained { queue, queued, .. }) => println!("{queued} wait in the {queue}"),
    ///     saved => drop(saved?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot_with(&self, mode: SnapshotMode) -> Result<NodeSnapshot, SnapshotError> {
        let span = tracing::debug_span!("snapshot", peer = %self.engine.peer_id);
        let _entered = span.enter();
        if mode == SnapshotMode::Quiescent {
            self.check_quiet()?;
        }
        let is_news = self.engine.phases.enter_saved();
        let saved = save::snapshot(&self.engine, &self.ingress, &self.lines);
        if saved.is_err() && is_news {
            self.engine.phases.leave_saved();
        }
        saved
    }

    /// A digest of all that decides what the node will do.
    ///
    /// It leaves out what only counts, the reading of the clock (moments are distances from it), the incarnation, and
    /// which messages were queued before a restore; so a restored node has the digest of the one that was saved.
    ///
    /// # Errors
    /// [`SnapshotError`], as for a snapshot.
    pub fn state_digest(&self) -> Result<Digest, SnapshotError> {
        save::digest(&self.engine, &self.ingress, &self.lines)
    }

    /// Goes on where the saved node stopped.
    ///
    /// All of the snapshot is read and checked first, against itself and against this node: program, targets, peer id,
    /// components, limits. Then everything changes at once. Components are made anew from their configurations and
    /// load their states; backends prepare their graphs anew; limits and policies of the configuration stay.
    /// Executions of this node that the snapshot does not know end as cancelled, and values of streams that wait in it are
    /// reported as dropped; inputs that other threads handed in meanwhile come after those of the snapshot. The time is
    /// the later one of both.
    ///
    /// Save the node again before it is stepped: whoever goes on from one snapshot twice gives the same ids twice.
    ///
    /// # Errors
    /// [`RestoreError`], which names the bad entry; the node is as it was.
    ///
    /// ```
    /// # use bb_runtime::{Node, NodeSnapshot, RestoreError};
    /// # fn go_on(node: &mut Node, bytes: Vec<u8>) -> Result<(), RestoreError> {
    /// let snapshot = NodeSnapshot::decode(bytes)?;
    /// let incarnation = snapshot.incarnation().max(node.incarnation());
    /// node.restore(&snapshot)?;
    /// assert_eq!(node.incarnation(), incarnation + 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(&mut self, snapshot: impl Borrow<NodeSnapshot>) -> Result<(), RestoreError> {
        let span = tracing::debug_span!("restore", peer = %self.engine.peer_id);
        let _entered = span.enter();
        let restored = read(snapshot.borrow(), &self.engine, self.ingress.completion_sink())?;
        let executions = &restored.executions;
        let over = executions.ended.iter().map(|ended| ended.id);
        let known: BTreeSet<_> = executions.iter().map(|(_, held)| held.id).chain(over).collect();
        let engine = &mut self.engine;
        let mut left: Vec<Ended> =
            engine.executions.iter().map(|(_, held)| engine.last_state(held)).collect();
        left.retain(|ended| !known.contains(&ended.id));
        let mut unreported = std::mem::take(&mut engine.executions.ended);
        unreported.retain(|ended| !known.contains(&ended.id));
        // What this node has yet to say stays true of all that the snapshot does not know.
        let mut told = std::mem::take(&mut self.engine.steps);
        told.retain(|step| execution_of(step).is_none_or(|id| !known.contains(&id)));
        self.ended.append(&mut told);
        let cleared = || EngineStep::IngressFailed { peer: None, error: DeliveryError::Cleared };
        self.ended.extend(std::iter::repeat_with(cleared).take(self.lines.len()));
        self.swap(restored);
        let reason: Arc<str> = "the node was restored from a snapshot that does not know it".into();
        self.ended.extend(left.iter().map(|ended| EngineStep::ExecutionFinished {
            exec_id: ended.id,
            outcome: Outcome::Cancelled(Arc::clone(&reason)),
        }));
        self.engine.executions.ended.extend(unreported.into_iter().chain(left));
        Ok(())
    }

    /// Ends every execution and drops every queue, timer, latch and counter; keeps components, programs, peers and
    /// policy.
    ///
    /// The next step reports the executions as cancelled, and each input that was accepted and not taken yet as
    /// dropped. No byte is charged to the byte budget afterwards. Timers that start executions count anew from the next
    /// step.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn start_over(node: &mut Node) {
    /// node.clear();
    /// let stats = node.engine_stats();
    /// assert_eq!((stats.executions, stats.bytes_in_flight), (0, 0));
    /// # }
    /// ```
    pub fn clear(&mut self) {
        let mut running: Vec<_> =
            self.engine.executions.iter().map(|(index, held)| (held.id, index)).collect();
        running.sort_unstable();
        let reason: Arc<str> = "the node was cleared".into();
        self.engine.bootstraps.queue.clear();
        self.engine.bootstraps.parked.clear();
        for (_, index) in running {
            self.engine.end_execution(index, Outcome::Cancelled(Arc::clone(&reason)));
        }
        for input in self.ingress.take_all() {
            let peer = match input {
                Input::Envelope { source, .. } => Some(source),
                Input::Event { .. } => None,
                Input::SendResult { .. } => continue,
            };
            self.engine.steps.push(EngineStep::IngressFailed { peer, error: DeliveryError::Cleared });
        }
        for _ in 0..std::mem::take(&mut self.lines).len() {
            self.engine.steps.push(EngineStep::IngressFailed { peer: None, error: DeliveryError::Cleared });
        }
        self.ingress.clear_completions();
        self.ingress.clear_counters();
        let engine = &mut self.engine;
        engine.frontier.clear();
        engine.frames = crate::engine::frame::Frames::default();
        engine.wire.clear();
        engine.permits = Permits::default();
        engine.holds = Holds::default();
        engine.records = Records::new(engine.limits.records);
        engine.bus.events.clear();
        engine.bus.dropped = 0;
        engine.phases.restore(Default::default());
        engine.timers.due.clear();
        engine.timers.skipped = 0;
        engine.timers.is_started = false;
        engine.counters = Counters::default();
        engine.timers.due.forget_counters();
        engine.waits.forget_counters();
        engine.peers.heard.clear();
        engine.peers.forget_counters();
        self.tap.panics = 0;
        engine.budget.forget();
    }

    /// Puts everything in its place; nothing here can fail.
    fn swap(&mut self, restored: Restored) {
        let engine = &mut self.engine;
        engine.incarnation = restored.incarnation;
        // The clock of `poll` goes on from the time of the snapshot.
        let behind = restored.now.since(self.clock.now());
        self.clock_offset = self.clock_offset.max(behind);
        engine.now = restored.now;
        engine.counters = restored.counters;
        engine.rng = restored.rng;
        engine.peers = restored.peers;
        engine.executions = restored.executions;
        engine.frames = restored.frames;
        engine.frontier = restored.frontier;
        engine.waits = restored.waits;
        engine.leases = restored.leases;
        engine.permits = restored.permits;
        engine.bootstraps.done = restored.bootstraps.done;
        engine.bootstraps.queue = restored.bootstraps.queue.into();
        engine.bootstraps.running = restored.bootstraps.running;
        engine.bootstraps.parked = restored.parked;
        engine.block();
        engine.timers.is_started = restored.is_started;
        engine.timers.due = restored.timers;
        engine.timers.skipped = restored.sources_skipped;
        engine.bus.events = restored.events;
        engine.bus.dropped = restored.bus_dropped;
        engine.phases.restore(restored.phases);
        engine.holds = restored.holds;
        engine.records = restored.records;
        engine.steps = restored.steps;
        engine.wire.requests = restored.requests;
        engine.wire.seen = restored.seen;
        engine.wire.outbound = restored.outbound;
        engine.wire.sent = restored.sent;
        engine.wire.received = restored.received;
        engine.wire.duplicates = restored.duplicates;
        (engine.wire.notices_received, engine.wire.notices_sent) = restored.notices;
        engine.wire.addresses = engine.peers.book.local_addresses().cloned().collect();
        engine.budget.set_refused(restored.budget_refused);
        // Whatever the components before still owe is nobody's now.
        let before = std::mem::replace(&mut self.epoch, Arc::clone(&restored.epoch));
        before.end();
        engine.components = restored.components;
        engine.sink = restored.epoch;
        self.lines = restored.lines;
        self.ingress.set_turned_away(restored.turned_away);
        self.ingress.restore(restored.inputs, restored.completions, restored.door);
        self.epoch.open();
    }

    fn check_quiet(&self) -> Result<(), SnapshotError> {
        let inputs = self.ingress.look_at_inputs(|inputs| inputs.count());
        let completions = self.ingress.look_at_completions(|completions| completions.len());
        let queues = [
            ("ingress queue", inputs),
            ("completion queue", completions),
            ("frontier", self.engine.frontier.len()),
            ("line of events", self.lines.len()),
            ("bus", self.engine.bus.events.len() + self.ingress.untold_count()),
            ("queue of phases", self.engine.phases.waiting().count()),
            ("queue of steps", self.engine.steps.len() + self.ended.len()),
            ("queue of bootstraps", self.engine.bootstraps.queue.len()),
            ("line of ops behind bootstraps", self.engine.bootstraps.parked.len()),
            ("outbound queue", self.engine.wire.outbound.len()),
        ];
        match queues.into_iter().find(|(_, queued)| *queued > 0) {
            None => Ok(()),
            Some((queue, queued)) => {
                let dropped = match queue {
                    "bus" => self.engine.bus.dropped,
                    "ingress queue" => self.ingress.door().refused,
                    "outbound queue" => self.engine.wire.outbound.dropped().count,
                    _ => 0,
                };
                Err(SnapshotError::BusNotDrained { queue, queued, dropped })
            }
        }
    }
}

/// The execution that a step speaks of.
fn execution_of(step: &EngineStep) -> Option<ExecId> {
    match step {
        EngineStep::AsyncSuspended { exec_id, .. }
        | EngineStep::ExecutionFinished { exec_id, .. }
        | EngineStep::OpCompleted { exec_id, .. }
        | EngineStep::OpFailed { exec_id, .. } => Some(*exec_id),
        _ => None,
    }
}

impl Lines {
    /// The values that wait, by target and input, oldest first.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = ((u32, u32), impl Iterator<Item = &crate::engine::frame::Held>)> {
        self.lines.iter().map(|(key, line)| (*key, line.iter()))
    }
}
