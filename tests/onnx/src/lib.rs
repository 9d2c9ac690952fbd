//! The frozen ONNX node cases (`data/README.md`) and how a backend does on them.
//!
//! [`archive::cases`] unpacks them, [`folder::cases`] reads others, [`suite::Suite`] runs them on a backend,
//! [`suite::Report`] counts and prints; [`gradients::run`] checks their gradients. The test
//! `tests/conformance.rs` compares the cases that pass with the committed list under `expected/`.

pub mod archive;
mod bind;
mod case;
pub mod compare;
pub mod difference;
pub mod folder;
pub mod gradients;
pub mod suite;
pub mod sweep;
pub mod table;
pub mod timing;
mod wide;
