//! Relative links of Markdown files lead somewhere.

use std::path::Path;

use super::Tracked;

pub(super) fn check(root: &Path, files: &[Tracked]) -> Vec<String> {
    let mut findings = Vec::new();
    for Tracked { path, text } in files {
        if !path.ends_with(".md") {
            continue;
        }
        let folder = root.join(path);
        let folder = folder.parent().unwrap_or(root);
        for target in targets(text) {
            if !folder.join(target).exists() {
                findings.push(format!("{path}: link to `{target}`, which is not there"));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` that are paths, without their fragments.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](")
        .filter_map(|(at, open)| text[at + open.len()..].split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(char::is_whitespace))
}
