//! The `bb` command: [`args`] reads the command line, [`demo`] and [`inspect`] do the work, [`report`] and [`chart`]
//! show it.

mod args;
mod chart;
mod demo;
mod error;
mod inspect;
mod model;
mod report;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Command, Parsed};
use error::CliError;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let lines = error.to_string();
            let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            eprintln!("error: {}", lines.join("; "));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), CliError> {
    match args::parse(std::env::args_os())? {
        Parsed::Command(Command::Demo(arguments)) => demo::run(&arguments),
        Parsed::Command(Command::Inspect(arguments)) => inspect::run(&arguments),
        Parsed::Text(text) => Ok(write!(io::stdout().lock(), "{text}")?),
    }
}
