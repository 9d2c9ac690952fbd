//! Code generation, checks and drivers for this workspace.

mod codegen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    codegen::generate(&root, &root.join("crates/bb-ir/src/generated"))
}
