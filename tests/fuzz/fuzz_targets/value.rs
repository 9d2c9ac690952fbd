//! Bytes of a value: no panic, memory within its bound, and one canonical form.
#![no_main]

use bb_fuzz::with_peak;
use bb_ir::Value;
use bb_ir::wire_codec::{DecodeLimits, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = DecodeLimits::PEER;
    let (scanned, peak) = with_peak(|| scan(bytes, &limits));
    assert_eq!(peak, 0, "the scan allocates");
    let Ok(scanned) = scanned else { return };
    let (decoded, peak) = with_peak(|| scanned.decode());
    assert!(peak <= scanned.heap_bytes(), "{peak} bytes, {} were counted", scanned.heap_bytes());
    assert!(peak <= limits.allowed(bytes.len()), "{peak} bytes for {} on the wire", bytes.len());
    let Ok(value) = decoded else { return };
    let canonical = value.encode();
    assert_eq!(canonical.len(), value.encoded_len());
    let again = Value::decode_with(&canonical, &DecodeLimits::LOCAL).expect("the canonical form is sound");
    assert_eq!(again.encode(), canonical);
});
