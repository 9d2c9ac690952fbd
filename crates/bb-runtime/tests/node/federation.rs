//! Requests to peers: quorum, deadline, failure, and what becomes of answers nobody waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use bb_runtime::error::PeerFailure;
use bb_runtime::{Config, EngineStep, ExecId, OpError, Outcome, PeerId, Time, Value};

use crate::common::components::{Script, weight_of};
use crate::common::federation::{Federation, SERVER, output, round};
use crate::common::outcome;

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn quorum_failure(federation: &Federation, run: ExecId) -> bb_runtime::error::QuorumFailure {
    let Outcome::Failed(error) = outcome(&federation.server_steps(), run) else { panic!("it ended well") };
    let OpError::QuorumNotReached(failure) = &*error else { panic!("{error}") };
    (**failure).clone()
}

fn assert_nothing_left(federation: &mut Federation) {
    federation.steps.clear();
    for node in federation.nodes.values() {
        let stats = node.engine_stats();
        assert_eq!((stats.executions, stats.frames, stats.values_held), (0, 0, 0), "{node:?}");
        assert_eq!((stats.pending_async, stats.requests_in_flight, stats.outbound), (0, 0, 0), "{node:?}");
        assert_eq!(node.next_deadline(), None);
    }
    let server = federation.server().engine_stats();
    assert_eq!(server.bytes_in_flight, 0);
}

#[test]
fn a_value_sent_from_one_node_to_another_arrives_and_its_answer_comes_back() {
    let mut federation = Federation::new(1, -1, Config::new());
    let run = round(&mut federation);
    let steps = federation.server_steps();
    assert!(outcome(&steps, run).is_completed(), "{steps:?}");
    assert_eq!(output(&steps, run, "answered"), Some(Value::I64(1)));
    let Some(Value::Tensors(global)) = output(&steps, run, "global") else { panic!("{steps:?}") };
    assert_eq!(weight_of(&global), 1.0);
    assert!(federation.refused.is_empty());
    // The client's execution was started by the wire, and is reported too.
    let client_ended = federation.steps.iter().any(|(from, step)| {
        *from == peer(0) && matches!(step, EngineStep::ExecutionFinished { outcome: Outcome::Completed, .. })
    });
    assert!(client_ended);
    drop((steps, global));
    assert_nothing_left(&mut federation);
}

#[test]
fn a_round_needs_all_answers_when_the_quorum_is_all() {
    let mut federation = Federation::new(10, -1, Config::new());
    let run = round(&mut federation);
    assert_eq!(output(&federation.server_steps(), run, "answered"), Some(Value::I64(10)));
    assert_nothing_left(&mut federation);
}

#[test]
fn a_round_ends_with_its_quorum_and_counts_the_answers_after_it() {
    let mut federation = Federation::new(10, 8, Config::new());
    let run = round(&mut federation);
    assert_eq!(output(&federation.server_steps(), run, "answered"), Some(Value::I64(8)));
    assert_eq!(federation.server().engine_stats().late_answers, 2);
    assert_nothing_left(&mut federation);
}

#[test]
fn a_client_that_fails_answers_with_the_reason_and_the_others_are_enough() {
    let scripts = BTreeMap::from([(3, Script::Fail), (4, Script::Panic)]);
    let mut federation = Federation::with_scripts(10, 8, Config::new(), &scripts);
    let run = round(&mut federation);
    assert_eq!(output(&federation.server_steps(), run, "answered"), Some(Value::I64(8)));
    assert_nothing_left(&mut federation);
}

#[test]
fn a_quorum_that_cannot_be_reached_any_more_fails_at_once_with_every_reason() {
    let scripts = BTreeMap::from([(1, Script::Fail)]);
    let mut federation = Federation::with_scripts(3, -1, Config::new(), &scripts);
    let run = round(&mut federation);
    let failure = quorum_failure(&federation, run);
    assert_eq!((failure.needed, failure.timed_out), (3, None));
    let [PeerFailure { peer: failed, reason }] = &failure.failed[..] else { panic!("{failure:?}") };
    assert_eq!(*failed, peer(1));
    assert!(reason.contains("told to fail"), "{reason}");
    assert_eq!(failure.answered.len() + failure.missing.len(), 2);
    assert_nothing_left(&mut federation);
}

#[test]
fn at_the_deadline_it_fails_with_who_answered_and_who_is_missing() {
    let mut federation = Federation::new(3, -1, Config::new());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.in_flight.retain(|(_, to, _)| *to != peer(2));
    federation.settle();
    let due = Time::ZERO + Duration::from_secs(5);
    assert_eq!(federation.server().next_deadline(), Some(due));
    federation.now = due;
    federation.settle();
    let failure = quorum_failure(&federation, run);
    assert_eq!(failure.timed_out, Some(Duration::from_secs(5)));
    assert_eq!(failure.answered, [peer(0), peer(1)]);
    assert_eq!(failure.missing, [peer(2)]);
    let timeouts: Vec<_> = federation
        .server_steps()
        .iter()
        .filter_map(|step| match step {
            EngineStep::WireTimeout { peer, exec_id } => Some((*peer, *exec_id)),
            _ => None,
        })
        .collect();
    assert_eq!(timeouts, [(peer(2), run)]);
    assert_nothing_left(&mut federation);
}

#[test]
fn late_and_repeated_answers_are_counted_and_change_nothing() {
    let mut federation = Federation::new(2, -1, Config::new());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.deliver();
    federation.step();
    let answers: Vec<_> = federation.in_flight.iter().cloned().collect();
    assert_eq!(answers.len(), 2);
    federation.in_flight.extend(answers.clone());
    federation.settle();
    assert_eq!(output(&federation.server_steps(), run, "answered"), Some(Value::I64(2)));
    federation.in_flight.extend(answers);
    federation.settle();
    let stats = federation.server().engine_stats();
    assert_eq!((stats.late_answers, stats.messages_received), (4, 2));
    assert_nothing_left(&mut federation);
}

#[test]
fn a_repeated_request_runs_once() {
    let mut federation = Federation::new(1, -1, Config::new());
    federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    let request = federation.in_flight[0].clone();
    federation.in_flight.push_back(request);
    federation.settle();
    let stats = federation.node(0).engine_stats();
    assert_eq!((stats.duplicates, stats.messages_received, stats.executions_completed), (1, 1, 1));
}

#[test]
fn an_answer_of_another_peer_than_the_one_asked_does_nothing() {
    let mut federation = Federation::new(2, -1, Config::new());
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.deliver();
    federation.step();
    for (from, _, _) in &mut federation.in_flight {
        *from = peer(2);
    }
    federation.settle();
    assert!(federation.server().execution_state(run).is_some());
    assert_eq!(federation.server().engine_stats().late_answers, 2);
}

#[test]
fn an_answer_that_the_aggregator_refuses_counts_as_that_peers_failure() {
    let mut federation = Federation::new(3, 2, Config::new());
    // Client 1 got another model before: what it answers is not finite.
    let run = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.deliver();
    federation.step();
    let poisoned = federation.in_flight.iter_mut().find(|(from, _, _)| *from == peer(1)).unwrap();
    let one = 1.0_f32.to_le_bytes();
    let at = poisoned.2.windows(4).position(|window| window == one).unwrap();
    poisoned.2[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    federation.settle();
    let steps = federation.server_steps();
    assert!(steps.iter().any(|step| matches!(step, EngineStep::OpFailed { exec_id, .. } if *exec_id == run)));
    assert!(outcome(&steps, run).is_completed());
    let Some(Value::Tensors(global)) = output(&steps, run, "global") else { panic!("{steps:?}") };
    assert_eq!(weight_of(&global), 1.0);
}

#[test]
fn a_second_round_waits_for_the_aggregator_until_the_first_is_over() {
    let mut federation = Federation::new(2, -1, Config::new());
    let first = federation.server().invoke("Fed.server", &[]).unwrap();
    let second = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    assert_eq!(federation.in_flight.len(), 2, "only the first round asks");
    federation.settle();
    let steps = federation.server_steps();
    let ends: Vec<ExecId> = steps
        .iter()
        .filter_map(|step| match step {
            EngineStep::ExecutionFinished { exec_id, .. } => Some(*exec_id),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [first, second]);
    assert!(outcome(&steps, second).is_completed());
    drop(steps);
    assert_nothing_left(&mut federation);
}

#[test]
fn a_round_that_fails_hands_the_aggregator_to_the_next() {
    let mut federation = Federation::new(1, -1, Config::new());
    let first = federation.server().invoke("Fed.server", &[]).unwrap();
    let second = federation.server().invoke("Fed.server", &[]).unwrap();
    federation.step();
    federation.in_flight.clear();
    federation.now = Time::ZERO + Duration::from_secs(5);
    federation.settle();
    let steps = federation.server_steps();
    assert!(matches!(outcome(&steps, first), Outcome::Failed(_)));
    // The peer has failed once: the next request waits its turn, or is answered.
    assert!(!steps.is_empty() && federation.server().execution_state(first).is_none());
    federation.now = federation.now + Duration::from_secs(60);
    federation.settle();
    outcome(&federation.server_steps(), second);
    assert_nothing_left(&mut federation);
}

#[test]
fn a_peer_that_is_blocked_is_not_asked_and_its_messages_change_one_counter() {
    let mut federation = Federation::new(2, 1, Config::new());
    federation.server().block_peer(peer(1)).unwrap();
    let run = round(&mut federation);
    assert_eq!(output(&federation.server_steps(), run, "answered"), Some(Value::I64(1)));
    assert_eq!(federation.node(1).engine_stats().messages_received, 0);

    let before = federation.server().engine_stats();
    let refused = federation.server().deliver_inbound(peer(1), b"anything at all");
    assert!(refused.unwrap_err().to_string().contains("blocklist"));
    let mut after = federation.server().engine_stats();
    assert_eq!(after.denied_inbound, before.denied_inbound + 1);
    after.denied_inbound = before.denied_inbound;
    assert_eq!(after, before);
    assert!(federation.server().step(Time::ZERO).is_empty());

    assert!(federation.server().unblock_peer(peer(1)));
    assert!(federation.server().deliver_inbound(peer(1), b"\xff").is_err());
    assert_eq!(federation.server().engine_stats().denied_inbound, before.denied_inbound + 1);
    let _ = SERVER;
}

#[test]
fn everybody_who_is_asked_the_same_gets_the_same_bytes() {
    let mut federation = Federation::new(3, -1, Config::new());
    round(&mut federation);
    let sent: Vec<_> = federation
        .server_steps()
        .into_iter()
        .filter_map(|step| match step {
            EngineStep::SendEnvelope { peer, bytes, .. } => Some((peer, bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(sent.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [peer(0), peer(1), peer(2)]);
    assert!(sent.iter().all(|(_, bytes)| *bytes == sent[0].1 && bytes.as_ptr() == sent[0].1.as_ptr()));
}
