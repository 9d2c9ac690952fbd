//! Licence files are there, and every dependency has a licence that `deny.toml` allows.

use std::fs;
use std::path::Path;

use cargo_metadata::Metadata;

const FILES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

pub(super) fn check(root: &Path, metadata: &Metadata) -> Vec<String> {
    let mut findings: Vec<String> = FILES
        .iter()
        .filter(|name| !fs::read_to_string(root.join(name)).is_ok_and(|text| text.len() > 1_000))
        .map(|name| format!("{name} is missing"))
        .collect();
    let allowed = allowed(&fs::read_to_string(root.join("deny.toml")).unwrap_or_default());
    if allowed.is_empty() {
        findings.push("deny.toml has no line `allow = [\"…\"]`".to_owned());
    }
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        if !is_allowed(licence, &allowed) {
            findings.push(format!(
                "{} {} has licence `{licence}`; allowed: {allowed:?}",
                package.name, package.version
            ));
        }
    }
    findings
}

/// The licences on the line `allow = [...]`.
fn allowed(deny: &str) -> Vec<String> {
    deny.lines()
        .find_map(|line| line.strip_prefix("allow = [")?.strip_suffix(']'))
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Whether an SPDX expression can be met: one side of an `OR`, both sides of an `AND`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.trim();
    for (word, any) in [(" OR ", true), ("/", true), (" AND ", false)] {
        let parts = split_outside_parentheses(expression, word);
        if parts.len() > 1 {
            let mut met = parts.iter().map(|part| is_allowed(part, allowed));
            return if any { met.any(|met| met) } else { met.all(|met| met) };
        }
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.iter().any(|licence| licence == expression),
    }
}

fn split_outside_parentheses<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && at >= begin && expression[at..].starts_with(word) => {
                parts.push(&expression[begin..at]);
                begin = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::{allowed, is_allowed};

    #[test]
    fn an_expression_is_met_by_one_side_of_or_and_by_both_of_and() {
        let allowed = allowed("[licenses]\nallow = [\"MIT\", \"Unicode-3.0\"]\n");
        for met in ["MIT", "Apache-2.0 OR MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_allowed(met, &allowed), "{met}");
        }
        for unmet in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND MPL-2.0", "", "none"] {
            assert!(!is_allowed(unmet, &allowed), "{unmet}");
        }
    }
}
