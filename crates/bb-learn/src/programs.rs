//! Programs that are ready to be compiled: federated algorithms as modules.

use bb_dsl::{AggregatorSlot, DataSourceSlot, Fit, Graph, ModelSlot, Module, PeerSelectorSlot, Quorum, secs};

/// A round of federated averaging, and how good the model is after it.
///
/// Targets: `FedAvgRound.server` with the slots `model`, `test`, `aggregator` and `clients`, and `FedAvgRound.client`
/// with `model` and `data`. Each invocation of the server is a round over all its clients; it hands out `loss` and
/// `accuracy` (f64, of the new model on `test`) and `global` (the new parameters). Every client must answer, unless
/// [`quorum`](Self::quorum) asks for less.
///
/// McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017, algorithm 1.
///
/// ```
/// use bb_dsl::{Fit, Module};
/// use bb_learn::programs::FedAvgRound;
/// let program = FedAvgRound::new(Fit::epochs(1).batch(32)).build()?;
/// assert_eq!(program.name, "FedAvgRound");
/// # Ok::<(), bb_dsl::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FedAvgRound {
    model: ModelSlot,
    data: DataSourceSlot,
    test: DataSourceSlot,
    aggregator: AggregatorSlot,
    clients: PeerSelectorSlot,
    fit: Fit,
    quorum: Quorum,
}

impl FedAvgRound {
    /// What the server installs.
    pub const SERVER: &str = "FedAvgRound.server";
    /// What a client installs.
    pub const CLIENT: &str = "FedAvgRound.client";

    /// A round in which each client fits so long.
    pub fn new(fit: Fit) -> Self {
        Self {
            model: ModelSlot::named("model"),
            data: DataSourceSlot::named("data"),
            test: DataSourceSlot::named("test"),
            aggregator: AggregatorSlot::named("aggregator"),
            clients: PeerSelectorSlot::named("clients"),
            fit,
            quorum: Quorum::all().within(secs(60)),
        }
    }

    /// How many clients must answer, and within which time; all of them within a minute unless this says otherwise.
    #[must_use]
    pub fn quorum(mut self, quorum: Quorum) -> Self {
        self.quorum = quorum;
        self
    }
}

impl Module for FedAvgRound {
    fn name(&self) -> &str {
        "FedAvgRound"
    }

    fn body(&self, g: &mut Graph) {
        g.on("server", |g| {
            let global = self.model.parameters(g);
            let clients = self.clients.all(g);
            let updates = g.call(clients, global).at("client", |g, global| {
                self.model.load_parameters(g, global);
                let rows = self.model.fit(g, &self.data, self.fit);
                (self.model.parameters(g), rows)
            });
            let global = updates.fold(g, &self.aggregator, self.quorum);
            self.model.load_parameters(g, global);
            let (loss, accuracy) = self.model.evaluate(g, &self.test);
            g.output("loss", loss);
            g.output("accuracy", accuracy);
            g.output("global", global);
        });
    }
}
