//! Needs: a linked program.
//! Establishes: the list of passes that ran is part of the artifact, with nothing of the recording left in it.
//! Example: `passes = [verify, inline, …, link]` -> `passes = [verify, inline, …, link, stamp]`.

use bb_ir::program::Program;

use crate::{Context, Diagnostics};

#[expect(clippy::unnecessary_wraps, reason = "every pass has this form")]
pub(crate) fn stamp(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    p.modules.clear();
    Ok(())
}
