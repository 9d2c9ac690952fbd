//! What the nodes of a run do: training, asking through one another, gossip, and programs that nobody wrote.

use bb_learn::aggregators::FedAvg;
use bb_learn::data::{Dataset, DatasetError, InMemoryConfig, InMemoryData};
use bb_learn::models::{Init, Mlp, ModelError};
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelError, OnnxModelOptions};
use bb_learn::programs::FedAvgRound;
use bb_learn::selectors::AllPeers;
use bytesandbrains::compiler::Diagnostics;
use bytesandbrains::cpu::CpuBackend;
use bytesandbrains::dsl::{
    BuildError, Fit, Graph, Module, Output, PeerSelectorSlot, Quorum, ValueType, millis, secs,
};
use bytesandbrains::framework::Rng;
use bytesandbrains::{CompiledModel, Compiler, Config, PeerId, Tensor, Value};
use thiserror::Error;

/// Programs of the generator.
const RANDOM_PROGRAMS: u64 = 16;

/// What the nodes of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workload {
    /// A server trains with three clients; two answers are enough.
    Federated,
    /// Four peers tell all others a number each second.
    Gossip,
    /// One of the programs of a generator.
    Random(usize),
    /// Two ask two others, who ask two others.
    Relay,
}

/// All programs, compiled once.
#[derive(Debug)]
pub struct Workloads {
    federated: CompiledModel,
    gossip: CompiledModel,
    random: Vec<CompiledModel>,
    relay: CompiledModel,
    model: OnnxModelConfig,
    rows: Dataset,
}

/// Why the programs cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadSetupError {
    /// A program could not be recorded.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A program could not be compiled.
    #[error(transparent)]
    Compile(#[from] Diagnostics),
    /// The rows are no data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model could not be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model could not be used.
    #[error(transparent)]
    OnnxModel(#[from] OnnxModelError),
    /// The rows could not be made.
    #[error(transparent)]
    Tensor(#[from] bytesandbrains::ir::TensorError),
}

/// What one node installs, and what its host asks of it.
pub(super) struct Part {
    pub(super) model: CompiledModel,
    pub(super) target: &'static str,
    pub(super) config: Config,
    /// Whether its host invokes it.
    pub(super) is_invoked: bool,
}

impl Workloads {
    /// Records and compiles them.
    ///
    /// # Errors
    /// [`WorkloadSetupError`].
    pub fn new() -> Result<Self, WorkloadSetupError> {
        let quorum = Quorum::at_least(2).within(secs(15));
        let round = FedAvgRound::new(Fit::epochs(1).batch(4)).quorum(quorum);
        let federated = Compiler::new()
            .bind_backend::<CpuBackend>("compute")
            .bind_model::<OnnxModel>("model")
            .bind_data_source::<InMemoryData>("data")
            .bind_data_source::<InMemoryData>("test")
            .bind_aggregator::<FedAvg>("aggregator")
            .bind_peer_selector::<AllPeers>("clients")
            .compile(round.build()?)?;
        let gossip = Compiler::new()
            .bind_peer_selector::<AllPeers>("view")
            .compile(Gossip(PeerSelectorSlot::named("view")).build()?)?;
        let random = (0..RANDOM_PROGRAMS)
            .map(|seed| Ok(Compiler::new().compile(Random { seed }.build()?)?))
            .collect::<Result<_, WorkloadSetupError>>()?;
        let relay = Compiler::new().compile(Relay.build()?)?;
        let model = Mlp::new([4, 2]).init(Init::Zeros).build()?;
        let features: Vec<f32> = (0..32_u8).map(|n| f32::from(n % 7) / 7.0).collect();
        let labels: Vec<i64> = (0..8).map(|n| n % 2).collect();
        let rows = Dataset::new(Tensor::from_slice([8, 4], &features)?, Tensor::from_slice([8], &labels)?)?;
        let model = OnnxModelConfig::new(model, OnnxModelOptions::default())?;
        Ok(Self { federated, gossip, random, relay, model, rows })
    }

    /// The workload of a seed.
    pub fn of(&self, seed: u64) -> Workload {
        match (seed / 2) % 4 {
            0 => Workload::Relay,
            1 => Workload::Gossip,
            2 => Workload::Federated,
            _ => Workload::Random((seed / 8) as usize % self.random.len()),
        }
    }

    /// What each node of a workload installs.
    pub(super) fn parts(&self, workload: Workload) -> Vec<Part> {
        let part = |model: &CompiledModel, target, config, is_invoked| Part {
            model: model.clone(),
            target,
            config,
            is_invoked,
        };
        match workload {
            Workload::Relay => {
                ["Relay.front", "Relay.front", "Relay.middle", "Relay.middle", "Relay.back", "Relay.back"]
                    .map(|target| part(&self.relay, target, Config::new(), target == "Relay.front"))
                    .into()
            }
            Workload::Gossip => (0..4).map(|_| part(&self.gossip, "Gossip", Config::new(), false)).collect(),
            Workload::Federated => (0..4)
                .map(|node| {
                    let rows = InMemoryConfig::new(self.rows.clone());
                    let config = Config::new().with("model", self.model.clone());
                    let (target, config) = match node {
                        0 => (FedAvgRound::SERVER, config.with("test", rows)),
                        _ => (FedAvgRound::CLIENT, config.with("data", rows)),
                    };
                    part(&self.federated, target, config, node == 0)
                })
                .collect(),
            Workload::Random(index) => (0..4)
                .map(|node| {
                    let target = if node < 2 { "Random.a" } else { "Random.b" };
                    part(&self.random[index], target, Config::new(), node < 2)
                })
                .collect(),
        }
    }
}

impl Workload {
    /// What a host gives an invocation, and what must come out of it, if that is known.
    pub(super) fn inputs(
        self,
        rng: &mut Rng,
        peers: &[PeerId],
    ) -> (Vec<(&'static str, Value)>, Option<Value>) {
        let x = Value::I64(rng.u64() as i64 | 1);
        let some = |from: usize, to: usize| Value::Peers(peers[from..to].into());
        match self {
            Self::Relay => (vec![("middles", some(2, 4)), ("backs", some(4, 6)), ("x", x.clone())], Some(x)),
            Self::Random(_) => {
                let open = Value::Bool(rng.below(2) == 0);
                (vec![("peers", some(2, 4)), ("open", open), ("x", x.clone())], Some(x))
            }
            Self::Federated | Self::Gossip => (Vec::new(), None),
        }
    }

    /// Whether no component keeps bytes that came from outside.
    pub(super) fn is_stateless(self) -> bool {
        self != Self::Federated
    }
}

struct Relay;

impl Module for Relay {
    fn name(&self) -> &str {
        "Relay"
    }

    fn body(&self, g: &mut Graph) {
        g.on("front", |g| {
            let middles = g.input_of("middles", ValueType::Peers);
            let backs = g.input_of("backs", ValueType::Peers);
            let x = g.input("x");
            let asked = g.call(middles, (backs, x)).at("middle", |g, (backs, x)| {
                let asked = g.call(backs, x).at("back", |g, x| g.delay(x, millis(20)));
                let (_, x) = asked.within(secs(5)).first(g);
                x
            });
            let (_, y) = asked.within(secs(10)).first(g);
            g.output("y", y);
        });
    }
}

struct Gossip(PeerSelectorSlot);

impl Module for Gossip {
    fn name(&self) -> &str {
        "Gossip"
    }

    fn body(&self, g: &mut Graph) {
        g.on("peer", |g| {
            let tick = g.every(secs(1));
            let mine = g.random_u64().after(tick);
            let others = self.0.all(g).after(tick);
            g.send(others, mine).to("peer").then(|g, theirs| g.output("theirs", theirs));
        });
    }
}

/// A program that a seed decides. All its ops move values about, so whatever comes out is what went in.
struct Random {
    seed: u64,
}

impl Module for Random {
    fn name(&self) -> &str {
        "Random"
    }

    fn body(&self, g: &mut Graph) {
        g.on("a", |g| {
            let mut rng = Rng::from_u64(self.seed);
            let peers = g.input_of("peers", ValueType::Peers);
            let open = g.input_of("open", ValueType::Bool);
            let mut values = vec![g.input("x")];
            for _ in 0..3 + rng.below(12) {
                let value = values[rng.below(values.len() as u64) as usize];
                let other = values[rng.below(values.len() as u64) as usize];
                values.extend(grow(g, &mut rng, peers, open, value, other));
            }
            // At least one call, whatever was drawn.
            values.extend(ask(g, &mut rng, peers, values[0]));
            for (number, value) in values.into_iter().rev().take(3).enumerate() {
                g.output(&format!("y{number}"), value);
            }
        });
    }
}

fn grow(
    g: &mut Graph,
    rng: &mut Rng,
    peers: Output,
    open: Output,
    value: Output,
    other: Output,
) -> Vec<Output> {
    match rng.below(9) {
        0 => vec![g.pass_through(value)],
        1 => g.tee(value, 2),
        2 => {
            let bundle = g.bundle([value, other]);
            g.unbundle(bundle, 2)
        }
        3 => vec![g.gate(value, open)],
        4 => vec![g.any([value, other])],
        5 => {
            let (value, other) = g.barrier((value, other));
            vec![value, other]
        }
        6 => {
            let delay = millis(1 + rng.below(2_000));
            vec![g.delay(value, delay)]
        }
        7 => {
            g.send(peers, value).to("b").then(|g, value| g.output("told", value));
            Vec::new()
        }
        _ => ask(g, rng, peers, value),
    }
}

fn ask(g: &mut Graph, rng: &mut Rng, peers: Output, value: Output) -> Vec<Output> {
    let delay = millis(1 + rng.below(500));
    let asked = g.call(peers, value).at("b", |g, value| g.delay(value, delay));
    if rng.below(2) == 0 {
        return vec![asked.within(secs(8)).first(g).1];
    }
    let quorum = Quorum::at_least(1).within(secs(8));
    let name = format!("y of {:x}", rng.u64());
    asked.quorum(quorum).each(g, |g, _, value| g.app_emit(&name, value));
    Vec::new()
}
