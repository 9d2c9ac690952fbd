//! The order of the passes.

use std::fmt;

use bb_ir::Diagnostic;
use bb_ir::program::Program;

use crate::passes::{
    bind, deadlines, differentiate, fuse, infer_types, inline, link, pair_wires, partition, place, stamp,
    verify,
};
use crate::{Context, Diagnostics};

/// All passes, in order; the program is verified after each.
pub(crate) fn lower(p: &mut Program, cx: &Context, user: &[UserPass]) -> Result<(), Diagnostics> {
    let mut run = Run { p, cx, user };
    run.pass("verify", verify)?;
    run.pass("inline", inline)?;
    run.user(Point::Inlined)?;
    run.pass("differentiate", differentiate)?;
    run.pass("infer_types", infer_types)?;
    run.user(Point::Typed)?;
    run.pass("place", place)?;
    run.user(Point::Placed)?;
    run.pass("partition", partition)?;
    run.pass("pair_wires", pair_wires)?;
    run.user(Point::Partitioned)?;
    run.pass("bind", bind)?;
    run.pass("fuse", fuse)?;
    run.pass("deadlines", deadlines)?;
    run.user(Point::Lowered)?;
    run.pass("link", link)?;
    run.pass("stamp", stamp)
}

/// Where passes of a user's own run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Point {
    /// One module is left: the root, all calls expanded.
    Inlined,
    /// Gradients are expanded and values have types.
    Typed,
    /// Every op has its peer class.
    Placed,
    /// There are targets and regions in place of modules, and ports are paired.
    Partitioned,
    /// Slots are bound, backend ops are fused, every call has its deadline.
    Lowered,
}

type Pass = dyn Fn(&mut Program, &Context) -> Result<(), Diagnostics>;

/// A pass of a user's own.
pub(crate) struct UserPass {
    pub(crate) point: Point,
    pub(crate) name: String,
    pub(crate) run: Box<Pass>,
}

impl fmt::Debug for UserPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.name, self.point)
    }
}

struct Run<'a> {
    p: &'a mut Program,
    cx: &'a Context,
    user: &'a [UserPass],
}

impl Run<'_> {
    fn pass(
        &mut self,
        name: &str,
        pass: impl Fn(&mut Program, &Context) -> Result<(), Diagnostics>,
    ) -> Result<(), Diagnostics> {
        let span = tracing::debug_span!("pass", name);
        let _entered = span.enter();
        self.p.passes.push(name.to_owned());
        pass(self.p, self.cx)?;
        if name == "verify" { Ok(()) } else { self.verify(name) }
    }

    fn user(&mut self, point: Point) -> Result<(), Diagnostics> {
        let user = self.user;
        for pass in user.iter().filter(|pass| pass.point == point) {
            self.pass(&pass.name, &pass.run)?;
        }
        Ok(())
    }

    fn verify(&self, name: &str) -> Result<(), Diagnostics> {
        let Err(errors) = self.p.verify() else { return Ok(()) };
        let mut diagnostics = Diagnostics::default();
        diagnostics.extend(errors.into_iter().map(|error| {
            Diagnostic::new(format!("after pass `{name}`, {error}"))
                .note("a pass left the program in a state that it may not be in")
        }));
        Err(diagnostics)
    }
}

/// Runs one of the compiler's passes alone, on a program in the form that the pass needs.
///
/// For tools that look at what a pass does. Which passes there are says [`Diagnostics`] of an unknown name.
///
/// # Errors
/// The pass's own; a name that no pass has.
pub fn run_pass(name: &str, program: &mut Program, context: &Context) -> Result<(), Diagnostics> {
    let pass = match name {
        "verify" => verify,
        "inline" => inline,
        "differentiate" => differentiate,
        "infer_types" => infer_types,
        "place" => place,
        "partition" => partition,
        "pair_wires" => pair_wires,
        "bind" => bind,
        "fuse" => fuse,
        "deadlines" => deadlines,
        "link" => link,
        "stamp" => stamp,
        _ => return Err(Diagnostic::new(format!("there is no pass `{name}`")).help(
            "verify, inline, differentiate, infer_types, place, partition, pair_wires, bind, fuse, deadlines, link, stamp",
        ).into()),
    };
    Run { p: program, cx: context, user: &[] }.pass(name, pass)
}
