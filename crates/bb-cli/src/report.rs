//! What is printed: a line or a JSON object a round, and a progress bar where there is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

/// One round, as it is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundReport {
    /// From 1.
    pub(crate) round: u32,
    /// Mean loss on the test rows.
    pub(crate) loss: f64,
    /// Share of the test rows that are classified right.
    pub(crate) accuracy: f64,
    /// Bytes that the clients sent.
    pub(crate) bytes_up: u64,
    /// Bytes that the server sent.
    pub(crate) bytes_down: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// Prints rounds as they come.
pub(crate) struct Reporter {
    json: bool,
    rounds: u32,
    bar: ProgressBar,
}

impl Reporter {
    /// A reporter of so many rounds; the bar is drawn on standard error if that is a terminal.
    pub(crate) fn new(rounds: u32, json: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(u64::from(rounds)), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} rounds · {eta} left") {
            bar.set_style(style);
        }
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { json, rounds, bar }
    }

    /// A line for people; nothing with `--json`.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { self.print(text) }
    }

    /// A round.
    pub(crate) fn round(&self, report: &RoundReport) -> io::Result<()> {
        self.print(&if self.json { report.json() } else { report.line(self.rounds) })?;
        self.bar.inc(1);
        Ok(())
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn print(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(io::stdout().lock(), "{text}"))
    }
}

impl RoundReport {
    fn line(&self, rounds: u32) -> String {
        let width = rounds.to_string().len();
        format!(
            "round {:>width$}/{rounds}   loss {:.3}   accuracy {:.3}   ↑ {}  ↓ {}   {}",
            self.round,
            self.loss,
            self.accuracy,
            bytes(self.bytes_up),
            bytes(self.bytes_down),
            duration(self.elapsed),
        )
    }

    fn json(&self) -> String {
        let fields = [
            ("round", json!(self.round)),
            ("loss", json!(self.loss)),
            ("accuracy", json!(self.accuracy)),
            ("bytes_up", json!(self.bytes_up)),
            ("bytes_down", json!(self.bytes_down)),
            ("seconds", json!(self.elapsed.as_secs_f64())),
        ];
        let fields = fields.map(|(name, value)| format!("\"{name}\": {value}"));
        format!("{{{}}}", fields.join(", "))
    }
}

/// `950 B`, `193 kB`, `1.9 MB`.
fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// `0.8 ms`, `5 ms`, `1.2 s`.
pub(crate) fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// `4,810`.
pub(crate) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RoundReport, bytes, duration, grouped};

    const REPORT: RoundReport = RoundReport {
        round: 2,
        loss: 1.53249,
        accuracy: 0.6083,
        bytes_up: 193_412,
        bytes_down: 950,
        elapsed: Duration::from_micros(4_100),
    };

    #[test]
    fn a_round_is_one_line() {
        assert_eq!(REPORT.line(30), "round  2/30   loss 1.532   accuracy 0.608   ↑ 193 kB  ↓ 950 B   4 ms");
    }

    #[test]
    fn a_round_is_one_object_with_six_numbers() -> Result<(), serde_json::Error> {
        let object: serde_json::Value = serde_json::from_str(&REPORT.json())?;
        let keys: Vec<&String> = object.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(keys, ["accuracy", "bytes_down", "bytes_up", "loss", "round", "seconds"]);
        assert_eq!(object["seconds"], 0.0041);
        Ok(())
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 4_810, 1_234_567].map(grouped), ["0", "999", "4,810", "1,234,567"]);
        assert_eq!([999, 1_000, 1_900_000].map(bytes), ["999 B", "1 kB", "1.9 MB"]);
        assert_eq!(
            [40, 5_000, 1_200_000].map(|us| duration(Duration::from_micros(us))),
            ["0.0 ms", "5 ms", "1.2 s"]
        );
    }
}
