//! What an author implements.

use bb_ir::program::Program;

use crate::session::Session;
use crate::{BuildError, Graph};

/// The version of the ONNX operator set that recorded ops belong to.
pub const OPSET: i64 = 21;

/// A program, or a part of one: it records what is to run.
///
/// ```
/// use bb_dsl::{BackendSlot, Graph, Module, Tensor};
///
/// struct Dense { compute: BackendSlot }
///
/// impl Module for Dense {
///     fn name(&self) -> &str { "Dense" }
///     fn body(&self, g: &mut Graph) {
///         let x = g.input("x");
///         let w = g.constant(Tensor::from_rows([[1.0_f32, -1.0], [0.5, 2.0]]));
///         let y = self.compute.matmul(g, x, w);
///         let y = self.compute.relu(g, y);
///         g.output("y", y);
///     }
/// }
///
/// let program = Dense { compute: BackendSlot::named("compute") }.build()?;
/// assert_eq!(program.modules[0].body.nodes.len(), 3);
/// # Ok::<(), bb_dsl::BuildError>(())
/// ```
pub trait Module {
    /// Its name; what a host installs and invokes.
    fn name(&self) -> &str;

    /// Records what it does when it is invoked.
    fn body(&self, g: &mut Graph);

    /// Records what it does once before that; nothing unless the module says otherwise.
    fn bootstrap(&self, g: &mut Graph) {
        let _ = g;
    }

    /// Records the module and the modules it calls.
    ///
    /// # Errors
    /// [`BuildError`] with every mistake found, each with the lines that made it.
    #[track_caller]
    fn build(&self) -> Result<Program, BuildError> {
        let mut session = Session::default();
        let name = self.name().to_owned();
        let at = std::panic::Location::caller();
        let address = std::ptr::from_ref(self).cast();
        session.module(&name, address, &mut |g| self.body(g), &mut |g| self.bootstrap(g), at);
        session.finish(name, OPSET)
    }
}
