//! From a recorded program to an installable artifact.
//!
//! Start at [`Compiler`]. The order of the passes is the function `lower` in `lower.rs`; each pass is one file
//! in `passes`, which opens with what it needs, what it establishes and an example.

mod compiler;
mod context;
mod diagnostics;
mod edit;
mod lower;
mod passes;

pub use bb_ir::Diagnostic;
pub use bb_ir::program::Program;
pub use bb_runtime::CompiledModel;
pub use compiler::Compiler;
pub use context::{Bound, Context, DEFAULT_DEADLINE};
pub use diagnostics::Diagnostics;
pub use lower::{Point, run_pass};
