//! A server and its clients, compiled by hand, and a network that carries their messages in order.

use std::collections::{BTreeMap, VecDeque};

use bb_ir::program::{Attribute, RegionKind, domains};
use bb_runtime::{
    CompiledModel, Config, DeliveryError, EngineStep, ExecId, Node, PeerId, Role, Time, Value, ValueType,
};

use super::components::{Fixed, Script, Scripted, Sum};
use super::{ProgramBuilder, RegionBuilder, sent};

pub(crate) const SERVER: u64 = 100;

/// A round of federated averaging: clients add nothing to what they get; updates are summed with weight 2.
pub(crate) fn program(quorum: i64, deadline_ns: i64) -> CompiledModel {
    let ports = |ports: &[i64]| Attribute::Ints(ports.to_vec());
    let text = |text: &str| Attribute::Str(text.to_owned());

    let mut server = RegionBuilder::entry();
    let global = server.node(domains::MODEL, "Parameters").slot("model").one();
    let peers = server.node(domains::PEER_SELECTOR, "View").slot("clients").one();
    let begin = server.node(domains::AGGREGATOR, "Begin").slot("sum").none();
    let answered = server
        .node(domains::WIRE, "Send")
        .attribute("kind", text("request"))
        .attribute("mode", text("each"))
        .attribute("ports", ports(&[1]))
        .attribute("answer", Attribute::Int(1))
        .attribute("answer_ports", ports(&[2, 3]))
        .attribute("quorum", Attribute::Int(quorum))
        .attribute("deadline_ns", Attribute::Int(deadline_ns))
        .uses("sum")
        .after(begin)
        .inputs([peers, global])
        .one();
    let result = server.node(domains::AGGREGATOR, "Aggregate").slot("sum").input(answered).one();
    server.output("answered", answered);
    server.output("global", result);

    let mut answer = RegionBuilder::new(RegionKind::Answer);
    let update = answer.recv(2, ValueType::Tensors);
    let rows = answer.recv(3, ValueType::I64);
    let from = answer.node(domains::WIRE, "Source").one();
    answer.node(domains::AGGREGATOR, "Contribute").slot("sum").inputs([from, update, rows]).none();

    let mut client = RegionBuilder::new(RegionKind::Receive);
    let global = client.recv(1, ValueType::Tensors);
    let load = client.node(domains::MODEL, "LoadParameters").slot("model").input(global).none();
    let update = client.node(domains::MODEL, "Parameters").slot("model").after(load).one();
    let rows = client.constant(2_i64);
    client
        .node(domains::WIRE, "Send")
        .attribute("kind", text("reply"))
        .attribute("ports", ports(&[2, 3]))
        .inputs([update, rows])
        .none();

    ProgramBuilder::new()
        .target("Fed.server", [server, answer])
        .target("Fed.client", [client])
        .bind::<Fixed>("clients", Role::PeerSelector)
        .bind::<Scripted>("model", Role::Model)
        .bind::<Sum>("sum", Role::Aggregator)
        .build()
}

/// A server and clients, and the messages between them.
pub(crate) struct Federation {
    pub(crate) nodes: BTreeMap<PeerId, Node>,
    pub(crate) steps: Vec<(PeerId, EngineStep)>,
    pub(crate) in_flight: VecDeque<(PeerId, PeerId, Vec<u8>)>,
    pub(crate) refused: Vec<DeliveryError>,
    pub(crate) now: Time,
}

impl Federation {
    pub(crate) fn new(clients: u64, quorum: i64, config: Config) -> Self {
        Self::with_scripts(clients, quorum, config, &BTreeMap::new())
    }

    pub(crate) fn with_scripts(
        clients: u64,
        quorum: i64,
        config: Config,
        scripts: &BTreeMap<u64, Script>,
    ) -> Self {
        let model = program(quorum, 5_000_000_000);
        let peers: Vec<PeerId> = (0..clients).map(PeerId::from_u64).collect();
        let mut nodes = BTreeMap::new();
        let server = config.clone().with("clients", peers.clone());
        nodes.insert(PeerId::from_u64(SERVER), super::node_with(SERVER, &model, "Fed.server", server));
        for id in 0..clients {
            let script = scripts.get(&id).cloned().unwrap_or_default();
            let config = config.clone().with("model", script);
            nodes.insert(PeerId::from_u64(id), super::node_with(id, &model, "Fed.client", config));
        }
        Self { nodes, steps: Vec::new(), in_flight: VecDeque::new(), refused: Vec::new(), now: Time::ZERO }
    }

    pub(crate) fn server(&mut self) -> &mut Node {
        self.node(SERVER)
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&PeerId::from_u64(id)).expect("there is such a node")
    }

    /// Steps every node once; messages get under way.
    pub(crate) fn step(&mut self) -> bool {
        let mut worked = false;
        for (&peer, node) in &mut self.nodes {
            let steps = node.step(self.now);
            worked |= !steps.is_empty();
            self.in_flight.extend(sent(&steps).into_iter().map(|(to, bytes)| (peer, to, bytes)));
            self.steps.extend(steps.into_iter().map(|step| (peer, step)));
        }
        worked
    }

    /// Delivers every message under way.
    pub(crate) fn deliver(&mut self) -> bool {
        let mut delivered = false;
        while let Some((from, to, bytes)) = self.in_flight.pop_front() {
            delivered = true;
            if let Some(node) = self.nodes.get_mut(&to)
                && let Err(error) = node.deliver_inbound(from, &bytes)
            {
                self.refused.push(error);
            }
        }
        delivered
    }

    pub(crate) fn settle(&mut self) {
        while self.step() | self.deliver() {}
    }

    /// The server's steps.
    pub(crate) fn server_steps(&self) -> Vec<EngineStep> {
        let server = PeerId::from_u64(SERVER);
        self.steps.iter().filter(|(peer, _)| *peer == server).map(|(_, step)| step.clone()).collect()
    }
}

/// Runs a round to its end.
pub(crate) fn round(federation: &mut Federation) -> ExecId {
    let run = federation.server().invoke("Fed.server", &[]).expect("it is taken");
    federation.settle();
    run
}

/// The value of an output.
pub(crate) fn output(steps: &[EngineStep], run: ExecId, name: &str) -> Option<Value> {
    super::events(steps, run).into_iter().find(|(held, _)| held == name).map(|(_, value)| value)
}
