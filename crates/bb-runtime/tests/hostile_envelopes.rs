//! A million damaged envelopes: none panics, none holds more than twice its bytes while or after it is decoded.
//!
//! One test alone in its file, because it measures the memory of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::{CustomValue, Digest};
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, Notice, scan};
use bb_runtime::{Address, PeerId, Tensor, TensorMap, Value};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

const SEED: u64 = 0x5eed_0fe7;
const ENVELOPES: usize = 1_000_000;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Sound envelopes of every kind, to be damaged.
fn sound() -> Vec<Vec<u8>> {
    let tensor = Tensor::from_rows([[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let tensors: TensorMap = [("w", tensor.clone()), ("b", Tensor::scalar(1_i64))].into_iter().collect();
    let address: Address = "/ip4/192.0.2.1/udp/4001/quic-v1".parse().unwrap();
    let values = [
        Value::Trigger,
        Value::Bool(true),
        Value::I64(-7),
        Value::U64(7),
        Value::F64(0.5),
        Value::from("text"),
        Value::Bytes(vec![1, 2, 3].into()),
        Value::Tensor(tensor),
        Value::Tensors(tensors),
        Value::Peer(PeerId::from_u64(3)),
        Value::Peers([1, 2, 3].map(PeerId::from_u64).into()),
        Value::Addresses([address.clone(), address.clone()].into()),
        Value::Tuple([Value::Tuple([Value::Trigger, Value::I64(1)].into()), Value::from("inner")].into()),
        Value::Custom(CustomValue::from_encoded("schema", vec![9; 20].into())),
    ];
    let base = Envelope {
        message_id: MessageId { incarnation: 3, counter: 1 << 40 },
        program: Digest([7; 32]),
        deadline: Some(Duration::from_secs(5)),
        addresses: [address].into(),
        ..Envelope::default()
    };
    let fill = |(port, value): (usize, &Value)| Fill { port: port as u32, value: value.clone() };
    let all: Vec<Fill> = values.iter().enumerate().map(fill).collect();
    let request = RequestId([5; 16]);
    let mut envelopes = vec![
        Envelope { correlation: Some(Correlation::Request(request)), fills: all, ..base.clone() },
        Envelope {
            correlation: Some(Correlation::Failure { request, reason: "out of memory".into() }),
            ..base.clone()
        },
        Envelope {
            notice: Some(Notice::Backpressure { retry_after: Duration::from_secs(1) }),
            ..base.clone()
        },
    ];
    envelopes.extend(values.iter().enumerate().map(|one| Envelope {
        correlation: Some(Correlation::Response(request)),
        fills: vec![fill(one)],
        ..base.clone()
    }));
    envelopes.iter().map(Envelope::encode).collect()
}

/// Draws bytes: random, or a sound envelope that is cut, changed, or spliced with another.
fn draw(rng: &mut Rng, sound: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    if rng.below(8) == 0 {
        let len = rng.below(64);
        out.extend((0..len).map(|_| rng.next() as u8));
        return;
    }
    out.extend_from_slice(&sound[rng.below(sound.len())]);
    for _ in 0..=rng.below(3) {
        let place = rng.below(out.len());
        match rng.below(12) {
            0 => out.truncate(place),
            1 => out.insert(place, rng.next() as u8),
            2 => {
                let end = (place + rng.below(40)).min(out.len());
                out.extend_from_within(place..end);
            }
            3 => {
                let other = &sound[rng.below(sound.len())];
                out.truncate(place);
                out.extend_from_slice(&other[rng.below(other.len())..]);
            }
            _ if out.is_empty() => {}
            4..8 => out[place] = rng.next() as u8,
            _ => out[place] ^= 1 << rng.below(8),
        }
    }
}

#[test]
fn a_million_damaged_envelopes_neither_panic_nor_hold_more_than_twice_their_bytes() {
    let limits = EnvelopeLimits::default();
    assert!(limits.value.slack_bytes <= 4_096);
    let sound = sound();
    let mut rng = Rng(SEED);
    let mut bytes = Vec::with_capacity(4096);
    let mut values = Vec::with_capacity(limits.fills);
    let mut addresses = Vec::with_capacity(limits.addresses);
    let (mut scanned_count, mut value_count) = (0_u64, 0_u64);
    for index in 0..ENVELOPES {
        draw(&mut rng, &sound, &mut bytes);
        // The thread that reports on a long test may allocate meanwhile; a scan that allocates does so every time.
        let allocates = || {
            ALLOCATOR.reset_peak_memory();
            drop(scan(&bytes, &limits));
            ALLOCATOR.get_peak_memory() > 0
        };
        assert!(!allocates() || !allocates(), "seed {SEED:#x}, envelope {index}: the scan allocates");
        ALLOCATOR.reset_peak_memory();
        let Ok(scanned) = scan(&bytes, &limits) else { continue };
        scanned_count += 1;
        addresses.extend(scanned.addresses().filter_map(Result::ok));
        values.extend(scanned.fills().filter_map(|fill| fill.ok()?.decode().ok()));
        let (held, allowed) = (ALLOCATOR.get_peak_memory(), limits.value.allowed(bytes.len()));
        assert!(held <= allowed, "seed {SEED:#x}, envelope {index}: {held} of {allowed} bytes, {bytes:?}");
        value_count += values.len() as u64;
        values.clear();
        addresses.clear();
    }
    assert!(
        scanned_count > 100_000,
        "seed {SEED:#x}: only {scanned_count} were sound enough to test the fills"
    );
    assert!(value_count > 100_000, "seed {SEED:#x}: only {value_count} values");
}
