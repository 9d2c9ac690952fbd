//! Snapshots that were changed by somebody who knows their form: all hashes are right, what they cover is not.

use arbitrary::{Result, Unstructured};
use bb_runtime::{CompiledModel, NodeSnapshot, RestoreError, Time};

use crate::components::Open;
use crate::snapshot_file::{file, sections};
use crate::world::node;

/// Changes a sound file as the bytes say.
pub fn damaged(sound: &[u8], input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1, 8)? {
        let length = input.len();
        return Ok(input.bytes(length)?.to_vec());
    }
    let mut parts = sections(sound);
    let numbers: Vec<u32> = parts.keys().copied().collect();
    for _ in 0..input.int_in_range(1..=4)? {
        let number = *input.choose(&numbers)?;
        let Some(section) = parts.get_mut(&number) else { continue };
        let at = input.int_in_range(0..=section.len())?;
        match input.int_in_range(0..=4_u8)? {
            0 => section.truncate(at),
            1 => section.insert(at, input.arbitrary()?),
            2 if at < section.len() => {
                section.remove(at);
            }
            3 => {
                let to = input.int_in_range(at..=section.len())?;
                let piece = section[at..to].to_vec();
                section.splice(at..at, piece);
            }
            _ => {
                if let Some(byte) = section.get_mut(at) {
                    *byte = input.arbitrary()?;
                }
            }
        }
    }
    Ok(file(sound, &parts))
}

/// Restores it: either it is refused and nothing has changed, or the node works on.
pub fn restore(compiled: &CompiledModel, bytes: Vec<u8>) {
    let mut node = node(compiled, 0, &Open::default());
    let digest = node.state_digest().expect("a node can be saved at any time");
    let restored: std::result::Result<(), RestoreError> =
        NodeSnapshot::decode(bytes).and_then(|snapshot| node.restore(snapshot));
    match restored {
        Err(error) => {
            assert_eq!(node.state_digest().expect("a node can be saved at any time"), digest, "{error}");
        }
        Ok(()) => {
            for second in 0..400 {
                drop(node.step(Time::from_nanos(second * 1_000_000_000)));
            }
            node.snapshot().expect("a node can be saved at any time");
        }
    }
}
