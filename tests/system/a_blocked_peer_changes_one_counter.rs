//! What a blocked peer sends changes one counter of the node that blocks it, and nothing else.

use bb_tests::{Error, reference_federation};
use bytesandbrains::{EngineStep, PeerId, Time};

#[test]
fn whatever_it_sends() -> Result<(), Error> {
    let mut federation = reference_federation("logreg", 2)?;
    let (server, blocked) = (federation.server(), federation.clients()[0]);

    // A message that the server would take from anybody else: the request that it sends itself.
    let module = "FedAvgRound.server";
    federation.simulation_mut().node_mut(server)?.invoke(module, &[])?;
    let steps = federation.simulation_mut().node_mut(server)?.step(Time::ZERO);
    let envelopes: Vec<_> = steps
        .into_iter()
        .filter_map(|step| match step {
            EngineStep::SendEnvelope { bytes, .. } => Some(bytes),
            _ => None,
        })
        .collect();
    assert_eq!(envelopes.len(), 2);

    let node = federation.simulation_mut().node_mut(blocked)?;
    node.block_peer(server)?;
    for bytes in [&envelopes[0][..], &[], &[0xFF; 64], &vec![7; 1 << 20]] {
        let before = node.engine_stats();
        assert!(node.deliver_inbound(server, bytes).is_err());
        let mut expected = before;
        expected.denied_inbound += 1;
        assert_eq!(node.engine_stats(), expected);
        assert!(node.step(Time::ZERO).is_empty());
    }
    node.unblock_peer(server);
    node.deliver_inbound(server, &envelopes[0])?;
    assert!(!node.step(Time::ZERO).is_empty());
    assert!(node.deliver_inbound(PeerId::from_u64(77), &[0xFF; 64]).is_err());
    Ok(())
}
