//! Words and paths that have no place in the tree.

use super::Tracked;

/// Each in two halves, so that this file does not hold it; then why.
const EVERYWHERE: &[(&str, &str, &str)] = &[
    ("/ho", "me/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/Us", "ers/", "a path of one machine"),
    ("../sha", "red", "a path outside of the repository"),
    ("FIX", "ME", "unfinished"),
    ("TO", "DO", "unfinished"),
    ("XX", "X", "unfinished"),
];

/// The same, in Rust.
const IN_RUST: &[(&str, &str, &str)] = &[
    ("#[ign", "ore", "an ignored test tests nothing"),
    ("thread::sle", "ep(", "time is injected"),
    ("to", "do!(", "unfinished"),
    ("unimple", "mented!(", "unfinished"),
];

pub(super) fn check(files: &[Tracked]) -> Vec<String> {
    let mut findings = Vec::new();
    for Tracked { path, text } in files {
        if is_foreign(path) {
            continue;
        }
        let in_rust = if path.ends_with(".rs") { IN_RUST } else { &[] };
        for (number, line) in text.lines().enumerate() {
            for (head, tail, why) in EVERYWHERE.iter().chain(in_rust) {
                if line.contains(&format!("{head}{tail}")) {
                    findings.push(format!("{path}:{}: `{head}{tail}`: {why}", number + 1));
                }
            }
        }
    }
    findings
}

/// What others wrote, or a tool.
fn is_foreign(path: &str) -> bool {
    path.contains("/generated/") || path == "Cargo.lock" || path == "proto/onnx-ml.proto"
}
