//! Mistakes of peers, programs, components and hosts that other tests do not come across: each has its own error, and is
//! seen in a step or a return value.

use std::time::Duration;

use bb_framework::governor::ListFull;
use bb_framework::{DenyReason, MessageId, RequestId};
use bb_ir::program::{Attribute, RegionKind, domains};
use bb_ir::wire_codec::ValueError;
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, FillFault, scan};
use bb_runtime::error::{ConfigureError, ReceiveError};
use bb_runtime::{
    Answer, Batch, CompiledModel, Component, ComponentError, Config, DataSource, DeliveryError, Dependency,
    EngineStep, InstallError, Node, NodeConfig, OpContext, OpError, Outcome, PeerId, Role, Roles,
    SnapshotError, StateReader, StateWriter, Time, Value, ValueType, install,
};

use crate::common::components::{Fixed, Rows, Scripted};
use crate::common::{ProgramBuilder, RegionBuilder, chain, events, node, node_with, outcome, sent, settle};

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn reply(region: &mut RegionBuilder, value: bb_ir::program::ValueId) {
    let reply = region.node(domains::WIRE, "Send").attribute("kind", Attribute::Str("reply".to_owned()));
    reply.attribute("ports", Attribute::Ints(vec![21])).input(value).none();
}

/// Hands out what comes to port 10, and apart from that what comes to port 11; answers what comes to port 20 with the same,
/// and twice what comes to port 30. `Answers` answers though nobody asked.
fn program() -> CompiledModel {
    let take = |port: i64| {
        let mut take = RegionBuilder::new(RegionKind::Receive);
        let x = take.recv(port, ValueType::Any);
        take.output("x", x);
        take
    };
    let echo = |port: i64, times: usize| {
        let mut echo = RegionBuilder::new(RegionKind::Receive);
        let x = echo.recv(port, ValueType::Any);
        (0..times).for_each(|_| reply(&mut echo, x));
        echo
    };
    let mut answers = RegionBuilder::entry();
    let x = answers.input("x", ValueType::Any);
    reply(&mut answers, x);
    ProgramBuilder::new()
        .target("Take", [take(10), take(11), echo(20, 1), echo(30, 2)])
        .target("Answers", [answers])
        .build()
}

fn envelope(model: &CompiledModel, fills: &[(u32, Value)]) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter: 1 },
        program: model.digest(),
        fills: fills.iter().map(|(port, value)| Fill { port: *port, value: value.clone() }).collect(),
        ..Envelope::default()
    }
}

fn ask(model: &CompiledModel, port: u32, value: Value) -> Vec<u8> {
    let correlation = Some(Correlation::Request(RequestId([7; 16])));
    Envelope { correlation, ..envelope(model, &[(port, value)]) }.encode()
}

fn refused(steps: &[EngineStep]) -> Vec<(usize, ReceiveError)> {
    let refused = |step: &EngineStep| match step {
        EngineStep::WireReceiveFailed { fill, error, .. } => Some((*fill, error.clone())),
        _ => None,
    };
    steps.iter().filter_map(refused).collect()
}

fn failed(steps: &[EngineStep]) -> Vec<&OpError> {
    let mut failed: Vec<&OpError> = Vec::new();
    for step in steps {
        if let EngineStep::OpFailed { error, .. } = step {
            failed.push(error);
        }
    }
    failed
}

/// Why the peer that asked gets no answer, as it is told.
fn told(steps: &[EngineStep]) -> Option<String> {
    let (_, bytes) = sent(steps).into_iter().next()?;
    match scan(&bytes, &EnvelopeLimits::default()).unwrap().correlation() {
        Some(Correlation::Failure { request: RequestId([7, ..]), reason }) => Some(reason.to_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_feeds_one_region_and_what_is_for_another_is_refused() {
    let model = program();
    let mut node = node(1, &model, "Take");
    let both = envelope(&model, &[(10, Value::I64(1)), (11, Value::I64(2))]);
    node.deliver_inbound(peer(2), &both.encode()).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert_eq!(refused(&steps), [(1, ReceiveError::OtherRegion { port: 11 })]);
    let outputs = steps.iter().filter(|step| matches!(step, EngineStep::AppEvent { .. })).count();
    assert_eq!(outputs, 1, "its sibling goes on: {steps:?}");
    assert_eq!(node.engine_stats().fills_refused, 1);
}

#[test]
fn a_fill_whose_value_is_malformed_is_refused_and_its_sibling_goes_on() {
    let model = program();
    let mut node = node(1, &model, "Take");
    let mut bytes = envelope(&model, &[(10, Value::from("a text")), (10, Value::I64(2))]).encode();
    let place = bytes.windows(6).position(|window| window == b"a text").unwrap();
    bytes[place] = 0xff;
    node.deliver_inbound(peer(2), &bytes).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    let [(0, ReceiveError::Malformed(FillFault::Value(ValueError::NotUtf8 { .. })))] = &refused(&steps)[..]
    else {
        panic!("{steps:?}")
    };
    let value = steps.iter().find_map(|step| match step {
        EngineStep::AppEvent { value, .. } => Some(value),
        _ => None,
    });
    assert_eq!(value, Some(&Value::I64(2)));
}

#[test]
fn an_answer_to_a_peer_that_was_blocked_meanwhile_is_not_sent() {
    let model = program();
    let mut node = node(1, &model, "Take");
    node.deliver_inbound(peer(2), &ask(&model, 20, Value::I64(1))).unwrap();
    node.block_peer(peer(2)).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    let [OpError::NotSent { peer: to, reason }] = &failed(&steps)[..] else { panic!("{steps:?}") };
    assert_eq!((*to, reason.as_str()), (peer(2), "the peer is on the blocklist"));
    let blocked = |step: &EngineStep| matches!(step, EngineStep::PeerBlocked { peer: to, reason: DenyReason::Blocklisted } if *to == peer(2));
    assert!(steps.iter().any(blocked), "{steps:?}");
    assert!(sent(&steps).is_empty());
}

#[test]
fn an_answer_that_is_larger_than_an_envelope_is_not_sent_and_the_peer_is_told() {
    let model = program();
    let limits = NodeConfig::default().with_fill_bytes(1_000).with_envelope_bytes(1_000);
    let mut node = node_with(1, &model, "Take", Config::new().node(limits));
    for port in 1..7 {
        node.add_local_address(format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()).unwrap();
    }
    node.deliver_inbound(peer(2), &ask(&model, 20, Value::Bytes(vec![7; 900].into()))).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    let [OpError::NotSent { reason, .. }] = &failed(&steps)[..] else { panic!("{steps:?}") };
    assert!(reason.contains("cap of 1000 bytes"), "{reason}");
    assert!(told(&steps).is_some_and(|reason| reason.contains("cap of 1000 bytes")), "{steps:?}");
}

#[test]
fn an_answer_to_which_there_is_no_question_fails_its_op() {
    let model = program();
    let mut node = install(peer(1), [], model.clone(), &["Take", "Answers"], Config::new()).unwrap();
    let run = node.invoke("Answers", &[("x", &Value::I64(1).encode())]).unwrap();
    let Outcome::Failed(error) = outcome(&settle(&mut node, Time::ZERO), run) else {
        panic!("it ended well")
    };
    assert!(matches!(*error, OpError::NotARequest), "{error}");
    // A question has one answer.
    node.deliver_inbound(peer(2), &ask(&model, 30, Value::I64(1))).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert!(matches!(failed(&steps)[..], [OpError::NotARequest]), "{steps:?}");
    assert_eq!(sent(&steps).len(), 1);
}

/// A component that says it is a model and a data source, and is neither.
struct Hollow;

impl Component for Hollow {
    const TYPE_NAME: &'static str = "test::Hollow";
    type Config = bool;
    fn default_config() -> Option<bool> {
        Some(false)
    }
    fn new(_: &bool) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        panic!("told to panic")
    }
    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl Roles for Hollow {
    const ROLES: &'static [Role] = &[Role::Model, Role::DataSource];
}

/// A data source that asks for itself, and for what it did not declare.
struct Circular;

impl Component for Circular {
    const TYPE_NAME: &'static str = "test::Circular";
    const DEPENDENCIES: &'static [Dependency] = &[Dependency { name: "data", role: Role::DataSource }];
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    stateless!();
}

impl DataSource for Circular {
    fn next_batch(
        &mut self,
        cx: &mut OpContext<'_>,
        _: usize,
    ) -> Result<Answer<Option<Batch>>, ComponentError> {
        let undeclared = cx.backend("compute").err();
        let Some(ComponentError::NoDependency { name, role: Role::Backend, declared }) = undeclared else {
            panic!("{undeclared:?}")
        };
        assert_eq!((name.as_str(), &declared[..]), ("compute", &["data".to_owned()][..]));
        cx.with_data_source("data", |_, _| Ok(Answer::now(None)))
    }
    fn reset(&mut self, _: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        Ok(Answer::now(()))
    }
    fn len(&self) -> usize {
        0
    }
}

bb_runtime::component!(Circular: DataSource);

/// A data source that hands on the rows of another.
struct Relay;

impl Component for Relay {
    const TYPE_NAME: &'static str = "test::Relay";
    const DEPENDENCIES: &'static [Dependency] = &[Dependency { name: "rows", role: Role::DataSource }];
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    stateless!();
}

impl DataSource for Relay {
    fn next_batch(
        &mut self,
        cx: &mut OpContext<'_>,
        rows: usize,
    ) -> Result<Answer<Option<Batch>>, ComponentError> {
        cx.with_data_source("rows", |source, cx| {
            assert!(
                cx.with_data_source("rows", |_, _| Ok(())).is_err(),
                "names are those of the other one here"
            );
            source.next_batch(cx, rows)
        })
    }
    fn reset(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        cx.with_data_source("rows", |source, cx| source.reset(cx))
    }
    fn len(&self) -> usize {
        3
    }
}

bb_runtime::component!(Relay: DataSource);

fn failure(node: &mut Node) -> std::sync::Arc<OpError> {
    let run = node.invoke("T", &[]).unwrap();
    match outcome(&settle(node, Time::ZERO), run) {
        Outcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A model that learns from a data source of type `D`, which may read another.
fn fits<D: Component + Roles>() -> CompiledModel {
    let mut region = RegionBuilder::entry();
    let fit = region.node(domains::MODEL, "Fit").slot("model").uses("data");
    let fit = fit.attribute("epochs", Attribute::Int(1)).attribute("batch", Attribute::Int(1));
    let rows = fit.attribute("data", Attribute::Str("data".to_owned())).many(2);
    region.output("rows", rows[0]);
    let program = ProgramBuilder::new().target("T", [region]).bind::<Scripted>("model", Role::Model);
    program.bind::<D>("data", Role::DataSource).bind::<Rows>("rows", Role::DataSource).build()
}

#[test]
fn a_data_source_that_a_model_reads_has_its_own_dependencies() {
    let mut node = node(1, &fits::<Relay>(), "T");
    let run = node.invoke("T", &[]).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert!(outcome(&steps, run).is_completed(), "{steps:?}");
    assert_eq!(events(&steps, run), [("rows".to_owned(), Value::I64(3))]);
}

#[test]
fn a_component_that_calls_itself_is_told_so() {
    let error = failure(&mut node(1, &fits::<Circular>(), "T"));
    let OpError::Component { slot, error: ComponentError::Busy { name }, .. } = &*error else {
        panic!("{error}")
    };
    assert_eq!((slot.as_str(), name.as_str()), ("model", "data"));
}

#[test]
fn a_role_that_is_declared_and_not_given_fails_the_op_that_needs_it() {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::MODEL, "Parameters").slot("model").one();
    region.output("y", y);
    let model = ProgramBuilder::new().target("T", [region]).bind::<Hollow>("model", Role::Model).build();
    let error = failure(&mut node(1, &model, "T"));
    assert!(
        matches!(&*error, OpError::MissingRole { slot, role: Role::Model } if slot == "model"),
        "{error}"
    );

    let error = failure(&mut node(1, &fits::<Hollow>(), "T"));
    assert!(
        matches!(&*error, OpError::MissingRole { slot, role: Role::DataSource } if slot == "data"),
        "{error}"
    );
    let mut sound = node(1, &fits::<Rows>(), "T");
    let run = sound.invoke("T", &[]).unwrap();
    assert!(outcome(&settle(&mut sound, Time::ZERO), run).is_completed());
}

#[test]
fn a_component_that_panics_as_it_is_saved_is_named() {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::MODEL, "Parameters").slot("model").one();
    region.output("y", y);
    let model = ProgramBuilder::new().target("T", [region]).bind::<Hollow>("model", Role::Model).build();
    let error = node(1, &model, "T").snapshot().unwrap_err();
    let SnapshotError::ComponentPanicked { slot, type_name, message } = &error else { panic!("{error}") };
    assert_eq!((slot.as_str(), type_name.as_str()), ("model", "test::Hollow"));
    assert!(message.contains("told to panic"), "{message}");
}

#[test]
fn a_constructors_own_failure_is_given_with_its_source() {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::PEER_SELECTOR, "View").slot("peers").one();
    region.output("y", y);
    let model =
        ProgramBuilder::new().target("T", [region]).bind::<Fixed>("peers", Role::PeerSelector).build();
    let config = Config::new().with("peers", Vec::<PeerId>::new());
    let error = install(peer(1), [], model, &["T"], config).unwrap_err();
    let InstallError::ComponentFailed { slot, type_name, source } = &error else { panic!("{error}") };
    assert_eq!((slot.as_str(), type_name.as_str()), ("peers", "test::Fixed"));
    assert!(matches!(source, ComponentError::InvalidConfig { field: "peers", .. }), "{source}");
}

#[test]
fn limits_with_less_room_than_the_lists_have_are_refused() {
    let mut node = node(1, &chain(1), "Chain");
    for id in 2..5 {
        node.block_peer(peer(id)).unwrap();
    }
    let refused = node.with_config(NodeConfig::edge().with_address_book_peers(2)).unwrap_err();
    assert_eq!(refused.error, ConfigureError::ListFull(ListFull { capacity: 2 }));
    assert!(refused.to_string().contains("the limits stay as they are"), "{refused}");
    let node = *refused.node;
    let mut node = node.with_config(NodeConfig::edge().with_address_book_peers(3)).unwrap();
    assert_eq!(node.block_peer(peer(9)), Err(ListFull { capacity: 3 }));
    let many: Vec<PeerId> = (2..9).map(peer).collect();
    assert_eq!(node.set_allowlist(Some(&many)), Err(ListFull { capacity: 3 }));
}

#[test]
fn a_request_with_a_text_longer_than_is_kept_fails_with_the_beginning_of_it() {
    let limits = NodeConfig::default().with_failure_text_bytes(10);
    let mut ask = RegionBuilder::entry();
    let peers = ask.input("peers", ValueType::Peers);
    let send = ask.node(domains::WIRE, "Send").attribute("kind", Attribute::Str("request".to_owned()));
    let send = send.attribute("mode", Attribute::Str("first".to_owned()));
    let got =
        send.attribute("ports", Attribute::Ints(vec![])).attribute("answer_ports", Attribute::Ints(vec![21]));
    let got = got.input(peers).many(2);
    ask.output("who", got[0]);
    let model = ProgramBuilder::new().target("Ask", [ask]).build();
    let mut asker = node_with(1, &model, "Ask", Config::new().node(limits));
    let run = asker.invoke("Ask", &[("peers", &Value::Peers([peer(2)].into()).encode())]).unwrap();
    let (_, request) = sent(&settle(&mut asker, Time::ZERO)).remove(0);
    let Some(Correlation::Request(request)) =
        scan(&request, &EnvelopeLimits::default()).unwrap().correlation()
    else {
        panic!("no request")
    };
    let correlation = Some(Correlation::Failure { request, reason: "too many äöü words".into() });
    let failure = Envelope { correlation, ..envelope(&model, &[]) };
    asker.deliver_inbound(peer(2), &failure.encode()).unwrap();
    let Outcome::Failed(error) = outcome(&settle(&mut asker, Time::ZERO), run) else {
        panic!("it ended well")
    };
    let OpError::QuorumNotReached(failure) = &*error else { panic!("{error}") };
    // The tenth byte is in the middle of a character.
    assert_eq!(failure.failed[0].reason, "too many ");
    assert_eq!(failure.timed_out, None::<Duration>);
}

#[test]
fn the_same_again_is_refused_at_the_door_of_another_thread() {
    let node = node(1, &chain(1), "Chain");
    let handle = node.ingress_handle();
    let malformed = handle.deliver_event("Chain", "x", &[0xff]);
    assert!(matches!(malformed, Err(DeliveryError::InvalidValue { .. })), "{malformed:?}");
    let unknown = handle.deliver_event("Chain", "y", &Value::Trigger.encode());
    assert!(matches!(unknown, Err(DeliveryError::UnknownInput { .. })), "{unknown:?}");
    let unknown = handle.deliver_event("None", "x", &Value::Trigger.encode());
    assert!(matches!(unknown, Err(DeliveryError::UnknownModule { .. })), "{unknown:?}");
    let refusals = node.engine_stats().ingress_refusals;
    assert_eq!((refusals.invalid_value, refusals.inputs, refusals.unknown_module), (1, 1, 1));
    assert_eq!((handle.depth(), node.engine_stats().ingress_bytes), (0, 0));
}
