//! Arbitrary calls, messages and pauses: no panic, every execution ends once, no byte from outside stays.
#![no_main]

use std::sync::OnceLock;

use bb_fuzz::world::{World, program};
use bb_runtime::CompiledModel;
use libfuzzer_sys::fuzz_target;

static PROGRAM: OnceLock<CompiledModel> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| World::new(PROGRAM.get_or_init(program)).drive(bytes));
