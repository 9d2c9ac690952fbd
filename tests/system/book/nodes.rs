//! Nodes: bootstraps by target, with inputs, and those of a component.

use bb_tests::Error;
use bytesandbrains::prelude::*;
use bytesandbrains::{BootstrapRequest, BootstrapStatus};

/// Hands out, at its bootstrap, where it was told to begin.
struct Counter;

impl Module for Counter {
    fn name(&self) -> &str {
        "Counter"
    }

    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        g.output("y", x);
    }

    fn bootstrap(&self, g: &mut Graph) {
        let start = g.input("start");
        g.output("began", start);
    }
}

/// Announces, at its bootstrap, that it is there.
struct Greeter;

impl Module for Greeter {
    fn name(&self) -> &str {
        "Greeter"
    }

    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        g.output("y", x);
    }

    fn bootstrap(&self, g: &mut Graph) {
        let greeting = g.constant("here");
        g.output("greeting", greeting);
    }
}

fn handed_out(steps: &[EngineStep]) -> Vec<String> {
    let value = |step: &EngineStep| match step {
        EngineStep::AppEvent { output, value, .. } => Some(format!("{output} {value}")),
        _ => None,
    };
    steps.iter().filter_map(value).collect()
}

fn node(module: &impl Module) -> Result<Node, Error> {
    let compiled = Compiler::new().compile(module.build()?)?;
    Ok(install(PeerId::from_u64(1), [], compiled, &[module.name()], Config::new())?)
}

#[test]
fn bootstraps_run_when_the_host_says() -> Result<(), Error> {
    let mut node = node(&Greeter)?;
    let mut steps = Vec::new();
    steps.extend(node.run_bootstrap(BootstrapTarget::All)?); // what is not done, in the order of installation
    assert_eq!(handed_out(&steps).len(), 1);
    assert!(node.run_bootstrap(BootstrapTarget::All)?.is_empty());
    steps.extend(node.run_bootstrap(BootstrapTarget::ModuleNames(&["Greeter"]))?); // again, although it is done
    assert_eq!(handed_out(&steps).len(), 2);
    assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);
    Ok(())
}

#[test]
fn a_bootstrap_takes_inputs() -> Result<(), Error> {
    let mut node = node(&Counter)?;
    let start = Value::from(41_i64).encode();
    let request = BootstrapRequest { target: "Counter", inputs: &[("start", &start)] };
    let steps = node.run_bootstrap(BootstrapTarget::ModuleRequests(&[request]))?;
    assert_eq!(handed_out(&steps), ["began 41"]);
    Ok(())
}
