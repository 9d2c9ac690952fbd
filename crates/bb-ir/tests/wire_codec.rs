//! The wire form of values: round trips, agreement with a protobuf library, and hostile bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use bb_ir::onnx::TensorProto;
use bb_ir::wire::{self, value::Kind};
use bb_ir::wire_codec::{self, DecodeLimits, TensorFault, ValueError, WireError};
use bb_ir::{CustomPayload, CustomValue, List, PeerId, Tensor, TensorMap, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// The message that a protobuf library would write for `value`.
fn to_message(value: &Value) -> wire::Value {
    let kind = match value {
        Value::Trigger => Kind::Trigger(true),
        Value::Bool(held) => Kind::Boolean(*held),
        Value::I64(held) => Kind::I64(*held),
        Value::U64(held) => Kind::U64(*held),
        Value::F64(held) => Kind::F64(*held),
        Value::Str(held) => Kind::Str(held.to_string()),
        Value::Bytes(held) => Kind::Bytes(held.clone()),
        Value::Tensor(held) => Kind::Tensor(held.to_onnx("")),
        Value::Tensors(held) => Kind::Tensors(wire::TensorMap {
            tensors: held
                .iter()
                .map(|(name, tensor)| TensorProto { name: Some(name.to_string()), ..tensor.to_onnx("") })
                .collect(),
        }),
        Value::Peer(held) => Kind::Peer(held.to_bytes().into()),
        Value::Peers(held) => {
            Kind::Peers(wire::PeerList { peers: held.iter().map(|peer| peer.to_bytes().into()).collect() })
        }
        Value::Addresses(held) => Kind::Addresses(wire::AddressList {
            addresses: held.iter().map(|address| address.to_bytes().into()).collect(),
        }),
        Value::Tuple(held) => Kind::Tuple(wire::Tuple { items: held.iter().map(to_message).collect() }),
        Value::Custom(held) => {
            Kind::Custom(wire::Custom { schema: held.schema().to_owned(), payload: held.encoded() })
        }
        _ => unreachable!("every kind is above"),
    };
    wire::Value { kind: Some(kind) }
}

proptest! {
    #[test]
    fn a_value_comes_back_as_it_was(value in common::value()) {
        let bytes = value.encode();
        prop_assert_eq!(bytes.len(), value.encoded_len());
        let back = Value::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(back.encode(), bytes);
    }

    #[test]
    fn a_protobuf_library_writes_the_same_bytes_and_reads_them(value in common::value()) {
        let bytes = value.encode();
        let message = to_message(&value);
        prop_assert_eq!(message.encode_to_vec(), bytes.clone());
        prop_assert_eq!(wire::Value::decode(bytes.as_slice()).unwrap(), message);
    }

    #[test]
    fn random_bytes_are_refused_or_are_a_value(bytes in vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn nearly_right_bytes_are_refused_or_are_a_value(
        value in common::value(),
        edits in vec(any::<(u8, u16, u8)>(), 1..6),
    ) {
        let mut bytes = value.encode();
        common::mutate(&mut bytes, &edits);
        check(&bytes);
    }

    #[test]
    fn what_a_value_will_hold_is_what_a_scan_of_its_bytes_counts(value in common::value()) {
        let bytes = value.encode();
        let scanned = wire_codec::scan(&bytes, &DecodeLimits::LOCAL).unwrap();
        prop_assert_eq!(value.decoded_bytes(), scanned.heap_bytes());
    }

    #[test]
    fn every_prefix_is_refused_or_is_a_value(value in common::value()) {
        let bytes = value.encode();
        for end in 0..bytes.len() {
            check(&bytes[..end]);
        }
    }
}

/// What is accepted is accepted by a protobuf library too, and its canonical form decodes to the same value.
fn check(bytes: &[u8]) {
    if let Ok(value) = Value::decode(bytes) {
        wire::Value::decode(bytes).unwrap();
        let canonical = value.encode();
        let again = Value::decode_with(&canonical, &DecodeLimits::LOCAL).unwrap();
        assert_eq!(again.encode(), canonical);
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Trigger, |value, _| Value::Tuple([value].into()))
}

#[test]
fn tuples_nest_sixteen_deep_and_no_deeper() {
    assert_eq!(Value::decode(&nested(16).encode()), Ok(nested(16)));
    let error = Value::decode(&nested(17).encode()).unwrap_err();
    assert!(matches!(error, ValueError::TooDeep { limit: 16, .. }), "{error}");
}

#[test]
fn many_small_items_are_refused_before_anything_is_reserved() {
    let bytes = Value::Tuple(vec![Value::Trigger; 1_000_000].into()).encode();
    let error = wire_codec::scan(&bytes, &DecodeLimits::PEER).unwrap_err();
    assert!(matches!(error, ValueError::TooMuchMemory { .. }), "{error}");
    assert!(Value::decode_with(&bytes, &DecodeLimits::LOCAL).is_ok());
}

#[test]
fn fifty_scalars_travel_in_a_tuple() {
    let tuple = Value::Tuple((0..50).map(Value::I64).collect());
    assert_eq!(Value::decode(&tuple.encode()), Ok(tuple));
}

#[test]
fn a_claimed_size_reserves_nothing() {
    let huge = TensorProto { dims: vec![1 << 40], data_type: Some(1), ..TensorProto::default() };
    let bytes = wire::Value { kind: Some(Kind::Tensor(huge)) }.encode_to_vec();
    let fault = TensorFault::ByteCount { expected: 1 << 42, got: 0 };
    assert_eq!(Value::decode(&bytes), Err(ValueError::Tensor { at: 2, fault }));

    let overflowing =
        TensorProto { dims: vec![1 << 40, 1 << 40, 0], data_type: Some(1), ..Default::default() };
    let bytes = wire::Value { kind: Some(Kind::Tensor(overflowing)) }.encode_to_vec();
    assert_eq!(Value::decode(&bytes), Err(ValueError::Tensor { at: 2, fault: TensorFault::TooLarge }));
}

#[test]
fn dimensions_are_read_packed_too() {
    // dims = [2, 1] packed, data_type = U8, raw_data = [7, 8].
    let bytes = [0x42, 10, 0x0a, 2, 2, 1, 0x10, 2, 0x4a, 2, 7, 8];
    assert_eq!(Value::decode(&bytes), Ok(Tensor::from_rows([[7_u8], [8]]).into()));
}

#[test]
fn elements_in_a_typed_field_are_refused() {
    let typed =
        TensorProto { dims: vec![1], data_type: Some(1), float_data: vec![1.0], ..Default::default() };
    let bytes = wire::Value { kind: Some(Kind::Tensor(typed)) }.encode_to_vec();
    let fault = TensorFault::NotRawData { field: 4 };
    assert_eq!(Value::decode(&bytes), Err(ValueError::Tensor { at: 2, fault }));
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = Value::I64(-3).encode();
    bytes.extend_from_slice(&[0xfa, 0x01, 2, 1, 2, 0xf8, 0x01, 9]);
    assert_eq!(Value::decode(&bytes), Ok(Value::I64(-3)));
}

#[test]
fn a_second_kind_is_refused() {
    let mut bytes = Value::I64(1).encode();
    bytes.extend(Value::Bool(true).encode());
    assert_eq!(Value::decode(&bytes), Err(WireError::Repeated { at: 2, field: 2 }.into()));
}

#[test]
fn content_that_is_wrong_is_refused_with_its_place() {
    assert_eq!(Value::decode(&[]), Err(ValueError::NoKind { at: 0 }));
    assert_eq!(Value::decode(&[0x08, 0]), Err(ValueError::FalseTrigger { at: 0 }));
    assert_eq!(Value::decode(&[0x32, 1, 0xff]), Err(ValueError::NotUtf8 { at: 2 }));
    assert!(matches!(Value::decode(&[0x52, 1, 0xff]), Err(ValueError::Peer { at: 2, .. })));
    assert!(matches!(Value::decode(&[0x62, 3, 0x0a, 1, 0xff]), Err(ValueError::Address { at: 4, .. })));
    let boolean = Tensor::from_slice([1], &[2_u8]).unwrap();
    let proto = TensorProto { data_type: Some(9), ..boolean.to_onnx("") };
    let bytes = wire::Value { kind: Some(Kind::Tensor(proto)) }.encode_to_vec();
    assert_eq!(Value::decode(&bytes), Err(ValueError::Tensor { at: 2, fault: TensorFault::Boolean }));
    for (code, dims, fault) in
        [(77, vec![1], TensorFault::ElementType { code: 77 }), (9, vec![-1], TensorFault::NegativeDimension)]
    {
        let proto = TensorProto { data_type: Some(code), dims, ..boolean.to_onnx("") };
        let bytes = wire::Value { kind: Some(Kind::Tensor(proto)) }.encode_to_vec();
        assert_eq!(Value::decode(&bytes), Err(ValueError::Tensor { at: 2, fault }));
    }
    assert!(matches!(Value::decode(&[0x0f]), Err(ValueError::Wire(_))));
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let map: TensorMap =
        [("w", Tensor::scalar(1.0_f32)), ("v", Tensor::scalar(2.0_f32))].into_iter().collect();
    let mut bytes = Value::Tensors(map).encode();
    let v = bytes.iter().position(|&byte| byte == b'v').unwrap();
    bytes[v] = b'w';
    assert_eq!(Value::decode(&bytes), Err(ValueError::DuplicateName { at: 2 }));
}

#[test]
fn a_custom_value_made_here_arrives_as_its_bytes() {
    #[derive(Debug)]
    struct Point(u8, u8);
    impl CustomPayload for Point {
        fn encode(&self) -> Vec<u8> {
            vec![self.0, self.1]
        }
    }
    let value = Value::Custom(CustomValue::new("geo.Point", Arc::new(Point(1, 2))));
    let back = Value::decode(&value.encode()).unwrap();
    assert_eq!(back, value);
    let Value::Custom(custom) = back else { panic!("a custom value") };
    assert!(custom.live::<Point>().is_none());
    assert_eq!(custom.encoded(), [1, 2].as_slice());
}

#[test]
fn peers_keep_their_order() {
    let peers: List<PeerId> = [3, 1, 2].map(PeerId::from_u64).into();
    assert_eq!(Value::decode(&Value::Peers(peers.clone()).encode()), Ok(Value::Peers(peers)));
}
