//! The code in the README is the code of the examples, and its commands are those that CI runs.

const README: &str = include_str!("../../README.md");
const CI: &str = include_str!("../../.ci/run");
const EXAMPLES: [(&str, &str); 2] = [
    ("quickstart", include_str!("../../crates/bytesandbrains/examples/quickstart.rs")),
    ("federated", include_str!("../../crates/bytesandbrains/examples/federated.rs")),
];

#[test]
fn each_block_of_rust_is_an_example_from_its_first_use_on() {
    let blocks: Vec<&str> =
        README.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), EXAMPLES.len());
    for ((name, source), block) in EXAMPLES.into_iter().zip(blocks) {
        let code = source.find("use ").map(|at| &source[at..]);
        assert_eq!(code, Some(block), "copy examples/{name}.rs from its first `use` on into README.md");
    }
}

#[test]
fn there_are_two_commands_and_ci_runs_the_tests() {
    let commands: Vec<&str> = README
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with("cargo "))
        .collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo test --workspace"]);
    assert!(CI.lines().any(|line| line == commands[1]), ".ci/run runs `{}`", commands[1]);
    assert!(CI.lines().any(|line| line.starts_with("cargo xtask ci")), ".ci/run runs `cargo xtask ci`");
}
