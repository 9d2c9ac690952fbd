//! What happens in a run, and when: drawn from its seed, and short enough to read.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytesandbrains::Time;
use bytesandbrains::framework::Rng;

/// How long faults go on.
pub(super) const FAULTS: Duration = Duration::from_secs(90);
/// How long after the faults everything accepted must have ended, and every peer be tried again.
pub(super) const HEALING: Duration = Duration::from_secs(180);
/// How long the last requests may take.
pub(super) const PROBE: Duration = Duration::from_secs(40);

/// All that decides a run: its seed and the actions that it has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Whether all heals in the end.
    pub heals: bool,
    /// What happens, each with its number in the plan that the seed draws.
    pub actions: Vec<(usize, Action)>,
    drawn: usize,
}

/// Something that happens at a moment; nodes are numbers that are taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// When.
    pub at: Time,
    /// For how long, where it lasts.
    pub lasts: Duration,
    /// To which node.
    pub node: usize,
    /// What.
    pub fault: Fault,
}

/// What happens. All but the first two are faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The host of the node asks it to do its work.
    Invoke,
    /// The host of the node saves it.
    Snapshot,
    /// The node is gone, and comes back as it was saved last.
    Crash,
    /// The node's disk fails while it is saved: nothing, a part, or something else is written.
    DiskFault,
    /// The clock of the node jumps ahead.
    ClockJump,
    /// The node's host does nothing.
    Pause,
    /// The node's host works through a small queue, rarely.
    Slow,
    /// Messages of all nodes take long, each another time, and overtake each other.
    Delay,
    /// Messages of all nodes are lost, one in four.
    Loss,
    /// Messages of all nodes come twice, one in four.
    Duplication,
    /// Nothing of the node reaches another one, from which it still hears.
    OneWayCut,
    /// Two nodes do not hear each other.
    Cut,
    /// Somebody who sees every message sends what does harm.
    Stranger,
}

/// Every kind, in order.
pub(super) const FAULTS_BY_KIND: [Fault; 13] = [
    Fault::Invoke,
    Fault::Snapshot,
    Fault::Crash,
    Fault::DiskFault,
    Fault::ClockJump,
    Fault::Pause,
    Fault::Slow,
    Fault::Delay,
    Fault::Loss,
    Fault::Duplication,
    Fault::OneWayCut,
    Fault::Cut,
    Fault::Stranger,
];

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed ^ 0x0070_6c61_6e00);
        let span = FAULTS.as_nanos() as u64;
        let mut actions: Vec<Action> = (0..20 + rng.below(30))
            .map(|_| {
                let fault = match rng.below(3) {
                    0 => FAULTS_BY_KIND[0],
                    _ => FAULTS_BY_KIND[rng.below(FAULTS_BY_KIND.len() as u64) as usize],
                };
                Action {
                    at: Time::from_nanos(rng.below(span)),
                    lasts: Duration::from_millis(50 + rng.below(15_000)),
                    node: rng.below(64) as usize,
                    fault,
                }
            })
            .collect();
        actions.sort_by_key(|action| action.at);
        let drawn = actions.len();
        let actions = actions.into_iter().enumerate().collect();
        Self { seed, heals: seed.is_multiple_of(2), actions, drawn }
    }

    /// The plan of a seed with these of its actions only, by their numbers.
    pub fn keep(seed: u64, numbers: &[usize]) -> Self {
        let mut plan = Self::draw(seed);
        plan.actions.retain(|(number, _)| numbers.contains(number));
        plan
    }

    /// The plan without a part of it.
    pub(super) fn without(&self, range: Range<usize>) -> Self {
        let mut plan = self.clone();
        plan.actions.drain(range);
        plan
    }

    /// When the run is over.
    pub fn end(&self) -> Time {
        let healing = if self.heals { HEALING + PROBE } else { Duration::ZERO };
        Time::ZERO + FAULTS + healing
    }

    /// The command that plays it again.
    pub fn command(&self) -> String {
        let mut command = format!("cargo xtask simulate --seed {}", self.seed);
        if self.actions.len() < self.drawn {
            let numbers: Vec<String> = self.actions.iter().map(|(number, _)| number.to_string()).collect();
            command.push_str(&format!(
                " --keep {}",
                if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") }
            ));
        }
        command
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Action { at, lasts, node, fault }) in &self.actions {
            writeln!(f, "  {number:>3}  {at}  {fault:?} node {node} for {lasts:?}")?;
        }
        Ok(())
    }
}
