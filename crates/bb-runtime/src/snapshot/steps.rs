//! Section 18: what the next step will say before anything else. Errors are kept as their texts.

use std::sync::Arc;
use std::time::Duration;

use bb_framework::{DenyReason, Remaining};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::{put_bytes, unzigzag, zigzag};

use super::codec::{
    Bad, Read, fields, index32, list, message, push, put_number, put_peer, put_value, set, unknown,
};
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::dense::Target;
use crate::error::{OpError, ReceiveError};
use crate::{DeliveryError, EngineStep, ExecId, Name, OpRef, Outcome, PeerId, Time, Value};

/// The fields of a step, whatever its kind.
#[derive(Debug, Default)]
struct Saved {
    kind: u64,
    execution: Option<ExecId>,
    target: u32,
    region: u32,
    op: u32,
    text: String,
    value: Option<Value>,
    peer: Option<PeerId>,
    first: u64,
    second: u64,
}

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    for step in &cx.engine.steps {
        let saved = describe(step, &cx.engine.targets, cx.now)?;
        message(out, 1, |out| {
            put_number(out, 1, saved.kind);
            if let Some(id) = saved.execution {
                put_number(out, 2, id.incarnation);
                put_number(out, 3, id.counter);
            }
            put_number(out, 4, u64::from(saved.target));
            put_number(out, 5, u64::from(saved.region));
            put_number(out, 6, u64::from(saved.op));
            if !saved.text.is_empty() {
                put_bytes(out, 7, saved.text.as_bytes());
            }
            if let Some(value) = &saved.value {
                put_value(out, 8, value);
            }
            if let Some(peer) = saved.peer {
                put_peer(out, 9, peer);
            }
            put_number(out, 10, saved.first);
            put_number(out, 11, saved.second);
        });
    }
    Ok(())
}

const APP_EVENT: u64 = 1;
const FINISHED: u64 = 2;
const OP_FAILED: u64 = 3;
const WIRE_RECEIVE_FAILED: u64 = 4;
const WIRE_TIMEOUT: u64 = 5;
const PEER_DOWN: u64 = 6;
const PEER_UP: u64 = 7;
const OUTBOUND_DROPPED: u64 = 8;
const INGRESS_FAILED: u64 = 9;
const SUSPENDED: u64 = 10;
const OP_COMPLETED: u64 = 11;
const APP_NOTIFIED: u64 = 12;
const LIFECYCLE_FIRED: u64 = 13;
const TELEMETRY: u64 = 14;
const PEER_BLOCKED: u64 = 15;
const PEER_RESOLVE_FAILED: u64 = 16;
const BOOTSTRAP_COMPLETE: u64 = 17;
const WAITING_ON_BOOTSTRAP: u64 = 18;

const COMPLETED: u64 = 1;
const FAILED: u64 = 2;
const CANCELLED: u64 = 3;

fn describe(step: &EngineStep, targets: &[Arc<Target>], now: Time) -> Result<Saved, SnapshotError> {
    let target_of = |name: &Name| {
        let found = targets.iter().position(|target| target.name == *name);
        found.map_or(0, |index| index as u32)
    };
    let of_op = |kind: u64, op: &OpRef, id: ExecId| Saved {
        kind,
        execution: Some(id),
        target: target_of(&op.module),
        region: op.region,
        op: op.index,
        ..Saved::default()
    };
    Ok(match step {
        EngineStep::AppEvent { module, exec_id, output, value } => Saved {
            kind: APP_EVENT,
            execution: Some(*exec_id),
            target: target_of(module),
            text: output.as_str().to_owned(),
            value: Some(value.clone()),
            ..Saved::default()
        },
        EngineStep::AppNotified { module, exec_id, topic, value } => Saved {
            kind: APP_NOTIFIED,
            execution: Some(*exec_id),
            target: target_of(module),
            text: topic.as_str().to_owned(),
            value: Some(value.clone()),
            ..Saved::default()
        },
        EngineStep::BootstrapComplete { target } => {
            Saved { kind: BOOTSTRAP_COMPLETE, text: target.as_str().to_owned(), ..Saved::default() }
        }
        EngineStep::WaitingOnBootstrap { target } => {
            Saved { kind: WAITING_ON_BOOTSTRAP, text: target.as_str().to_owned(), ..Saved::default() }
        }
        EngineStep::LifecycleFired { phase } => {
            Saved { kind: LIFECYCLE_FIRED, text: phase.as_str().to_owned(), ..Saved::default() }
        }
        EngineStep::Telemetry { name, value } => Saved {
            kind: TELEMETRY,
            text: name.as_str().to_owned(),
            value: Some(value.clone()),
            ..Saved::default()
        },
        EngineStep::ExecutionFinished { exec_id, outcome } => {
            let (first, text) = match outcome {
                Outcome::Completed => (COMPLETED, String::new()),
                Outcome::Failed(error) => (FAILED, error.to_string()),
                Outcome::Cancelled(reason) => (CANCELLED, reason.to_string()),
            };
            Saved { kind: FINISHED, execution: Some(*exec_id), text, first, ..Saved::default() }
        }
        EngineStep::OpFailed { op, exec_id, error } => {
            Saved { text: error.to_string(), ..of_op(OP_FAILED, op, *exec_id) }
        }
        EngineStep::OpCompleted { op, exec_id } => of_op(OP_COMPLETED, op, *exec_id),
        EngineStep::AsyncSuspended { op, exec_id, deadline } => {
            let first = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
            Saved { first, ..of_op(SUSPENDED, op, *exec_id) }
        }
        EngineStep::WireReceiveFailed { peer, fill, error } => Saved {
            kind: WIRE_RECEIVE_FAILED,
            peer: Some(*peer),
            first: *fill as u64,
            text: error.to_string(),
            ..Saved::default()
        },
        EngineStep::WireTimeout { peer, exec_id } => {
            Saved { kind: WIRE_TIMEOUT, peer: Some(*peer), execution: Some(*exec_id), ..Saved::default() }
        }
        EngineStep::PeerBlocked { peer, reason } => {
            let (first, at) = match reason {
                DenyReason::Blocklisted => (1, now),
                DenyReason::Cooldown { retry_at } => (2, *retry_at),
                DenyReason::Down => (3, now),
                DenyReason::NotAllowlisted => (4, now),
                DenyReason::Muted { until } => (5, *until),
                other => return Err(SnapshotError::Unsaveable { what: format!("the reason {other:?}") }),
            };
            let second = zigzag(Remaining::of(at, now).0);
            Saved { kind: PEER_BLOCKED, peer: Some(*peer), first, second, ..Saved::default() }
        }
        EngineStep::PeerResolveFailed { peer } => {
            Saved { kind: PEER_RESOLVE_FAILED, peer: Some(*peer), ..Saved::default() }
        }
        EngineStep::PeerDown { peer } => Saved { kind: PEER_DOWN, peer: Some(*peer), ..Saved::default() },
        EngineStep::PeerUp { peer } => Saved { kind: PEER_UP, peer: Some(*peer), ..Saved::default() },
        EngineStep::OutboundDropped { count, bytes } => {
            Saved { kind: OUTBOUND_DROPPED, first: *count, second: *bytes, ..Saved::default() }
        }
        EngineStep::IngressFailed { peer, error } => {
            Saved { kind: INGRESS_FAILED, peer: *peer, text: error.to_string(), ..Saved::default() }
        }
        other => return Err(SnapshotError::Unsaveable { what: format!("the step {other:?}") }),
    })
}

pub(super) fn load(section: &[u8], targets: &[Arc<Target>], now: Time) -> Result<Vec<EngineStep>, Bad> {
    let mut steps = Vec::new();
    list(Cursor::new(section), "steps", |entry| {
        push(&mut steps, step(read(entry)?, targets, now)?)?;
        Ok(())
    })?;
    Ok(steps)
}

fn read(entry: Cursor<'_>) -> Result<Saved, Bad> {
    let mut numbers = [None; 11];
    let (mut text, mut value, mut peer) = (None, None, None);
    fields(entry, |field| match field.number {
        number @ (1..=6 | 10 | 11) => set(&mut numbers[number as usize - 1], &field, field.varint()?),
        7 => set(&mut text, &field, field.string()?),
        8 => set(&mut value, &field, field.value()?),
        9 => set(&mut peer, &field, field.peer()?),
        _ => Err(unknown(&field)),
    })?;
    let number = |field: usize| numbers[field - 1].unwrap_or(0);
    Ok(Saved {
        kind: number(1),
        execution: Some(ExecId { incarnation: number(2), counter: number(3) }),
        target: index32(number(4))?,
        region: index32(number(5))?,
        op: index32(number(6))?,
        text: text.unwrap_or_default(),
        value,
        peer,
        first: number(10),
        second: number(11),
    })
}

fn step(saved: Saved, targets: &[Arc<Target>], now: Time) -> Result<EngineStep, Bad> {
    let Saved { kind, text, first, second, .. } = saved;
    let exec_id = saved.execution.ok_or_else(|| Bad::missing("execution"))?;
    let peer = || saved.peer.ok_or_else(|| Bad::missing("peer"));
    let target = || {
        let target = targets.get(saved.target as usize);
        target.ok_or_else(|| Bad::inconsistent("no such target is installed").named("target"))
    };
    let op = || {
        let region = target()?.regions.get(saved.region as usize);
        let region = region.filter(|region| (saved.op as usize) < region.ops.len());
        Ok::<_, Bad>(region.ok_or_else(|| Bad::inconsistent("no such op").named("op"))?.op_ref(saved.op))
    };
    let failed = |message| Arc::new(OpError::Restored { message });
    Ok(match kind {
        APP_EVENT => EngineStep::AppEvent {
            module: target()?.name.clone(),
            exec_id,
            output: Name::from(text.as_str()),
            value: saved.value.ok_or_else(|| Bad::missing("value"))?,
        },
        APP_NOTIFIED => EngineStep::AppNotified {
            module: target()?.name.clone(),
            exec_id,
            topic: Name::from(text.as_str()),
            value: saved.value.ok_or_else(|| Bad::missing("value"))?,
        },
        BOOTSTRAP_COMPLETE => EngineStep::BootstrapComplete { target: Name::from(text.as_str()) },
        WAITING_ON_BOOTSTRAP => EngineStep::WaitingOnBootstrap { target: Name::from(text.as_str()) },
        LIFECYCLE_FIRED => EngineStep::LifecycleFired { phase: Name::from(text.as_str()) },
        TELEMETRY => EngineStep::Telemetry {
            name: Name::from(text.as_str()),
            value: saved.value.ok_or_else(|| Bad::missing("value"))?,
        },
        FINISHED => {
            let outcome = match first {
                COMPLETED => Outcome::Completed,
                FAILED => Outcome::Failed(failed(text)),
                CANCELLED => Outcome::Cancelled(text.into()),
                number => return Err(Bad::new(Fault::Unknown { number }).named("first")),
            };
            EngineStep::ExecutionFinished { exec_id, outcome }
        }
        OP_FAILED => EngineStep::OpFailed { op: op()?, exec_id, error: failed(text) },
        OP_COMPLETED => EngineStep::OpCompleted { op: op()?, exec_id },
        SUSPENDED => EngineStep::AsyncSuspended { op: op()?, exec_id, deadline: Duration::from_nanos(first) },
        WIRE_RECEIVE_FAILED => {
            let fill = usize::try_from(first).map_err(|_| Bad::inconsistent("there is no such fill"))?;
            EngineStep::WireReceiveFailed {
                peer: peer()?,
                fill,
                error: ReceiveError::Restored { message: text },
            }
        }
        WIRE_TIMEOUT => EngineStep::WireTimeout { peer: peer()?, exec_id },
        PEER_BLOCKED => {
            let at = Remaining(unzigzag(second)).at(now);
            let reason = match first {
                1 => DenyReason::Blocklisted,
                2 => DenyReason::Cooldown { retry_at: at },
                3 => DenyReason::Down,
                4 => DenyReason::NotAllowlisted,
                5 => DenyReason::Muted { until: at },
                number => return Err(Bad::new(Fault::Unknown { number }).named("first")),
            };
            EngineStep::PeerBlocked { peer: peer()?, reason }
        }
        PEER_RESOLVE_FAILED => EngineStep::PeerResolveFailed { peer: peer()? },
        PEER_DOWN => EngineStep::PeerDown { peer: peer()? },
        PEER_UP => EngineStep::PeerUp { peer: peer()? },
        OUTBOUND_DROPPED => EngineStep::OutboundDropped { count: first, bytes: second },
        INGRESS_FAILED => {
            EngineStep::IngressFailed { peer: saved.peer, error: DeliveryError::Restored { message: text } }
        }
        number => return Err(Bad::new(Fault::Unknown { number }).named("kind")),
    })
}
