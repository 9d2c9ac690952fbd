//! What a host asks of a node while memory is short.

use bb_runtime::{BootstrapRequest, BootstrapTarget, Node, NodeSnapshot, Value};

use super::world::{PEER, answer, at, request, sent, settle};

/// What a host asks, all that it needs being made before.
pub(crate) type Call = Box<dyn Fn(&mut Node) -> Result<(), String>>;

/// A call that is done or is not.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it needs large memory with a large payload.
    pub(crate) is_large: bool,
    pub(crate) prepare: fn(&mut Node, &Value) -> Call,
}

/// A step with work; `prepare` gives how many inputs were accepted.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) prepare: fn(&mut Node, &Value) -> usize,
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(|_| ()).map_err(|error| error.to_string())
}

const KEY: [u8; 32] = [3; 32];

/// The calls.
pub(crate) const SCENARIOS: [Scenario; 16] = [
    Scenario {
        name: "deliver_event, which waits",
        is_large: true,
        prepare: |_, payload| {
            let bytes = payload.encode();
            Box::new(move |node| told(node.deliver_event("P.asker", "x", &bytes)))
        },
    },
    Scenario {
        name: "deliver_event, which begins an execution",
        is_large: false,
        prepare: |_, _| {
            let peers = Value::Peers([*PEER].into()).encode();
            Box::new(move |node| told(node.deliver_event("P.asker", "peers", &peers)))
        },
    },
    Scenario {
        name: "invoke",
        is_large: true,
        prepare: |_, payload| {
            let (bytes, peers) = (payload.encode(), Value::Peers([*PEER].into()).encode());
            Box::new(move |node| told(node.invoke("P.asker", &[("x", &bytes), ("peers", &peers)])))
        },
    },
    Scenario {
        name: "deliver_inbound, small",
        is_large: false,
        prepare: |_, _| {
            let bytes = request(&Value::I64(1));
            Box::new(move |node| told(node.deliver_inbound(*PEER, &bytes)))
        },
    },
    Scenario {
        name: "deliver_inbound, a request",
        is_large: true,
        prepare: |_, payload| {
            let bytes = request(payload);
            Box::new(move |node| told(node.deliver_inbound(*PEER, &bytes)))
        },
    },
    Scenario {
        name: "deliver_inbound, an answer",
        is_large: true,
        prepare: |node, payload| {
            let bytes = ask(node, payload);
            Box::new(move |node| told(node.deliver_inbound(*PEER, &bytes)))
        },
    },
    Scenario {
        name: "a push of an envelope",
        is_large: true,
        prepare: |node, payload| {
            let (bytes, handle) = (request(payload), node.ingress_handle());
            Box::new(move |_| told(handle.deliver_inbound(*PEER, &bytes)))
        },
    },
    Scenario {
        name: "a push of an event",
        is_large: true,
        prepare: |node, payload| {
            let (bytes, handle) = (payload.encode(), node.ingress_handle());
            Box::new(move |_| told(handle.deliver_event("P.asker", "x", &bytes)))
        },
    },
    Scenario {
        name: "snapshot",
        is_large: true,
        prepare: |node, payload| {
            pile_up(node, payload);
            Box::new(|node| told(node.snapshot()))
        },
    },
    Scenario {
        name: "state_digest",
        is_large: true,
        prepare: |node, payload| {
            pile_up(node, payload);
            Box::new(|node| told(node.state_digest()))
        },
    },
    Scenario {
        name: "encode",
        is_large: true,
        prepare: |node, payload| {
            pile_up(node, payload);
            let snapshot = node.snapshot().unwrap();
            Box::new(move |_| {
                assert!(!snapshot.encode().is_empty(), "shared, not copied");
                told(snapshot.encode_with_key(&KEY))
            })
        },
    },
    Scenario {
        name: "decode",
        is_large: false,
        prepare: |node, payload| {
            pile_up(node, payload);
            let snapshot = node.snapshot().unwrap();
            let signed = bytes::Bytes::from(snapshot.encode_with_key(&KEY).unwrap());
            Box::new(move |_| {
                told(NodeSnapshot::decode(snapshot.encode()))?;
                told(NodeSnapshot::decode_with_key(signed.clone(), &KEY))
            })
        },
    },
    Scenario {
        name: "restore",
        is_large: true,
        prepare: |node, payload| {
            let before = node.snapshot().unwrap();
            pile_up(node, payload);
            let snapshot = node.snapshot().unwrap();
            node.restore(before).unwrap();
            settle(node, at(0));
            Box::new(move |node| told(node.restore(&snapshot)))
        },
    },
    Scenario {
        name: "a batch of bootstraps",
        is_large: true,
        prepare: |_, payload| {
            let bytes = payload.encode();
            Box::new(move |node| {
                let inputs: &[(&str, &[u8])] = &[("seed", &bytes)];
                let batch = [BootstrapRequest { target: "P.asker", inputs }];
                told(node.run_bootstrap(BootstrapTarget::ModuleRequests(&batch)))
            })
        },
    },
    Scenario {
        name: "add_peer",
        is_large: false,
        prepare: |_, _| {
            let addresses = ["/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.2/udp/4001/quic-v1"];
            let addresses = addresses.map(|text| text.parse().unwrap());
            Box::new(move |node| told(node.add_peer(*PEER, addresses.clone())))
        },
    },
    Scenario {
        name: "clear",
        is_large: false,
        prepare: |node, payload| {
            pile_up(node, payload);
            Box::new(|node| {
                node.clear();
                Ok(())
            })
        },
    },
];

/// The steps.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "a request is sent",
        prepare: |node, _| {
            let peers = Value::Peers([*PEER].into()).encode();
            node.deliver_event("P.asker", "peers", &peers).unwrap().unwrap();
            1
        },
    },
    Step {
        name: "one peer is named many times",
        prepare: |node, _| {
            let peers = Value::Peers(std::iter::repeat_n(*PEER, 3_000).collect()).encode();
            node.deliver_event("P.asker", "peers", &peers).unwrap().unwrap();
            1
        },
    },
    Step {
        name: "a request is answered",
        prepare: |node, payload| {
            start_waiting(node);
            node.deliver_inbound(*PEER, &request(payload)).unwrap();
            2
        },
    },
    Step {
        name: "what other threads handed in",
        prepare: |node, payload| {
            start_waiting(node);
            let handle = node.ingress_handle();
            handle.deliver_inbound(*PEER, &request(payload)).unwrap();
            2
        },
    },
];

/// Lets the event that waits become an execution that asks a peer which does not answer.
fn start_waiting(node: &mut Node) {
    let nobody = Value::Peers([].into()).encode();
    node.deliver_event("P.asker", "peers", &nobody).unwrap().unwrap();
}

/// Sends a request, and gives the answer to it.
fn ask(node: &mut Node, payload: &Value) -> Vec<u8> {
    let (one, peers) = (Value::I64(1).encode(), Value::Peers([*PEER].into()).encode());
    node.deliver_event("P.asker", "peers", &peers).unwrap().unwrap();
    settle(node, at(0));
    node.invoke("P.asker", &[("x", &one), ("peers", &peers)]).unwrap();
    let request = sent(&settle(node, at(0))).remove(0);
    answer(&request, payload)
}

/// Something large in every queue: an execution, the ingress queue, a line of events, records.
fn pile_up(node: &mut Node, payload: &Value) {
    let bytes = payload.encode();
    let inputs: &[(&str, &[u8])] = &[("seed", &bytes)];
    let batch = [BootstrapRequest { target: "P.asker", inputs }];
    node.run_bootstrap(BootstrapTarget::ModuleRequests(&batch)).unwrap();
    node.deliver_inbound(*PEER, &request(payload)).unwrap();
    node.ingress_handle().deliver_inbound(*PEER, &request(&Value::I64(1))).unwrap();
    node.ingress_handle().deliver_event("P.asker", "x", &bytes).unwrap();
}
