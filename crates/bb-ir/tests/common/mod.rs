//! What the tests of this crate draw at random.
#![allow(dead_code, reason = "each test file uses its part")]

use bb_ir::{Address, CustomValue, DataType, PeerId, Tensor, TensorMap, Value};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn text() -> impl Strategy<Value = String> {
    "[a-zé🦀.|/ ]{0,12}"
}

pub(crate) fn tensor() -> impl Strategy<Value = Tensor> {
    let dtype = proptest::sample::select(DataType::ALL.to_vec());
    let shape = prop_oneof![8 => vec(0..5_usize, 0..4), 1 => vec(0..3_usize, 5..7)];
    (dtype, shape, any::<u64>()).prop_map(|(dtype, shape, seed)| {
        let mut tensor = Tensor::zeros(dtype, shape).unwrap();
        let mut state = seed | 1;
        for byte in tensor.buffer_mut().make_mut() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8 & if dtype == DataType::Bool { 1 } else { 0xff };
        }
        tensor
    })
}

pub(crate) fn tensors() -> impl Strategy<Value = TensorMap> {
    vec((text(), tensor()), 0..5).prop_map(|entries| entries.into_iter().collect())
}

pub(crate) fn peer() -> impl Strategy<Value = PeerId> {
    any::<u64>().prop_map(PeerId::from_u64)
}

pub(crate) fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        Just(Address::empty()),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|([a, b, c, d], port)| {
            format!("/ip4/{a}.{b}.{c}.{d}/udp/{port}/quic-v1").parse().unwrap()
        }),
        "[a-z]{1,20}".prop_map(|host| format!("/dns/{host}/tcp/443/wss").parse().unwrap()),
    ]
}

/// Any value but NaN, which equals nothing.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Trigger),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f64>().prop_filter("NaN equals nothing", |held| !held.is_nan()).prop_map(Value::F64),
        text().prop_map(|held| Value::Str(held.into())),
        vec(any::<u8>(), 0..40).prop_map(|held| Value::Bytes(held.into())),
        tensor().prop_map(Value::Tensor),
        tensors().prop_map(Value::Tensors),
        peer().prop_map(Value::Peer),
        vec(peer(), 0..4).prop_map(|held| Value::Peers(held.into())),
        vec(address(), 0..4).prop_map(|held| Value::Addresses(held.into())),
        (text(), vec(any::<u8>(), 0..40))
            .prop_map(|(schema, bytes)| Value::Custom(CustomValue::from_encoded(schema, bytes.into()))),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| vec(inner, 0..4).prop_map(|items| Value::Tuple(items.into())))
}

/// Bytes that are nearly `bytes`: some flipped, cut, doubled or put elsewhere.
pub(crate) fn mutate(bytes: &mut Vec<u8>, edits: &[(u8, u16, u8)]) {
    for &(kind, place, byte) in edits {
        let len = bytes.len();
        if len == 0 {
            bytes.push(byte);
            continue;
        }
        let place = usize::from(place) % len;
        match kind % 5 {
            0 => bytes[place] = byte,
            1 => bytes[place] ^= 1 << (byte % 8),
            2 => bytes.truncate(place),
            3 => bytes.insert(place, byte),
            _ => {
                let end = (place + usize::from(byte)).min(len);
                bytes.extend_from_within(place..end);
            }
        }
    }
}
