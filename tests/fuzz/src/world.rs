//! Nodes that are driven by arbitrary calls, messages and pauses, and the invariants they must keep throughout.
//!
//! Three nodes run one program; a fourth peer is hostile and knows every port, digest, request and message. Each
//! byte sequence is one history ([`World::drive`]); whatever it was, all that was begun ends once in the end,
//! and no byte from outside stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bb_compiler::Compiler;
use bb_dsl::{AggregatorSlot, Graph, Module, PeerSelectorSlot, Quorum, secs};
use bb_ir::Digest;
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, MessageId, Notice, RequestId, scan};
use bb_runtime::{
    CompiledModel, Config, DeliveryError, EngineStep, ExecId, Node, NodeConfig, NodeSnapshot, PeerId,
    SendResult, Tensor, TensorMap, Time, Value, ValueType, install,
};

use crate::components::{Chooser, ChooserConfig, Open, Weights};

const NODES: usize = 3;
const HOSTILE: u64 = 99;
/// Messages on the way, at most; the oldest are lost beyond.
const ON_THE_WAY: usize = 64;

struct Mesh {
    peers: PeerSelectorSlot,
    sum: AggregatorSlot,
}

impl Module for Mesh {
    fn name(&self) -> &str {
        "Mesh"
    }

    fn body(&self, g: &mut Graph) {
        g.on("asker", |g| {
            let update = g.input_of("update", ValueType::Tensors);
            let label = g.input("label");
            let peers = self.peers.all(g);
            let answers = g.call(peers, (update, label)).at("teller", |g, (update, _)| {
                let weight = g.constant(Value::I64(2));
                (update, weight)
            });
            let mean = answers.fold(g, &self.sum, Quorum::at_least(2).within(secs(5)));
            g.output("mean", mean);
            g.output("label", label);
            let chosen = self.peers.sample(g, 1);
            g.send(chosen, mean).to("teller").then(|g, mean| {
                let back = self.peers.sample(g, 1);
                let (_, echo) = g.call(back, mean).at("asker", |_, mean| mean).within(secs(3)).first(g);
                let all = self.peers.all(g);
                g.send(all, echo).to("asker").then(|g, echo| {
                    let _ = g.pass_through(echo);
                });
            });
        });
    }
}

/// The program of the fuzzed nodes.
pub fn program() -> CompiledModel {
    let mesh = Mesh { peers: PeerSelectorSlot::named("peers"), sum: AggregatorSlot::named("sum") };
    Compiler::new()
        .bind_peer_selector::<Chooser>("peers")
        .bind_aggregator::<Weights>("sum")
        .compile(mesh.build().expect("the module is sound"))
        .expect("the program compiles")
}

struct Message {
    from: PeerId,
    to: PeerId,
    bytes: Vec<u8>,
}

/// One of the fuzzed nodes, newly installed.
pub fn node(compiled: &CompiledModel, index: usize, open: &Open) -> Node {
    let peers: Vec<PeerId> = (0..NODES).map(peer).chain([PeerId::from_u64(HOSTILE)]).collect();
    let chooser = ChooserConfig { peers, open: open.clone() };
    let limits = NodeConfig::edge().with_executions(16).with_ingress_queue(16);
    let config = Config::new().with("peers", chooser).node(limits).seed(7);
    install(peer(index), [], compiled.clone(), &["Mesh.asker", "Mesh.teller"], config)
        .expect("the program installs")
}

/// Nodes, what is on the way between them, and what they owe.
pub struct World {
    nodes: Vec<Node>,
    compiled: CompiledModel,
    open: Open,
    now: Time,
    on_the_way: Vec<Message>,
    requests: Vec<RequestId>,
    digest: Digest,
    /// Executions that a call began and that have not ended.
    owed: BTreeMap<usize, BTreeSet<ExecId>>,
    ended: BTreeMap<usize, BTreeSet<ExecId>>,
}

fn peer(index: usize) -> PeerId {
    PeerId::from_u64(index as u64 + 1)
}

impl World {
    /// Three nodes that know each other and the hostile peer.
    pub fn new(compiled: &CompiledModel) -> Self {
        let open = Open::default();
        let nodes = (0..NODES).map(|index| node(compiled, index, &open));
        Self {
            nodes: nodes.collect(),
            compiled: compiled.clone(),
            open,
            now: Time::ZERO,
            on_the_way: Vec::new(),
            requests: Vec::new(),
            digest: compiled.digest(),
            owed: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// A node in the middle of what it does.
    pub fn busy(compiled: &CompiledModel) -> Node {
        let mut world = Self::new(compiled);
        let update = Value::Tensors([("w", Tensor::scalar(1.0_f32))].into_iter().collect()).encode();
        let label = Value::from("busy").encode();
        for _ in 0..3 {
            let begun = world.nodes[0].invoke("Mesh.asker", &[("update", &update), ("label", &label)]);
            world.owe(0, begun.map(Some));
        }
        (0..NODES).for_each(|node| world.step(node));
        for Message { from, to, bytes } in std::mem::take(&mut world.on_the_way) {
            if let Some(receiver) = (0..NODES).find(|index| peer(*index) == to) {
                let _ = world.nodes[receiver].deliver_inbound(from, &bytes);
            }
        }
        (1..NODES).for_each(|node| world.step(node));
        let handle = world.nodes[0].ingress_handle();
        for Message { from, bytes, .. } in std::mem::take(&mut world.on_the_way) {
            let _ = handle.deliver_inbound(from, &bytes);
        }
        let _ = world.nodes[0].deliver_event("Mesh.asker", "label", &label);
        let _ = world.nodes[0].block_peer(PeerId::from_u64(HOSTILE));
        world.nodes.swap_remove(0)
    }

    /// Does what the bytes say, then lets everything end.
    pub fn drive(mut self, bytes: &[u8]) {
        let mut input = Unstructured::new(bytes);
        while !input.is_empty() {
            if self.act(&mut input).is_err() {
                break;
            }
        }
        self.settle();
    }

    fn act(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let node = input.choose_index(NODES)?;
        match input.int_in_range(0..=16_u8)? {
            0..=2 => self.step(node),
            3 => {
                self.now = self.now + Duration::from_millis(input.int_in_range(0..=2_000_u64)?);
                self.step(node);
            }
            4 => {
                let update = value(input)?.encode();
                let label = value(input)?.encode();
                let begun = self.nodes[node].invoke("Mesh.asker", &[("update", &update), ("label", &label)]);
                self.owe(node, begun.map(Some));
            }
            5 => {
                let (name, held) = (*input.choose(&["update", "label", "other"])?, value(input)?.encode());
                let begun = self.nodes[node].deliver_event("Mesh.asker", name, &held);
                self.owe(node, begun);
            }
            6 => {
                let held = value(input)?.encode();
                let handle = self.nodes[node].ingress_handle();
                let _ = handle.deliver_event("Mesh.asker", "label", &held);
            }
            7..=9 => self.carry(input, node)?,
            10 => self.forge(input, node)?,
            11 => {
                let source = self.someone(input)?;
                let length = input.arbitrary_len::<u8>()?.min(128);
                let bytes = input.bytes(length)?;
                let _ = self.nodes[node].deliver_inbound(source, bytes);
            }
            12 => {
                let peer = self.someone(input)?;
                let result = if input.arbitrary()? { SendResult::Delivered } else { SendResult::Failed };
                let _ = self.nodes[node].ingress_handle().send_result(peer, result);
            }
            13 => {
                let peer = self.someone(input)?;
                if input.arbitrary()? {
                    let _ = self.nodes[node].block_peer(peer);
                } else {
                    let _ = self.nodes[node].unblock_peer(peer);
                }
            }
            14 => self.answer(input)?,
            15 => self.move_on(node),
            _ => {
                let result = self.nodes[node].invoke(input.choose(&["Mesh.teller", "None"])?, &[]);
                assert!(result.is_err(), "there is nothing to invoke");
            }
        }
        self.check(node);
        Ok(())
    }

    /// Saves a node, and lets another one go on from there.
    fn move_on(&mut self, index: usize) {
        let old = &self.nodes[index];
        let bytes = old.snapshot().expect("a node can be saved at any time").encode();
        let mut new = node(&self.compiled, index, &self.open);
        let snapshot = NodeSnapshot::decode(bytes).expect("what a node wrote is sound");
        new.restore(snapshot).expect("it fits a node of the same make");
        assert_eq!(new.state_digest().ok(), old.state_digest().ok(), "another state");
        assert_eq!(new.incarnation(), old.incarnation() + 1);
        self.nodes[index] = new;
    }

    fn someone(&self, input: &mut Unstructured<'_>) -> Result<PeerId> {
        let index = input.choose_index(NODES + 1)?;
        Ok(if index == NODES { PeerId::from_u64(HOSTILE) } else { peer(index) })
    }

    fn owe(&mut self, node: usize, begun: std::result::Result<Option<ExecId>, DeliveryError>) {
        if let Ok(Some(id)) = begun {
            assert!(self.owed.entry(node).or_default().insert(id), "{id} began twice");
        }
    }

    /// Delivers a message, or a copy of it, whole or damaged, from whom it is or from somebody else.
    fn carry(&mut self, input: &mut Unstructured<'_>, node: usize) -> Result<()> {
        if self.on_the_way.is_empty() {
            self.step(node);
            return Ok(());
        }
        let index = input.choose_index(self.on_the_way.len())?;
        let kind: u8 = input.int_in_range(0..=9)?;
        let Message { mut from, to, mut bytes } = if kind < 6 {
            self.on_the_way.swap_remove(index)
        } else {
            let Message { from, to, bytes } = &self.on_the_way[index];
            Message { from: *from, to: *to, bytes: bytes.clone() }
        };
        match kind {
            7 if !bytes.is_empty() => {
                let at = input.choose_index(bytes.len())?;
                bytes[at] ^= 1 << input.int_in_range(0..=7_u8)?;
            }
            8 => bytes.truncate(input.choose_index(bytes.len() + 1)?),
            9 => from = self.someone(input)?,
            _ => {}
        }
        if let Some(receiver) = (0..NODES).find(|index| peer(*index) == to) {
            if input.arbitrary()? {
                let _ = self.nodes[receiver].deliver_inbound(from, &bytes);
            } else {
                let _ = self.nodes[receiver].ingress_handle().deliver_inbound(from, &bytes);
            }
            self.check(receiver);
        }
        Ok(())
    }

    /// A message that is well-formed, of somebody who knows the program and what is asked.
    fn forge(&mut self, input: &mut Unstructured<'_>, node: usize) -> Result<()> {
        let request = match self.requests.is_empty() || input.ratio(1, 4)? {
            true => RequestId(input.arbitrary()?),
            false => *input.choose(&self.requests)?,
        };
        let correlation = match input.int_in_range(0..=3)? {
            0 => None,
            1 => Some(Correlation::Request(request)),
            2 => Some(Correlation::Response(request)),
            _ => Some(Correlation::Failure { request, reason: "forged".into() }),
        };
        let mut fills = Vec::new();
        for _ in 0..input.int_in_range(0..=3)? {
            fills.push(Fill { port: input.int_in_range(0..=15_u32)?, value: value(input)? });
        }
        let notice = input.ratio(1, 8)?.then_some(Notice::Backpressure { retry_after: secs(1) });
        let envelope = Envelope {
            message_id: MessageId { incarnation: 1, counter: u64::from(input.arbitrary::<u8>()?) },
            program: if input.ratio(1, 8)? { Digest::default() } else { self.digest },
            correlation,
            deadline: input.arbitrary::<bool>()?.then(|| secs(1)),
            fills: if notice.is_some() { Vec::new() } else { fills },
            notice,
            ..Envelope::default()
        };
        let source = self.someone(input)?;
        let _ = self.nodes[node].deliver_inbound(source, &envelope.encode());
        Ok(())
    }

    /// Answers, fails or drops what a component promised.
    fn answer(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let completion = {
            let mut open = self.open.lock().expect("nobody panics");
            if open.is_empty() {
                return Ok(());
            }
            let index = input.choose_index(open.len())?;
            open.swap_remove(index)
        };
        match input.int_in_range(0..=3)? {
            0 => drop(completion),
            1 => completion.complete(Vec::new()),
            _ => completion.complete(vec![self.someone(input)?]),
        }
        Ok(())
    }

    fn step(&mut self, node: usize) {
        let steps = self.nodes[node].step(self.now);
        for step in steps {
            match step {
                EngineStep::SendEnvelope { peer: to, bytes, .. } => {
                    let scanned = scan(&bytes, &EnvelopeLimits::default()).expect("own messages are sound");
                    self.requests.extend(scanned.correlation().map(|held| held.request()));
                    let keep = self.requests.len().saturating_sub(32);
                    self.requests.drain(..keep);
                    if self.on_the_way.len() == ON_THE_WAY {
                        self.on_the_way.remove(0);
                    }
                    self.on_the_way.push(Message { from: peer(node), to, bytes: bytes.to_vec() });
                }
                EngineStep::ExecutionFinished { exec_id, .. } => {
                    let is_new = self.ended.entry(node).or_default().insert(exec_id);
                    assert!(is_new, "{exec_id} ended twice");
                    self.owed.entry(node).or_default().remove(&exec_id);
                }
                EngineStep::AppEvent { exec_id, .. } => {
                    let is_over = self.ended.get(&node).is_some_and(|ended| ended.contains(&exec_id));
                    assert!(!is_over, "{exec_id} gave a value after its end");
                }
                _ => {}
            }
        }
        self.check(node);
    }

    /// What must hold at any time.
    fn check(&self, node: usize) {
        let (stats, limits) = (self.nodes[node].engine_stats(), NodeConfig::edge());
        assert!(stats.bytes_in_flight <= limits.ingress_bytes, "{stats:?}");
        assert!(stats.executions <= 16 && stats.ingress <= 16, "{stats:?}");
        assert!(stats.outbound <= limits.outbound_count && stats.outbound_bytes <= limits.outbound_bytes);
        assert!(stats.pending_async <= limits.pending_async, "{stats:?}");
    }

    /// Nothing more comes in: deadline by deadline, everything ends.
    fn settle(&mut self) {
        self.open.lock().expect("nobody panics").clear();
        for node in 0..NODES {
            for _ in 0..10_000 {
                self.step(node);
                let stats = self.nodes[node].engine_stats();
                if stats.executions == 0 && stats.ingress == 0 && stats.outbound == 0 {
                    break;
                }
                if let Some(deadline) = self.nodes[node].next_deadline() {
                    self.now = self.now.max(deadline);
                }
                self.open.lock().expect("nobody panics").clear();
            }
            let stats = self.nodes[node].engine_stats();
            let left = self.owed.get(&node).into_iter().flatten().next();
            assert_eq!((stats.executions, left), (0, None), "an execution does not end: {stats:?}");
            assert_eq!((stats.frames, stats.frontier, stats.pending_async), (0, 0, 0), "{stats:?}");
            assert_eq!(stats.requests_in_flight, 0, "{stats:?}");
            let waiting = stats.events_waiting;
            assert!(waiting > 0 || stats.bytes_in_flight == 0, "bytes stay in flight: {stats:?}");
        }
    }
}

fn value(input: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match input.int_in_range(0..=6)? {
        0 => Value::Trigger,
        1 => Value::I64(input.arbitrary()?),
        2 => Value::from(input.arbitrary::<&str>()?),
        3 => Value::Tensors(TensorMap::default()),
        _ => Value::Tensors([("w", Tensor::scalar(input.arbitrary::<f32>()?))].into_iter().collect()),
    })
}
