//! What a step of a node tells its host.

use std::sync::Arc;
use std::time::Duration;

use bb_framework::DenyReason;
use bytes::Bytes;

use crate::error::{DeliveryError, OpError, ReceiveError};
use crate::{Address, ExecId, Name, OpRef, PeerId, Value};

/// One thing that happened, or that the host is asked to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EngineStep {
    /// A program handed out a value.
    AppEvent {
        /// The target, as it was installed.
        module: Name,
        /// The execution.
        exec_id: ExecId,
        /// The output's name.
        output: Name,
        /// The value.
        value: Value,
    },
    /// A program said something on a topic of the node's bus; it is no output of the execution.
    AppNotified {
        /// The target, as it was installed.
        module: Name,
        /// The execution.
        exec_id: ExecId,
        /// The topic.
        topic: Name,
        /// What it carries.
        value: Value,
    },
    /// An op waits: for a component's answer, an aggregator, a limit, a queue, peers, or time.
    AsyncSuspended {
        /// The op.
        op: OpRef,
        /// The execution.
        exec_id: ExecId,
        /// How long it waits at most.
        deadline: Duration,
    },
    /// A bootstrap is done.
    BootstrapComplete {
        /// The target, or the slot of a component.
        target: Name,
    },
    /// The step ran as many ops as it may, and ops are left; step again.
    CycleBudgetExceeded {
        /// How many ran.
        ops_invoked: usize,
    },
    /// An execution is over; each ends in exactly one of these.
    ExecutionFinished {
        /// The execution.
        exec_id: ExecId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something that another thread handed in was accepted but could not be delivered.
    IngressFailed {
        /// Who sent it, if it is an envelope.
        peer: Option<PeerId>,
        /// Why.
        error: DeliveryError,
    },
    /// The node entered a phase of its life, and the regions that listen to it start.
    LifecycleFired {
        /// The phase.
        phase: Name,
    },
    /// An op ran (only with [`NodeConfig::trace_ops`](crate::NodeConfig::trace_ops)).
    OpCompleted {
        /// The op.
        op: OpRef,
        /// The execution.
        exec_id: ExecId,
        /// Who sent the message or the answer that the op's region works on; of one answer an op runs once at most.
        source: Option<PeerId>,
    },
    /// An op failed. Its execution ends too, unless the op worked on one answer of several.
    OpFailed {
        /// The op.
        op: OpRef,
        /// The execution.
        exec_id: ExecId,
        /// Why.
        error: Arc<OpError>,
    },
    /// Envelopes did not fit the outbound queue.
    OutboundDropped {
        /// How many.
        count: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Nothing is sent to a peer, or taken from it, where it would have been: policy, its health or its behaviour speak
    /// against it. One for each message that was not sent, and one each time that a peer is muted.
    PeerBlocked {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DenyReason,
    },
    /// A peer failed too often in a row; nothing is sent to it until it is tried again.
    PeerDown {
        /// The peer.
        peer: PeerId,
    },
    /// No address of a peer can be given with the envelopes to it that this step has: none is known, or none has proved
    /// itself so far that so much may be sent there. They go out all the same, for the host may be connected to it.
    PeerResolveFailed {
        /// The peer.
        peer: PeerId,
    },
    /// A peer that was down answered.
    PeerUp {
        /// The peer.
        peer: PeerId,
    },
    /// Ship these bytes to a peer.
    SendEnvelope {
        /// To whom.
        peer: PeerId,
        /// Where the peer was last known, best first; empty when the node knows no address.
        addresses: Arc<[Address]>,
        /// The envelope.
        bytes: Bytes,
        /// Whether it was queued before a restore, so that the peer may have it already; it knows it again by its id.
        redelivered: bool,
    },
    /// What a program recorded or counted changed in this step; once a name.
    Telemetry {
        /// The record or counter.
        name: Name,
        /// The last value, or the count so far (`u64`).
        value: Value,
    },
    /// A bootstrap waits: for a component's answer, for peers, or for time; once a wait.
    WaitingOnBootstrap {
        /// The target, or the slot of a component.
        target: Name,
    },
    /// A fill of an envelope could not be taken; its siblings were.
    WireReceiveFailed {
        /// Who sent it.
        peer: PeerId,
        /// Which fill of its envelope, from 0.
        fill: usize,
        /// Why.
        error: ReceiveError,
    },
    /// A peer's answer did not come in time.
    WireTimeout {
        /// The peer.
        peer: PeerId,
        /// The execution that asked.
        exec_id: ExecId,
    },
}

/// How an execution ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The host or the node stopped it; the text says why.
    Cancelled(Arc<str>),
    /// Every op ran or had nothing to run on.
    Completed,
    /// An op failed.
    Failed(Arc<OpError>),
}

impl Outcome {
    /// Whether every op ran or had nothing to run on.
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed)
    }
}
