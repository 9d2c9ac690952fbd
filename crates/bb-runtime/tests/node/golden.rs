//! Snapshots that earlier versions wrote, in `tests/golden`: this version must still read them.

use bb_framework::MessageId;
use bb_runtime::envelope::{Envelope, Fill};
use bb_runtime::{Config, Node, NodeConfig, NodeSnapshot, PeerId, Time, Value};

use crate::common::federation::{Federation, SERVER, program};
use crate::common::node_with;

/// Rewrites the file instead of reading it: `BB_BLESS=1 cargo test -p bb-runtime --test node golden`.
const BLESS: &str = "BB_BLESS";
const CLIENTS: u64 = 3;
const DEADLINE: i64 = 5_000_000_000;

fn config() -> Config {
    Config::new().node(NodeConfig::default().with_cycle_op_budget(2))
}

fn server() -> Node {
    let peers: Vec<PeerId> = (0..CLIENTS).map(PeerId::from_u64).collect();
    node_with(SERVER, &program(2, DEADLINE), "Fed.server", config().with("clients", peers))
}

/// A server in the middle of two rounds, with a peer that is blocked, one that failed, addresses, a message in its
/// queue and one to be sent.
fn in_the_middle() -> Node {
    let mut federation = Federation::new(CLIENTS, 2, config());
    for _ in 0..2 {
        federation.server().invoke("Fed.server", &[]).unwrap();
    }
    for _ in 0..6 {
        federation.step();
    }
    federation.deliver();
    let digest = program(2, DEADLINE).digest();
    let server = federation.server();
    server.add_peer(PeerId::from_u64(7), ["/ip4/192.0.2.1/tcp/4001".parse().unwrap()]).unwrap();
    server.block_peer(PeerId::from_u64(8)).unwrap();
    let handle = server.ingress_handle();
    handle.send_result(PeerId::from_u64(7), bb_runtime::SendResult::Failed).unwrap();
    let message = Envelope {
        message_id: MessageId { incarnation: 1, counter: 3 },
        program: digest,
        fills: vec![Fill { port: 9_999, value: Value::from("nobody takes it") }],
        ..Envelope::default()
    };
    handle.deliver_inbound(PeerId::from_u64(7), &message.encode()).unwrap();
    federation.nodes.remove(&PeerId::from_u64(SERVER)).unwrap()
}

#[test]
fn a_snapshot_of_format_version_1_is_read_and_goes_on() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/snapshot-1.bin");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(path, in_the_middle().snapshot().unwrap().encode()).unwrap();
    }
    let bytes = std::fs::read(path).unwrap();
    let mut node = server();
    node.restore(NodeSnapshot::decode(bytes).unwrap()).unwrap();
    assert_eq!(node.incarnation(), 2);
    let stats = node.engine_stats();
    assert_eq!((stats.executions, stats.ingress), (2, 2), "{stats:?}");
    assert!(stats.pending_async > 0, "{stats:?}");

    let mut ended = 0;
    for second in 0..20 {
        let now = Time::from_nanos(second * 1_000_000_000);
        let is_end =
            |step: &bb_runtime::EngineStep| matches!(step, bb_runtime::EngineStep::ExecutionFinished { .. });
        for _ in 0..50 {
            ended += node.step(now).iter().filter(|step| is_end(step)).count();
        }
    }
    assert_eq!(ended, 2, "both rounds end");
    assert_eq!(node.engine_stats().bytes_in_flight, 0);
}
