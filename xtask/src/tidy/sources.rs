//! Every Rust file says what it is for, and none grows into a room of everything.

use super::Tracked;

/// Lines of a source file; past it, it is split by concern.
const MOST_LINES: usize = 700;
/// Public functions of a source file.
const MOST_PUBLIC_FUNCTIONS: usize = 35;
/// Lines of the facade, which re-exports and does nothing else.
const MOST_FACADE_LINES: usize = 150;
const FACADE: &str = "crates/bytesandbrains/src/lib.rs";

pub(super) fn check(files: &[Tracked]) -> Vec<String> {
    let mut findings = Vec::new();
    for Tracked { path, text } in files {
        if !path.ends_with(".rs") || path.contains("/generated/") {
            continue;
        }
        if !text.starts_with("//!") {
            findings.push(format!("{path}: begins without `//!`: what is it for, where does one start?"));
        }
        let most = if path == FACADE { MOST_FACADE_LINES } else { MOST_LINES };
        let lines = text.lines().count();
        if lines > most {
            findings.push(format!("{path}: {lines} lines, at most {most}: split it by concern"));
        }
        let public = text.lines().filter(|line| line.trim_start().starts_with("pub fn ")).count();
        if public > MOST_PUBLIC_FUNCTIONS {
            findings.push(format!("{path}: {public} public functions, at most {MOST_PUBLIC_FUNCTIONS}"));
        }
    }
    findings
}
