//! Bytes of an envelope: no panic, memory within its bound, and one canonical form.
#![no_main]

use bb_fuzz::with_peak;
use bb_ir::wire_codec::DecodeLimits;
use bb_runtime::envelope::{EnvelopeLimits, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = EnvelopeLimits::default();
    let (scanned, peak) = with_peak(|| scan(bytes, &limits));
    assert_eq!(peak, 0, "the scan allocates");
    let Ok(scanned) = scanned else { return };

    let mut values = Vec::with_capacity(scanned.fill_count());
    let mut addresses = Vec::with_capacity(limits.addresses);
    let ((), peak) = with_peak(|| {
        addresses.extend(scanned.addresses().filter_map(Result::ok));
        values.extend(scanned.fills().filter_map(|fill| fill.ok()?.decode().ok()));
    });
    assert!(peak <= limits.value.allowed(bytes.len()), "{peak} bytes for {} on the wire", bytes.len());

    let Ok(envelope) = scanned.decode() else { return };
    let canonical = envelope.encode();
    let local = EnvelopeLimits { value: DecodeLimits::LOCAL, ..limits };
    let again = scan(&canonical, &local).expect("the canonical form is sound").decode();
    assert_eq!(again.expect("the canonical fills are sound").encode(), canonical);
});
