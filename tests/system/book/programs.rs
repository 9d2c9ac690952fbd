//! Programs: one that asks, one that sends, and how they are compiled.

use bb_tests::Error;
use bytesandbrains::prelude::*;

/// Asks a sample of the clients, and folds their answers.
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
            let clients = self.clients.sample(g, 10);
            let updates = g.call(clients, global).at("client", |g, global| {
                self.model.load_parameters(g, global);
                let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
                (self.model.parameters(g), rows)
            });
            let global = updates.fold(g, &self.aggregator, Quorum::at_least(8).within(secs(30)));
            self.model.load_parameters(g, global);
            g.output("global", global);
        });
    }
}

/// Hands its model on.
struct HandOn {
    model: ModelSlot,
    view: PeerSelectorSlot,
}

impl Module for HandOn {
    fn name(&self) -> &str {
        "HandOn"
    }

    fn body(&self, g: &mut Graph) {
        g.on("peer", |g| {
            let mine = self.model.parameters(g);
            let other = self.view.sample(g, 1);
            g.send(other, mine).to("peer").then(|g, theirs| self.model.load_parameters(g, theirs));
        });
    }
}

/// One epoch on the data of the node.
struct Training {
    model: ModelSlot,
    data: DataSourceSlot,
}

impl Module for Training {
    fn name(&self) -> &str {
        "Training"
    }

    fn body(&self, g: &mut Graph) {
        let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
        g.output("rows", rows);
    }
}

fn compile(module: &impl Module) -> Result<CompiledModel, Error> {
    let compiled = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_data_source::<InMemoryData>("data")
        .bind_aggregator::<FedAvg>("aggregator")
        .bind_peer_selector::<AllPeers>("clients")
        .bind_peer_selector::<AllPeers>("view")
        .compile(module.build()?)?;
    Ok(compiled)
}

fn targets(compiled: &CompiledModel) -> Vec<&str> {
    compiled.program().targets.iter().map(|target| target.name.as_str()).collect()
}

#[test]
fn a_program_has_a_target_for_each_class_that_it_names() -> Result<(), Error> {
    let model = ModelSlot::named("model");
    let view = PeerSelectorSlot::named("view");
    let round = Round {
        model: model.clone(),
        data: DataSourceSlot::named("data"),
        aggregator: AggregatorSlot::named("aggregator"),
        clients: PeerSelectorSlot::named("clients"),
    };
    assert_eq!(targets(&compile(&round)?), ["Round.server", "Round.client"]);
    assert_eq!(targets(&compile(&HandOn { model, view })?), ["HandOn"]);
    Ok(())
}

#[test]
fn a_module_is_built_and_compiled_in_one_expression() -> Result<(), Error> {
    let module = Training { model: ModelSlot::named("model"), data: DataSourceSlot::named("data") };
    let compiled = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_data_source::<InMemoryData>("data")
        .compile(module.build()?)?;
    assert_eq!(targets(&compiled), ["Training"]);
    Ok(())
}
