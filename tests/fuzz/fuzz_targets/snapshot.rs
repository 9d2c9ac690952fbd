//! Bytes of a snapshot, whatever they are or a sound one that was changed with its hashes: refused and nothing changed, or
//! a node that works.
#![no_main]

use std::sync::OnceLock;

use arbitrary::Unstructured;
use bb_fuzz::snapshots::{damaged, restore};
use bb_fuzz::world::{World, program};
use bb_runtime::CompiledModel;
use libfuzzer_sys::fuzz_target;

static SOUND: OnceLock<(CompiledModel, Vec<u8>)> = OnceLock::new();

fn sound() -> (CompiledModel, Vec<u8>) {
    let compiled = program();
    let snapshot = World::busy(&compiled).snapshot().expect("a node can be saved at any time");
    (compiled, snapshot.encode().to_vec())
}

fuzz_target!(|bytes: &[u8]| {
    let (compiled, sound) = SOUND.get_or_init(sound);
    if let Ok(changed) = damaged(sound, &mut Unstructured::new(bytes)) {
        restore(compiled, changed);
    }
});
