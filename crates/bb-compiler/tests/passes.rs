//! Each pass on programs in text form: `tests/passes/<pass>/*.bb`, input and expectation side by side.
//!
//! `BB_BLESS=1 cargo test -p bb-compiler` rewrites the expectations.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::path::Path;

use bb_compiler::{Compiler, run_pass};
use support::{Golden, components, parse};

/// The compiler that the options of a golden file ask for.
fn compiler(golden: &Golden) -> Compiler {
    let mut compiler = Compiler::new();
    for option in &golden.options {
        let words: Vec<&str> = option.iter().map(String::as_str).collect();
        compiler = match words[..] {
            ["bind", slot, "IdleAggregator"] => compiler.bind_aggregator::<components::IdleAggregator>(slot),
            ["bind", slot, "IdleBackend"] => compiler.bind_backend::<components::IdleBackend>(slot),
            ["bind", slot, "IdleData"] => compiler.bind_data_source::<components::IdleData>(slot),
            ["bind", slot, "IdleModel"] => compiler.bind_model::<components::IdleModel>(slot),
            ["bind", slot, "CircularModel"] => compiler.bind_model::<components::CircularModel>(slot),
            ["bind", slot, "IdlePeers"] => compiler.bind_peer_selector::<components::IdlePeers>(slot),
            ["dependency", slot, dependency, other] => compiler.with_dependency(slot, dependency, other),
            _ => panic!("{}: option {option:?}", golden.name()),
        };
    }
    compiler
}

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn check_pass(pass: &str) {
    let mut right = true;
    for golden in Golden::all(&folder("passes").join(pass)) {
        let mut program = parse::program(&golden.input);
        let got = match run_pass(pass, &mut program, compiler(&golden).context()) {
            Ok(()) => {
                program.passes.clear();
                program.to_string()
            }
            Err(diagnostics) => diagnostics.to_string(),
        };
        right &= golden.check(&got);
    }
    assert!(right, "pass {pass} does not give what is expected");
}

macro_rules! passes {
    ($($pass:ident)*) => {$(
        #[test]
        fn $pass() {
            check_pass(stringify!($pass));
        }
    )*};
}

passes! { verify inline differentiate infer_types place partition pair_wires bind fuse deadlines link stamp }

#[test]
fn mistakes_are_explained() {
    let mut right = true;
    for golden in Golden::all(&folder("errors")) {
        let program = parse::program(&golden.input);
        let got = match compiler(&golden).compile(program) {
            Ok(_) => "it compiles".to_owned(),
            Err(diagnostics) => diagnostics.to_string(),
        };
        right &= golden.check(&got);
    }
    assert!(right, "a mistake is not explained as expected");
}

#[test]
fn the_text_form_reads_back() {
    for pass in ["inline", "partition", "fuse"] {
        for golden in Golden::all(&folder("passes").join(pass)) {
            let text = format!("{:#}", parse::program(&golden.input));
            assert_eq!(format!("{:#}", parse::program(&text)), text, "{}", golden.name());
        }
    }
}
