//! Section 18: what the next step will say before anything else. Errors are kept as their texts.
//!
//! A step of the node hands out all it has to say, so that here is only what comes about between two steps: when an
//! execution begins (a quorum in it may wait at once), when a message is taken in, when the host cancels or clears.
//! What is said only in a step has no form here: values and topics of programs, timeouts, news of peers, what the node
//! sends or could not send, phases, telemetry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bb_framework::DenyReason;
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::put_bytes;

use super::codec::{Bad, Read, fields, index32, list, message, push, put_number, put_peer, set, unknown};
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::dense::Target;
use crate::engine::execution::Ended;
use crate::error::{OpError, ReceiveError};
use crate::{DeliveryError, EngineStep, ExecId, Name, OpRef, Outcome, PeerId};

/// The fields of a step, whatever its kind.
#[derive(Debug)]
struct Saved {
    kind: u64,
    execution: ExecId,
    target: u32,
    region: u32,
    op: u32,
    text: String,
    peer: Option<PeerId>,
    first: u64,
    ops_fired: u64,
    outputs_written: u64,
}

impl Saved {
    /// A step of this kind, of no execution and no peer.
    fn of(kind: u64) -> Self {
        let execution = ExecId { incarnation: 0, counter: 0 };
        let text = String::new();
        let (ops_fired, outputs_written) = (0, 0);
        Self {
            kind,
            execution,
            target: 0,
            region: 0,
            op: 0,
            text,
            peer: None,
            first: 0,
            ops_fired,
            outputs_written,
        }
    }
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let ended = &cx.engine.executions.ended;
    let ended: BTreeMap<ExecId, &Ended> = ended.iter().map(|ended| (ended.id, ended)).collect();
    for step in &cx.engine.steps {
        let mut saved = describe(step, &cx.engine.targets)?;
        if let (FINISHED, Some(ended)) = (saved.kind, ended.get(&saved.execution)) {
            let Ended { target, ops_fired, outputs_written, .. } = **ended;
            saved = Saved { target, ops_fired, outputs_written, ..saved };
        }
        message(out, 1, |out| {
            put_number(out, 1, saved.kind);
            put_number(out, 2, saved.execution.incarnation);
            put_number(out, 3, saved.execution.counter);
            put_number(out, 4, u64::from(saved.target));
            put_number(out, 5, u64::from(saved.region));
            put_number(out, 6, u64::from(saved.op));
            if !saved.text.is_empty() {
                put_bytes(out, 7, saved.text.as_bytes());
            }
            if let Some(peer) = saved.peer {
                put_peer(out, 9, peer);
            }
            put_number(out, 10, saved.first);
            put_number(out, 11, saved.ops_fired);
            put_number(out, 12, saved.outputs_written);
        });
    }
    Ok(())
}

// 1, 5 to 8, 12 to 14, 16 and 18 were kinds that no node had to save; they stay unused.
const FINISHED: u64 = 2;
const OP_FAILED: u64 = 3;
const WIRE_RECEIVE_FAILED: u64 = 4;
const INGRESS_FAILED: u64 = 9;
const SUSPENDED: u64 = 10;
const OP_COMPLETED: u64 = 11;
const PEER_BLOCKED: u64 = 15;
const BOOTSTRAP_COMPLETE: u64 = 17;

const COMPLETED: u64 = 1;
const FAILED: u64 = 2;
const CANCELLED: u64 = 3;

const BLOCKLISTED: u64 = 1;
const NOT_ALLOWLISTED: u64 = 4;

fn describe(step: &EngineStep, targets: &[Arc<Target>]) -> Result<Saved, SnapshotError> {
    let of_op = |kind: u64, op: &OpRef, execution: ExecId| {
        let target = targets.iter().position(|target| target.name == op.module).unwrap_or(0) as u32;
        Saved { execution, target, region: op.region, op: op.index, ..Saved::of(kind) }
    };
    Ok(match step {
        EngineStep::BootstrapComplete { target } => {
            Saved { text: target.as_str().to_owned(), ..Saved::of(BOOTSTRAP_COMPLETE) }
        }
        EngineStep::ExecutionFinished { exec_id, outcome } => {
            let (first, text) = match outcome {
                Outcome::Completed => (COMPLETED, String::new()),
                Outcome::Failed(error) => (FAILED, error.to_string()),
                Outcome::Cancelled(reason) => (CANCELLED, reason.to_string()),
            };
            Saved { execution: *exec_id, text, first, ..Saved::of(FINISHED) }
        }
        EngineStep::OpFailed { op, exec_id, error } => {
            Saved { text: error.to_string(), ..of_op(OP_FAILED, op, *exec_id) }
        }
        EngineStep::OpCompleted { op, exec_id, source } => {
            Saved { peer: *source, ..of_op(OP_COMPLETED, op, *exec_id) }
        }
        EngineStep::AsyncSuspended { op, exec_id, deadline } => {
            let first = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
            Saved { first, ..of_op(SUSPENDED, op, *exec_id) }
        }
        EngineStep::WireReceiveFailed { peer, fill, error } => Saved {
            peer: Some(*peer),
            first: *fill as u64,
            text: error.to_string(),
            ..Saved::of(WIRE_RECEIVE_FAILED)
        },
        EngineStep::PeerBlocked { peer, reason: DenyReason::Blocklisted } => {
            Saved { peer: Some(*peer), first: BLOCKLISTED, ..Saved::of(PEER_BLOCKED) }
        }
        EngineStep::PeerBlocked { peer, reason: DenyReason::NotAllowlisted } => {
            Saved { peer: Some(*peer), first: NOT_ALLOWLISTED, ..Saved::of(PEER_BLOCKED) }
        }
        EngineStep::IngressFailed { peer, error } => {
            Saved { peer: *peer, text: error.to_string(), ..Saved::of(INGRESS_FAILED) }
        }
        other => return Err(SnapshotError::Unsaveable { what: format!("the step {other:?}") }),
    })
}

/// The steps, and the executions whose ends they report.
pub(super) fn load(section: &[u8], targets: &[Arc<Target>]) -> Result<(Vec<EngineStep>, Vec<Ended>), Bad> {
    let (mut steps, mut ended) = (Vec::new(), Vec::new());
    list(Cursor::new(section), "steps", |entry| {
        let saved = read(entry)?;
        if saved.kind == FINISHED {
            let Saved { execution: id, target, ops_fired, outputs_written, .. } = saved;
            if target as usize >= targets.len() {
                return Err(Bad::inconsistent("no such target").named("target"));
            }
            push(&mut ended, Ended { id, target, ops_fired, outputs_written })?;
        }
        push(&mut steps, step(saved, targets)?)
    })?;
    Ok((steps, ended))
}

fn read(entry: Cursor<'_>) -> Result<Saved, Bad> {
    let mut numbers = [None; 12];
    let (mut text, mut peer) = (None, None);
    fields(entry, |field| match field.number {
        number @ (1..=6 | 10..=12) => set(&mut numbers[number as usize - 1], &field, field.varint()?),
        7 => set(&mut text, &field, field.string()?),
        9 => set(&mut peer, &field, field.peer()?),
        _ => Err(unknown(&field)),
    })?;
    let number = |field: usize| numbers[field - 1].unwrap_or(0);
    Ok(Saved {
        kind: number(1),
        execution: ExecId { incarnation: number(2), counter: number(3) },
        target: index32(number(4))?,
        region: index32(number(5))?,
        op: index32(number(6))?,
        text: text.unwrap_or_default(),
        peer,
        first: number(10),
        ops_fired: number(11),
        outputs_written: number(12),
    })
}

fn step(saved: Saved, targets: &[Arc<Target>]) -> Result<EngineStep, Bad> {
    let Saved { kind, execution: exec_id, text, first, .. } = saved;
    let peer = || saved.peer.ok_or_else(|| Bad::missing("peer"));
    let op = || {
        let target = targets.get(saved.target as usize);
        let region = target.and_then(|target| target.regions.get(saved.region as usize));
        let region = region.filter(|region| (saved.op as usize) < region.ops.len());
        Ok::<_, Bad>(region.ok_or_else(|| Bad::inconsistent("no such op").named("op"))?.op_ref(saved.op))
    };
    let unknown = |name: &str, number| Err(Bad::new(Fault::Unknown { number }).named(name));
    let failed = |message| Arc::new(OpError::Restored { message });
    Ok(match kind {
        BOOTSTRAP_COMPLETE => EngineStep::BootstrapComplete { target: Name::from(text.as_str()) },
        FINISHED => {
            let outcome = match first {
                COMPLETED => Outcome::Completed,
                FAILED => Outcome::Failed(failed(text)),
                CANCELLED => Outcome::Cancelled(text.into()),
                number => return unknown("first", number),
            };
            EngineStep::ExecutionFinished { exec_id, outcome }
        }
        OP_FAILED => EngineStep::OpFailed { op: op()?, exec_id, error: failed(text) },
        OP_COMPLETED => EngineStep::OpCompleted { op: op()?, exec_id, source: saved.peer },
        SUSPENDED => EngineStep::AsyncSuspended { op: op()?, exec_id, deadline: Duration::from_nanos(first) },
        WIRE_RECEIVE_FAILED => {
            let fill = index32(first)? as usize;
            let error = ReceiveError::Restored { message: text };
            EngineStep::WireReceiveFailed { peer: peer()?, fill, error }
        }
        PEER_BLOCKED => {
            let reason = match first {
                BLOCKLISTED => DenyReason::Blocklisted,
                NOT_ALLOWLISTED => DenyReason::NotAllowlisted,
                number => return unknown("first", number),
            };
            EngineStep::PeerBlocked { peer: peer()?, reason }
        }
        INGRESS_FAILED => {
            EngineStep::IngressFailed { peer: saved.peer, error: DeliveryError::Restored { message: text } }
        }
        number => return unknown("kind", number),
    })
}
