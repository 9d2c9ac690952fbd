//! Components that do not keep to their contract, and programs that ask for what is not there: each mistake has its
//! own error, and nothing else is touched.

use bb_ir::program::{Attribute, Graph, Node as Op, domains};
use bb_runtime::contracts::BackendError;
use bb_runtime::{
    Address, Answer, Backend, BackendGraph, CompiledModel, Completion, Component, ComponentError, Config,
    DataType, DeliveryError, EngineStep, Executable, InstallError, NodeConfig, OpContext, OpError, OpId,
    Outcome, PeerId, PeerSelector, Role, StateReader, StateWriter, Tensor, Time, Value, ValueType, install,
};

use crate::common::components::{Adder, Fixed};
use crate::common::{ProgramBuilder, RegionBuilder, chain, node_with, outcome, settle};

/// What an [`Awkward`] component does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
enum Wrong {
    /// It keeps an answer that it deferred, and gives it to another call.
    KeepsAnswers,
    /// It panics when it is made.
    #[default]
    PanicsAtOnce,
    /// It prepares no graph.
    PreparesNothing,
}

#[derive(Default)]
struct Awkward {
    kept: Option<Answer<Vec<PeerId>>>,
    completions: Vec<Completion<Vec<PeerId>>>,
}

impl Component for Awkward {
    const TYPE_NAME: &'static str = "test::Awkward";
    type Config = Wrong;
    fn new(wrong: &Wrong) -> Result<Self, ComponentError> {
        assert_ne!(*wrong, Wrong::PanicsAtOnce, "told to panic");
        Ok(Self::default())
    }
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }
    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl PeerSelector for Awkward {
    fn view(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        if let Some(kept) = self.kept.take() {
            return Ok(kept);
        }
        let (completion, answer) = cx.defer();
        self.completions.push(completion);
        self.kept = Some(answer);
        Ok(Answer::now(vec![PeerId::from_u64(1)]))
    }
    fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        self.view(cx)
    }
}

impl Backend for Awkward {
    fn supports(&self, _: &OpId) -> bool {
        true
    }
    fn prepare(&self, _: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
        Err(BackendError::NoGraph)
    }
}

bb_runtime::component!(Awkward: PeerSelector + Backend);

/// Another type of the same name as [`Fixed`].
struct Impostor;

impl Component for Impostor {
    const TYPE_NAME: &'static str = Fixed::TYPE_NAME;
    type Config = ();
    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }
    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl PeerSelector for Impostor {
    fn view(&mut self, _: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(Vec::new()))
    }
    fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        self.view(cx)
    }
}

bb_runtime::component!(Impostor: PeerSelector);

fn view_of(slot: &str, outputs: usize) -> RegionBuilder {
    let mut region = RegionBuilder::entry();
    let found = region.node(domains::PEER_SELECTOR, "View").slot(slot).many(outputs);
    region.output("y", found[outputs - 1]);
    region
}

fn adds() -> RegionBuilder {
    let mut inner = Graph::default();
    inner.add_node(Op { op: OpId::new("", "Add"), ..Default::default() });
    let mut region = RegionBuilder::entry();
    let [a, b] = ["a", "b"].map(|name| region.input(name, ValueType::Any));
    let run = region.node(domains::BACKEND, "Run").slot("compute").inputs([a, b]);
    let y = run.attribute("graph", Attribute::Graph(inner)).one();
    region.output("y", y);
    region
}

fn error(model: &CompiledModel, config: Config) -> InstallError {
    install(PeerId::from_u64(1), [], model, &["T"], config).expect_err("it must not install")
}

#[test]
fn what_keeps_a_node_from_being_made_has_its_own_error() {
    let selects = || ProgramBuilder::new().target("T", [view_of("clients", 1)]);
    let unbound = CompiledModel::new((**selects().build().program()).clone(), Default::default());
    match error(&unbound, Config::new()) {
        InstallError::Unbound { slot } => assert_eq!(slot, "clients"),
        InstallError::UnresolvedOps { ops } => assert!(ops[0].reason.contains("clients"), "{ops:?}"),
        other => panic!("{other}"),
    }
    let awkward = selects().bind::<Awkward>("clients", Role::PeerSelector).build();
    match error(&awkward, Config::new().with("clients", Wrong::PanicsAtOnce)) {
        InstallError::ComponentPanicked { slot, message, .. } => {
            assert_eq!(slot, "clients");
            assert!(message.contains("told to panic"), "{message}");
        }
        other => panic!("{other}"),
    }
    let fixed = selects().bind::<Fixed>("clients", Role::PeerSelector).build();
    let two = Config::new().register::<Impostor>().with("clients", vec![PeerId::from_u64(1)]);
    assert!(
        matches!(error(&fixed, two), InstallError::TypeNameTwice { type_name } if type_name == "test::Fixed")
    );
    let backend =
        ProgramBuilder::new().target("T", [adds()]).bind::<Awkward>("compute", Role::Backend).build();
    match error(&backend, Config::new().with("compute", Wrong::PreparesNothing)) {
        InstallError::PrepareFailed { slot, source, .. } => {
            assert_eq!(slot, "compute");
            assert!(matches!(source, BackendError::NoGraph), "{source}");
        }
        other => panic!("{other}"),
    }
    let named: Address = format!("/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::from_u64(9)).parse().unwrap();
    let refused = install(PeerId::from_u64(1), [named], chain(1), &["Chain"], Config::new());
    assert!(matches!(refused, Err(InstallError::InvalidAddress(_))));
}

/// Invokes, and gives the error that the execution ended with.
fn failure(node: &mut bb_runtime::Node, inputs: &[(&str, Value)]) -> std::sync::Arc<OpError> {
    let inputs: Vec<(&str, Vec<u8>)> = inputs.iter().map(|(name, value)| (*name, value.encode())).collect();
    let given: Vec<(&str, &[u8])> = inputs.iter().map(|(name, value)| (*name, &value[..])).collect();
    let run = node.invoke("T", &given).unwrap();
    match outcome(&settle(node, Time::ZERO), run) {
        Outcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_was_deferred_in_another_call_fails_its_op() {
    let model = ProgramBuilder::new()
        .target("T", [view_of("clients", 1)])
        .bind::<Awkward>("clients", Role::PeerSelector)
        .build();
    let mut node = node_with(1, &model, "T", Config::new().with("clients", Wrong::KeepsAnswers));
    let first = node.invoke("T", &[]).unwrap();
    assert!(outcome(&settle(&mut node, Time::ZERO), first).is_completed());
    assert!(matches!(&*failure(&mut node, &[]), OpError::WrongAnswer { slot } if slot == "clients"));
    assert_eq!(node.pending_async_count(), 0);
}

#[test]
fn a_method_with_fewer_results_than_the_program_takes_fails_its_op() {
    let model = ProgramBuilder::new()
        .target("T", [view_of("clients", 2)])
        .bind::<Fixed>("clients", Role::PeerSelector);
    let config = Config::new().with("clients", vec![PeerId::from_u64(1)]);
    let mut node = node_with(1, &model.build(), "T", config);
    assert!(matches!(&*failure(&mut node, &[]), OpError::OutputCount { expected: 2, got: 1 }));
}

#[test]
fn a_backend_that_cannot_run_its_graph_on_what_it_gets_fails_its_op() {
    let model = ProgramBuilder::new().target("T", [adds()]).bind::<Adder>("compute", Role::Backend).build();
    let mut node = node_with(1, &model, "T", Config::new());
    let f64s = || Value::from(Tensor::zeros(DataType::F64, [2]).unwrap());
    let error = failure(&mut node, &[("a", f64s()), ("b", f64s())]);
    assert!(matches!(&*error, OpError::Backend { slot, .. } if slot == "compute"), "{error}");
    let error = failure(&mut node, &[("a", Value::I64(1)), ("b", f64s())]);
    assert!(matches!(&*error, OpError::InputType { index: 0, .. }), "{error}");
}

#[test]
fn what_waits_when_a_node_is_cleared_is_reported_as_dropped() {
    let mut region = RegionBuilder::entry();
    let [a, b] = ["a", "b"].map(|name| region.input(name, ValueType::Any));
    region.output("a", a);
    region.output("b", b);
    let model = ProgramBuilder::new().target("T", [region]).build();
    let mut node = node_with(1, &model, "T", Config::new());
    let one = Value::I64(1).encode();
    node.deliver_event("T", "a", &one).unwrap();
    node.ingress_handle().deliver_event("T", "a", &one).unwrap();
    node.ingress_handle().deliver_inbound(PeerId::from_u64(2), &[1, 2, 3]).unwrap();
    node.clear();
    let steps = settle(&mut node, Time::ZERO);
    let dropped =
        |step: &&EngineStep| matches!(step, EngineStep::IngressFailed { error: DeliveryError::Cleared, .. });
    assert_eq!(steps.iter().filter(dropped).count(), 3, "{steps:?}");
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
}

#[test]
fn limits_that_make_no_sense_are_named() {
    use bb_runtime::limits::NodeConfigError;
    let zero = NodeConfig::default().with_request_deadline(std::time::Duration::ZERO).validate();
    assert_eq!(zero, Err(NodeConfigError::Zero { limit: "request_deadline" }));
    let larger = NodeConfig::default().with_fill_bytes(100).with_envelope_bytes(99).validate();
    let expected = NodeConfigError::LargerThan {
        limit: "fill_bytes",
        value: 100,
        other: "envelope_bytes",
        other_value: 99,
    };
    assert_eq!(larger, Err(expected));
}
