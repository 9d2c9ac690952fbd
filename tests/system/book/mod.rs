//! The code of the book, a file a chapter: it is compiled and run here, and each block of a chapter stands in a file.
//!
//! Blocks that other packages already run — a backend of one's own, the examples of the facade — are looked for there.

mod nodes;
mod onnx_models;
mod programs;
mod snapshots;

/// The chapters that show Rust.
const CHAPTERS: [(&str, &str); 8] = [
    ("backends.md", include_str!("../../../docs/src/backends.md")),
    ("data-and-models.md", include_str!("../../../docs/src/data-and-models.md")),
    ("first-minute.md", include_str!("../../../docs/src/first-minute.md")),
    ("framework-ops.md", include_str!("../../../docs/src/framework-ops.md")),
    ("nodes.md", include_str!("../../../docs/src/nodes.md")),
    ("onnx-models.md", include_str!("../../../docs/src/onnx-models.md")),
    ("programs.md", include_str!("../../../docs/src/programs.md")),
    ("snapshots.md", include_str!("../../../docs/src/snapshots.md")),
];

/// Code that is compiled.
const SOURCES: [&str; 9] = [
    include_str!("nodes.rs"),
    include_str!("onnx_models.rs"),
    include_str!("programs.rs"),
    include_str!("snapshots.rs"),
    include_str!("../../../crates/bb-ort/tests/no_library.rs"),
    include_str!("../../../crates/bytesandbrains/examples/federated.rs"),
    include_str!("../../../crates/bytesandbrains/examples/quickstart.rs"),
    include_str!("../../../examples/toy-backend/src/lib.rs"),
    include_str!("../gossip_has_no_server.rs"),
];

/// Lines that say something, without the spaces around them.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn each_block_of_rust_in_the_book_is_code_that_is_compiled() {
    let sources = SOURCES.map(lines);
    let mut blocks = 0;
    for (chapter, text) in CHAPTERS {
        for rest in text.split("```rust\n").skip(1) {
            let Some((block, _)) = rest.split_once("```") else {
                panic!("a block of {chapter} does not end");
            };
            let wanted = lines(block);
            let stands = sources
                .iter()
                .any(|source| source.windows(wanted.len()).any(|some| some == wanted.as_slice()));
            assert!(stands, "{chapter} shows code that no file of tests/system/book has:\n{block}");
            blocks += 1;
        }
        assert!(!text.contains("```rust,"), "{chapter} has a block of Rust that is left out of this check");
    }
    assert!(blocks >= 10, "{blocks} blocks");
}
