//! What a run did, and what it showed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesandbrains::ir::Digest;

use super::{Fault, Plan, Violation};

/// What happened in a run, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs in which all healed, and everything accepted ended in time.
    pub healed: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// Actions that were played, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Messages that were lost, repeated, or sent by a stranger.
    pub messages_lost: u64,
    /// Messages that came twice.
    pub messages_repeated: u64,
    /// Messages of somebody who knows every id.
    pub messages_of_strangers: u64,
    /// Messages that nodes took.
    pub messages_accepted: u64,
    /// Messages that nodes refused, each with an error.
    pub messages_refused: u64,
    /// Invocations that nodes accepted.
    pub invocations: u64,
    /// Executions that ended well.
    pub completed: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Invocations that a crash undid, because they came after the last snapshot.
    pub undone: u64,
    /// Snapshots that were taken and restored into a second node, which had the same digest.
    pub snapshots: u64,
    /// Nodes that went on from a snapshot.
    pub restores: u64,
    /// Ops that were seen to fire, none of them twice.
    pub ops_traced: u64,
    /// Steps of nodes made from snapshots, each equal to that of the node that was saved.
    pub steps_of_twins: u64,
    /// Steps of nodes, after each of which the invariants were checked.
    pub steps: u64,
}

/// What a run did, and what it showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What happened.
    pub counts: Counts,
    /// Over everything that the nodes said, in order.
    pub digest: Digest,
    /// What did not hold, if something did not.
    pub failure: Option<Failure>,
}

/// Something that did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What.
    pub violation: Violation,
    /// The plan that shows it, as short as it could be made.
    pub plan: Plan,
}

impl Failure {
    pub(super) fn new(violation: Violation, plan: Plan) -> Self {
        Self { violation, plan }
    }
}

impl Report {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { counts: Counts::default(), digest: Digest::default(), failure: Some(failure) }
    }
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.healed += other.healed;
        self.simulated += other.simulated;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.messages_lost += other.messages_lost;
        self.messages_repeated += other.messages_repeated;
        self.messages_of_strangers += other.messages_of_strangers;
        self.messages_accepted += other.messages_accepted;
        self.messages_refused += other.messages_refused;
        self.invocations += other.invocations;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.undone += other.undone;
        self.snapshots += other.snapshots;
        self.restores += other.restores;
        self.ops_traced += other.ops_traced;
        self.steps_of_twins += other.steps_of_twins;
        self.steps += other.steps;
    }
}
