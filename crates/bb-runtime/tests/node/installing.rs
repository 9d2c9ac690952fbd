//! Every mistake of an installation has its own error.

use bb_ir::program::{Attribute, Graph, Program, RegionKind, domains};
use bb_runtime::error::UnresolvedOp;
use bb_runtime::{
    Address, CompiledModel, Config, InstallError, Node, NodeConfig, OpId, PeerId, Role, Time, Value,
    ValueType,
};

use crate::common::components::{Adder, Fixed, Needy, Rows, Script, Scripted};
use crate::common::{ProgramBuilder, RegionBuilder, chain, events, node_with, settle};

fn selector<C: bb_runtime::Component + bb_runtime::Roles>(role: Role) -> ProgramBuilder {
    let mut region = RegionBuilder::entry();
    let y = region.node(domains::PEER_SELECTOR, "View").slot("clients").one();
    region.output("y", y);
    ProgramBuilder::new().target("T", [region]).bind::<C>("clients", role)
}

fn attempt(model: &CompiledModel, targets: &[&str], config: Config) -> Result<Node, InstallError> {
    bb_runtime::install(PeerId::from_u64(1), [], model.clone(), targets, config)
}

fn error(model: &CompiledModel, config: Config) -> InstallError {
    attempt(model, &["T"], config).expect_err("it must not install")
}

#[test]
fn targets_must_be_given_once_and_exist() {
    let model = chain(1);
    assert!(matches!(attempt(&model, &[], Config::new()), Err(InstallError::NoTargets { .. })));
    let twice = attempt(&model, &["Chain", "Chain"], Config::new());
    assert!(matches!(twice, Err(InstallError::TargetTwice { .. })));
    let Err(InstallError::UnknownTarget { target, available }) = attempt(&model, &["Chian"], Config::new())
    else {
        panic!("it must not install")
    };
    assert_eq!((target.as_str(), &available[..]), ("Chian", &["Chain".to_owned()][..]));
}

#[test]
fn a_recorded_program_is_not_compiled() {
    let model = CompiledModel::new(Program::default(), Default::default());
    assert!(matches!(error(&model, Config::new()), InstallError::NotCompiled));
}

#[test]
fn a_limit_of_zero_is_refused() {
    let config = Config::new().node(NodeConfig::default().with_timers(0));
    assert!(matches!(attempt(&chain(1), &["Chain"], config), Err(InstallError::InvalidLimits(_))));
}

#[test]
fn a_configuration_must_be_there_and_fit_its_slot() {
    let model = selector::<Fixed>(Role::PeerSelector).build();
    let peers = vec![PeerId::from_u64(1)];
    assert!(
        matches!(error(&model, Config::new()), InstallError::MissingConfig { slot, .. } if slot == "clients")
    );
    let wrong = error(&model, Config::new().with("clients", 5_u32));
    assert!(matches!(wrong, InstallError::WrongConfigType { got: "u32", .. }), "{wrong}");
    let unknown = error(&model, Config::new().with("clients", peers.clone()).with("cleints", peers.clone()));
    assert!(matches!(unknown, InstallError::UnknownSlot { slot, .. } if slot == "cleints"));
    let twice = error(&model, Config::new().with("clients", peers.clone()).with("clients", peers.clone()));
    assert!(matches!(twice, InstallError::ConfigTwice { .. }));
    let failed = error(&model, Config::new().with("clients", Vec::<PeerId>::new()));
    assert!(failed.to_string().contains("give at least one"), "{failed}");
    assert!(attempt(&model, &["T"], Config::new().with("clients", peers)).is_ok());
}

#[test]
fn a_component_that_is_not_known_is_named_with_those_that_are() {
    let known = selector::<Fixed>(Role::PeerSelector).build();
    let decoded = CompiledModel::new((**known.program()).clone(), Default::default());
    let config = || Config::new().with("clients", vec![PeerId::from_u64(1)]);
    let Err(InstallError::UnregisteredComponent { type_name, registered, .. }) =
        attempt(&decoded, &["T"], config().register::<Rows>())
    else {
        panic!("it must not install")
    };
    assert_eq!((type_name.as_str(), &registered[..]), ("test::Fixed", &["test::Rows".to_owned()][..]));
    assert!(attempt(&decoded, &["T"], config().register::<Fixed>()).is_ok());
    assert!(attempt(&known, &["T"], config().register::<Fixed>()).is_ok(), "the same type twice is one type");
}

#[test]
fn a_slot_needs_a_component_of_its_role() {
    let model = selector::<Scripted>(Role::Model).build();
    let wrong = error(&model, Config::new().with("clients", Script::Now));
    assert!(matches!(wrong, InstallError::WrongRole { role: Role::PeerSelector, .. }), "{wrong}");
}

#[test]
fn a_dependency_is_the_slot_of_its_name_unless_the_program_says_another() {
    let missing = selector::<Needy>(Role::PeerSelector).build();
    let missing = error(&missing, Config::new());
    assert!(matches!(missing, InstallError::MissingDependency { dependency, .. } if dependency == "compute"));

    let model = selector::<Needy>(Role::PeerSelector).bind::<Adder>("compute", Role::Backend).build();
    let mut node = node_with(1, &model, "T", Config::new());
    assert_eq!(node.linked_components().map(|held| held.slot).collect::<Vec<_>>(), ["clients", "compute"]);
    let run = node.invoke("T", &[]).unwrap();
    let peers = Value::Peers([PeerId::from_u64(1)].into());
    assert_eq!(events(&settle(&mut node, Time::ZERO), run), [("y".to_owned(), peers)]);

    let mut program = (**model.program()).clone();
    let compute = program.bindings.remove("compute").unwrap();
    program.bindings.insert("gpu".to_owned(), compute);
    let needy = program.bindings.get_mut("clients").unwrap();
    needy.dependencies.insert("compute".to_owned(), "gpu".to_owned());
    let model = CompiledModel::new(program, model.factories().clone());
    assert!(node_with(1, &model, "T", Config::new()).slot("gpu").is_some());
}

#[test]
fn all_ops_that_the_runtime_does_not_know_are_named() {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    let y = region.node(domains::SYSCALL, "Nonsense").input(x).one();
    let z = region.node(domains::MODEL, "Fit").slot("nowhere").input(y).one();
    let z = region.node(domains::SYSCALL, "PassThrough").inputs([z, z]).one();
    region.output("y", z);
    let model = ProgramBuilder::new().target("T", [region]).build();
    let InstallError::UnresolvedOps { ops } = error(&model, Config::new()) else { panic!("another error") };
    let names: Vec<_> = ops.iter().map(|UnresolvedOp { op, .. }| op.name().to_owned()).collect();
    assert_eq!(names, ["Nonsense", "Fit", "PassThrough"]);
}

#[test]
fn all_ops_that_the_backend_does_not_run_are_named() {
    let mut inner = Graph::default();
    for name in ["Add", "Conv", "Gelu"] {
        inner.add_node(bb_ir::program::Node { op: OpId::new("", name), ..Default::default() });
    }
    let mut region = RegionBuilder::entry();
    region.node(domains::BACKEND, "Run").slot("compute").attribute("graph", Attribute::Graph(inner)).none();
    let model = ProgramBuilder::new().target("T", [region]).bind::<Adder>("compute", Role::Backend).build();
    let InstallError::UnsupportedOps { ops } = error(&model, Config::new()) else { panic!("another error") };
    assert_eq!(ops.iter().map(|op| op.op.name()).collect::<Vec<_>>(), ["Conv", "Gelu"]);
}

#[test]
fn only_what_the_targets_need_is_made_and_targets_share_it() {
    let region = |name: &str| {
        let mut region = RegionBuilder::entry();
        let y = region.node(domains::MODEL, "Parameters").slot(name.to_owned().leak()).one();
        region.output("y", y);
        region
    };
    let model = ProgramBuilder::new()
        .target("A", [region("model")])
        .target("B", [region("model")])
        .target("C", [region("other")])
        .bind::<Scripted>("model", Role::Model)
        .bind::<Scripted>("other", Role::Model)
        .build();
    let node = attempt(&model, &["A", "B"], Config::new().with("other", Script::Now)).unwrap();
    assert_eq!(node.linked_components().map(|held| held.slot).collect::<Vec<_>>(), ["model"]);
    assert_eq!(node.loaded_modules().collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(node.slot("model").unwrap().type_name, "test::Scripted");
}

#[test]
fn a_target_without_an_entry_cannot_be_invoked() {
    let mut region = RegionBuilder::new(RegionKind::Receive);
    let x = region.recv(1, ValueType::Any);
    region.output("x", x);
    let model = ProgramBuilder::new().target("T", [region]).build();
    let mut node = node_with(1, &model, "T", Config::new());
    assert!(matches!(node.invoke("T", &[]), Err(bb_runtime::DeliveryError::NoEntry { .. })));
}

#[test]
fn addresses_are_taken_in_order_and_empty_ones_are_none() {
    let (first, second): (Address, Address) =
        ("/ip4/192.0.2.1/tcp/1".parse().unwrap(), "/ip4/192.0.2.2/tcp/2".parse().unwrap());
    let given = [Address::empty(), first.clone(), second.clone(), first.clone()];
    let node = bb_runtime::install(PeerId::from_u64(1), given, chain(1), &["Chain"], Config::new()).unwrap();
    assert_eq!(node.local_addresses().cloned().collect::<Vec<_>>(), [first.clone(), second]);
    assert_eq!(node.peer_address(), first);
    let none = node_with(2, &chain(1), "Chain", Config::new());
    assert!(none.peer_address().is_empty());
}
