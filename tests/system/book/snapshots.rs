//! Stop, move, go on: bytes from one node to another, and a folder that keeps the last few.

use bb_tests::Error;
use bytesandbrains::prelude::*;

/// Waits before it hands on what it was given.
struct Slow;

impl Module for Slow {
    fn name(&self) -> &str {
        "Slow"
    }

    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        let y = g.delay(x, secs(5));
        g.output("y", y);
    }
}

/// A node in the middle of an execution, and one of the same make.
fn two() -> Result<(Node, Node), Error> {
    let model = Compiler::new().compile(Slow.build()?)?;
    let peer_id = PeerId::from_u64(1);
    let mut first = install(peer_id, [], model.clone(), &["Slow"], Config::new())?;
    first.invoke("Slow", &[("x", &Value::from(7_i64).encode())])?;
    assert!(handed_out(first.step(Time::ZERO)).is_empty());
    Ok((first, install(peer_id, [], model, &["Slow"], Config::new())?))
}

fn handed_out(steps: Vec<EngineStep>) -> Vec<Value> {
    let value = |step| match step {
        EngineStep::AppEvent { value, .. } => Some(value),
        _ => None,
    };
    steps.into_iter().filter_map(value).collect()
}

#[test]
fn a_node_goes_on_from_the_bytes_of_another() -> Result<(), Error> {
    let (node, mut other) = two()?;
    let bytes = node.snapshot()?.encode();
    // …another process, another machine: installed from the same artifact, with the same peer id and configuration
    other.restore(NodeSnapshot::decode(bytes)?)?;
    assert_eq!(other.state_digest()?, node.state_digest()?);
    assert_eq!(handed_out(other.step(Time::ZERO + secs(5))), [Value::from(7_i64)]);
    Ok(())
}

#[test]
fn a_node_goes_on_from_what_a_folder_kept() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let (node, mut other) = two()?;
    SnapshotStore::open(folder.path(), 3)?.save(&node.snapshot()?)?;

    let node = &mut other;
    let mut store = SnapshotStore::open(folder.path(), 3)?;
    if let Some(found) = store.newest()? {
        node.restore(found.snapshot)?;
    }
    store.save(&node.snapshot()?)?;
    assert_eq!(store.numbers()?.len(), 2);
    assert_eq!(handed_out(node.step(Time::ZERO + secs(5))), [Value::from(7_i64)]);
    Ok(())
}
