//! Which op of an installed program a step speaks of.

use std::fmt;

use bb_ir::program::Span;

use crate::{Name, OpId};

/// An op of an installed program, with the place where it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpRef {
    /// The target.
    pub module: Name,
    /// Which region of the target.
    pub region: u32,
    /// Which op of the region.
    pub index: u32,
    /// What it does.
    pub op: OpId,
    /// Where it was recorded.
    pub span: Span,
}

impl fmt::Display for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}#{}.{})", self.op, self.module, self.region, self.index)?;
        if self.span.is_known() { write!(f, " at {}", self.span) } else { Ok(()) }
    }
}
