//! Bytes and text of a peer id.
#![no_main]

use bb_ir::PeerId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(peer) = PeerId::from_bytes(bytes) {
        assert_eq!(peer.as_bytes(), bytes);
        assert_eq!(peer.to_string().parse(), Ok(peer));
    }
    if let Ok(peer) = String::from_utf8_lossy(bytes).parse::<PeerId>() {
        assert_eq!(PeerId::from_bytes(peer.as_bytes()), Ok(peer));
    }
});
