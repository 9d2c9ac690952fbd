//! A second node made from a snapshot, which is given what the first is given and must say what it says.

use bytesandbrains::runtime::envelope::{EnvelopeLimits, scan};
use bytesandbrains::{DeliveryError, EngineStep, ExecId, Node, PeerId, SendResult, Time};

use super::{Counts, Violation};

/// Steps that a twin goes along.
const ALONG: u32 = 100;

/// A node that was made from a snapshot of another one, and goes along with it for a while.
///
/// They differ in their incarnations, and so in the ids that they give; and a node finds out anew who presses it, so a
/// twin is let go when the door of one lets in what that of the other does not.
pub(super) struct Twin {
    node: Node,
    left: u32,
}

impl Twin {
    pub(super) fn new(node: Node) -> Self {
        Self { node, left: ALONG }
    }
}

/// Gives the twin, if there is one, what the node was given, and compares what they answered.
pub(super) fn invoke(
    twin: &mut Option<Twin>,
    (target, inputs): (&str, &[(&str, &[u8])]),
    answered: &Result<ExecId, DeliveryError>,
    peer: PeerId,
) -> Result<(), Violation> {
    let Some(Twin { node, .. }) = twin else { return Ok(()) };
    let counter = |answer: &Result<ExecId, DeliveryError>| answer.as_ref().map(|id| id.counter).map_err(said);
    compare(peer, &counter(&node.invoke(target, inputs)), &counter(answered))
}

/// [`invoke`], for a message.
pub(super) fn deliver(
    twin: &mut Option<Twin>,
    (source, bytes): (PeerId, &[u8]),
    answered: &Result<(), DeliveryError>,
    peer: PeerId,
) -> Result<(), Violation> {
    let Some(Twin { node, .. }) = twin else { return Ok(()) };
    compare(peer, &node.deliver_inbound(source, bytes).map_err(|error| said(&error)), &told(answered))
}

/// A message through the queue; a twin whose door is another is let go.
pub(super) fn push(twin: &mut Option<Twin>, source: PeerId, bytes: &[u8], taken: bool) {
    let keeps = |held: &mut Twin| held.node.ingress_handle().deliver_inbound(source, bytes).is_ok() == taken;
    if !twin.as_mut().is_none_or(keeps) {
        *twin = None;
    }
}

/// What became of a send; a twin whose door is another is let go.
pub(super) fn send_result(twin: &mut Option<Twin>, peer: PeerId, result: SendResult, taken: bool) {
    let keeps = |held: &mut Twin| held.node.ingress_handle().send_result(peer, result).is_ok() == taken;
    if !twin.as_mut().is_none_or(keeps) {
        *twin = None;
    }
}

/// Lets the twin step, and compares what it says with what the node said.
pub(super) fn step(
    twin: &mut Option<Twin>,
    now: Time,
    steps: &[EngineStep],
    peer: PeerId,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let Some(Twin { node, left }) = twin else { return Ok(()) };
    let theirs = node.step(now);
    for place in 0..theirs.len().max(steps.len()) {
        compare(peer, &theirs.get(place).map(of_any_life), &steps.get(place).map(of_any_life))?;
    }
    counts.steps_of_twins += 1;
    *left -= 1;
    if *left == 0 {
        *twin = None;
    }
    Ok(())
}

fn compare<T: std::fmt::Debug + PartialEq>(peer: PeerId, got: &T, expected: &T) -> Result<(), Violation> {
    if got == expected {
        return Ok(());
    }
    Err(Violation::OtherTwin { peer, got: format!("{got:?}"), expected: format!("{expected:?}") })
}

fn told(answered: &Result<(), DeliveryError>) -> Result<(), String> {
    answered.as_ref().map(|_| ()).map_err(said)
}

fn said(error: &DeliveryError) -> String {
    error.to_string()
}

/// A step without what differs from life to life: the incarnation, and whether something may be there already.
fn of_any_life(step: &EngineStep) -> String {
    let text = match step {
        EngineStep::SendEnvelope { peer, addresses, bytes, .. } => {
            let read = scan(bytes, &EnvelopeLimits::default()).map_err(|error| error.to_string());
            let mut read = read.and_then(|read| read.decode().map_err(|error| error.to_string()));
            if let Ok(envelope) = &mut read {
                envelope.message_id.incarnation = 0;
            }
            format!("{peer} {addresses:?} {read:?}")
        }
        other => format!("{other:?}"),
    };
    let mut parts = text.split("incarnation: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| told + "…" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use bytesandbrains::{Outcome, Value};

    use super::*;

    fn event(incarnation: u64, counter: u64) -> EngineStep {
        let exec_id = ExecId { incarnation, counter };
        EngineStep::AppEvent { module: "M".into(), exec_id, output: "y".into(), value: Value::I64(1) }
    }

    #[test]
    fn only_the_life_may_differ() {
        assert_eq!(of_any_life(&event(1, 7)), of_any_life(&event(12, 7)));
        assert_ne!(of_any_life(&event(1, 7)), of_any_life(&event(1, 8)));
        let end = EngineStep::ExecutionFinished {
            exec_id: ExecId { incarnation: 1, counter: 7 },
            outcome: Outcome::Completed,
        };
        assert_ne!(of_any_life(&event(1, 7)), of_any_life(&end));
    }
}
