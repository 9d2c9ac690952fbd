//! One server and its clients, made from one compiled program and driven round by round.

use std::time::Duration;

use bytesandbrains::framework::Rng;
use bytesandbrains::{CompiledModel, Config, EngineStep, Node, Outcome, PeerId, Value, install};

use crate::{Event, EventKind, Latency, Simulation, SimulationError};

/// One server and its clients; the server is peer 0, the clients are 1, 2, ….
///
/// - look: [`server`](Self::server), [`clients`](Self::clients), [`simulation`](Self::simulation)
/// - command: [`simulation_mut`](Self::simulation_mut)
/// - drive: [`round`](Self::round)
#[derive(Debug)]
pub struct Federation {
    simulation: Simulation,
    server: PeerId,
    server_target: String,
    clients: Vec<PeerId>,
}

/// What a federation is made of.
#[derive(Debug)]
#[must_use = "`build` makes the federation"]
pub struct FederationBuilder {
    model: CompiledModel,
    server: Option<(String, Config)>,
    clients: Vec<(String, Config)>,
    latency: Latency,
    seed: u64,
}

/// What a round gave.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the server's program handed out, in order.
    pub outputs: Vec<(String, Value)>,
    /// Bytes that the clients sent in this round.
    pub bytes_up: u64,
    /// Bytes that the server sent in this round.
    pub bytes_down: u64,
    /// Virtual time that the round took.
    pub duration: Duration,
    /// What else happened: failures of single clients, lost and refused messages.
    pub incidents: Vec<Event>,
}

impl Federation {
    /// A federation of nodes that run `model`.
    pub fn builder(model: CompiledModel) -> FederationBuilder {
        FederationBuilder { model, server: None, clients: Vec::new(), latency: Latency::None, seed: 0 }
    }

    /// Invokes the server's target once, without inputs, and runs until that execution is over.
    ///
    /// # Errors
    /// [`SimulationError::Failed`] when the server's execution fails, and what [`Simulation::finish`] says.
    pub fn round(&mut self) -> Result<Round, SimulationError> {
        let (began, before) = (self.simulation.now(), self.sent());
        let exec_id = self.simulation.invoke(self.server, &self.server_target, &[])?;
        let (outcome, events) = self.simulation.finish(self.server, exec_id)?;
        let peer = self.server;
        match outcome {
            Outcome::Failed(source) => return Err(SimulationError::Failed { peer, exec_id, source }),
            Outcome::Cancelled(reason) => {
                return Err(SimulationError::Cancelled { peer, exec_id, reason });
            }
            _ => {}
        }
        let (mut outputs, mut incidents) = (Vec::new(), Vec::new());
        for event in events {
            match event.kind {
                EventKind::Step(EngineStep::AppEvent { exec_id: of, output, value, .. })
                    if event.peer == peer && of == exec_id =>
                {
                    outputs.push((output.as_str().to_owned(), value));
                }
                EventKind::Step(
                    EngineStep::AppEvent { .. }
                    | EngineStep::AsyncSuspended { .. }
                    | EngineStep::CycleBudgetExceeded { .. }
                    | EngineStep::ExecutionFinished { outcome: Outcome::Completed, .. },
                ) => {}
                _ => incidents.push(event),
            }
        }
        let after = self.sent();
        Ok(Round {
            outputs,
            bytes_up: after.0 - before.0,
            bytes_down: after.1 - before.1,
            duration: self.simulation.now().since(began),
            incidents,
        })
    }

    /// The server.
    pub fn server(&self) -> PeerId {
        self.server
    }

    /// The clients, in the order in which they were added.
    pub fn clients(&self) -> &[PeerId] {
        &self.clients
    }

    /// Nodes, network and time.
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// Nodes, network and time, to command.
    pub fn simulation_mut(&mut self) -> &mut Simulation {
        &mut self.simulation
    }

    /// Bytes sent so far by all clients together, and by the server.
    fn sent(&self) -> (u64, u64) {
        // The server was added first, then the clients.
        let clients = 1..1 + self.clients.len();
        (self.simulation.bytes_sent(clients), self.simulation.bytes_sent(0..1))
    }
}

impl FederationBuilder {
    /// The server's target and configuration; the seed in it is replaced.
    pub fn server(mut self, target: impl Into<String>, config: Config) -> Self {
        self.server = Some((target.into(), config));
        self
    }

    /// One more client for each configuration; the seeds in them are replaced.
    pub fn clients(mut self, target: &str, configs: impl IntoIterator<Item = Config>) -> Self {
        self.clients.extend(configs.into_iter().map(|config| (target.to_owned(), config)));
        self
    }

    /// How long messages are under way; no time at all unless said.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// What all chance follows from: latencies, and the generator of each node; 0 unless said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Installs every node and makes server and clients known to each other.
    ///
    /// # Errors
    /// [`SimulationError::NoServer`], [`SimulationError::NoClients`], [`SimulationError::Install`].
    pub fn build(self) -> Result<Federation, SimulationError> {
        let Self { model, server, clients, latency, seed } = self;
        let (server_target, server_config) = server.ok_or(SimulationError::NoServer)?;
        if clients.is_empty() {
            return Err(SimulationError::NoClients);
        }
        let mut seeds = Rng::from_u64(seed);
        let mut simulation = Simulation::new(latency, seeds.u64());
        let server = PeerId::from_u64(0);
        simulation.add(node(server, &model, &server_target, server_config.seed(seeds.u64()))?)?;
        let mut peers = Vec::with_capacity(clients.len());
        for ((target, config), number) in clients.into_iter().zip(1..) {
            let peer = PeerId::from_u64(number);
            simulation.add(node(peer, &model, &target, config.seed(seeds.u64()))?)?;
            simulation.introduce(server, peer)?;
            peers.push(peer);
        }
        Ok(Federation { simulation, server, server_target, clients: peers })
    }
}

impl Round {
    /// A value that the server's program handed out.
    pub fn output(&self, name: &str) -> Option<&Value> {
        self.outputs.iter().find(|(output, _)| output == name).map(|(_, value)| value)
    }
}

fn node(peer: PeerId, model: &CompiledModel, target: &str, config: Config) -> Result<Node, SimulationError> {
    install(peer, [Simulation::address(peer)], model.clone(), &[target], config)
        .map_err(|source| SimulationError::Install { peer, source: Box::new(source) })
}
