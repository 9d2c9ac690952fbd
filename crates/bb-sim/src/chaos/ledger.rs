//! What a node accepted and what became of it; what must hold after each of its steps.

use std::collections::{BTreeMap, BTreeSet};

use bytesandbrains::runtime::OpRef;
use bytesandbrains::{EngineStep, ExecId, Node, Outcome, PeerId, Value};
use thiserror::Error;

use super::Counts;

/// Something that must hold and does not.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Violation {
    /// A refused input changed the node.
    #[error("{peer}: a refused message changed the node: {what}")]
    ChangedByRefusal {
        /// The node.
        peer: PeerId,
        /// What is not as before.
        what: String,
    },
    /// An execution said something or ended after its end.
    #[error("{peer}: execution {exec_id} said something after its end: {what}")]
    AfterTheEnd {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// What.
        what: String,
    },
    /// Something is left although nothing runs.
    #[error("{peer}: nothing runs, but {count} {what} are left")]
    LeftBehind {
        /// The node.
        peer: PeerId,
        /// What.
        what: &'static str,
        /// How much.
        count: usize,
    },
    /// An op fired twice for one message or answer.
    #[error("{peer}: execution {exec_id} fired {op} twice{}", answer_of.map_or(String::new(), |sender| format!(" for an answer of {sender}")))]
    FiredTwice {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// The op.
        op: String,
        /// Whose message or answer it worked on.
        answer_of: Option<PeerId>,
    },
    /// What was accepted is gone without an end.
    #[error("{peer}: execution {exec_id} is gone, and nobody said how it ended")]
    Lost {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
    },
    /// All healed, and an execution did not end or did not end well.
    #[error("{peer}: all healed, but execution {exec_id} {what}")]
    NotHealed {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// What became of it.
        what: String,
    },
    /// A node that was made from a snapshot goes on in another way than the one that was saved.
    #[error("{peer}: its twin said {got}, and it said {expected}")]
    OtherTwin {
        /// The node.
        peer: PeerId,
        /// What the twin said.
        got: String,
        /// What the node said.
        expected: String,
    },
    /// More of something than there may be.
    #[error("{peer}: {count} {what}, {cap} is the cap")]
    OverCap {
        /// The node.
        peer: PeerId,
        /// What.
        what: &'static str,
        /// How much.
        count: usize,
        /// The cap.
        cap: usize,
    },
    /// Something panicked.
    #[error("panic: {text}")]
    Panicked {
        /// What it said.
        text: String,
    },
    /// An id that was given before.
    #[error("{peer}: the id {exec_id} was given before, or a higher one")]
    RepeatedId {
        /// The node.
        peer: PeerId,
        /// The id.
        exec_id: ExecId,
    },
    /// A node could not be made, or did not take what its host gave it.
    #[error("{peer}: {what}")]
    Unusable {
        /// The node.
        peer: PeerId,
        /// What it said.
        what: String,
    },
    /// A node without anything to do did something.
    #[error("{peer}: there was nothing to do before its deadline, but it said {what}")]
    WorkBeforeDeadline {
        /// The node.
        peer: PeerId,
        /// What it said.
        what: String,
    },
    /// A value that nobody sent.
    #[error("{peer}: execution {exec_id} handed out {got}, {expected} was asked for")]
    WrongValue {
        /// The node.
        peer: PeerId,
        /// The execution.
        exec_id: ExecId,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
}

/// What a node accepted and what became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Invocations that have not ended, with what they must hand out, if that is known.
    pub(super) open: BTreeMap<ExecId, Option<Value>>,
    ended: BTreeSet<ExecId>,
    /// Those that nothing kept from ending well.
    pub(super) unhindered: BTreeSet<ExecId>,
    last: Option<ExecId>,
    /// What each execution fired, as far as its node says so: region, op, and whose message or answer it worked on. No
    /// workload asks from within an answer, so that each peer has one answer for a region of an execution.
    fired: BTreeMap<ExecId, BTreeSet<(u32, u32, Option<PeerId>)>>,
}

impl Ledger {
    pub(super) fn accept(
        &mut self,
        peer: PeerId,
        exec_id: ExecId,
        expected: Option<Value>,
    ) -> Result<(), Violation> {
        if self.last.is_some_and(|last| last >= exec_id) {
            return Err(Violation::RepeatedId { peer, exec_id });
        }
        self.last = Some(exec_id);
        self.open.insert(exec_id, expected);
        Ok(())
    }

    pub(super) fn go_on_after(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
    }

    pub(super) fn take(
        &mut self,
        peer: PeerId,
        step: &EngineStep,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let (exec_id, what) = match step {
            EngineStep::AppEvent { exec_id, output, value, .. } => {
                if let Some(Some(expected)) = self.open.get(exec_id)
                    && output.as_str().starts_with('y')
                    && value != expected
                {
                    let (expected, got) = (expected.to_string(), value.to_string());
                    return Err(Violation::WrongValue { peer, exec_id: *exec_id, expected, got });
                }
                (exec_id, "an event")
            }
            EngineStep::AsyncSuspended { exec_id, .. } => (exec_id, "a wait"),
            EngineStep::OpCompleted { exec_id, op, source } => {
                self.fire(peer, *exec_id, op, *source)?;
                counts.ops_traced += 1;
                (exec_id, "an op")
            }
            EngineStep::OpFailed { exec_id, .. } => (exec_id, "a failure"),
            EngineStep::WireTimeout { exec_id, .. } => (exec_id, "a timeout"),
            EngineStep::ExecutionFinished { exec_id, outcome } => {
                *match outcome {
                    Outcome::Completed => &mut counts.completed,
                    Outcome::Failed(_) => &mut counts.failed,
                    _ => &mut counts.cancelled,
                } += 1;
                if !outcome.is_completed() && self.unhindered.contains(exec_id) {
                    let what = format!("ended with {outcome:?}");
                    return Err(Violation::NotHealed { peer, exec_id: *exec_id, what });
                }
                self.open.remove(exec_id);
                self.fired.remove(exec_id);
                if self.ended.insert(*exec_id) {
                    return Ok(());
                }
                (exec_id, "another end")
            }
            _ => return Ok(()),
        };
        if self.ended.contains(exec_id) {
            return Err(Violation::AfterTheEnd { peer, exec_id: *exec_id, what: what.to_owned() });
        }
        Ok(())
    }

    fn fire(
        &mut self,
        peer: PeerId,
        exec_id: ExecId,
        op: &OpRef,
        source: Option<PeerId>,
    ) -> Result<(), Violation> {
        match self.fired.entry(exec_id).or_default().insert((op.region, op.index, source)) {
            true => Ok(()),
            false => Err(Violation::FiredTwice { peer, exec_id, op: op.to_string(), answer_of: source }),
        }
    }

    /// What must hold after each step; `is_stateless` says that no component keeps bytes from outside.
    pub(super) fn check(&self, node: &Node, is_stateless: bool) -> Result<(), Violation> {
        let (peer, stats, limits) = (node.peer_id(), node.engine_stats(), node.config());
        for (what, count, cap) in [
            ("bytes in flight", stats.bytes_in_flight, limits.ingress_bytes),
            ("executions", stats.executions, limits.executions),
            ("inputs that wait", stats.ingress, limits.ingress_queue),
            ("messages that wait", stats.outbound, limits.outbound_count),
            ("ops that wait", stats.pending_async, limits.pending_async),
            ("peers", stats.peers_known, limits.address_book_peers),
            ("requests", stats.requests_in_flight, limits.pending_async),
        ] {
            if count > cap {
                return Err(Violation::OverCap { peer, what, count, cap });
            }
        }
        if stats.executions == 0 {
            for (what, count) in [
                ("frames", stats.frames),
                ("ready ops", stats.frontier),
                ("values", stats.values_held),
                ("ops that wait", stats.pending_async),
                ("requests", stats.requests_in_flight),
            ] {
                if count > 0 {
                    return Err(Violation::LeftBehind { peer, what, count });
                }
            }
            if is_stateless && stats.ingress == 0 && stats.events_waiting == 0 && stats.bytes_in_flight > 0 {
                let (what, count) = ("bytes in flight", stats.bytes_in_flight);
                return Err(Violation::LeftBehind { peer, what, count });
            }
        }
        match self.open.keys().find(|exec_id| node.execution_state(**exec_id).is_none()) {
            Some(&exec_id) => Err(Violation::Lost { peer, exec_id }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::sync::Arc;

    use super::*;

    const PEER: u64 = 7;

    fn id(counter: u64) -> ExecId {
        ExecId { incarnation: 1, counter }
    }

    fn end(counter: u64, outcome: Outcome) -> EngineStep {
        EngineStep::ExecutionFinished { exec_id: id(counter), outcome }
    }

    fn event(counter: u64, value: i64) -> EngineStep {
        let (module, output) = ("M".into(), "y".into());
        EngineStep::AppEvent { module, exec_id: id(counter), output, value: Value::I64(value) }
    }

    fn take(ledger: &mut Ledger, step: &EngineStep) -> Result<(), Violation> {
        ledger.take(PeerId::from_u64(PEER), step, &mut Counts::default())
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.accept(PeerId::from_u64(PEER), id(3), Some(Value::I64(5))).unwrap();
        ledger
    }

    #[test]
    fn what_is_as_it_must_be_is_no_violation() {
        let mut ledger = ledger();
        assert_eq!(take(&mut ledger, &event(3, 5)), Ok(()));
        assert_eq!(take(&mut ledger, &end(3, Outcome::Completed)), Ok(()));
        assert!(ledger.open.is_empty());
    }

    fn fired(counter: u64, region: u32, index: u32, source: Option<u64>) -> EngineStep {
        let op = OpRef {
            module: "M".into(),
            region,
            index,
            op: bytesandbrains::ir::program::OpId::new("d", "Op"),
            span: Default::default(),
        };
        EngineStep::OpCompleted { op, exec_id: id(counter), source: source.map(PeerId::from_u64) }
    }

    #[test]
    fn an_op_that_fires_twice_is_one_unless_it_is_for_another_answer() {
        let mut ledger = ledger();
        let once =
            [fired(3, 0, 1, None), fired(3, 0, 2, None), fired(3, 1, 1, Some(8)), fired(4, 0, 1, None)];
        for step in once.iter().chain(&[fired(3, 1, 1, Some(9))]) {
            assert_eq!(take(&mut ledger, step), Ok(()));
        }
        for step in once {
            assert!(matches!(take(&mut ledger, &step), Err(Violation::FiredTwice { .. })));
        }
    }

    #[test]
    fn a_value_that_nobody_sent_is_one() {
        assert!(matches!(take(&mut ledger(), &event(3, 6)), Err(Violation::WrongValue { .. })));
    }

    #[test]
    fn a_second_end_and_a_word_after_it_are_ones() {
        let mut ledger = ledger();
        take(&mut ledger, &end(3, Outcome::Completed)).unwrap();
        let ended = take(&mut ledger, &end(3, Outcome::Completed));
        assert!(matches!(ended, Err(Violation::AfterTheEnd { .. })));
        assert!(matches!(take(&mut ledger, &event(3, 5)), Err(Violation::AfterTheEnd { .. })));
    }

    #[test]
    fn an_id_that_is_not_higher_than_those_before_is_one() {
        for counter in [2, 3] {
            let repeated = ledger().accept(PeerId::from_u64(PEER), id(counter), None);
            assert!(matches!(repeated, Err(Violation::RepeatedId { .. })));
        }
    }

    #[test]
    fn an_execution_that_nothing_kept_from_ending_well_must() {
        let mut ledger = ledger();
        ledger.unhindered.insert(id(3));
        let cancelled = end(3, Outcome::Cancelled(Arc::from("for a reason")));
        assert!(matches!(take(&mut ledger, &cancelled), Err(Violation::NotHealed { .. })));
    }
}
