//! A node that asks and answers, and payloads of every kind that are large.

use std::sync::LazyLock;

use bb_compiler::Compiler;
use bb_dsl::{Graph, Module};
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, scan};
use bb_runtime::{
    Address, CompiledModel, Config, CustomValue, DataType, EngineStep, Node, PeerId, Tensor, TensorMap, Time,
    Value, install,
};

pub(crate) static OWN: LazyLock<PeerId> = LazyLock::new(|| PeerId::from_u64(1));
pub(crate) static PEER: LazyLock<PeerId> = LazyLock::new(|| PeerId::from_u64(2));

/// Asks peers to send back what it is given; learns a value at its bootstrap.
struct Echo;

impl Module for Echo {
    fn name(&self) -> &str {
        "P"
    }

    fn body(&self, g: &mut Graph) {
        g.on("asker", |g| {
            let x = g.input("x");
            let peers = g.input("peers");
            let (_, y) = g.call(peers, x).at("helper", |_, x| x).first(g);
            g.output("y", y);
        });
    }

    fn bootstrap(&self, g: &mut Graph) {
        g.on("asker", |g| {
            let seed = g.input("seed");
            g.record_last("seed", seed);
        });
    }
}

static MODEL: LazyLock<CompiledModel> =
    LazyLock::new(|| Compiler::new().compile(Echo.build().unwrap()).unwrap());

fn fresh(peer: PeerId) -> Node {
    install(peer, [], MODEL.clone(), &["P.asker", "P.helper"], Config::new().seed(7)).unwrap()
}

pub(crate) fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

pub(crate) fn settle(node: &mut Node, now: Time) -> Vec<EngineStep> {
    let mut all = Vec::new();
    loop {
        let steps = node.step(now);
        if steps.is_empty() {
            return all;
        }
        all.extend(steps);
    }
}

/// A node that was stepped, and holds a payload: one event that waits for the other.
pub(crate) fn asked(payload: &Value) -> Node {
    let mut node = fresh(*OWN);
    settle(&mut node, at(0));
    node.deliver_event("P.asker", "x", &payload.encode()).unwrap();
    node
}

/// Envelopes of [`PEER`]: it asks `OWN` with the payload.
pub(crate) fn request(payload: &Value) -> Vec<u8> {
    let mut asker = fresh(*PEER);
    let peers = Value::Peers([*OWN].into()).encode();
    asker.invoke("P.asker", &[("x", &payload.encode()), ("peers", &peers)]).unwrap();
    sent(&settle(&mut asker, at(0))).remove(0)
}

/// The answer of [`PEER`] to the request in these steps, with the payload in the place of what was asked.
pub(crate) fn answer(request: &[u8], payload: &Value) -> Vec<u8> {
    let mut helper = fresh(*PEER);
    helper.deliver_inbound(*OWN, request).unwrap();
    let answer = sent(&settle(&mut helper, at(0))).remove(0);
    let mut answer = scan(&answer, &EnvelopeLimits::default()).unwrap().decode().unwrap();
    assert!(matches!(answer.correlation, Some(Correlation::Response(_))), "{answer:?}");
    let fill = Fill { value: payload.clone(), ..answer.fills[0].clone() };
    answer.fills = vec![fill];
    Envelope::encode(&answer)
}

pub(crate) fn sent(steps: &[EngineStep]) -> Vec<Vec<u8>> {
    let sent = |step: &EngineStep| match step {
        EngineStep::SendEnvelope { bytes, .. } => Some(bytes.to_vec()),
        _ => None,
    };
    steps.iter().filter_map(sent).collect()
}

/// One value of each kind that can be large.
pub(crate) fn payloads() -> Vec<(&'static str, Value)> {
    let tensor = Tensor::zeros(DataType::F32, [200, 200]).unwrap();
    let address: Address = "/ip4/192.0.2.1/udp/4001/quic-v1".parse().unwrap();
    let long: Address = format!("/dns4/{}/tcp/1", "a".repeat(50_000)).parse().unwrap();
    let text = Value::from(&*"word ".repeat(20_000));
    let named = TensorMap::from_iter([("w", tensor.clone()), ("b", tensor.clone())]);
    let many = (0..1_200).map(|index| (format!("t{index}"), Tensor::scalar(index))).collect::<TensorMap>();
    vec![
        ("text", text.clone()),
        ("bytes", Value::Bytes(vec![7; 100_000].into())),
        ("a tensor", tensor.into()),
        ("a tensor of many axes", Tensor::zeros(DataType::U8, vec![1_usize; 10_000]).unwrap().into()),
        ("tensors", named.into()),
        ("many tensors", many.into()),
        ("peers", Value::Peers((0..3_000).map(PeerId::from_u64).collect())),
        ("addresses", Value::Addresses(std::iter::repeat_n(address, 3_000).collect())),
        ("a long address", Value::Addresses([long].into())),
        ("a tuple", Value::Tuple([text.clone(), Value::Tuple([text].into())].into())),
        ("a tuple of numbers", Value::Tuple((0..2_000).map(Value::I64).collect())),
        ("a custom value", CustomValue::from_encoded(&*"s".repeat(40_000), vec![1; 90_000].into()).into()),
    ]
}
