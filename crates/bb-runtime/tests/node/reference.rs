//! The executor in a few obvious lines: what a region does, one op after the other, found by looking at everything.
//!
//! An op is ready when each of its inputs is there or known to be absent and each op before it is over. Ready ops wait in
//! one line. An op with an absent input does not run, and what it would give is absent.

use bb_runtime::Value;

/// A region: what each op does, reads and comes after. Values are numbered: the inputs, then what ops give, in order.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) inputs: Vec<Value>,
    pub(crate) ops: Vec<Planned>,
}

/// An op.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) reads: Vec<usize>,
    pub(crate) after: Vec<usize>,
}

/// What an op does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Any,
    Barrier,
    Bundle,
    /// Answers later, in the order of asking; or never.
    Deferred {
        is_dropped: bool,
    },
    /// Hands its value on after so many nanoseconds.
    Delay(u64),
    /// Hands a value out.
    Emit,
    Fail,
    Gate,
    Pass,
    Quorum(usize),
    Tee(usize),
}

/// What a run of a region is seen to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Ops that ran to their end, in order.
    pub(crate) ran: Vec<usize>,
    pub(crate) emitted: Vec<(usize, Value)>,
    pub(crate) failed: Option<usize>,
}

impl Kind {
    pub(crate) fn outputs(self, reads: usize) -> usize {
        match self {
            Self::Barrier => reads,
            Self::Emit => 0,
            Self::Quorum(count) | Self::Tee(count) => count,
            _ => 1,
        }
    }

    fn is_eager(self) -> bool {
        matches!(self, Self::Any | Self::Barrier | Self::Quorum(_))
    }
}

impl Plan {
    /// The number of an op's first output.
    pub(crate) fn first_output(&self, op: usize) -> usize {
        let before = &self.ops[..op];
        self.inputs.len() + before.iter().map(|op| op.kind.outputs(op.reads.len())).sum::<usize>()
    }
}

/// A run of a plan.
struct Run<'p> {
    plan: &'p Plan,
    /// For each value: not known yet, known to be absent, or there.
    values: Vec<Option<Option<Value>>>,
    /// For each op the inputs that are there, in the order in which they came.
    came: Vec<Vec<usize>>,
    queued: Vec<bool>,
    over: Vec<bool>,
    line: std::collections::VecDeque<usize>,
    sleeping: Vec<(u64, usize, Value)>,
    asked: Vec<usize>,
    now: u64,
    seen: Seen,
}

/// Runs a plan to its end: ready ops first, then answers that were asked for, then time.
pub(crate) fn run(plan: &Plan) -> Seen {
    let count = plan.first_output(plan.ops.len());
    let mut run = Run {
        plan,
        values: vec![None; count],
        came: vec![Vec::new(); plan.ops.len()],
        queued: vec![false; plan.ops.len()],
        over: vec![false; plan.ops.len()],
        line: std::collections::VecDeque::new(),
        sleeping: Vec::new(),
        asked: Vec::new(),
        now: 0,
        seen: Seen::default(),
    };
    (0..plan.ops.len()).for_each(|op| run.look(op));
    (0..plan.inputs.len()).for_each(|input| run.write(input, Some(plan.inputs[input].clone())));
    while run.seen.failed.is_none() {
        if let Some(op) = run.line.pop_front() {
            run.op(op);
        } else if !run.asked.is_empty() {
            for op in std::mem::take(&mut run.asked) {
                match plan.ops[op].kind {
                    Kind::Deferred { is_dropped: false } => run.end(op, vec![Some(answer())]),
                    _ => run.fail(op),
                }
            }
        } else if let Some(due) = run.sleeping.iter().map(|(due, ..)| *due).min() {
            run.now = due;
            let (awake, asleep) =
                std::mem::take(&mut run.sleeping).into_iter().partition(|held| held.0 == due);
            run.sleeping = asleep;
            let awake: Vec<(u64, usize, Value)> = awake;
            awake.into_iter().for_each(|(_, op, value)| run.end(op, vec![Some(value)]));
        } else {
            break;
        }
    }
    run.seen
}

/// What a deferred op answers.
pub(crate) fn answer() -> Value {
    Value::Tensors(crate::common::components::weight(5.0))
}

impl Run<'_> {
    fn op(&mut self, op: usize) {
        let Planned { kind, reads, .. } = &self.plan.ops[op];
        let there = |read: &usize| self.values[*read].clone().flatten();
        let given: Option<Vec<Value>> = reads.iter().map(there).collect();
        let came: Vec<Value> = self.came[op].iter().filter_map(|input| there(&reads[*input])).collect();
        match (kind, given) {
            (Kind::Any, _) if !came.is_empty() => self.end(op, vec![Some(came[0].clone())]),
            (Kind::Quorum(count), _) if came.len() >= *count => {
                self.end(op, came.into_iter().take(*count).map(Some).collect());
            }
            (Kind::Barrier, _) => self.end(op, reads.iter().map(there).collect()),
            (Kind::Any | Kind::Quorum(_), _) | (_, None) => {
                self.finish(op, vec![None; kind.outputs(reads.len())])
            }
            (Kind::Bundle, Some(given)) => self.end(op, vec![Some(Value::Tuple(given.into()))]),
            (Kind::Deferred { .. }, _) => self.asked.push(op),
            (Kind::Delay(nanos), Some(given)) => self.sleeping.push((self.now + nanos, op, given[0].clone())),
            (Kind::Emit, Some(given)) => {
                self.seen.emitted.push((reads[0], given[0].clone()));
                self.finish(op, Vec::new());
            }
            (Kind::Fail, _) => self.fail(op),
            (Kind::Gate, Some(given)) => match given[1] {
                Value::Bool(is_open) => self.end(op, vec![is_open.then(|| given[0].clone())]),
                _ => self.fail(op),
            },
            (Kind::Pass, Some(given)) => self.end(op, vec![Some(given[0].clone())]),
            (Kind::Tee(count), Some(given)) => self.end(op, vec![Some(given[0].clone()); *count]),
        }
    }

    fn fail(&mut self, op: usize) {
        self.seen.failed.get_or_insert(op);
    }

    /// Ends an op that ran.
    fn end(&mut self, op: usize, outputs: Vec<Option<Value>>) {
        if self.seen.failed.is_none() {
            self.seen.ran.push(op);
            self.finish(op, outputs);
        }
    }

    fn finish(&mut self, op: usize, outputs: Vec<Option<Value>>) {
        let first = self.plan.first_output(op);
        outputs.into_iter().enumerate().for_each(|(at, value)| self.write(first + at, value));
        self.over[op] = true;
        (0..self.plan.ops.len())
            .filter(|&later| self.plan.ops[later].after.contains(&op))
            .for_each(|later| self.look(later));
    }

    fn write(&mut self, value: usize, held: Option<Value>) {
        let is_there = held.is_some();
        self.values[value] = Some(held);
        for op in 0..self.plan.ops.len() {
            let reads = &self.plan.ops[op].reads;
            if !reads.contains(&value) {
                continue;
            }
            if is_there {
                self.came[op].extend((0..reads.len()).filter(|&input| reads[input] == value));
            }
            self.look(op);
        }
    }

    /// Puts an op in the line if it is ready.
    fn look(&mut self, op: usize) {
        let Planned { kind, reads, after } = &self.plan.ops[op];
        let known = reads.iter().filter(|read| self.values[**read].is_some()).count();
        let all_known = known == reads.len();
        let needed = match kind {
            Kind::Any => 1,
            Kind::Quorum(count) => *count,
            _ => reads.len() + 1,
        };
        let is_decided = self.came[op].len() >= needed
            || (kind.is_eager()
                && *kind != Kind::Barrier
                && self.came[op].len() + reads.len() - known < needed);
        let is_ready = after.iter().all(|before| self.over[*before]) && (all_known || is_decided);
        if is_ready && !self.queued[op] {
            self.queued[op] = true;
            self.line.push_back(op);
        }
    }
}
