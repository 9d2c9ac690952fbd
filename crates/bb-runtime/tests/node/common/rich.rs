//! A node in which every table has something, in the middle of everything.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bb_framework::{MessageId, RequestId};
use bb_ir::program::{Attribute, RegionKind, ValueId, domains};
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, Notice, scan};
use bb_runtime::{
    Address, BootstrapRequest, BootstrapTarget, CompiledModel, Completion, Config, EngineStep, Node,
    NodeConfig, PeerId, Role, SendResult, TensorMap, Time, Value, ValueType, install,
};

use super::components::{Booted, Script, Scripted, weight};
use super::{ProgramBuilder, RegionBuilder, sent};

/// All targets of [`program`], in the order in which they are installed.
pub(crate) const TARGETS: [&str; 11] =
    ["Ask", "Boot", "Echo", "First", "Join", "Keep", "Later", "Limit", "Other", "Queue", "Sources"];

pub(crate) fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

pub(crate) fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn text(text: &str) -> Attribute {
    Attribute::Str(text.to_owned())
}

fn syscall(region: &mut RegionBuilder, op: &'static str, name: &str, inputs: &[ValueId]) -> ValueId {
    let node = region.node(domains::SYSCALL, op).attribute("name", text(name));
    node.attribute("permits", Attribute::Int(1)).inputs(inputs.iter().copied()).one()
}

/// `value`, so many seconds later.
fn after(region: &mut RegionBuilder, seconds: i64, value: ValueId) -> ValueId {
    let delay = Attribute::Int(seconds * 1_000_000_000);
    region.node(domains::SYSCALL, "After").attribute("delay_ns", delay).input(value).one()
}

/// An entry that has its input wait between two ops.
fn between(first: &'static str, name: &str, last: &'static str) -> RegionBuilder {
    let mut region = RegionBuilder::entry();
    let x = region.input("x", ValueType::Any);
    let x = syscall(&mut region, first, name, &[x]);
    let x = after(&mut region, 50, x);
    let x = syscall(&mut region, last, name, &[x]);
    region.output("x", x);
    region
}

/// A region of kind `kind` that looks at the peers of slot `peers` and goes on after a while.
fn looks(mut region: RegionBuilder, record: bool) -> RegionBuilder {
    let x = region.input("x", ValueType::Any);
    let seen = region.node(domains::PEER_SELECTOR, "View").slot("peers").one();
    if record {
        let record = region.node(domains::SYSCALL, "Record").attribute("name", text("booted"));
        record.input(x).none();
    }
    let seen = after(&mut region, 60, seen);
    region.output("seen", seen);
    region
}

fn asks() -> [RegionBuilder; 2] {
    let mut ask = RegionBuilder::entry();
    let peers = ask.input("peers", ValueType::Peers);
    let x = ask.input("x", ValueType::Any);
    let answered = ask
        .node(domains::WIRE, "Send")
        .attribute("kind", text("request"))
        .attribute("mode", text("each"))
        .attribute("ports", Attribute::Ints(vec![20]))
        .attribute("answer", Attribute::Int(1))
        .attribute("answer_ports", Attribute::Ints(vec![21]))
        .attribute("quorum", Attribute::Int(3))
        .attribute("captured", Attribute::Int(1))
        .inputs([peers, x, x])
        .one();
    ask.output("answered", answered);
    let mut answer = RegionBuilder::new(RegionKind::Answer);
    let captured = answer.input("captured", ValueType::Any);
    let y = answer.recv(21, ValueType::I64);
    let y = after(&mut answer, 40, y);
    answer.output("captured", captured);
    answer.output("y", y);
    [ask, answer]
}

fn asks_first() -> RegionBuilder {
    let mut ask = RegionBuilder::entry();
    let peers = ask.input("peers", ValueType::Peers);
    let x = ask.input("x", ValueType::Any);
    let first = ask
        .node(domains::WIRE, "Send")
        .attribute("kind", text("request"))
        .attribute("mode", text("first"))
        .attribute("ports", Attribute::Ints(vec![20]))
        .attribute("answer_ports", Attribute::Ints(vec![21]))
        .inputs([peers, x])
        .many(2);
    ask.output("who", first[0]);
    ask
}

fn echoes() -> [RegionBuilder; 2] {
    let mut echo = RegionBuilder::new(RegionKind::Receive);
    let x = echo.recv(20, ValueType::I64);
    let x = after(&mut echo, 45, x);
    let reply = echo.node(domains::WIRE, "Send").attribute("kind", text("reply"));
    reply.attribute("ports", Attribute::Ints(vec![21])).input(x).none();
    let mut take = RegionBuilder::new(RegionKind::Receive);
    let x = take.recv(10, ValueType::I64);
    let from = take.node(domains::WIRE, "Source").one();
    take.output("x", x);
    take.output("from", from);
    [echo, take]
}

fn joins() -> RegionBuilder {
    let mut join = RegionBuilder::entry();
    let [a, b] = ["a", "b"].map(|name| join.input(name, ValueType::Any));
    let late = after(&mut join, 70, b);
    let quorum = join
        .node(domains::SYSCALL, "Quorum")
        .attribute("count", Attribute::Int(2))
        .attribute("deadline_ns", Attribute::Int(30_000_000_000))
        .inputs([a, late])
        .many(2);
    let barrier = join.node(domains::SYSCALL, "Barrier").inputs([b, late]).many(2);
    join.output("first", quorum[0]);
    join.output("both", barrier[1]);
    join
}

fn keeps() -> RegionBuilder {
    let mut keep = RegionBuilder::entry();
    let [key, x] = ["key", "x"].map(|name| keep.input(name, ValueType::Any));
    let kept = syscall(&mut keep, "Hold.Stash", "hold", &[key, x]);
    keep.node(domains::SYSCALL, "Record").attribute("name", text("last")).input(x).none();
    let one = keep.constant(1_i64);
    keep.node(domains::SYSCALL, "IncrMetric").attribute("name", text("kept")).input(one).none();
    keep.output("kept", kept);
    keep
}

fn sources() -> Vec<RegionBuilder> {
    let source = |op: &'static str, name: &str| {
        let mut region = RegionBuilder::new(RegionKind::Source);
        let node = region.node(domains::SYSCALL, op).attribute("name", text(name));
        let node = node.attribute("period_ns", Attribute::Int(100_000_000_000));
        let fired = node.attribute("delay_ns", Attribute::Int(90_000_000_000)).one();
        region.output(op, fired);
        region
    };
    vec![
        source("Interval", "every"),
        source("Pulse", "once"),
        source("EventSource", "node.delivery_refused"),
        source("LifecyclePhase", "warm"),
        source("LifecyclePhase", "cold"),
    ]
}

pub(crate) fn program() -> CompiledModel {
    static PROGRAM: OnceLock<CompiledModel> = OnceLock::new();
    PROGRAM.get_or_init(record).clone()
}

fn record() -> CompiledModel {
    let mut later = RegionBuilder::entry();
    let y = later.node(domains::MODEL, "Parameters").slot("model").one();
    later.output("y", y);
    ProgramBuilder::new()
        .target("Ask", asks())
        .target(
            "Boot",
            [looks(RegionBuilder::entry(), false), looks(RegionBuilder::new(RegionKind::Bootstrap), true)],
        )
        .target("Echo", echoes())
        .target("First", [asks_first()])
        .target("Join", [joins()])
        .target("Keep", [keeps()])
        .target("Later", [later])
        .target("Limit", [between("Limit.Acquire", "gpu", "Limit.Release")])
        .target(
            "Other",
            [looks(RegionBuilder::entry(), false), looks(RegionBuilder::new(RegionKind::Bootstrap), false)],
        )
        .target("Queue", [between("Serialize.Enqueue", "line", "Serialize.Dequeue")])
        .target("Sources", sources())
        .bind::<Booted>("peers", Role::PeerSelector)
        .bind::<Scripted>("model", Role::Model)
        .build()
}

/// The limits of the node: a small queue, so that few fill it.
pub(crate) fn limits() -> NodeConfig {
    NodeConfig::edge().with_ingress_queue(8).with_trace_ops(true)
}

/// The node before anything happened to it.
pub(crate) fn fresh(limits: NodeConfig) -> (Node, Arc<Mutex<Vec<Completion<TensorMap>>>>) {
    let held = Arc::default();
    let config = Config::new().node(limits).seed(5).with("model", Script::Later(Arc::clone(&held)));
    let own: Address = "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap();
    (install(peer(1), [own], program(), &TARGETS, config).unwrap(), held)
}

fn message(counter: u64, fills: Vec<Fill>) -> Envelope {
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program: program().digest(),
        fills,
        ..Envelope::default()
    }
}

pub(crate) fn take(counter: u64, value: impl Into<Value>) -> Envelope {
    message(counter, vec![Fill { port: 10, value: value.into() }])
}

pub(crate) fn ask(counter: u64) -> Envelope {
    let correlation = Some(Correlation::Request(RequestId([counter as u8; 16])));
    Envelope {
        correlation,
        deadline: Some(Duration::from_secs(99)),
        ..message(counter, vec![Fill { port: 20, value: Value::I64(7) }])
    }
}

pub(crate) fn answer(counter: u64, request: RequestId) -> Envelope {
    let correlation = Some(Correlation::Response(request));
    Envelope { correlation, ..message(counter, vec![Fill { port: 21, value: Value::I64(9) }]) }
}

pub(crate) fn failure(counter: u64, request: RequestId) -> Envelope {
    let correlation = Some(Correlation::Failure { request, reason: "no".into() });
    Envelope { correlation, ..message(counter, Vec::new()) }
}

pub(crate) fn invoke(node: &mut Node, module: &str, inputs: &[(&str, Value)]) -> bb_runtime::ExecId {
    let inputs: Vec<(&str, Vec<u8>)> = inputs.iter().map(|(name, value)| (*name, value.encode())).collect();
    let given: Vec<(&str, &[u8])> = inputs.iter().map(|(name, value)| (*name, &value[..])).collect();
    node.invoke(module, &given).unwrap()
}

/// The requests among what is to be sent, by peer.
pub(crate) fn requests(steps: &[EngineStep]) -> Vec<(PeerId, RequestId)> {
    let request = |(to, bytes): (PeerId, Vec<u8>)| match scan(&bytes, &EnvelopeLimits::default())
        .unwrap()
        .correlation()
    {
        Some(Correlation::Request(request)) => Some((to, request)),
        _ => None,
    };
    sent(steps).into_iter().filter_map(request).collect()
}

/// What the node of [`rich`] must have, of what a snapshot has a table for.
fn assert_rich(node: &Node) {
    let stats = node.engine_stats();
    let held = [
        stats.frontier,
        stats.executions,
        stats.pending_async,
        stats.requests_in_flight,
        stats.ingress,
        stats.ingress_bytes,
        stats.events_waiting,
        stats.outbound,
        stats.timers,
        stats.bus,
        stats.holds,
        stats.records,
        stats.metrics,
        stats.bytes_in_flight,
        stats.peers_known,
    ];
    assert!(held.iter().all(|count| *count > 0), "{stats:?}");
}

/// A node in the middle of everything, and what its component still owes.
pub(crate) fn rich() -> (Node, Arc<Mutex<Vec<Completion<TensorMap>>>>) {
    let (mut node, owed) = fresh(limits());
    let known: Address = "/ip4/198.51.100.7/udp/4001/quic-v1".parse().unwrap();
    let claim: Address = "/ip4/203.0.113.9/udp/4001/quic-v1".parse().unwrap();
    node.add_peer(peer(20), [known]).unwrap();
    node.set_allowlist(Some(&(2..40).map(peer).collect::<Vec<_>>())).unwrap();
    node.block_peer(peer(39)).unwrap();
    let handle = node.ingress_handle();

    // What waits: for time, for permits, for a quorum, for a component, for an answer; and what is kept.
    drop(node.step(at(1)));
    for module in ["Limit", "Limit", "Queue", "Queue"] {
        invoke(&mut node, module, &[("x", Value::from("waits"))]);
    }
    for key in 0..2 {
        invoke(&mut node, "Keep", &[("key", Value::I64(key)), ("x", Value::from("kept"))]);
    }
    for _ in 0..4 {
        invoke(&mut node, "Later", &[]);
    }
    invoke(&mut node, "Join", &[("a", Value::I64(1)), ("b", Value::I64(2))]);
    for asker in [22, 23] {
        node.deliver_inbound(peer(asker), &ask(7).encode()).unwrap();
    }

    // Requests: one peer answered and it is worked on, one failed, two are yet to answer.
    let ask_them = |node: &mut Node, ids: [u64; 4]| {
        let peers = Value::Peers(ids.map(peer).into());
        invoke(node, "Ask", &[("peers", peers), ("x", Value::from("question"))]);
    };
    ask_them(&mut node, [30, 31, 32, 33]);
    let steps = node.step(at(2));
    let pending = requests(&steps);
    let echo = |step: &EngineStep| match step {
        EngineStep::AsyncSuspended { op, exec_id, .. } if op.module == "Echo" => Some(*exec_id),
        _ => None,
    };
    let echoes: Vec<_> = steps.iter().filter_map(echo).collect();
    let claiming = |envelope| Envelope { addresses: [claim.clone()].into(), ..envelope };
    node.deliver_inbound(peer(30), &claiming(answer(1, pending[0].1)).encode()).unwrap();
    node.deliver_inbound(peer(31), &failure(1, pending[1].1).encode()).unwrap();
    node.deliver_inbound(peer(26), &claiming(take(50, 1_i64)).encode()).unwrap();
    drop(node.step(at(3)));
    // The address of one proves itself, that of another is tried.
    ask_them(&mut node, [30, 26, 27, 28]);
    let again = requests(&node.step(at(3)));
    node.deliver_inbound(peer(30), &answer(2, again[0].1).encode()).unwrap();
    drop(node.step(at(3)));

    // Peers: one is down, some failed, one presses on in spite of its notices and is muted.
    for failing in [33, 33, 33, 33, 33, 35, 36] {
        handle.send_result(peer(failing), SendResult::Failed).unwrap();
    }
    drop(node.step(at(4)));
    let mut counter = 100;
    let mut press = |count| {
        for _ in 0..count {
            counter += 1;
            handle.deliver_inbound(peer(21), &take(counter, 1_i64).encode()).unwrap();
        }
    };
    for second in 5..8 {
        press(7);
        drop(node.step(at(second)));
    }
    drop(node.step(at(8)));
    press(6);
    node.deliver_inbound(peer(21), &take(99, 1_i64).encode()).unwrap_err();

    // Bootstraps: that of the component is done, one runs, one queues, and an op waits behind them.
    let x = Value::from("an input").encode();
    let inputs: &[(&str, &[u8])] = &[("x", &x)];
    let request = |target| BootstrapRequest { target, inputs };
    let boots = [request("Boot"), request("Other")];
    invoke(&mut node, "Other", &[("x", Value::I64(1))]);
    drop(node.run_bootstrap(BootstrapTarget::ModuleRequests(&boots)).unwrap());

    // Between two steps: the last answers come, one of a peer that is down, and the request fails; two executions are
    // cancelled, and their callers told; an input is refused; an op begins to wait; a phase is entered; a component answers, and once
    // will not.
    node.deliver_inbound(peer(33), &answer(1, pending[3].1).encode()).unwrap();
    node.deliver_inbound(peer(32), &failure(1, pending[2].1).encode()).unwrap();
    assert!(echoes.len() == 2 && echoes.into_iter().all(|echo| node.cancel(echo)));
    let notice = Some(Notice::Backpressure { retry_after: Duration::from_secs(3) });
    node.deliver_inbound(peer(24), &Envelope { notice, ..message(1, Vec::new()) }.encode()).unwrap();
    node.deliver_inbound(peer(25), &take(1, "no number").encode()).unwrap();
    drop(node.deliver_event("Keep", "nothing", &x));
    invoke(&mut node, "Join", &[("a", Value::I64(1)), ("b", Value::I64(2))]);
    assert!(node.enter_phase("warm"));
    {
        let mut owed = owed.lock().unwrap();
        owed.pop().unwrap().complete(weight(2.0));
        drop(owed.pop());
    }
    node.deliver_event("Keep", "x", &x).unwrap();
    handle.deliver_event("Keep", "x", &x).unwrap();
    handle.send_result(peer(35), SendResult::Delivered).unwrap();
    assert_rich(&node);
    (node, owed)
}
