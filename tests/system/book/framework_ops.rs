//! Framework ops: a timer that heads what it starts.

use bb_tests::Error;
use bytesandbrains::prelude::*;

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
        });
    }
}

#[test]
fn a_timer_heads_a_region_and_a_message_another() -> Result<(), Error> {
    let gossip = Gossip { model: ModelSlot::named("model"), view: PeerSelectorSlot::named("view") };
    let compiled = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_peer_selector::<AllPeers>("view")
        .compile(gossip.build()?)?;
    let regions: Vec<usize> = compiled.program().targets.iter().map(|target| target.regions.len()).collect();
    assert_eq!(regions, [2]);
    Ok(())
}
