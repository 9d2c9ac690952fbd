//! What is wrong with a program, in the words and the lines of its author.
//!
//! Whoever records or compiles a program collects [`Diagnostic`]s. Each says what is wrong, points at the
//! lines that made it so, and says what would be right.

use std::fmt;

use crate::program::Span;

/// One mistake in a program.
///
/// ```
/// use bb_ir::diagnostic::Diagnostic;
/// use bb_ir::program::Span;
/// let span = Span { file: "src/round.rs".into(), line: 21, column: 20 };
/// let text = Diagnostic::new("`x` is on \"server\" but used on \"client\"")
///     .label(span, "used on \"client\" here")
///     .help("take it across")
///     .to_string();
/// assert_eq!(
///     text,
///     "error: `x` is on \"server\" but used on \"client\"\n  \
///        --> src/round.rs:21:20\n   \
///         |  used on \"client\" here\n   \
///         = help: take it across\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where, and what is there.
    pub labels: Vec<Label>,
    /// What else helps to understand it.
    pub notes: Vec<String>,
    /// What would be right.
    pub help: Vec<String>,
}

/// A place in the author's source and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there.
    pub text: String,
    /// The line itself, where somebody could read it.
    pub source: Option<String>,
}

impl Diagnostic {
    /// A mistake.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: Vec::new(), notes: Vec::new(), help: Vec::new() }
    }

    /// Points at a place; one that is not known is left out.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if span.is_known() {
            self.labels.push(Label { span, text: text.into(), source: None });
        }
        self
    }

    /// Adds what helps to understand it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Takes the lines that the labels point at from `read`, which gives the text of a file if it can.
    pub fn attach_sources(&mut self, mut read: impl FnMut(&str) -> Option<String>) {
        for label in &mut self.labels {
            let Some(text) = read(&label.span.file) else { continue };
            label.source = text.lines().nth(label.span.line.saturating_sub(1) as usize).map(str::to_owned);
        }
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        for label in &self.labels {
            write!(f, "{label}")?;
        }
        for note in &self.notes {
            writeln!(f, "   = note: {note}")?;
        }
        for help in &self.help {
            writeln!(f, "   = help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  --> {}", self.span)?;
        let Some(source) = &self.source else {
            return writeln!(f, "   |  {}", self.text);
        };
        let line = source.trim_start();
        let cut = source.chars().count() - line.chars().count();
        let before = (self.span.column.saturating_sub(1) as usize).saturating_sub(cut);
        let word = line.chars().skip(before).take_while(|c| c.is_alphanumeric() || *c == '_').count();
        writeln!(f, "   |  {}", line.trim_end())?;
        writeln!(f, "   |  {}{} {}", " ".repeat(before), "^".repeat(word.max(1)), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_underlines_the_word_at_its_column() {
        let span = Span { file: "f.rs".into(), line: 2, column: 10 };
        let mut diagnostic = Diagnostic::new("wrong").label(span, "made here");
        diagnostic
            .attach_sources(|file| (file == "f.rs").then(|| "fn f() {\n    self.relu(g, x);\n}".into()));
        assert_eq!(
            diagnostic.to_string(),
            "error: wrong\n  --> f.rs:2:10\n   |  self.relu(g, x);\n   |       ^^^^ made here\n"
        );
    }

    #[test]
    fn a_place_that_is_not_known_is_left_out() {
        assert!(Diagnostic::new("wrong").label(Span::default(), "here").labels.is_empty());
    }
}
