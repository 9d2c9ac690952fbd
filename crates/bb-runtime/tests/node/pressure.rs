//! Too much of a good thing: full queues, muted peers, deadlines of callers, addresses that have not proved themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bb_framework::{DenyReason, MessageId, RequestId};
use bb_ir::program::{Attribute, RegionKind, domains};
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, Notice, scan};
use bb_runtime::{
    Address, CompiledModel, Config, DeliveryError, EngineStep, List, Node, NodeConfig, OpError, Outcome,
    PeerId, Time, Value, ValueType,
};

use crate::common::components::Script;
use crate::common::federation::{Federation, SERVER};
use crate::common::{ProgramBuilder, RegionBuilder, node, node_with, outcome, sent, settle};

const HOST: u64 = 1;

/// `Tell` sends `x` to `peers` one way; `Take` hands out what it gets and answers requests with it, after a chain of
/// twenty ops.
fn program() -> CompiledModel {
    let text = |text: &str| Attribute::Str(text.to_owned());
    let ports = |ports: &[i64]| Attribute::Ints(ports.to_vec());
    let mut tell = RegionBuilder::entry();
    let peers = tell.input("peers", ValueType::Peers);
    let x = tell.input("x", ValueType::Any);
    let send = tell.node(domains::WIRE, "Send").attribute("kind", text("cast"));
    send.attribute("ports", ports(&[10])).inputs([peers, x]).none();
    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.recv(10, ValueType::Any);
    take.output("x", x);
    let mut echo = RegionBuilder::new(RegionKind::Receive);
    let mut x = echo.recv(20, ValueType::Any);
    for _ in 0..20 {
        x = echo.pass(x);
    }
    let reply = echo.node(domains::WIRE, "Send").attribute("kind", text("reply"));
    reply.attribute("ports", ports(&[21])).input(x).none();
    ProgramBuilder::new().target("Tell", [tell]).target("Take", [take, echo]).build()
}

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn message(model: &CompiledModel, counter: u64) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program: model.digest(),
        fills: vec![Fill { port: 10, value: Value::I64(counter as i64) }],
        ..Envelope::default()
    }
}

fn blocked(steps: &[EngineStep]) -> Vec<(PeerId, DenyReason)> {
    let blocked = |step: &EngineStep| match step {
        EngineStep::PeerBlocked { peer, reason } => Some((*peer, *reason)),
        _ => None,
    };
    steps.iter().filter_map(blocked).collect()
}

/// The peers that the node tells that its queue is nearly full, and for how long they are to be silent.
fn told(steps: &[EngineStep]) -> Vec<(PeerId, Duration)> {
    let told = |(peer, bytes): (PeerId, Vec<u8>)| {
        let scan = scan(&bytes, &EnvelopeLimits::default()).unwrap();
        let Some(Notice::Backpressure { retry_after }) = scan.notice() else { return None };
        Some((peer, retry_after))
    };
    sent(steps).into_iter().filter_map(told).collect()
}

/// The peers that the node asks to send less.
fn notices(steps: &[EngineStep]) -> Vec<PeerId> {
    told(steps).into_iter().filter(|(_, silence)| !silence.is_zero()).map(|(peer, _)| peer).collect()
}

/// A node whose queue holds eight, and a way to hand it messages of peers through that queue.
struct Crowd {
    node: Node,
    model: CompiledModel,
    counter: u64,
}

impl Crowd {
    fn new() -> Self {
        let model = program();
        let limits = NodeConfig::default().with_ingress_queue(8);
        Self { node: node_with(HOST, &model, "Take", Config::new().node(limits)), model, counter: 0 }
    }

    /// Each of the senders sends one message; then the node works.
    fn push(&mut self, senders: &[u64], now: Time) -> Vec<EngineStep> {
        let handle = self.node.ingress_handle();
        for &sender in senders {
            self.counter += 1;
            handle.deliver_inbound(peer(sender), &message(&self.model, self.counter).encode()).unwrap();
        }
        settle(&mut self.node, now)
    }
}

#[test]
fn senders_get_a_notice_from_three_quarters_of_the_queue_on() {
    let mut crowd = Crowd::new();
    assert_eq!(notices(&crowd.push(&[2; 5], at(0))), []);
    let steps = crowd.push(&[2, 2, 2, 2, 3, 2], at(0));
    assert_eq!(notices(&steps), [peer(2)], "who has less than an equal share does not press");
    assert!(told(&steps).contains(&(peer(3), Duration::ZERO)), "and is told all the same");
    let taken = steps.iter().filter(|step| matches!(step, EngineStep::AppEvent { .. })).count();
    assert_eq!(taken, 6, "what came is taken all the same");
    assert_eq!(crowd.node.engine_stats().notices_sent, 2);
    assert_eq!(notices(&crowd.push(&[4, 5, 6, 4, 5, 6], at(0))), [peer(4), peer(5), peer(6)]);
}

#[test]
fn a_peer_that_heeds_notices_is_not_silenced_by_those_that_do_not() {
    let mut crowd = Crowd::new();
    let handle = crowd.node.ingress_handle();
    let (mut rests_until, mut sent, mut notices) = (at(0), 0, 0);
    for tick in 0..100 {
        let now = at(0) + Duration::from_millis(tick * 100);
        // Another one each second, so that none is muted by then, and as much as it may send.
        let hostile = peer(100 + tick / 10);
        loop {
            crowd.counter += 1;
            if handle.deliver_inbound(hostile, &message(&crowd.model, crowd.counter).encode()).is_err() {
                break;
            }
        }
        let steps = if now < rests_until {
            settle(&mut crowd.node, now)
        } else {
            sent += 1;
            crowd.push(&[3], now)
        };
        for (_, silence) in told(&steps).into_iter().filter(|(told, _)| *told == peer(3)) {
            notices += 1;
            rests_until = now + silence;
        }
    }
    assert_eq!((crowd.node.engine_stats().notices_sent, notices), (20, 10), "all are told once a second");
    assert!(sent >= 90, "it sent {sent} messages in 100 moments");
}

#[test]
fn a_peer_that_does_not_heed_three_notices_is_muted_and_others_are_heard() {
    let mut crowd = Crowd::new();
    for second in 0..3 {
        assert_eq!(notices(&crowd.push(&[2; 6], at(second))), [peer(2)]);
    }
    let steps = crowd.push(&[2, 2, 2, 2, 2, 3], at(3));
    let until = at(4);
    assert_eq!(blocked(&steps), [(peer(2), DenyReason::Muted { until })]);
    assert_eq!(notices(&steps), []);
    assert_eq!(crowd.node.engine_stats().muted_inbound, 5);
    assert_eq!(steps.iter().filter(|step| matches!(step, EngineStep::AppEvent { .. })).count(), 1);

    let before = crowd.node.engine_stats();
    let refused = crowd.node.deliver_inbound(peer(2), &message(&crowd.model, 99).encode());
    let reason = DenyReason::Muted { until };
    assert_eq!(refused, Err(DeliveryError::PeerDenied { peer: peer(2), reason }));
    let mut expected = before;
    expected.muted_inbound += 1;
    assert_eq!(crowd.node.engine_stats(), expected);

    // Those that press are turned away before the queue, until the node hears them again.
    let handle = crowd.node.ingress_handle();
    let turned_away = handle.deliver_inbound(peer(2), &message(&crowd.model, 98).encode());
    assert_eq!(turned_away, Err(DeliveryError::PeerDenied { peer: peer(2), reason }));
    assert_eq!((handle.depth(), crowd.node.engine_stats().turned_away), (0, 1));
    assert_eq!(crowd.node.next_deadline(), Some(until));

    // The probe.
    assert!(crowd.node.step(until).is_empty());
    assert_eq!(crowd.node.next_deadline(), None);
    let steps = crowd.push(&[2], until);
    assert!(steps.iter().any(|step| matches!(step, EngineStep::AppEvent { .. })));
}

#[test]
fn a_notice_is_heeded() {
    let model = program();
    let mut teller = node(HOST, &model, "Tell");
    assert!(teller.step(at(100)).is_empty());
    let notice = Envelope {
        fills: Vec::new(),
        notice: Some(Notice::Backpressure { retry_after: Duration::from_secs(2) }),
        ..message(&model, 0)
    };
    teller.deliver_inbound(peer(2), &notice.encode()).unwrap();
    // Its time counts from the step after it.
    assert!(teller.step(at(200)).is_empty());
    let tell = |teller: &mut Node, now| {
        let peers = Value::Peers([peer(2), peer(3)].into()).encode();
        let run = teller.invoke("Tell", &[("peers", &peers), ("x", &Value::Trigger.encode())]).unwrap();
        let steps = settle(teller, now);
        assert!(outcome(&steps, run).is_completed());
        (sent(&steps).len(), blocked(&steps))
    };
    let retry_at = at(202);
    assert_eq!(tell(&mut teller, at(201)), (1, vec![(peer(2), DenyReason::Cooldown { retry_at })]));
    assert_eq!(tell(&mut teller, at(202)), (2, vec![]));
    assert_eq!(teller.engine_stats().notices_received, 1);
}

#[test]
fn a_message_to_a_blocked_peer_is_seen_to_be_not_sent() {
    let model = program();
    let mut teller = node(HOST, &model, "Tell");
    teller.block_peer(peer(2)).unwrap();
    let peers = Value::Peers([peer(2), peer(3)].into()).encode();
    teller.invoke("Tell", &[("peers", &peers), ("x", &Value::Trigger.encode())]).unwrap();
    let steps = settle(&mut teller, at(0));
    assert_eq!(blocked(&steps), [(peer(2), DenyReason::Blocklisted)]);
    assert_eq!(sent(&steps).len(), 1);
    assert_eq!(teller.engine_stats().denied_outbound, 1);
}

#[test]
fn a_message_larger_than_an_envelope_fails_its_op() {
    let model = program();
    let limits = NodeConfig::default().with_fill_bytes(1_000).with_envelope_bytes(1_000);
    let mut teller = node_with(HOST, &model, "Tell", Config::new().node(limits));
    let peers = Value::Peers([peer(2)].into()).encode();
    let x = Value::Bytes(vec![7; 980].into()).encode();
    let run = teller.invoke("Tell", &[("peers", &peers), ("x", &x)]).unwrap();
    let Outcome::Failed(error) = outcome(&settle(&mut teller, at(0)), run) else { panic!("it was sent") };
    assert!(matches!(*error, OpError::MessageTooLarge { .. }), "{error}");
}

#[test]
fn an_address_that_has_not_proved_itself_is_not_given_with_much_more_than_came_from_there() {
    let model = program();
    let mut teller = node(HOST, &model, "Tell");
    let address: Address = "/ip4/192.0.2.7/udp/4001/quic-v1".parse().unwrap();
    let mut claim = message(&model, 0);
    claim.addresses = [address.clone()].into();
    claim.fills[0].port = 99;
    teller.deliver_inbound(peer(2), &claim.encode()).unwrap();
    let mut addresses = |bytes: usize| {
        let peers = Value::Peers([peer(2)].into()).encode();
        let x = Value::Bytes(vec![0; bytes].into()).encode();
        teller.invoke("Tell", &[("peers", &peers), ("x", &x)]).unwrap();
        let steps = settle(&mut teller, at(1));
        let resolved = !steps.iter().any(|step| matches!(step, EngineStep::PeerResolveFailed { .. }));
        let given = steps.iter().find_map(|step| match step {
            EngineStep::SendEnvelope { addresses, .. } => Some(addresses.to_vec()),
            _ => None,
        });
        assert_eq!(resolved, given.as_ref().is_some_and(|given| !given.is_empty()));
        given.unwrap()
    };
    assert_eq!(addresses(100_000), []);
    assert_eq!(addresses(10), std::slice::from_ref(&address));
    assert_eq!(addresses(1_000), []);
    let handle = teller.ingress_handle();
    handle.send_result(peer(2), bb_runtime::SendResult::Delivered).unwrap();
    let _sent = teller.step(at(2));
    let mut addresses = |bytes: usize| {
        let peers = Value::Peers([peer(2)].into()).encode();
        let x = Value::Bytes(vec![0; bytes].into()).encode();
        teller.invoke("Tell", &[("peers", &peers), ("x", &x)]).unwrap();
        settle(&mut teller, at(3)).iter().any(
            |step| matches!(step, EngineStep::SendEnvelope { addresses, .. } if addresses[..] == [address.clone()]),
        )
    };
    assert!(addresses(100_000));
    assert_eq!(teller.engine_stats().addresses_withheld, 2);
}

#[test]
fn a_callee_stops_waiting_when_its_caller_does() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let scripts: BTreeMap<u64, Script> = [(0, Script::Later(Arc::clone(&held)))].into();
    let mut federation = Federation::with_scripts(1, -1, Config::new(), &scripts);
    federation.now = at(1_000);
    let _steps = federation.node(0).step(at(10));
    federation.server().invoke("Fed.server", &[]).unwrap();
    federation.settle();
    assert_eq!(federation.node(0).pending_async_count(), 1);
    assert_eq!(federation.node(0).next_deadline(), Some(at(1_005)));
    let steps = federation.node(0).step(at(1_005));
    assert!(
        steps.iter().any(|step| matches!(
            step,
            EngineStep::ExecutionFinished { outcome: Outcome::Failed(error), .. }
                if matches!(**error, OpError::DeadlineExceeded { .. })
        )),
        "{steps:?}"
    );
    assert_eq!(federation.nodes[&peer(SERVER)].engine_stats().executions, 1);
}

#[test]
fn an_answer_that_is_ready_after_the_deadline_is_not_sent() {
    let model = program();
    let limits = NodeConfig::default().with_cycle_op_budget(5);
    let mut callee = node_with(HOST, &model, "Take", Config::new().node(limits));
    let request = Envelope {
        correlation: Some(Correlation::Request(RequestId([7; 16]))),
        deadline: Some(Duration::from_secs(5)),
        fills: vec![Fill { port: 20, value: Value::I64(1) }],
        ..message(&model, 0)
    };
    callee.deliver_inbound(peer(2), &request.encode()).unwrap();
    let mut steps = callee.step(at(100));
    steps.extend(settle(&mut callee, at(106)));
    let too_late = |step: &EngineStep| matches!(step, EngineStep::OpFailed { error, .. } if matches!(**error, OpError::AnswerTooLate));
    assert!(steps.iter().any(too_late), "{steps:?}");
    let answers = sent(&steps);
    let scan = scan(&answers[0].1, &EnvelopeLimits::default()).unwrap();
    assert!(matches!(scan.correlation(), Some(Correlation::Failure { .. })));
}

#[test]
fn a_long_tuple_of_a_peer_is_taken_and_charged_for_what_it_holds() {
    let model = program();
    let mut taker = node(HOST, &model, "Take");
    let items: List<Value> = (0..3_000).map(Value::I64).collect();
    let tuple = Value::Tuple(items);
    let long = Envelope { fills: vec![Fill { port: 10, value: tuple.clone() }], ..message(&model, 0) };
    let bytes = long.encode();
    taker.deliver_inbound(peer(2), &bytes).unwrap();
    let held = taker.engine_stats().bytes_in_flight;
    assert!(held >= 3_000 * size_of::<Value>() && held > bytes.len(), "{held}");
    let steps = settle(&mut taker, at(0));
    assert!(steps.iter().any(|step| matches!(step, EngineStep::AppEvent { value, .. } if *value == tuple)));
    drop(steps);
    assert_eq!(taker.engine_stats().bytes_in_flight, 0);
}
