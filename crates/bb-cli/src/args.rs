//! What can be typed after `bb`, and what is wrong with what was typed.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;

/// Machine learning across many machines that do not share their data.
#[derive(Debug, Parser)]
#[command(name = "bb", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What `bb` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trains a model on handwritten digits that are spread over many nodes, in this process
    Demo(DemoArguments),
    /// Says what an ONNX model is made of, and whether it can be run and trained here
    Inspect(InspectArguments),
}

#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// The model
    #[arg(value_name = "FILE.onnx")]
    pub(crate) model: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// How many clients train
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) clients: usize,

    /// How many rounds they train [default: 30, with --reference 20]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,

    /// How evenly the classes are spread over the clients: Dirichlet's α, small is uneven
    #[arg(
        long,
        value_name = "ALPHA",
        default_value_t = 0.5,
        allow_negative_numbers = true,
        conflicts_with = "reference"
    )]
    pub(crate) alpha: f64,

    /// What all chance follows from
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Trains this model in place of the built-in one: ONNX, 64 numbers a row in any shape, 10 outputs
    #[arg(long, value_name = "FILE.onnx", conflicts_with = "reference")]
    pub(crate) model: Option<PathBuf>,

    /// By what rule the clients change their parameters
    #[arg(long, value_name = "RULE", value_enum, default_value_t, conflicts_with = "reference")]
    pub(crate) optimizer: Rule,

    /// The learning rate [default: the rule's: 0.1, 0.05, 0.01, 0.01; 0.2 for the built-in model and sgd]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, conflicts_with = "reference")]
    pub(crate) rate: Option<f64>,

    /// Where digits.onnx and digits.svg go
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub(crate) out: PathBuf,

    /// Prints one JSON object a round on standard output and nothing else
    #[arg(long)]
    pub(crate) json: bool,

    /// Runs the fixed workload: every client in every round, one epoch, batch 32, rate 0.1, rows cut in order
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<Reference>,
}

/// Optimizers, with the constants of their papers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rule {
    /// Plain stochastic gradient descent
    #[default]
    Sgd,
    /// With Nesterov's momentum, 0.9
    Momentum,
    /// Adam
    Adam,
    /// Adam with decoupled weight decay, 0.01
    Adamw,
}

/// The models of the fixed workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reference {
    /// Softmax regression
    Logreg,
    /// One hidden layer of 64
    Mlp,
}

/// What is wrong with what was typed; each is one line.
#[derive(Debug, Error)]
pub(crate) enum UsageError {
    /// A number outside its range.
    #[error("--{flag} must be {range} (got {got})")]
    Range { flag: &'static str, range: String, got: String },
    /// Text that does not parse.
    #[error("{line}; `bb --help` lists what there is")]
    Syntax { line: String },
}

/// What came of reading the command line.
pub(crate) enum Parsed {
    /// Something to do.
    Command(Command),
    /// A text to print: help or version.
    Text(String),
}

/// Reads the command line.
pub(crate) fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Parsed, UsageError> {
    match Arguments::try_parse_from(words) {
        Ok(Arguments { command: Command::Demo(arguments) }) => {
            arguments.check()?;
            Ok(Parsed::Command(Command::Demo(arguments)))
        }
        Ok(Arguments { command }) => Ok(Parsed::Command(command)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Text(error.render().to_string()))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(UsageError::Syntax { line: "there is nothing to do; try `bb demo`".to_owned() })
        }
        Err(error) => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line).trim_end_matches(':');
            Err(UsageError::Syntax { line: line.to_owned() })
        }
    }
}

impl DemoArguments {
    /// How many rounds to train.
    pub(crate) fn round_count(&self) -> u32 {
        self.rounds.unwrap_or(if self.reference.is_some() { 20 } else { 30 })
    }

    fn check(&self) -> Result<(), UsageError> {
        const MOST_CLIENTS: usize = bb_learn::data::digits::TRAIN_ROWS;
        let range = |flag, range: String, got: String| Err(UsageError::Range { flag, range, got });
        if self.clients == 0 {
            return range("clients", "at least 1".to_owned(), self.clients.to_string());
        }
        if self.clients > MOST_CLIENTS {
            let most = format!("at most {MOST_CLIENTS}, one row each");
            return range("clients", most, self.clients.to_string());
        }
        if self.rounds == Some(0) {
            return range("rounds", "at least 1".to_owned(), "0".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            let got = self.rate.unwrap_or_default().to_string();
            return range("rate", "a number above 0".to_owned(), got);
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return range("alpha", "a number above 0".to_owned(), self.alpha.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Parsed, parse};

    fn line(words: &str) -> String {
        match parse(words.split(' ').map(Into::into)) {
            Err(error) => error.to_string(),
            Ok(Parsed::Text(text)) => text,
            Ok(Parsed::Command(command)) => format!("{command:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_the_flag() {
        for (words, expected) in [
            ("bb demo --clients 0", "--clients must be at least 1 (got 0)"),
            ("bb demo --clients 1438", "--clients must be at most 1437, one row each (got 1438)"),
            ("bb demo --rounds 0", "--rounds must be at least 1 (got 0)"),
            ("bb demo --alpha 0", "--alpha must be a number above 0 (got 0)"),
            ("bb demo --rate 0", "--rate must be a number above 0 (got 0)"),
            ("bb demo --alpha NaN", "--alpha must be a number above 0 (got NaN)"),
            ("bb demo --alpha=-inf", "--alpha must be a number above 0 (got -inf)"),
        ] {
            assert_eq!(line(words), expected);
        }
        for words in
            ["bb", "bb demonstrate", "bb demo --reference cnn", "bb demo --seed -1", "bb demo --nonsense"]
        {
            let said = line(words);
            assert!(said.lines().count() == 1 && said.ends_with("lists what there is"), "{said}");
        }
    }

    #[test]
    fn the_reference_leaves_nothing_to_choose() {
        for words in ["bb demo --reference mlp --alpha 1", "bb demo --reference mlp --model a.onnx"] {
            assert!(line(words).contains("cannot be used with"), "{}", line(words));
        }
    }
}
