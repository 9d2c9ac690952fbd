//! Whole systems under faults: `cargo xtask simulate --seeds 1000`, or `--seed 17 --keep 3,5` to play one again.
#![expect(clippy::print_stdout, reason = "it talks to its reader")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bb_sim::chaos::{Counts, Plan, Report, Workloads, contained, simulate};
use bytesandbrains::ir::Digest;
use clap::Parser;

/// Runs whole systems under faults and checks their invariants at every step.
#[derive(Parser)]
struct Arguments {
    /// Seeds 0 to N-1
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// One seed, and its plan
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Of that seed's plan only these actions, by number; `none` for none
    #[arg(long, value_name = "N,N", requires = "seed")]
    keep: Option<String>,
    /// Threads; the results do not depend on them
    #[arg(long, value_name = "T", default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let workloads = match Workloads::new() {
        Ok(workloads) => workloads,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reports = match arguments.seed {
        Some(seed) => vec![one(&workloads, seed, arguments.keep.as_deref())],
        None => many(&workloads, arguments.seeds, arguments.threads.max(1)),
    };
    conclude(&reports)
}

fn one(workloads: &Workloads, seed: u64, keep: Option<&str>) -> Report {
    let plan = match keep {
        None => Plan::draw(seed),
        Some(numbers) => {
            let numbers: Vec<usize> = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
            Plan::keep(seed, &numbers)
        }
    };
    println!("seed {seed}: {:?}\n{plan}", workloads.of(seed));
    contained(workloads, &plan)
}

/// The seeds' reports, in the order of the seeds.
fn many(workloads: &Workloads, seeds: u64, threads: usize) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return reports;
            }
            reports.push((seed, simulate(workloads, seed)));
        }
    };
    let mut reports = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    reports.sort_by_key(|(seed, _)| *seed);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn conclude(reports: &[Report]) -> ExitCode {
    let mut counts = Counts::default();
    let mut digests = Vec::new();
    for report in reports {
        counts.add(&report.counts);
        digests.extend_from_slice(&report.digest.0);
    }
    let failures: Vec<_> = reports.iter().filter_map(|report| report.failure.as_ref()).collect();
    for failure in &failures {
        println!("violation: {}\n{}  {}", failure.violation, failure.plan, failure.plan.command());
    }
    println!(
        "{} runs ({} healed and finished in time, the others had faults to the end), {:.1} simulated hours, {} steps",
        reports.len(),
        counts.healed,
        counts.simulated.as_secs_f64() / 3_600.0,
        counts.steps
    );
    let faults: Vec<String> =
        counts.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
    println!("actions: {}", faults.join(", "));
    println!(
        "messages: {} accepted, {} refused, {} lost, {} repeated, {} of a stranger",
        counts.messages_accepted,
        counts.messages_refused,
        counts.messages_lost,
        counts.messages_repeated,
        counts.messages_of_strangers
    );
    println!(
        "invocations: {} accepted, {} undone by crashes; executions: {} completed, {} failed, {} cancelled",
        counts.invocations, counts.undone, counts.completed, counts.failed, counts.cancelled
    );
    println!(
        "snapshots: {} taken, {} nodes restored, {} steps of twins equal; {} ops traced",
        counts.snapshots, counts.restores, counts.steps_of_twins, counts.ops_traced
    );
    println!("{} violations", failures.len());
    println!("digest {}", Digest::of(&digests));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
