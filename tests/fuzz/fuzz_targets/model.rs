//! Models, from bytes, from changes to sound ones, and of random nodes: a typed error or a result, within a bound of memory.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match bb_fuzz::models::play(bytes) {
        Ok(()) => Corpus::Keep,
        // The bytes ended before the model was complete.
        Err(_) => Corpus::Reject,
    }
});
