//! `ci`: every check that a change must pass, in the order in which they are quick to fail.

use std::path::Path;

use crate::step::{self, Step, StepError};
use crate::{fuzz, onnx_suite, python, tidy};

/// The features that build the tests which need onnxruntime; clippy sees them, `cargo test` leaves them out.
const LIBRARY_TESTS: &str = "bb-ort/library-tests,bb-onnx-tests/library-tests,bytesandbrains/ort";

/// Runs every check but those in `skip`.
pub(crate) fn run(root: &Path, skip: &[String]) -> Result<(), StepError> {
    let mut steps = steps(root);
    let known: Vec<&'static str> = steps.iter().map(|step| step.name).collect();
    if let Some(name) = skip.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(StepError::UnknownStep { name: name.clone(), known });
    }
    steps.retain(|step| !skip.iter().any(|name| name == step.name));
    step::run_all(steps)
}

fn steps(root: &Path) -> Vec<Step> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        LIBRARY_TESTS,
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    let demo =
        ["run", "--quiet", "--package", "bb-cli", "--", "demo", "--rounds", "2", "--out", "target/demo"];
    vec![
        Step::cargo("format", "cargo xtask fix", root, &["fmt", "--all", "--check"]),
        tidy::step(root),
        deny(root),
        step::codegen(root, true),
        Step::cargo("clippy", "cargo xtask fix, then by hand", root, &clippy),
        tests(root),
        onnx_suite::op_table(root, true),
        ort(root),
        decoders(root),
        loom(root),
        fuzz(root),
        simulate(root),
        example(root, "example-quickstart", "quickstart"),
        example(root, "example-federated", "federated"),
        Step::cargo("demo", "cargo run --release -- demo", root, &demo),
        docs(root),
    ]
}

/// cargo-nextest where it is installed, and what it does not run; `cargo test` elsewhere.
fn tests(root: &Path) -> Step {
    let root = root.to_owned();
    Step {
        name: "test",
        mend: "cargo test --workspace",
        action: Box::new(move || {
            if step::output(step::cargo(&root, &["nextest", "--version"])).is_err() {
                step::run(step::cargo(&root, &["test", "--workspace", "--locked"]))?;
                return Ok(Some("cargo test".to_owned()));
            }
            step::run(step::cargo(&root, &["nextest", "run", "--workspace", "--locked"]))?;
            step::run(step::cargo(&root, &["test", "--doc", "--workspace", "--locked"]))?;
            Ok(Some("cargo nextest, and cargo test --doc".to_owned()))
        }),
    }
}

/// The tests that need onnxruntime, with the library of the Python package.
pub(crate) fn ort(root: &Path) -> Step {
    let root = root.to_owned();
    Step {
        name: "ort",
        mend: "cargo xtask ort",
        action: Box::new(move || {
            let library = python::library(&root)?;
            let cases = onnx_suite::cases(&root)?;
            for package in ["bb-ort", "bb-onnx-tests"] {
                let arguments = ["test", "--locked", "--features", "library-tests", "--package", package];
                let mut command = step::cargo(&root, &arguments);
                command.args(["--test", "library"]).env(python::LIBRARY_VARIABLE, &library);
                command.env(python::CASES_VARIABLE, &cases);
                step::run(command)?;
            }
            onnx_suite::real_models(&root)?;
            Ok(Some(format!("onnxruntime of {}", library.display())))
        }),
    }
}

/// Whole systems under faults; `cargo xtask simulate --seeds 1000` is the long run.
fn simulate(root: &Path) -> Step {
    let command = step::simulate(root, false, &["--seeds".to_owned(), "200".to_owned()]);
    Step {
        name: "simulate",
        mend: "play the run again with the command that it printed",
        action: Box::new(move || step::run(command).map(|()| Some("200 seeds".to_owned()))),
    }
}

/// The property tests of everything that decodes bytes of others, with many more cases than `test` has.
fn decoders(root: &Path) -> Step {
    const CASES: &str = "10000";
    let arguments = ["test", "--workspace", "--locked", "--test", "wire_codec", "--test", "envelope"];
    let mut command = step::cargo(root, &arguments);
    command.env("PROPTEST_CASES", CASES);
    Step {
        name: "decoders",
        mend: "the seed of the failing case is in proptest-regressions; commit it with the fix",
        action: Box::new(move || step::run(command).map(|()| Some(format!("{CASES} cases a property")))),
    }
}

/// The threads that meet at a node's queue, in every interleaving with at most three preemptions.
pub(crate) fn loom(root: &Path) -> Step {
    let mut command =
        step::cargo(root, &["test", "--package", "bb-runtime", "--release", "--locked", "--lib", "lanes"]);
    command.env("RUSTFLAGS", "--cfg loom").env("LOOM_MAX_PREEMPTIONS", "3");
    command.env("CARGO_TARGET_DIR", root.join("target/loom"));
    Step {
        name: "loom",
        mend: "cargo xtask loom",
        action: Box::new(move || step::run(command).map(|()| None)),
    }
}

/// The fuzz targets for a short while, what was committed of earlier findings first, where cargo-fuzz is installed.
fn fuzz(root: &Path) -> Step {
    const SECONDS: u64 = 30;
    let root = root.to_owned();
    Step {
        name: "fuzz",
        mend: "the command that the finding names; commit the input to tests/fuzz/corpus with the fix",
        action: Box::new(move || {
            if step::output(step::cargo(&root, &["fuzz", "--version"])).is_err() {
                return Ok(Some("left out, cargo-fuzz is not installed".to_owned()));
            }
            fuzz::run(&root, SECONDS, &[])?;
            Ok(Some(format!("{SECONDS} s; cargo xtask fuzz --seconds 600 runs longer")))
        }),
    }
}

fn example(root: &Path, name: &'static str, example: &str) -> Step {
    let arguments = ["run", "--quiet", "--package", "bytesandbrains", "--example", example];
    Step::cargo(name, "cargo run -p bytesandbrains --example NAME", root, &arguments)
}

/// cargo-deny where it is installed; the licences are checked by `tidy` everywhere.
fn deny(root: &Path) -> Step {
    let root = root.to_owned();
    Step {
        name: "deny",
        mend: "cargo deny check, then choose another dependency",
        action: Box::new(move || {
            if step::output(step::cargo(&root, &["deny", "--version"])).is_err() {
                return Ok(Some("left out, cargo-deny is not installed".to_owned()));
            }
            step::run(step::cargo(&root, &["deny", "check", "bans", "licenses", "sources"]))?;
            Ok(Some("cargo deny check bans licenses sources".to_owned()))
        }),
    }
}

fn docs(root: &Path) -> Step {
    let mut command = step::cargo(root, &["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    Step {
        name: "docs",
        mend: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps",
        action: Box::new(move || step::run(command).map(|()| None)),
    }
}
