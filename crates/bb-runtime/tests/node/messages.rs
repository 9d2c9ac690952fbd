//! Messages from peers: one way, first answer, and everything that can be wrong with one.

use bb_framework::MessageId;
use bb_ir::program::{Attribute, RegionKind, domains};
use bb_runtime::envelope::{Correlation, Envelope, Fill};
use bb_runtime::error::{ReceiveError, ValueFault};
use bb_runtime::{
    Address, CompiledModel, Config, DeliveryError, EngineStep, Node, NodeConfig, PeerId, Time, Value,
    ValueType,
};
use proptest::prelude::*;

use crate::common::federation::{Federation, SERVER};
use crate::common::{ProgramBuilder, RegionBuilder, events, node, node_with, outcome, sent, settle};

const HOST: u64 = 1;
const PEER: u64 = 2;

/// `A` sends its input `x` to `peers` one way; `B` hands out what it gets, and who sent it. `Ask` asks for an echo and
/// takes the first.
fn program() -> CompiledModel {
    let text = |text: &str| Attribute::Str(text.to_owned());
    let ports = |ports: &[i64]| Attribute::Ints(ports.to_vec());
    let mut cast = RegionBuilder::entry();
    let peers = cast.input("peers", ValueType::Peers);
    let x = cast.input("x", ValueType::Any);
    let send = cast.node(domains::WIRE, "Send").attribute("kind", text("cast"));
    send.attribute("ports", ports(&[10, 11])).inputs([peers, x, x]).none();

    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.recv(10, ValueType::I64);
    let z = take.recv(11, ValueType::I64);
    let from = take.node(domains::WIRE, "Source").one();
    for (name, value) in [("x", x), ("z", z), ("from", from)] {
        take.output(name, value);
    }

    let mut ask = RegionBuilder::entry();
    let peers = ask.input("peers", ValueType::Peers);
    let x = ask.input("x", ValueType::Any);
    let first = ask
        .node(domains::WIRE, "Send")
        .attribute("kind", text("request"))
        .attribute("mode", text("first"))
        .attribute("answer", Attribute::Int(-1))
        .attribute("ports", ports(&[20]))
        .attribute("answer_ports", ports(&[21]))
        .inputs([peers, x])
        .many(2);
    ask.output("who", first[0]);
    ask.output("what", first[1]);
    let mut echo = RegionBuilder::new(RegionKind::Receive);
    let x = echo.recv(20, ValueType::I64);
    let reply = echo.node(domains::WIRE, "Send").attribute("kind", text("reply"));
    reply.attribute("ports", ports(&[21])).input(x).none();

    ProgramBuilder::new().target("A", [cast]).target("B", [take, echo]).target("Ask", [ask]).build()
}

fn envelope(model: &CompiledModel, counter: u64, fills: &[(u32, Value)]) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program: model.digest(),
        fills: fills.iter().map(|(port, value)| Fill { port: *port, value: value.clone() }).collect(),
        ..Envelope::default()
    }
}

fn deliver(node: &mut Node, envelope: &Envelope) -> Result<Vec<EngineStep>, DeliveryError> {
    node.deliver_inbound(PeerId::from_u64(PEER), &envelope.encode())?;
    Ok(settle(node, Time::ZERO))
}

fn received(steps: &[EngineStep]) -> Vec<(String, Value)> {
    let started = steps.iter().find_map(|step| match step {
        EngineStep::ExecutionFinished { exec_id, .. } => Some(*exec_id),
        _ => None,
    });
    started.map(|run| events(steps, run)).unwrap_or_default()
}

fn peers(ids: &[u64]) -> Vec<u8> {
    Value::Peers(ids.iter().map(|&id| PeerId::from_u64(id)).collect()).encode()
}

#[test]
fn a_one_way_message_starts_one_execution_with_all_its_values() {
    let model = program();
    let mut a = node(HOST, &model, "A");
    let inputs = [("peers", &peers(&[PEER, PEER])[..]), ("x", &Value::I64(5).encode())];
    let run = a.invoke("A", &inputs).unwrap();
    let steps = settle(&mut a, Time::ZERO);
    assert!(outcome(&steps, run).is_completed());
    let sent = sent(&steps);
    assert_eq!(sent.len(), 1, "a peer named twice gets one message");
    let mut b = node(PEER, &model, "B");
    b.deliver_inbound(PeerId::from_u64(HOST), &sent[0].1).unwrap();
    let steps = settle(&mut b, Time::ZERO);
    let expected =
        [("x", Value::I64(5)), ("z", Value::I64(5)), ("from", Value::Peer(PeerId::from_u64(HOST)))];
    let mut got = received(&steps);
    got.sort_by_key(|(name, _)| ["x", "z", "from"].iter().position(|held| held == name));
    assert_eq!(got, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn the_first_answer_is_the_result_and_the_rest_come_late() {
    let model = program();
    let mut asker = node(HOST, &model, "Ask");
    let inputs = [("peers", &peers(&[5, 6])[..]), ("x", &Value::I64(8).encode())];
    let run = asker.invoke("Ask", &inputs).unwrap();
    let requests = sent(&settle(&mut asker, Time::ZERO));
    assert_eq!(requests.len(), 2);
    let mut steps = Vec::new();
    for (to, request) in requests.into_iter().rev() {
        let mut echo = bb_runtime::install(to, [], model.clone(), &["B"], Config::new()).unwrap();
        echo.deliver_inbound(PeerId::from_u64(HOST), &request).unwrap();
        for (_, answer) in sent(&settle(&mut echo, Time::ZERO)) {
            asker.deliver_inbound(to, &answer).unwrap();
            steps.extend(settle(&mut asker, Time::ZERO));
        }
    }
    let who = ("who".to_owned(), Value::Peer(PeerId::from_u64(6)));
    assert_eq!(events(&steps, run), [who, ("what".to_owned(), Value::I64(8))]);
    assert!(outcome(&steps, run).is_completed());
    assert_eq!(asker.engine_stats().late_answers, 1);
    assert_eq!(asker.engine_stats().requests_in_flight, 0);
}

#[test]
fn a_bad_fill_is_reported_and_its_siblings_go_on() {
    let model = program();
    let mut b = node(HOST, &model, "B");
    let fills = [
        (10, Value::I64(1)),
        (11, Value::Bool(true)),
        (99, Value::I64(3)),
        (10, Value::I64(4)),
        (20, Value::I64(5)),
    ];
    let steps = deliver(&mut b, &envelope(&model, 0, &fills)).unwrap();
    let failed: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            EngineStep::WireReceiveFailed { fill, error, .. } => Some((*fill, error.clone())),
            _ => None,
        })
        .collect();
    let fault = ValueFault::WrongType { expected: ValueType::I64, got: "bool".to_owned() };
    assert_eq!(
        failed,
        [
            (1, ReceiveError::InvalidValue { port: 11, fault }),
            (2, ReceiveError::UnknownPort { port: 99 }),
            (3, ReceiveError::FilledTwice { port: 10 }),
            (4, ReceiveError::UnknownPort { port: 20 }),
        ]
    );
    let names: Vec<_> = received(&steps).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"x".to_owned()) && !names.contains(&"z".to_owned()));
    drop(steps);
    assert_eq!(b.engine_stats().bytes_in_flight, 0);
}

#[test]
fn fills_for_unknown_ports_alone_start_nothing_and_leak_nothing() {
    let model = program();
    let mut b = node(HOST, &model, "B");
    for counter in 0..1_000 {
        let steps = deliver(&mut b, &envelope(&model, counter, &[(99, Value::from("nobody"))])).unwrap();
        assert!(matches!(steps[..], [EngineStep::WireReceiveFailed { fill: 0, .. }]));
    }
    let stats = b.engine_stats();
    assert_eq!((stats.bytes_in_flight, stats.executions, stats.frames), (0, 0, 0));
}

#[test]
fn a_request_that_cannot_be_taken_is_answered_with_a_failure() {
    let model = program();
    let mut b = node(HOST, &model, "B");
    let request = bb_framework::RequestId([7; 16]);
    let mut bad = envelope(&model, 0, &[(20, Value::Bool(false))]);
    bad.correlation = Some(Correlation::Request(request));
    let steps = deliver(&mut b, &bad).unwrap();
    let answers = sent(&steps);
    let scan = bb_runtime::envelope::scan(&answers[0].1, &Default::default()).unwrap();
    let Some(Correlation::Failure { request: answered, reason }) = scan.correlation() else {
        panic!("{scan:?}")
    };
    assert_eq!(answered, request);
    assert!(!reason.is_empty());
}

#[test]
fn a_message_for_another_program_is_refused() {
    let model = program();
    let mut b = node(HOST, &model, "B");
    let other = Envelope { program: Default::default(), ..envelope(&model, 0, &[(10, Value::I64(1))]) };
    assert!(matches!(deliver(&mut b, &other), Err(DeliveryError::UnknownProgram { .. })));
    assert_eq!(b.engine_stats().refused.unknown_program, 1);
}

#[test]
fn an_envelope_over_the_cap_is_refused_before_anything_else() {
    let model = program();
    let limits = NodeConfig::edge().with_fill_bytes(16).with_envelope_bytes(64);
    let mut b = node_with(HOST, &model, "B", Config::new().node(limits));
    b.block_peer(PeerId::from_u64(PEER)).unwrap();
    let refused = b.deliver_inbound(PeerId::from_u64(PEER), &[0; 65]);
    assert_eq!(refused, Err(DeliveryError::OversizePayload { byte_count: 65, cap: 64 }));
    assert_eq!((b.engine_stats().denied_inbound, b.engine_stats().refused.oversize), (0, 1));
}

#[test]
fn a_message_that_the_budget_has_no_room_for_can_come_again() {
    let model = program();
    let limits = NodeConfig::edge().with_ingress_bytes(512 * 1024);
    let mut b = node_with(HOST, &model, "B", Config::new().node(limits));
    let handle = b.ingress_handle();
    handle.deliver_inbound(PeerId::from_u64(PEER), &vec![0; 256 * 1024]).unwrap();
    handle.deliver_inbound(PeerId::from_u64(PEER), &vec![0; 256 * 1024]).unwrap();
    let message = envelope(&model, 0, &[(10, Value::I64(1)), (11, Value::I64(1))]);
    let bytes = message.encode();
    let refused = b.deliver_inbound(PeerId::from_u64(PEER), &bytes);
    assert!(matches!(refused, Err(DeliveryError::BudgetExceeded { .. })), "{refused:?}");
    let steps = settle(&mut b, Time::ZERO);
    assert_eq!(steps.iter().filter(|step| matches!(step, EngineStep::IngressFailed { .. })).count(), 2);
    b.deliver_inbound(PeerId::from_u64(PEER), &bytes).unwrap();
    assert_eq!(received(&settle(&mut b, Time::ZERO)).len(), 3);
    assert_eq!(b.engine_stats().bytes_in_flight, 0);
}

#[test]
fn messages_tell_where_their_sender_is_and_the_answer_goes_there() {
    let model = program();
    let address: Address = "/ip4/192.0.2.7/udp/4001/quic-v1".parse().unwrap();
    let mut b = node(HOST, &model, "B");
    let mut request = envelope(&model, 0, &[(20, Value::I64(1))]);
    request.addresses = [address.clone()].into();
    request.correlation = Some(Correlation::Request(bb_framework::RequestId([1; 16])));
    let steps = deliver(&mut b, &request).unwrap();
    assert_eq!(b.resolve_peer_addresses(PeerId::from_u64(PEER)), std::slice::from_ref(&address));
    let EngineStep::SendEnvelope { addresses, .. } =
        steps.iter().find(|step| matches!(step, EngineStep::SendEnvelope { .. })).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(addresses[..], [address]);
}

#[test]
fn a_full_outbound_queue_fails_those_peers_and_says_so() {
    let limits = NodeConfig::default().with_outbound_count(2);
    let mut federation = Federation::new(3, -1, Config::new().node(limits));
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.settle();
    let steps = federation.server_steps();
    assert!(steps.iter().any(|step| matches!(step, EngineStep::OutboundDropped { count: 1, .. })));
    assert!(!outcome(&steps, run).is_completed());
    assert_eq!(federation.nodes[&PeerId::from_u64(SERVER)].engine_stats().outbound_dropped, 1);
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let model = program();
        let mut b = node(HOST, &model, "B");
        drop(b.deliver_inbound(PeerId::from_u64(PEER), &bytes));
        settle(&mut b, Time::ZERO);
        prop_assert_eq!(b.engine_stats().bytes_in_flight, 0);
        prop_assert_eq!(b.engine_stats().executions, 0);
    }

    #[test]
    fn no_mutation_of_a_message_does_harm(at in 0_usize..80, byte in any::<u8>(), cut in 0_usize..80) {
        let model = program();
        let mut b = node(HOST, &model, "B");
        let mut bytes = envelope(&model, 3, &[(10, Value::I64(-1)), (11, Value::I64(77))]).encode();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % 10);
        drop(b.deliver_inbound(PeerId::from_u64(PEER), &bytes));
        settle(&mut b, Time::ZERO);
        prop_assert_eq!(b.engine_stats().bytes_in_flight, 0);
        prop_assert_eq!(b.engine_stats().executions, 0);
    }
}
