//! Needs: a program as it was recorded, or read from bytes.
//! Establishes: it is well-formed, is not compiled yet, and has a root module.
//! Example: a node that reads a value of another graph -> an error that names both.

use bb_ir::Diagnostic;
use bb_ir::program::Program;

use crate::{Context, Diagnostics};

pub(crate) fn verify(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    if !p.targets.is_empty() {
        let error = Diagnostic::new(format!("program `{}` is compiled already", p.name))
            .help("give `install` a compiled program; compile a recorded one: `module.build()?`");
        return Err(error.into());
    }
    if let Err(errors) = p.verify() {
        diagnostics.extend(errors.into_iter().map(|error| {
            Diagnostic::new(format!("`{}` is not well-formed: {}", error.graph, error.fault))
                .label(error.span, "recorded here")
        }));
        return Err(diagnostics);
    }
    if p.modules.is_empty() {
        diagnostics.push(
            Diagnostic::new(format!("program `{}` has no module", p.name))
                .help("record one: `module.build()?`"),
        );
    }
    diagnostics.into_result()
}
