//! Bytes of an artifact: no panic, and what is read is a well-formed program with one canonical form.
#![no_main]

use bb_ir::program::Program;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(program) = Program::from_onnx_bytes(bytes) else { return };
    program.verify().expect("a program that was read is well-formed");
    let model = program.to_onnx();
    let again = Program::from_onnx(&model).expect("the canonical form is sound");
    assert_eq!(again.to_onnx(), model);
});
