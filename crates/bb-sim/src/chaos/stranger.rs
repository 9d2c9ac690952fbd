//! Somebody who sees every message, knows every id, and means harm; nobody asked it anything.

use std::time::Duration;

use bytes::Bytes;
use bytesandbrains::framework::{MessageId, Rng};
use bytesandbrains::runtime::envelope::{Correlation, EnvelopeLimits, Fill, Notice, scan};
use bytesandbrains::{Address, PeerId, Value};

/// Makes a message of one that it saw.
pub(super) fn twist(rng: &mut Rng, seen: &[u8]) -> Bytes {
    let mut bytes = seen.to_vec();
    let Ok(scanned) = scan(seen, &EnvelopeLimits::default()) else { return bytes.into() };
    let Ok(mut envelope) = scanned.decode() else { return bytes.into() };
    match rng.below(8) {
        // The same message, as its own.
        0 => return bytes.into(),
        // A few bits of it changed.
        1 => {
            for _ in 0..=rng.below(8) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            return bytes.into();
        }
        // A part of it.
        2 => {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
            return bytes.into();
        }
        // The answer to a question that another was asked.
        3 => {
            if let Some(Correlation::Request(request)) = envelope.correlation {
                envelope.correlation = Some(Correlation::Response(request));
            }
            for fill in &mut envelope.fills {
                fill.value = Value::I64(-666);
            }
        }
        // The failure of another.
        4 => {
            if let Some(correlation) = &envelope.correlation {
                let request = correlation.request();
                envelope.correlation = Some(Correlation::Failure { request, reason: "gone".into() });
            }
        }
        // Somebody else's address.
        5 => {
            let victim: Result<Address, _> = "/ip4/192.0.2.66/udp/66/quic-v1".parse();
            envelope.addresses = victim.into_iter().collect();
        }
        // Silence, for an hour.
        6 => {
            let retry_after = Duration::from_secs(3_600);
            envelope.correlation = None;
            envelope.fills = Vec::new();
            envelope.notice = Some(Notice::Backpressure { retry_after });
        }
        // Ports that do not exist, or exist for something else.
        _ => {
            let port = rng.u64() as u32;
            envelope.fills.push(Fill { port, value: Value::Peer(PeerId::from_u64(0)) });
        }
    }
    envelope.message_id = MessageId { incarnation: rng.below(3), counter: rng.below(1 << 40) };
    envelope.encode().into()
}
