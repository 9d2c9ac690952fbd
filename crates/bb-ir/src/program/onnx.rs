//! Programs as ONNX models, and back: lossless both ways, and one program has one form.
//!
//! | program | ONNX |
//! |---|---|
//! | module | `FunctionProto` of the domain `ai.bytesandbrains.module`; its bootstrap is the overload `bootstrap` |
//! | region | `FunctionProto` of the domain `ai.bytesandbrains.target`, named `target#index` |
//! | nested graph | attribute of type `GRAPH`; what it captures has the name that it has outside |
//! | type of a value | `ValueInfoProto`; a type that ONNX does not have is in its metadata |
//! | place, slot, uses, after, span of a node | metadata of its `NodeProto` |
//! | attribute that is a value | attribute of type `STRING` with its wire form, named in the node's metadata |
//! | everything else | metadata of the model |
//!
//! The model's graph calls the root module, or the entry regions, so that ONNX tools have something to show.
//! It is made from the functions and is not read back, but for its name.

mod attribute;
mod error;
mod read;
mod read_graph;
mod types;
mod write;
mod write_graph;

pub use attribute::AttributeError;
pub use error::ProgramError;

/// The version of the form in which programs are written.
const FORMAT_VERSION: u32 = 1;

/// The overload of the function that is a module's bootstrap.
const BOOTSTRAP: &str = "bootstrap";
