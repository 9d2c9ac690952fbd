//! What the framework's own ops take and give.

use bb_ir::ValueType as T;
use bb_ir::program::{Node, domains};

use super::{Signature, merge};

/// The signature of a framework op whose inputs have these types; `None` for what is not one.
pub(in super::super) fn syscall(node: &Node, inputs: &[T]) -> Option<Signature> {
    if node.op.domain().as_str() != domains::SYSCALL {
        return None;
    }
    let first = inputs.first().cloned().unwrap_or_default();
    let any = vec![T::Any];
    let all = || inputs.iter().map(|_| vec![T::Any]).collect::<Vec<_>>();
    let merged =
        || inputs.iter().skip(1).try_fold(first.clone(), |held, ty| merge(&held, ty)).unwrap_or_default();
    let (inputs, outputs) = match node.op.name() {
        "After" | "DeadlineCheck" | "Limit.Acquire" | "Limit.Release" | "PassThrough"
        | "Serialize.Dequeue" | "Serialize.Enqueue" => (vec![any], vec![first]),
        "AddressBook.Insert" => (vec![vec![T::Peer], vec![T::Addresses]], vec![T::Bool]),
        "AddressBook.InsertMany" => (vec![vec![T::Any]], vec![T::I64]),
        "AddressBook.Lookup" => (vec![vec![T::Peer]], vec![T::Addresses]),
        "Any" => (all(), vec![merged()]),
        "AppEmit" | "AppNotify" | "Record" => (vec![any], vec![]),
        "Barrier" => (all(), inputs.to_vec()),
        "Bundle" => (all(), vec![T::Tuple(inputs.to_vec())]),
        "Clock" | "RngU64" => (vec![], vec![T::U64]),
        "CorrelateTag" => (all(), vec![T::Bytes]),
        "DeadlineMatch" => (vec![any], vec![first.clone(), first]),
        "EventSource" => (vec![], vec![T::Any]),
        "Gate" => (vec![any, vec![T::Bool]], vec![first]),
        "Hold.Flush" => (vec![any], vec![T::Any]),
        "Hold.Stash" => (vec![any.clone(), any], vec![T::I64]),
        "IncrMetric" => (vec![vec![T::I64, T::U64]], vec![]),
        "Interval" | "LifecyclePhase" | "OnTrigger" | "Pulse" => (vec![], vec![T::Trigger]),
        "Quorum" => (all(), node.outputs.iter().map(|_| merged()).collect()),
        "Sleep" => (vec![vec![T::I64, T::U64]], vec![T::Trigger]),
        "Tee" => (vec![any], node.outputs.iter().map(|_| first.clone()).collect()),
        _ => return None,
    };
    Some(Signature { inputs, outputs })
}
