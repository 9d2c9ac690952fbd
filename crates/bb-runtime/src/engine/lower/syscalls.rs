//! Which of the engine's own ops a node is, and what starts a source region.

use std::time::Duration;

use bb_ir::program::Node;

use super::super::frame::EagerOp;
use super::super::syscall::{Source, Syscall};
use super::Attributes;
use super::dispatch::arity;
use crate::Name;

/// What starts the region of this node.
pub(super) fn source(node: &Node) -> Result<Source, String> {
    let attributes = Attributes(node);
    Ok(match node.op.name() {
        "EventSource" => Source::Event { topic: name(&attributes)? },
        "Interval" => {
            let period = nanos(&attributes, "period_ns")?;
            if period.is_zero() {
                return Err("attribute `period_ns` must be at least 1".to_owned());
            }
            Source::Interval { period }
        }
        "LifecyclePhase" => Source::Phase { name: name(&attributes)? },
        "OnTrigger" => Source::Trigger { topic: name(&attributes)? },
        "Pulse" => Source::Pulse { delay: nanos(&attributes, "delay_ns")? },
        _ => return Err("no such source".to_owned()),
    })
}

/// The op; if it takes each input as it comes, it is added to `eager`.
pub(super) fn syscall(node: &Node, op: u32, eager: &mut Vec<EagerOp>) -> Result<Syscall, String> {
    let attributes = Attributes(node);
    let (inputs, outputs) = (node.inputs.len(), node.outputs.len());
    let (found, (takes, gives)) = match node.op.name() {
        "AddressBook.Insert" => (Syscall::BookInsert, (2, 1)),
        "AddressBook.InsertMany" => (Syscall::BookInsertMany, (1, 1)),
        "AddressBook.Lookup" => (Syscall::BookLookup, (1, 1)),
        "After" => (Syscall::After { delay: nanos(&attributes, "delay_ns")? }, (1, 1)),
        "Any" => {
            eager.push(EagerOp { op, needed: Some(1), after: 0 });
            (Syscall::Any, (inputs.max(1), 1))
        }
        "AppNotify" => (Syscall::Notify { topic: name(&attributes)? }, (1, 0)),
        "Barrier" => {
            eager.push(EagerOp { op, needed: None, after: 0 });
            (Syscall::Barrier, (inputs, inputs))
        }
        "Clock" => (Syscall::Clock, (0, 1)),
        "CorrelateTag" => (Syscall::CorrelateTag, (inputs, 1)),
        "DeadlineCheck" => (Syscall::DeadlineCheck { within: within(&attributes, "within_ns")? }, (1, 1)),
        "DeadlineMatch" => (Syscall::DeadlineMatch { within: within(&attributes, "within_ns")? }, (1, 2)),
        "Gate" => (Syscall::Gate, (2, 1)),
        "Hold.Flush" => (Syscall::HoldFlush { name: name(&attributes)? }, (1, 1)),
        "Hold.Stash" => (Syscall::HoldStash { name: name(&attributes)? }, (2, 1)),
        "IncrMetric" => (Syscall::IncrMetric { name: name(&attributes)? }, (1, 0)),
        "Limit.Acquire" => {
            let permits = attributes.count("permits")?;
            (Syscall::LimitAcquire { name: name(&attributes)?, permits }, (1, 1))
        }
        "Limit.Release" => (Syscall::LimitRelease { name: name(&attributes)? }, (1, 1)),
        "Quorum" => {
            let count = attributes.count("count")?;
            if count as usize > inputs {
                return Err(format!("attribute `count` is {count}, but there are {inputs} inputs"));
            }
            eager.push(EagerOp { op, needed: Some(count), after: 0 });
            let deadline = within(&attributes, "deadline_ns")?;
            (Syscall::Quorum { count, deadline }, (inputs, count as usize))
        }
        "Record" => (Syscall::Record { name: name(&attributes)? }, (1, 0)),
        "RngU64" => (Syscall::RngU64, (0, 1)),
        "Serialize.Dequeue" => (Syscall::SerializeDequeue { name: name(&attributes)? }, (1, 1)),
        "Serialize.Enqueue" => (Syscall::SerializeEnqueue { name: name(&attributes)? }, (1, 1)),
        "Sleep" => (Syscall::Sleep, (1, 1)),
        "Tee" => (Syscall::Tee, (1, outputs)),
        _ => return Err("no such op".to_owned()),
    };
    arity(node, takes, gives)?;
    Ok(found)
}

fn name(attributes: &Attributes<'_>) -> Result<Name, String> {
    match attributes.text_or("name", "")? {
        "" => Err("attribute `name` is missing; it must be text that is not empty".to_owned()),
        name => Ok(Name::from(name)),
    }
}

fn nanos(attributes: &Attributes<'_>, name: &str) -> Result<Duration, String> {
    let number = attributes.int_or(name, 0)?;
    let nanos = u64::try_from(number).map_err(|_| format!("attribute `{name}` must not be negative"))?;
    Ok(Duration::from_nanos(nanos))
}

/// A time; none if it is zero.
fn within(attributes: &Attributes<'_>, name: &str) -> Result<Option<Duration>, String> {
    let time = nanos(attributes, name)?;
    Ok((!time.is_zero()).then_some(time))
}
