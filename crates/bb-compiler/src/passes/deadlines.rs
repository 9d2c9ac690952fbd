//! Needs: regions.
//! Establishes: every request has a deadline: its own, or the compiler's default.
//! Example: `Send {kind "request", deadline_ns = 0}` -> `deadline_ns = 30000000000`.

use bb_ir::Diagnostic;
use bb_ir::program::{Attribute, Program, domains};

use crate::edit::{region_graphs, text};
use crate::{Context, Diagnostics};

pub(crate) fn deadlines(p: &mut Program, cx: &Context) -> Result<(), Diagnostics> {
    let default = i64::try_from(cx.default_deadline().as_nanos()).unwrap_or(i64::MAX);
    let mut diagnostics = Diagnostics::default();
    for node in region_graphs(p).flat_map(|graph| &mut graph.nodes) {
        if !node.op.is(domains::WIRE, "Send") || text(node, "kind") != "request" {
            continue;
        }
        let span = node.span.clone();
        match node.attributes.entry("deadline_ns".to_owned()).or_insert(Attribute::Int(0)) {
            Attribute::Int(time) if *time == 0 => *time = default,
            Attribute::Int(time) if *time > 0 => {}
            _ => diagnostics.push(
                Diagnostic::new("a deadline is a number of nanoseconds, at least 1")
                    .label(span, "called here"),
            ),
        }
    }
    diagnostics.into_result()
}
