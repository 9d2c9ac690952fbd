//! Gossip: every peer sends its model to one other each second and mixes what it gets; there is no server and no round.

use std::collections::BTreeMap;
use std::time::Duration;

use bb_learn::models::Mlp;
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
use bb_learn::selectors::AllPeers;
use bb_sim::{EventKind, Latency, Simulation};
use bb_tests::Error;
use bytesandbrains::dsl::{ModelSlot, PeerSelectorSlot, secs};
use bytesandbrains::prelude::CpuBackend;
use bytesandbrains::{Compiler, Config, EngineStep, Graph, Module, PeerId, TensorMap, Time, Value, install};

struct Gossip {
    model: ModelSlot,
    view: PeerSelectorSlot,
}

impl Module for Gossip {
    fn name(&self) -> &str {
        "Gossip"
    }
    fn body(&self, g: &mut Graph) {
        g.on("peer", |g| {
            let tick = g.every(secs(1));
            let mine = self.model.parameters(g).after(tick);
            let other = self.view.sample(g, 1);
            g.send(other, mine).to("peer").then(|g, theirs| self.model.mix(g, theirs, 0.5));
            g.output("mine", mine);
        });
    }
}

/// The largest distance of any number of a model from that number of another.
fn spread(models: &BTreeMap<PeerId, TensorMap>) -> Result<f32, Error> {
    let first = models.values().next().ok_or("there are models")?;
    let mut spread = 0.0_f32;
    for (name, tensor) in first.iter() {
        for at in 0..tensor.as_slice::<f32>()?.len() {
            let numbers: Vec<f32> = models
                .values()
                .map(|model| {
                    model
                        .find(name)
                        .ok_or("a parameter")?
                        .as_slice::<f32>()
                        .map(|all| all[at])
                        .map_err(Error::from)
                })
                .collect::<Result<_, _>>()?;
            let (low, high) =
                numbers.iter().fold((f32::MAX, f32::MIN), |(low, high), n| (low.min(*n), high.max(*n)));
            spread = spread.max(high - low);
        }
    }
    Ok(spread)
}

fn simulation(peers: u64) -> Result<Simulation, Error> {
    let gossip = Gossip { model: ModelSlot::named("model"), view: PeerSelectorSlot::named("view") };
    let model = Compiler::new()
        .bind_model::<OnnxModel>("model")
        .bind_backend::<CpuBackend>("compute")
        .bind_peer_selector::<AllPeers>("view")
        .compile(gossip.build()?)?;
    let latency = Latency::Uniform { from: Duration::from_millis(5), to: Duration::from_millis(80) };
    let mut simulation = Simulation::new(latency, 3);
    for peer in 1..=peers {
        let mlp = Mlp::new([4, 3]).init(bb_learn::models::Init::Glorot).seed(peer).build()?;
        let config = OnnxModelConfig::new(mlp, OnnxModelOptions::default())?;
        let config = Config::new().with("model", config).seed(peer);
        simulation.add(install(PeerId::from_u64(peer), [], model.clone(), &["Gossip"], config)?)?;
    }
    for left in 1..=peers {
        for right in left + 1..=peers {
            simulation.introduce(PeerId::from_u64(left), PeerId::from_u64(right))?;
        }
    }
    Ok(simulation)
}

/// The models that the peers have at their first tick and at their last, and how often they ticked.
type Ran = (BTreeMap<PeerId, TensorMap>, BTreeMap<PeerId, TensorMap>, usize);

fn gossip(peers: u64, seconds: u64) -> Result<Ran, Error> {
    let mut simulation = simulation(peers)?;
    let (mut first, mut last, mut ticks) = (BTreeMap::new(), BTreeMap::new(), 0);
    for event in simulation.run_until(Time::ZERO + Duration::from_secs(seconds)) {
        match event.kind {
            EventKind::Step(EngineStep::AppEvent { output, value: Value::Tensors(model), .. })
                if output == "mine" =>
            {
                ticks += 1;
                first.entry(event.peer).or_insert_with(|| model.clone());
                last.insert(event.peer, model);
            }
            EventKind::Step(EngineStep::ExecutionFinished { outcome, .. }) => {
                assert!(outcome.is_completed(), "{outcome:?}");
            }
            EventKind::Step(_) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok((first, last, ticks))
}

#[test]
fn models_that_are_mixed_come_to_be_one() -> Result<(), Error> {
    let (first, last, ticks) = gossip(5, 40)?;
    assert_eq!((first.len(), last.len(), ticks), (5, 5, 200));
    let (before, after) = (spread(&first)?, spread(&last)?);
    assert!(before > 0.5 && after < before / 20.0, "{before} became {after}");
    Ok(())
}

#[test]
fn the_same_gossip_twice_is_the_same() -> Result<(), Error> {
    assert_eq!(gossip(3, 10)?, gossip(3, 10)?);
    Ok(())
}
