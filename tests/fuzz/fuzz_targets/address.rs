//! Bytes and text of an address.
#![no_main]

use bb_ir::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = Address::from_bytes(bytes).ok();
    let parsed = String::from_utf8_lossy(bytes).parse::<Address>().ok();
    for address in read.into_iter().chain(parsed) {
        assert_eq!(Address::from_bytes(address.as_bytes()).as_ref(), Ok(&address));
        let _: (String, Option<bb_ir::PeerId>) = (address.to_string(), address.peer());
    }
});
