//! `codegen`: the protobuf schemas under `proto/` to the committed Rust of bb-ir.

use std::path::Path;

/// Generates every schema into `out`.
///
/// # Errors
/// A schema that does not parse, or an output folder that cannot be written.
pub fn generate(root: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let proto = root.join("proto");
    let files = protox::compile(["onnx-ml.proto", "bb_wire.proto"], [&proto])?;
    prost_build::Config::new()
        .out_dir(out)
        .bytes([".bb.wire", ".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .compile_fds(files)?;
    Ok(())
}
