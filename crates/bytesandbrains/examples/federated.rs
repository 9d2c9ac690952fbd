//! Ten nodes train one model on rows that stay where they are: `cargo run -p bytesandbrains --example federated`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use bb_sim::Federation;
use bytesandbrains::prelude::*;

struct Round {
    model: ModelSlot,
    data: DataSourceSlot,
    aggregator: AggregatorSlot,
    clients: PeerSelectorSlot,
}

impl Module for Round {
    fn name(&self) -> &str {
        "Round"
    }

    fn body(&self, g: &mut Graph) {
        g.on("server", |g| {
            let global = self.model.parameters(g);
            let clients = self.clients.all(g);
            let updates = g.call(clients, global).at("client", |g, global| {
                self.model.load_parameters(g, global);
                let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
                (self.model.parameters(g), rows)
            });
            let global = updates.fold(g, &self.aggregator, Quorum::at_least(8).within(secs(30)));
            self.model.load_parameters(g, global);
            let (loss, accuracy) = self.model.evaluate(g, &self.data);
            g.output("loss", loss);
            g.output("accuracy", accuracy);
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let round = Round {
        model: ModelSlot::named("model"),
        data: DataSourceSlot::named("data"),
        aggregator: AggregatorSlot::named("aggregator"),
        clients: PeerSelectorSlot::named("clients"),
    };
    let compiled = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_data_source::<InMemoryData>("data")
        .bind_aggregator::<FedAvg>("aggregator")
        .bind_peer_selector::<AllPeers>("clients")
        .compile(round.build()?)?;

    let digits = digits::load()?;
    let model = OnnxModelConfig::new(Mlp::new([64, 64, 10]).build()?, OnnxModelOptions::default())?;
    let node = |rows| Config::new().with("model", model.clone()).with("data", InMemoryConfig::new(rows));
    let mut federation = Federation::builder(compiled)
        .server("Round.server", node(digits.test))
        .clients("Round.client", digits.train.dirichlet(10, 0.5, 0)?.into_iter().map(node))
        .build()?;
    for number in 1..=10 {
        let round = federation.round()?;
        if let (Some(loss), Some(accuracy)) = (round.output("loss"), round.output("accuracy")) {
            println!("round {number}: loss {loss}, accuracy {accuracy}, {} bytes up", round.bytes_up);
        }
    }
    Ok(())
}
