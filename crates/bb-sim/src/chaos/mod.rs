//! Whole systems under faults, each decided by one seed: what must hold, holds at every step.
//!
//! [`run`] plays a [`Plan`]: nodes of a [`Workload`] with clocks of their own, a network that loses, repeats, delays and
//! cuts, nodes that pause, crash and come back from what their disks kept, and somebody who knows every id. After each step of a node its invariants
//! are checked: nothing is lost, nothing ends twice, no op fires twice, nothing is left behind, every cap holds. Of each
//! snapshot a twin is made, which has the digest of the node, goes along with it and says what it says. [`simulate`] runs
//! a seed and, if something does not hold, looks for the shortest plan that shows it.
//!
//! Half of the seeds have faults to the end; in the others all heals, and then everything accepted must end within a
//! bounded time and a new request to everybody must succeed.

mod clock;
mod disk;
mod ledger;
mod member;
mod network;
mod plan;
mod report;
mod stranger;
mod twin;
mod workload;
mod world;

pub use ledger::Violation;
pub use plan::{Action, Fault, Plan};
pub use report::{Counts, Failure, Report};
pub use workload::{Workload, WorkloadSetupError, Workloads};
pub use world::run;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs that looking for a shorter plan may take.
const SHRINKING_RUNS: usize = 200;

/// Runs one seed; if an invariant does not hold, shrinks its plan.
pub fn simulate(workloads: &Workloads, seed: u64) -> Report {
    let plan = Plan::draw(seed);
    let mut report = contained(workloads, &plan);
    if let Some(failure) = &mut report.failure {
        failure.plan = shrink(workloads, plan);
    }
    report
}

/// Runs a plan; a panic is a violation too.
pub fn contained(workloads: &Workloads, plan: &Plan) -> Report {
    catch_unwind(AssertUnwindSafe(|| run(workloads, plan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Report::failed(Failure::new(Violation::Panicked { text: text.to_owned() }, plan.clone()))
    })
}

/// Leaves actions out, ever fewer at a time, as long as something still does not hold.
///
/// Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, without the test of complements'
/// complements.
fn shrink(workloads: &Workloads, mut plan: Plan) -> Plan {
    let (mut size, mut runs) = (plan.actions.len().div_ceil(2), 0);
    while size > 0 && runs < SHRINKING_RUNS {
        let (mut start, mut is_shorter) = (0, false);
        while start < plan.actions.len() && runs < SHRINKING_RUNS {
            let end = (start + size).min(plan.actions.len());
            let shorter = plan.without(start..end);
            runs += 1;
            if contained(workloads, &shorter).failure.is_some() {
                plan = shorter;
                is_shorter = true;
            } else {
                start = end;
            }
        }
        size = if size == 1 && !is_shorter { 0 } else { (size / 2).max(1) };
    }
    plan
}
