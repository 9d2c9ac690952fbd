//! Times a training step of the MLP 64-128-10 at batch 32 on bb-cpu, candle and burn, one thread each, alternately.
//!
//! ```text
//! cargo run --release --manifest-path docs/benchmarks/steps/Cargo.toml
//! ```
//!
//! A step is the forward pass, softmax cross-entropy, its gradients and plain SGD, as a user of each would write it:
//! `by_bb_cpu.rs`, `by_candle.rs`, `by_burn.rs`. All start from the same numbers, and their losses over the first
//! [`CHECKED`] steps must agree before anything is timed.

mod by_bb_cpu;
mod by_burn;
mod by_candle;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Instant;

const BATCH: usize = 32;
const WIDTH: usize = 64;
const HIDDEN: usize = 128;
const CLASSES: usize = 10;
const RATE: f32 = 0.05;

/// Steps of which the losses are compared, and what they may differ by.
const CHECKED: usize = 50;
const MOST_DIFFERENCE: f32 = 1e-4;

const ROUNDS: usize = 21;

/// Seconds that a round of one contender takes at least.
const ROUND: f64 = 0.03;

/// What candle asks for its number of threads; the others have one unless they are told otherwise.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// A batch, and the parameters before the first step; matrices are row-major, one row an input.
struct Start {
    x: Vec<f32>,
    y: Vec<u8>,
    w1: Vec<f32>,
    b1: Vec<f32>,
    w2: Vec<f32>,
    b2: Vec<f32>,
}

/// Who trains.
trait Contender {
    /// Makes one step.
    fn step(&mut self) -> Result<(), Box<dyn Error>>;

    /// The loss before the last step.
    fn loss(&self) -> Result<f32, Box<dyn Error>>;
}

fn main() -> ExitCode {
    let done = match std::env::var(THREADS_VARIABLE).as_deref() {
        Ok("1") => run().map(|()| true),
        _ => again_with_one_thread(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn again_with_one_thread() -> Result<bool, Box<dyn Error>> {
    Ok(Command::new(std::env::current_exe()?).env(THREADS_VARIABLE, "1").status()?.success())
}

fn run() -> Result<(), Box<dyn Error>> {
    let numbers = |count: usize, seed: usize, scale: f32| -> Vec<f32> {
        let number = |at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0;
        (0..count).map(|at| number(at) * scale).collect()
    };
    let start = Start {
        x: numbers(BATCH * WIDTH, 1, 1.0),
        y: (0..BATCH).map(|row| (row % CLASSES) as u8).collect(),
        w1: numbers(WIDTH * HIDDEN, 2, 0.1),
        b1: numbers(HIDDEN, 3, 0.1),
        w2: numbers(HIDDEN * CLASSES, 4, 0.1),
        b2: numbers(CLASSES, 5, 0.1),
    };
    let mut contenders: [(&str, Box<dyn Contender>); 3] = [
        ("bb-cpu", Box::new(by_bb_cpu::Trainer::new(&start)?)),
        ("candle", Box::new(by_candle::Trainer::new(&start)?)),
        ("burn", Box::new(by_burn::Trainer::new(&start))),
    ];

    let mut losses = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..CHECKED {
        for ((_, contender), losses) in contenders.iter_mut().zip(&mut losses) {
            contender.step()?;
            losses.push(contender.loss()?);
        }
    }
    let [ours, theirs @ ..] = &losses;
    let apart = theirs.iter().flat_map(|theirs| theirs.iter().zip(ours)).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f32::max);
    let (first, last) = (ours[0], ours[CHECKED - 1]);
    let numbers = losses.iter().flatten().all(|loss| loss.is_finite());
    if !numbers || last >= first || apart > MOST_DIFFERENCE {
        return Err(format!("the losses do not fall, or differ by {apart}: {losses:?}").into());
    }
    println!("loss {first:.4} to {last:.4} in {CHECKED} steps, at most {apart:.0e} apart; one thread");

    let took = alternate(&mut contenders)?;
    for ((name, _), seconds) in contenders.iter().zip(took) {
        println!("{name:8} {:7.1} µs a step, {:5.2} × bb-cpu's", seconds * 1e6, seconds / took[0]);
    }
    Ok(())
}

/// Seconds a step, the median of rounds in which each has its turn.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn alternate<const N: usize>(
    contenders: &mut [(&str, Box<dyn Contender>); N],
) -> Result<[f64; N], Box<dyn Error>> {
    let mut took = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for ((_, contender), took) in contenders.iter_mut().zip(&mut took) {
            let (begin, mut count) = (Instant::now(), 0);
            while begin.elapsed().as_secs_f64() < ROUND {
                contender.step()?;
                count += 1;
            }
            took.push(begin.elapsed().as_secs_f64() / f64::from(count));
        }
    }
    Ok(took.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    }))
}
