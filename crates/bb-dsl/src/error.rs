//! What `build` says of a module that is not right.

use std::fmt;

use bb_ir::Diagnostic;

/// All mistakes found while a module was recorded; the module's author is at fault.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildError {
    module: String,
    diagnostics: Vec<Diagnostic>,
}

impl BuildError {
    pub(crate) fn new(module: String, mut diagnostics: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut diagnostics {
            diagnostic.attach_sources(|file| std::fs::read_to_string(file).ok());
        }
        Self { module, diagnostics }
    }

    /// The module that was to be built.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The mistakes, in the order in which they were met; at least one.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl std::error::Error for BuildError {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}")?;
        }
        let count = self.diagnostics.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "module `{}` was not built: {count} error{plural}", self.module)
    }
}

impl fmt::Debug for BuildError {
    /// The text for people, so that `main` may return it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}
