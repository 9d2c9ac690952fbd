//! Rust made from `proto/` by `cargo xtask codegen`; never edited by hand.
#![allow(missing_docs, unreachable_pub, unnameable_types, clippy::all, reason = "generated code")]

/// ONNX models, graphs and tensors (`proto/onnx-ml.proto`).
pub mod onnx {
    include!("generated/onnx.rs");
}

/// The package `bb` of the schemas.
pub mod bb {
    /// Saved nodes (`proto/bb_snapshot.proto`).
    pub mod snapshot {
        include!("generated/bb.snapshot.rs");
    }
    /// Values and envelopes (`proto/bb_wire.proto`).
    pub mod wire {
        include!("generated/bb.wire.rs");
    }
}

pub use bb::{snapshot, wire};
