//! What `compile` says of a program that is not right.

use std::fmt;

use bb_ir::Diagnostic;

/// All mistakes that a pass found; the program or its bindings are at fault.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes, in the order in which they were met; at least one.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.last() == Some(&diagnostic) {
            return;
        }
        self.list.push(diagnostic);
    }

    /// An error if there is any mistake.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.list.is_empty() { Ok(()) } else { Err(self) }
    }

    pub(crate) fn attach_sources(&mut self) {
        for diagnostic in &mut self.list {
            diagnostic.attach_sources(|file| std::fs::read_to_string(file).ok());
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { list: vec![diagnostic] }
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        self.list.extend(more);
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            f.write_str(if index > 0 { "\n" } else { "" })?;
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    /// The text for people, so that `main` may return it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}
