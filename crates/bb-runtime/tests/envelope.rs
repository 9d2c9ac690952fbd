//! Envelopes: round trips, agreement with a protobuf library, limits, and fills that fail alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::{Digest, wire, wire_codec::ValueError};
use bb_runtime::envelope::{
    Correlation, Envelope, EnvelopeError, EnvelopeLimits, Fill, FillFault, Notice, scan,
};
use bb_runtime::{Address, NodeConfig, PeerId, Tensor, TensorMap, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

fn value() -> impl Strategy<Value = Value> {
    let tensor =
        vec(any::<i32>(), 0..6).prop_map(|elements| Tensor::from_slice([elements.len()], &elements).unwrap());
    let leaf = prop_oneof![
        Just(Value::Trigger),
        any::<i64>().prop_map(Value::I64),
        "[a-zé]{0,9}".prop_map(|text| Value::Str(text.into())),
        tensor.clone().prop_map(Value::Tensor),
        vec(("[a-z.]{1,9}", tensor), 0..4)
            .prop_map(|entries| Value::Tensors(entries.into_iter().collect::<TensorMap>())),
        vec(any::<u64>().prop_map(PeerId::from_u64), 0..4).prop_map(|peers| Value::Peers(peers.into())),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| vec(inner, 0..3).prop_map(|items| Value::Tuple(items.into())))
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let correlation = prop_oneof![
        Just(None),
        any::<[u8; 16]>().prop_map(|id| Some(Correlation::Request(RequestId(id)))),
        any::<[u8; 16]>().prop_map(|id| Some(Correlation::Response(RequestId(id)))),
        (any::<[u8; 16]>(), "[a-z é]{0,20}").prop_map(|(id, reason)| {
            Some(Correlation::Failure { request: RequestId(id), reason: reason.into() })
        }),
    ];
    let body = prop_oneof![
        4 => (correlation, vec((any::<u32>(), value()).prop_map(|(port, value)| Fill { port, value }), 0..5))
            .prop_map(|(correlation, fills)| (correlation, fills, None)),
        1 => any::<u64>().prop_map(|nanos| {
            (None, Vec::new(), Some(Notice::Backpressure { retry_after: Duration::from_nanos(nanos) }))
        }),
    ];
    let id =
        (any::<u64>(), any::<u64>()).prop_map(|(incarnation, counter)| MessageId { incarnation, counter });
    let address =
        any::<u16>().prop_map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Address>().unwrap());
    let deadline = any::<u64>().prop_map(|nanos| (nanos > 0).then(|| Duration::from_nanos(nanos)));
    (id, any::<[u8; 32]>(), body, deadline, vec(address, 0..3)).prop_map(
        |(message_id, digest, (correlation, fills, notice), deadline, addresses)| Envelope {
            message_id,
            program: Digest(digest),
            correlation,
            deadline,
            addresses: addresses.into(),
            fills,
            notice,
        },
    )
}

fn to_message(envelope: &Envelope) -> wire::Envelope {
    wire::Envelope {
        padding: bytes::Bytes::new(),
        version: 1,
        message_id: Some(wire::MessageId {
            incarnation: envelope.message_id.incarnation,
            counter: envelope.message_id.counter,
        }),
        program_digest: envelope.program.as_bytes().to_vec().into(),
        correlation: envelope.correlation.as_ref().map(|correlation| {
            let (kind, failure) = match correlation {
                Correlation::Request(_) => (wire::correlation::Kind::Request, ""),
                Correlation::Response(_) => (wire::correlation::Kind::Response, ""),
                Correlation::Failure { reason, .. } => (wire::correlation::Kind::Failure, &**reason),
            };
            wire::Correlation {
                kind: kind.into(),
                request_id: correlation.request().0.to_vec().into(),
                failure: failure.to_owned(),
            }
        }),
        deadline_ns: envelope.deadline.map_or(0, |deadline| deadline.as_nanos() as u64),
        addresses: envelope.addresses.iter().map(|address| address.to_bytes().into()).collect(),
        fills: envelope
            .fills
            .iter()
            .map(|fill| wire::Fill {
                port: fill.port,
                value: Some(wire::Value::decode(fill.value.encode().as_slice()).unwrap()),
            })
            .collect(),
        notice: envelope.notice.map(|notice| match notice {
            Notice::Backpressure { retry_after } => wire::Notice {
                kind: wire::notice::Kind::Backpressure.into(),
                retry_after_ns: retry_after.as_nanos() as u64,
            },
            _ => unreachable!("every kind is above"),
        }),
    }
}

/// Bytes of a sound envelope whose fills, of any content, are these.
fn with_fills(fills: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Envelope::default().encode();
    for fill in fills {
        bytes.extend([0x3a, u8::try_from(fill.len()).unwrap()]);
        bytes.extend_from_slice(fill);
    }
    bytes
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_was(envelope in envelope()) {
        let bytes = envelope.encode();
        let scanned = scan(&bytes, &EnvelopeLimits::default()).unwrap();
        prop_assert_eq!(scanned.fill_count(), envelope.fills.len());
        prop_assert_eq!(scanned.decode().unwrap(), envelope);
    }

    #[test]
    fn a_protobuf_library_writes_the_same_bytes_and_reads_them(envelope in envelope()) {
        let bytes = envelope.encode();
        let message = to_message(&envelope);
        prop_assert_eq!(message.encode_to_vec(), bytes.clone());
        prop_assert_eq!(wire::Envelope::decode(bytes.as_slice()).unwrap(), message);
    }

    #[test]
    fn a_damaged_envelope_is_refused_or_is_one(
        envelope in envelope(),
        edits in vec((any::<u16>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = envelope.encode();
        for (place, byte) in edits {
            let place = usize::from(place) % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(scanned) = scan(&bytes, &EnvelopeLimits::default())
            && let Ok(decoded) = scanned.decode()
        {
            let again = decoded.encode();
            let rescanned = scan(&again, &EnvelopeLimits::default()).unwrap();
            prop_assert_eq!(rescanned.fill_count(), scanned.fill_count());
        }
    }
}

#[test]
fn a_malformed_fill_is_named_and_its_siblings_are_read() {
    // Port 1 with a bool; port 2 without a value; no fill at all; port 4 with a value of no kind; port 5.
    let bytes = with_fills(&[
        &[8, 1, 0x12, 2, 0x10, 1],
        &[8, 2],
        &[0xff],
        &[8, 4, 0x12, 0],
        &[8, 5, 0x12, 2, 0x18, 2],
    ]);
    let scanned = scan(&bytes, &EnvelopeLimits::default()).unwrap();
    assert_eq!(scanned.fill_count(), 5);
    let fills: Vec<_> =
        scanned.fills().map(|fill| fill.and_then(|fill| Ok((fill.port(), fill.decode()?)))).collect();
    assert_eq!(fills[0], Ok((1, Value::Bool(true))));
    let error = fills[1].clone().unwrap_err();
    assert_eq!((error.index, error.port, error.fault), (1, Some(2), FillFault::NoValue));
    let error = fills[2].clone().unwrap_err();
    assert_eq!((error.index, error.port), (2, None));
    assert!(matches!(error.fault, FillFault::Wire(_)));
    let error = fills[3].clone().unwrap_err();
    assert_eq!((error.index, error.port), (3, Some(4)));
    assert!(matches!(error.fault, FillFault::Value(ValueError::NoKind { .. })));
    assert_eq!(fills[4], Ok((5, Value::I64(1))));
}

#[test]
fn a_fill_that_would_hold_too_much_is_refused_and_its_siblings_are_read() {
    // Port 1 with a tuple of many triggers and no padding; port 2 with a number.
    let many = Value::Tuple(vec![Value::Trigger; 10_000].into());
    let envelope = Envelope {
        fills: vec![Fill { port: 1, value: many }, Fill { port: 2, value: Value::I64(5) }],
        ..Envelope::default()
    };
    let bytes = to_message(&envelope).encode_to_vec();
    let scanned = scan(&bytes, &EnvelopeLimits::default()).unwrap();
    assert_eq!(scanned.heap_bytes(), 0);
    let mut fills = scanned.fills();
    let error = fills.next().unwrap().unwrap_err();
    assert!(matches!(error.fault, FillFault::Value(ValueError::TooMuchMemory { .. })), "{error}");
    assert_eq!(fills.next().unwrap().unwrap().decode(), Ok(Value::I64(5)));
}

#[test]
fn each_limit_is_enforced() {
    let edge = EnvelopeLimits::of(&NodeConfig::edge());
    let refused = |envelope: &Envelope| scan(&envelope.encode(), &edge).unwrap_err();

    let fill = Fill { port: 1, value: Value::Trigger };
    let envelope = Envelope { fills: vec![fill; 17], ..Envelope::default() };
    assert_eq!(refused(&envelope), EnvelopeError::TooManyFills { cap: 16 });

    let address: Address = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    let envelope = Envelope { addresses: vec![address; 5].into(), ..Envelope::default() };
    assert_eq!(refused(&envelope), EnvelopeError::TooManyAddresses { cap: 4 });

    let long: Address = format!("/dns/{}/tcp/1", "a".repeat(300)).parse().unwrap();
    let byte_count = long.as_bytes().len();
    let envelope = Envelope { addresses: vec![long].into(), ..Envelope::default() };
    assert_eq!(refused(&envelope), EnvelopeError::AddressOversize { byte_count, cap: 256 });

    let large = Fill { port: 1, value: Value::Bytes(vec![0; 65 * 1024].into()) };
    let envelope = Envelope { fills: vec![large.clone()], ..Envelope::default() };
    let bytes = envelope.encode();
    let error = scan(&bytes, &edge).unwrap().fills().next().unwrap().unwrap_err();
    assert!(matches!(error.fault, FillFault::Oversize { cap: 65_536, .. }));

    let envelope = Envelope { fills: vec![large; 4], ..Envelope::default() };
    let byte_count = envelope.encode().len();
    assert_eq!(refused(&envelope), EnvelopeError::Oversize { byte_count, cap: 262_144 });
}

#[test]
fn the_text_of_a_failure_is_cut_at_a_character() {
    let reason: Arc<str> = format!("{}é", "x".repeat(4095)).into();
    let failure = Correlation::Failure { request: RequestId([1; 16]), reason };
    let bytes = Envelope { correlation: Some(failure), ..Envelope::default() }.encode();
    let Some(Correlation::Failure { reason, .. }) =
        scan(&bytes, &EnvelopeLimits::default()).unwrap().correlation()
    else {
        panic!("a failure")
    };
    assert_eq!(reason, "x".repeat(4095));
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let refused =
        |message: &wire::Envelope| scan(&message.encode_to_vec(), &EnvelopeLimits::default()).unwrap_err();
    let sound = to_message(&Envelope::default());
    assert_eq!(
        scan(&[], &EnvelopeLimits::default()).unwrap_err(),
        EnvelopeError::UnknownVersion { version: 0 }
    );
    let message = wire::Envelope { version: 2, ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::UnknownVersion { version: 2 });
    let message = wire::Envelope { message_id: None, ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::NoMessageId);
    let message = wire::Envelope { program_digest: vec![1; 31].into(), ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::DigestLength { byte_count: 31 });
    let correlation = |kind, request_id: &[u8]| {
        Some(wire::Correlation { kind, request_id: request_id.to_vec().into(), failure: String::new() })
    };
    let message = wire::Envelope { correlation: correlation(1, &[0; 3]), ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::RequestIdLength { byte_count: 3 });
    let message = wire::Envelope { correlation: correlation(9, &[0; 16]), ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::UnknownCorrelation { kind: 9 });
    let failure = wire::Correlation {
        failure: "no number".to_owned(),
        ..correlation(wire::correlation::Kind::Failure.into(), &[0; 16]).unwrap()
    };
    let mut bytes = wire::Envelope { correlation: Some(failure), ..sound.clone() }.encode_to_vec();
    let text = bytes.windows(9).position(|window| window == b"no number").unwrap();
    bytes[text] = 0xff;
    let refused_bytes = |bytes: &[u8]| scan(bytes, &EnvelopeLimits::default()).unwrap_err();
    assert_eq!(refused_bytes(&bytes), EnvelopeError::FailureNotUtf8);
    let torn = [sound.encode_to_vec(), vec![0xff]].concat();
    assert!(matches!(refused_bytes(&torn), EnvelopeError::Wire(_)));
    let notice = |kind| Some(wire::Notice { kind, retry_after_ns: 1 });
    let message = wire::Envelope { notice: notice(7), ..sound.clone() };
    assert_eq!(refused(&message), EnvelopeError::UnknownNotice { kind: 7 });
    let fills = vec![wire::Fill::default()];
    let message = wire::Envelope { notice: notice(1), fills, ..sound };
    assert_eq!(refused(&message), EnvelopeError::NoticeNotAlone);
}

#[test]
fn an_address_that_cannot_be_read_is_an_error_of_its_own() {
    let mut message = to_message(&Envelope::default());
    let good: Address = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    message.addresses = vec![vec![0xff, 0xff].into(), good.to_bytes().into()];
    let bytes = message.encode_to_vec();
    let scanned = scan(&bytes, &EnvelopeLimits::default()).unwrap();
    let addresses: Vec<_> = scanned.addresses().collect();
    assert!(addresses[0].is_err());
    assert_eq!(addresses[1], Ok(good));
}

#[test]
fn a_message_of_small_values_pays_for_what_they_hold_with_its_own_bytes() {
    let limits = EnvelopeLimits::default();
    for count in [1, 50, 60, 1_000, 100_000] {
        let value = Value::Tuple(vec![Value::Trigger; count].into());
        let envelope =
            Envelope { fills: vec![Fill { port: 1, value: value.clone() }], ..Envelope::default() };
        let bytes = envelope.encode();
        let scanned = scan(&bytes, &limits).unwrap();
        assert!(scanned.heap_bytes() >= count * size_of::<Value>());
        assert!(scanned.heap_bytes() <= 2 * bytes.len() + 4_096, "{count}: {} bytes", bytes.len());
        assert_eq!(scanned.fills().next().unwrap().unwrap().decode().unwrap(), value);
        // Without padding it is refused, unless there was none.
        let held = value.encoded_len() + 100;
        if bytes.len() > held {
            let cut =
                wire::Envelope { padding: bytes::Bytes::new(), ..wire::Envelope::decode(&*bytes).unwrap() };
            let cut = cut.encode_to_vec();
            let fill = scan(&cut, &limits).unwrap().fills().next().unwrap();
            assert!(
                matches!(fill.unwrap_err().fault, FillFault::Value(ValueError::TooMuchMemory { .. })),
                "{count}"
            );
        } else {
            assert!(count <= 60);
        }
    }
}
