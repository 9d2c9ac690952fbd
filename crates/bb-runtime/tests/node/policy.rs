//! What a host may change and look at: limits, lists, addresses, executions, the tap, the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bb_framework::AddressBookError;
use bb_runtime::envelope::{EnvelopeLimits, scan};
use bb_runtime::error::{ConfigureError, Unconfigured};
use bb_runtime::{
    Address, Config, Decision, DeliveryError, DenyReason, EngineStep, InstallError, Node, NodeConfig,
    Outcome, PeerId, Role, Time, Value,
};

use crate::common::federation::{Federation, SERVER, program, round};
use crate::common::{chain, node, node_with, outcome, settle};

const HOST: u64 = 1;

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn address(n: u8) -> Address {
    format!("/ip4/192.0.2.{n}/udp/4001/quic-v1").parse().unwrap()
}

fn unconfigured(refused: Result<Node, Unconfigured>) -> (Node, ConfigureError) {
    let Unconfigured { node, error } = refused.expect_err("it is refused");
    (*node, error)
}

#[test]
fn limits_are_changed_before_the_first_step_and_peers_stay() {
    let mut node = node(HOST, &chain(1), "Chain");
    node.add_local_address(address(1)).unwrap();
    node.add_peer(peer(2), [address(2)]).unwrap();
    node.block_peer(peer(3)).unwrap();
    node.set_allowlist(Some(&[peer(2), peer(3)])).unwrap();
    let limits = NodeConfig::edge().with_executions(1).with_peer_id(peer(HOST));
    let mut node = node.with_config(limits.clone()).unwrap();
    assert_eq!(node.config(), &limits);
    assert_eq!(node.peer_address(), address(1));
    assert_eq!(node.resolve_peer_addresses(peer(2)), [address(2)]);
    assert_eq!(node.peer_health(peer(3)).inbound, Decision::Deny(DenyReason::Blocklisted));
    assert_eq!(node.peer_health(peer(4)).inbound, Decision::Deny(DenyReason::NotAllowlisted));
    let x = Value::Trigger.encode();
    node.invoke("Chain", &[("x", &x)]).unwrap();
    let full = node.invoke("Chain", &[("x", &x)]);
    assert_eq!(full, Err(DeliveryError::QueueFull { capacity: 1 }));
}

#[test]
fn limits_that_do_not_fit_leave_the_node_as_it_was() {
    let mut node = node(HOST, &chain(1), "Chain");
    for id in 2..5 {
        node.add_peer(peer(id), []).unwrap();
    }
    let before = node.config().clone();
    let (node, error) = unconfigured(node.with_config(NodeConfig::edge().with_peer_id(peer(9))));
    assert_eq!(error, ConfigureError::OtherPeer { expected: peer(HOST), got: peer(9) });
    let (node, error) = unconfigured(node.with_config(NodeConfig::edge().with_executions(0)));
    assert!(matches!(error, ConfigureError::Limits(_)));
    let (node, error) = unconfigured(node.with_config(NodeConfig::edge().with_address_book_peers(2)));
    assert!(matches!(error, ConfigureError::AddressBook(AddressBookError::PeersFull { cap: 2 })), "{error}");
    let mut node = node;
    assert!(node.step(Time::ZERO).is_empty());
    let (node, error) = unconfigured(node.with_config(NodeConfig::edge()));
    assert_eq!(error, ConfigureError::HasBegun);
    assert_eq!(node.config(), &before);
    assert_eq!(node.engine_stats().peers_known, 3);
}

#[test]
fn limits_for_another_peer_are_not_installed() {
    let config = Config::new().node(NodeConfig::edge().with_peer_id(peer(2)));
    let refused = bb_runtime::install(peer(HOST), [], chain(1), &["Chain"], config);
    assert!(matches!(refused, Err(InstallError::OtherPeer { .. })));
}

#[test]
fn an_allowlist_lets_nobody_else_in_and_out() {
    let mut federation = Federation::new(3, 2, Config::new());
    federation.server().set_allowlist(Some(&[peer(0), peer(1)])).unwrap();
    let run = round(&mut federation);
    let steps = federation.server_steps();
    assert!(outcome(&steps, run).is_completed());
    let reason = DenyReason::NotAllowlisted;
    let blocked = |step: &EngineStep| matches!(step, EngineStep::PeerBlocked { peer: held, reason: why } if *held == peer(2) && *why == reason);
    assert_eq!(steps.iter().filter(|step| blocked(step)).count(), 1);
    let refused = federation.server().deliver_inbound(peer(2), &[]);
    assert_eq!(refused, Err(DeliveryError::PeerDenied { peer: peer(2), reason }));
    federation.server().set_allowlist(None).unwrap();
    assert!(!matches!(
        federation.server().deliver_inbound(peer(2), &[]),
        Err(DeliveryError::PeerDenied { .. })
    ));
}

#[test]
fn own_addresses_are_ordered_and_every_envelope_carries_them() {
    let mut federation = Federation::new(1, -1, Config::new());
    let server = federation.server();
    assert_eq!(server.peer_address(), Address::empty());
    assert_eq!(server.forget_local_address(&address(1)), Err(AddressBookError::NoLocalEntry));
    assert_eq!(server.add_local_address(Address::empty()), Ok(false));
    assert_eq!(server.add_local_address(address(1)), Ok(true));
    assert_eq!(server.add_local_address(address(2)), Ok(true));
    assert_eq!(server.add_local_address(address(1)), Ok(false));
    assert_eq!(server.local_addresses().cloned().collect::<Vec<_>>(), [address(1), address(2)]);
    assert_eq!(server.forget_local_address(&address(1)), Ok(true));
    assert_eq!(server.forget_local_address(&address(1)), Ok(false));
    assert_eq!(server.peer_address(), address(2));
    server.invoke("Fed.server", &[]).unwrap();
    federation.step();
    let (_, _, bytes) = &federation.in_flight[0];
    let claimed: Vec<Address> =
        scan(bytes, &EnvelopeLimits::default()).unwrap().addresses().map(Result::unwrap).collect();
    assert_eq!(claimed, [address(2)]);
}

#[test]
fn answers_are_timed_from_question_to_answer() {
    let mut federation = Federation::new(1, -1, Config::new());
    federation.now = Time::ZERO + Duration::from_secs(10);
    federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.deliver();
    federation.step();
    federation.deliver();
    federation.now = federation.now + Duration::from_millis(250);
    federation.settle();
    let health = federation.server().peer_health(peer(0));
    assert_eq!(health.rtt.unwrap().smoothed, Duration::from_millis(250));
    assert_eq!(health.outbound, Decision::Allow);
    assert_eq!(federation.server().peer_health(peer(7)).rtt, None);
}

#[test]
fn a_cancelled_execution_ends_once_and_its_answers_come_late() {
    let mut federation = Federation::new(2, -1, Config::new());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    assert!(federation.server().cancel(run));
    assert!(!federation.server().cancel(run));
    let state = federation.server().execution_state(run).expect("its end is yet to be reported");
    assert!(state.ops_fired > 0 && state.awaited == 0, "{state:?}");
    federation.settle();
    assert_eq!(federation.server().execution_state(run), None);
    let steps = federation.server_steps();
    assert!(matches!(outcome(&steps, run), Outcome::Cancelled(_)));
    let stats = federation.server().engine_stats();
    assert_eq!((stats.executions_cancelled, stats.late_answers, stats.pending_async), (1, 2, 0));
    assert_eq!((stats.requests_in_flight, stats.timers, stats.bytes_in_flight), (0, 0, 0));
    // The aggregator that it had is free again.
    let run = round(&mut federation);
    assert!(outcome(&federation.server_steps(), run).is_completed());
}

#[test]
fn a_closed_node_takes_nothing_and_ends_what_it_has() {
    let mut node = node(HOST, &chain(3), "Chain");
    let x = Value::Trigger.encode();
    let run = node.invoke("Chain", &[("x", &x)]).unwrap();
    let handle = node.ingress_handle();
    handle.deliver_event("Chain", "x", &x).unwrap();
    assert!(node.close());
    assert!(!node.close() && node.is_closed());
    assert_eq!(node.invoke("Chain", &[("x", &x)]), Err(DeliveryError::Closed));
    assert_eq!(node.deliver_event("Chain", "x", &x), Err(DeliveryError::Closed));
    assert_eq!(node.deliver_inbound(peer(2), &[]), Err(DeliveryError::Closed));
    assert_eq!(handle.deliver_inbound(peer(2), &[]), Err(DeliveryError::Closed));
    let steps = settle(&mut node, Time::ZERO);
    assert!(outcome(&steps, run).is_completed());
    let ends = steps.iter().filter(|step| matches!(step, EngineStep::ExecutionFinished { .. })).count();
    assert_eq!(ends, 2, "what was accepted before is delivered");
    assert_eq!(node.engine_stats().refused.closed, 3);
}

#[test]
fn the_tap_sees_each_step_once_and_a_panic_in_it_loses_none() {
    let mut node = node(HOST, &chain(1), "Chain");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let tap = {
        let seen = Arc::clone(&seen);
        move |step: &EngineStep| {
            let mut seen = seen.lock().unwrap();
            seen.push(format!("{step:?}"));
            let count = seen.len();
            drop(seen);
            assert_ne!(count, 1, "the tap panics at its first step");
        }
    };
    node.set_telemetry_tap(Some(Box::new(tap)));
    let x = Value::Trigger.encode();
    node.invoke("Chain", &[("x", &x)]).unwrap();
    let steps = settle(&mut node, Time::ZERO);
    assert_eq!(steps.len(), 2);
    let expected: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(node.engine_stats().tap_panics, 1);
    node.set_telemetry_tap(None);
    node.invoke("Chain", &[("x", &x)]).unwrap();
    assert_eq!(settle(&mut node, Time::ZERO).len(), 2);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn components_are_named_with_their_slots_packages_and_roles() {
    let mut federation = Federation::new(1, -1, Config::new());
    let server: &Node = federation.server();
    let slots: Vec<(&str, &'static [Role])> =
        server.slots_iter().map(|(slot, component)| (slot, server.roles_for(component))).collect();
    let mut expected: Vec<&str> = server.linked_components().map(|held| held.slot).collect();
    assert_eq!(slots.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), expected);
    expected.sort_unstable();
    assert_eq!(expected, ["clients", "model", "sum"]);
    for held in server.linked_components() {
        assert_eq!(server.slot(held.slot), Some(held));
        assert_eq!(held.type_name.split("::").next(), Some(held.package));
    }
    assert!(slots.contains(&("sum", &[Role::Aggregator])));
    assert_eq!(server.slot("nothing"), None);
    let shown = format!("{server:?}");
    assert!(shown.contains("incarnation: 1") && shown.contains("Fed.server"), "{shown}");
}

#[test]
fn nodes_of_one_program_share_its_model() {
    let model = program(-1, 0);
    let config = || Config::new().with("clients", vec![peer(0)]);
    let a = node_with(HOST, &model, "Fed.server", config());
    let b = node_with(SERVER, &model, "Fed.server", config());
    let (held, other) = (a.model().unwrap(), b.model().unwrap());
    assert!(Arc::ptr_eq(&held, &other));
    assert_eq!(*held, model.to_model());
}
