//! Which crate of the workspace may depend on which; the table stands in ARCHITECTURE.md too.
//!
//! Dev-dependencies are exempt: a test may reach for what it compares with. They are listed all the same.

use cargo_metadata::{DependencyKind, Metadata};

/// Every member of the workspace with the members it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bb-autodiff", &["bb-ir"]),
    ("bb-cli", &["bb-learn", "bb-sim", "bytesandbrains"]),
    ("bb-compiler", &["bb-autodiff", "bb-ir", "bb-runtime"]),
    ("bb-cpu", &["bb-runtime"]),
    ("bb-dsl", &["bb-ir"]),
    ("bb-fault-tests", &[]),
    ("bb-framework", &["bb-ir"]),
    ("bb-ir", &[]),
    ("bb-learn", &["bb-autodiff", "bb-compiler", "bb-dsl", "bb-runtime"]),
    ("bb-onnx-tests", &["bb-autodiff", "bb-cpu", "bb-ir", "bb-ort", "bb-runtime"]),
    ("bb-ort", &["bb-runtime"]),
    ("bb-runtime", &["bb-framework", "bb-ir"]),
    ("bb-sim", &["bb-learn", "bytesandbrains"]),
    ("bb-tests", &["bb-cpu", "bb-ir", "bb-learn", "bb-sim", "bytesandbrains"]),
    (
        "bytesandbrains",
        &[
            "bb-autodiff",
            "bb-compiler",
            "bb-cpu",
            "bb-dsl",
            "bb-framework",
            "bb-ir",
            "bb-learn",
            "bb-ort",
            "bb-runtime",
        ],
    ),
    ("toy-backend", &["bb-runtime"]),
    ("xtask", &[]),
    ("xtask-codegen", &[]),
];

/// The findings, and the dev-dependencies that the table does not have.
pub(super) fn check(metadata: &Metadata) -> (Vec<String>, String) {
    let members: Vec<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let (mut findings, mut listed) = (Vec::new(), Vec::new());
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(held, _)| *held == name) else {
            findings.push(format!("{name} is not in the table of xtask/src/tidy/dependencies.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            if !members.contains(&on) || allowed.contains(&on) || on == name {
                continue;
            }
            if dependency.kind == DependencyKind::Development {
                listed.push(format!("{name} -> {on}"));
            } else {
                findings.push(format!("{name} depends on {on}; it may depend on {allowed:?} only"));
            }
        }
    }
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    (findings, listed)
}
