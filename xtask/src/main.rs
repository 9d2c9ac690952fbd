//! Checks and drivers for this workspace: `cargo xtask --help`.
//!
//! [`ci`] is everything that runs before a change lands, [`tidy`] what no other tool checks, [`fix`] what may
//! write. Each check is a [`step::Step`], which names the command that mends it.

mod ci;
mod coverage;
mod fix;
mod fuzz;
mod onnx_suite;
mod python;
mod step;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks and drivers for this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every check that a change must pass
    Ci {
        /// Leaves a step out, by its name; may be given several times
        #[arg(long, value_name = "STEP")]
        skip: Vec<String>,
    },
    /// Writes the code that is generated from proto/
    Codegen {
        /// Writes nothing, fails where the committed code is another
        #[arg(long)]
        check: bool,
    },
    /// Prints which lines of framework, codecs and snapshots the tests run; needs cargo-tarpaulin
    Coverage,
    /// Formats, applies what clippy can, generates code
    Fix,
    /// Runs every fuzz target and prints its executions and crashes; needs cargo-fuzz
    Fuzz {
        /// Wall time of all targets together
        #[arg(long, value_name = "S", default_value_t = 60)]
        seconds: u64,
        /// Runs this target only; may be given several times
        #[arg(long, value_name = "NAME")]
        target: Vec<String>,
    },
    /// Compares the gradients of the ONNX node cases with finite differences and prints a table by op
    GradientTable {
        /// Prints each case that is not checked, and why
        #[arg(long)]
        failures: bool,
    },
    /// Tries every interleaving of the threads that meet at a node's queue
    Loom,
    /// Runs whole systems under faults and checks their invariants at every step
    Simulate {
        /// What the simulator takes: `--seeds N`, or `--seed S --keep N,N`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Runs the ONNX node cases on every backend and prints a table by op
    OnnxSuite {
        /// Also the cases of the PyPI package `onnx`, which is fetched, and its nine networks against onnxruntime
        #[arg(long)]
        all: bool,
        /// Prints each case that does not pass, and why
        #[arg(long)]
        failures: bool,
    },
    /// Writes the book's page of supported ops
    OpTable {
        /// Writes nothing, fails where the page is another
        #[arg(long)]
        check: bool,
    },
    /// Fetches onnxruntime with pip and runs the tests of bb-ort that need it
    Ort,
    /// Fetches two models that Python packages ship and runs them on both backends and onnxruntime
    RealModels,
    /// Checks dependencies, sources, words, links and licences
    Tidy,
}

fn main() -> ExitCode {
    let root = root();
    let result = match Arguments::parse().command {
        Command::Ci { skip } => ci::run(&root, &skip),
        Command::Codegen { check } => step::run_all(vec![step::codegen(&root, check)]),
        Command::Coverage => coverage::run(&root),
        Command::Fix => fix::run(&root),
        Command::Fuzz { seconds, target } => fuzz::run(&root, seconds, &target),
        Command::GradientTable { failures } => onnx_suite::gradients(&root, failures),
        Command::Loom => step::run_all(vec![ci::loom(&root)]),
        Command::Simulate { arguments } => step::run(step::simulate(&root, true, &arguments)),
        Command::OnnxSuite { all, failures } => onnx_suite::run(&root, all, failures),
        Command::OpTable { check } => step::run_all(vec![onnx_suite::op_table(&root, check)]),
        Command::Ort => step::run_all(vec![ci::ort(&root)]),
        Command::RealModels => onnx_suite::real_models(&root),
        Command::Tidy => step::run_all(vec![tidy::step(&root), step::codegen(&root, true)]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
