//! `tidy`: what no other tool checks. One file a concern; each gives its findings as lines.

mod dependencies;
mod licences;
mod links;
mod sources;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::MetadataCommand;

use crate::step::{self, Step, StepError};

/// A file that git tracks.
struct Tracked {
    /// Its path from the root of the workspace, with `/`.
    path: String,
    /// Its content; empty for what is not text.
    text: String,
}

/// The whole of it, as a step.
pub(crate) fn step(root: &Path) -> Step {
    let root = root.to_owned();
    Step {
        name: "tidy",
        mend: "mend the places named; what they should be stands in CONTRIBUTING.md",
        action: Box::new(move || check(&root).map(Some)),
    }
}

fn check(root: &Path) -> Result<String, StepError> {
    let files = tracked(root)?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .map_err(|error| StepError::Findings(vec![format!("Cargo.toml: {error}")]))?;
    let (mut findings, listed) = dependencies::check(&metadata);
    findings.extend(licences::check(root, &metadata));
    findings.extend(sources::check(&files));
    findings.extend(words::check(&files));
    findings.extend(links::check(root, &files));
    if findings.is_empty() {
        Ok(format!("{} files; dev-dependencies outside the table: {listed}", files.len()))
    } else {
        Err(StepError::Findings(findings))
    }
}

/// Every file that git tracks, or would if it were added.
fn tracked(root: &Path) -> Result<Vec<Tracked>, StepError> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<Tracked> = step::output(git)?
        .lines()
        .map(|path| (path.to_owned(), root.join(path)))
        .filter(|(_, full): &(String, PathBuf)| full.is_file())
        .map(|(path, full)| {
            let bytes = fs::read(full).unwrap_or_default();
            Tracked { path, text: String::from_utf8(bytes).unwrap_or_default() }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
