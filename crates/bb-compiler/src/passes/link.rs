//! Needs: regions whose ports, slots and runs are final.
//! Establishes: nothing that nobody reads is left; values are numbered in the order in which they come to be,
//! so that equal programs are equal to the bit.
//! Example: `c = Constant; y = PassThrough(x); output y` -> `y = PassThrough(x); output y`, `x` 0 and `y` 1.

use bb_ir::program::Program;

use crate::edit::{region_graphs, remove_dead, renumber};
use crate::{Context, Diagnostics};

#[expect(clippy::unnecessary_wraps, reason = "every pass has this form")]
pub(crate) fn link(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    for graph in region_graphs(p) {
        remove_dead(graph);
        renumber(graph);
    }
    Ok(())
}
