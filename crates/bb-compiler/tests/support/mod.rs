//! What the tests share: the text form read back, golden files, and components that do nothing.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod components;
pub mod parse;

use std::path::{Path, PathBuf};

/// One golden file: comments, options, the input, and what is expected.
pub struct Golden {
    path: PathBuf,
    head: String,
    /// The words of the lines that begin with `option`.
    pub options: Vec<Vec<String>>,
    /// The program to start from.
    pub input: String,
    expected: String,
}

const INPUT: &str = "---- input\n";
const OUTPUT: &str = "---- output\n";

impl Golden {
    /// All golden files of a folder, by name; at least one.
    pub fn all(folder: &Path) -> Vec<Self> {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "bb"));
        paths.sort();
        assert!(!paths.is_empty(), "no .bb file in {}", folder.display());
        paths.into_iter().map(Self::read).collect()
    }

    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once(INPUT).unwrap_or_else(|| panic!("{}: no input", path.display()));
        let (input, expected) = rest.split_once(OUTPUT).unwrap_or((rest, ""));
        let options = head
            .lines()
            .filter_map(|line| line.strip_prefix("option "))
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        Self {
            head: head.to_owned(),
            options,
            input: input.trim_end().to_owned(),
            expected: expected.to_owned(),
            path,
        }
    }

    /// Compares, or with `BB_BLESS=1` writes, what is expected; says whether it was as expected.
    pub fn check(&self, got: &str) -> bool {
        let got = format!("{}\n", got.trim_end());
        if self.expected == got {
            return true;
        }
        if std::env::var_os("BB_BLESS").is_some() {
            let text = format!("{}{INPUT}{}\n\n{OUTPUT}{got}", self.head, self.input);
            std::fs::write(&self.path, text).unwrap();
            return true;
        }
        let shown = self.path.display();
        eprintln!("{shown}: expected\n{}\ngot\n{got}\n(BB_BLESS=1 rewrites it)", self.expected);
        false
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}
