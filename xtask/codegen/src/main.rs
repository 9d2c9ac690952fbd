//! The protobuf schemas under `proto/` to the committed Rust of bb-ir; run it as `cargo xtask codegen`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use thiserror::Error;

const SCHEMAS: [&str; 3] = ["onnx-ml.proto", "bb_wire.proto", "bb_snapshot.proto"];

/// Why the code is not generated or not fresh.
#[derive(Debug, Error)]
enum CodegenError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the schemas do not compile: {0}")]
    Schema(#[from] protox::Error),
    #[error("{} is not what proto/ says; run `cargo xtask codegen`", path.display())]
    Stale { path: PathBuf },
    #[error("use: cargo xtask codegen [--check]")]
    Usage,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, CodegenError::Usage) { 2 } else { 1 })
        }
    }
}

fn run() -> Result<(), CodegenError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let committed = root.join("crates/bb-ir/src/generated");
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => generate(&root, &committed),
        ["--check"] => {
            let fresh =
                tempfile::tempdir().map_err(|source| CodegenError::Io { path: env::temp_dir(), source })?;
            generate(&root, fresh.path())?;
            compare(&committed, fresh.path())
        }
        _ => Err(CodegenError::Usage),
    }
}

/// Generates every schema into `out`.
fn generate(root: &Path, out: &Path) -> Result<(), CodegenError> {
    let files = protox::compile(SCHEMAS, [root.join("proto")])?;
    prost_build::Config::new()
        .out_dir(out)
        .bytes([".bb.snapshot", ".bb.wire", ".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .compile_fds(files)
        .map_err(|source| CodegenError::Io { path: out.to_owned(), source })
}

/// Checks that both folders hold the same files.
fn compare(committed: &Path, fresh: &Path) -> Result<(), CodegenError> {
    let names = file_names(committed)?;
    for name in &names {
        let path = committed.join(name);
        if fs::read(&path).ok() != fs::read(fresh.join(name)).ok() {
            return Err(CodegenError::Stale { path });
        }
    }
    match file_names(fresh)?.into_iter().find(|name| !names.contains(name)) {
        Some(name) => Err(CodegenError::Stale { path: committed.join(name) }),
        None => Ok(()),
    }
}

fn file_names(folder: &Path) -> Result<Vec<String>, CodegenError> {
    let at_fault = |source| CodegenError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at_fault)? {
        names.push(entry.map_err(at_fault)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
